//! The options of a start that only Windows has.

use std::ffi::OsString;

use windows_sys::Win32::System::Threading::STARTF_USESHOWWINDOW;

use super::RawHandle;

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

impl PlatformOptions {
    /// The window's first state, which counts only if the flags say so.
    pub(crate) fn set_show_window(&mut self, state: u16) {
        self.startup_flags |= STARTF_USESHOWWINDOW;
        self.show_window = state;
    }
}
