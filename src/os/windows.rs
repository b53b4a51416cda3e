//! What the crate's types can do on Windows only: the extensions that std has in `std::os::windows`.

use std::ffi::OsStr;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;

use super::sealed::Sealed;
use crate::command::Command;
use crate::reactor::Reactor;
use crate::sys;

impl AsHandle for Reactor {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.poller().as_handle()
    }
}

/// Options that a [`Command`] has on Windows only. No other type can have them.
pub trait CommandExt: Sealed {
    /// The flags of `CreateProcessW`, such as `CREATE_NEW_PROCESS_GROUP`.
    fn creation_flags(&mut self, flags: u32) -> &mut Self;
    /// The window's first state, as `ShowWindow` has it.
    fn show_window(&mut self, state: u16) -> &mut Self;
    /// The whole command line as the program will see it, in place of the quoted arguments.
    /// Nothing is checked: with `cmd.exe`, quoting is the caller's.
    fn command_line(&mut self, line: impl AsRef<OsStr>) -> &mut Self;
    /// Handles that the child gets besides its standard streams, in place of those of an earlier call. The command owns
    /// them. Each must be inheritable (`SetHandleInformation`), or the start fails.
    fn handle_list(&mut self, handles: impl IntoIterator<Item: Into<OwnedHandle>>) -> &mut Self;
}

impl Sealed for Command {}

impl CommandExt for Command {
    fn creation_flags(&mut self, flags: u32) -> &mut Self {
        self.spec.platform.creation_flags = flags;
        self
    }

    fn show_window(&mut self, state: u16) -> &mut Self {
        self.spec.platform.set_show_window(state);
        self
    }

    fn command_line(&mut self, line: impl AsRef<OsStr>) -> &mut Self {
        self.spec.platform.command_line = Some(line.as_ref().to_owned());
        self
    }

    fn handle_list(&mut self, handles: impl IntoIterator<Item: Into<OwnedHandle>>) -> &mut Self {
        let handles = handles.into_iter().map(|handle| Arc::new(handle.into()));
        let handles: Vec<Arc<OwnedHandle>> = handles.collect();
        self.spec.platform.handle_list = handles.iter().map(|handle| sys::raw(handle)).collect();
        self.owned.extend(handles);
        self
    }
}
