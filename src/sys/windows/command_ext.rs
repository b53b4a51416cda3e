//! What a command can be told on Windows only.

use std::ffi::{OsStr, OsString};

use super::RawHandle;
use crate::command::Command;

/// The fields of `STARTUPINFOEXW` and the flags of `CreateProcessW` that the caller sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlatformOptions {
    pub creation_flags: u32,
    pub startup_flags: u32,
    pub show_window: u16,
    /// The streams of a child none of whose streams is redirected, if the flags say so.
    pub standard: [RawHandle; 3],
    /// Handed on as it is, without quoting: what a shell is given.
    pub command_line: Option<OsString>,
    pub handle_list: Vec<RawHandle>,
}

/// Options that a [`Command`] has on Windows only.
pub trait CommandExt {
    /// The flags of `CreateProcessW`, such as `CREATE_NEW_PROCESS_GROUP`.
    fn creation_flags(&mut self, flags: u32) -> &mut Self;
    /// The window's first state, as `ShowWindow` has it.
    fn show_window(&mut self, state: u16) -> &mut Self;
    /// The whole command line as the program will see it, in place of the quoted arguments.
    /// Nothing is checked: with `cmd.exe`, quoting is the caller's.
    fn command_line(&mut self, line: impl AsRef<OsStr>) -> &mut Self;
    /// Inheritable handles of the caller's that the child gets besides its standard streams.
    fn handle_list(&mut self, handles: impl IntoIterator<Item = RawHandle>) -> &mut Self;
}

impl CommandExt for Command {
    fn creation_flags(&mut self, flags: u32) -> &mut Self {
        self.spec.platform.creation_flags = flags;
        self
    }

    fn show_window(&mut self, state: u16) -> &mut Self {
        self.spec.platform.startup_flags |=
            windows_sys::Win32::System::Threading::STARTF_USESHOWWINDOW;
        self.spec.platform.show_window = state;
        self
    }

    fn command_line(&mut self, line: impl AsRef<OsStr>) -> &mut Self {
        self.spec.platform.command_line = Some(line.as_ref().to_owned());
        self
    }

    fn handle_list(&mut self, handles: impl IntoIterator<Item = RawHandle>) -> &mut Self {
        self.spec.platform.handle_list = handles.into_iter().collect();
        self
    }
}
