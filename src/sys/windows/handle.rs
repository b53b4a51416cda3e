//! Handles, none of which a child inherits unless it is put on its list.

use std::fs::OpenOptions;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_INVALID_HANDLE, GetHandleInformation, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::System::Console::{GetStdHandle, STD_HANDLE, STD_OUTPUT_HANDLE};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::RawHandle;

/// The number as the system's functions take it.
pub(super) fn system(handle: RawHandle) -> HANDLE {
    ptr::without_provenance_mut(handle.cast_unsigned())
}

/// The result of a function that returns FALSE for a failure.
pub(super) fn check(result: windows_sys::core::BOOL) -> io::Result<()> {
    if result == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Owns what a function that makes handles has returned.
///
/// # Safety
/// The handle, unless it is null or INVALID_HANDLE_VALUE, is new and not owned elsewhere.
pub(super) unsafe fn own(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: promised by the caller.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// The number of a handle.
pub(crate) fn raw(handle: &impl AsHandle) -> RawHandle {
    handle.as_handle().as_raw_handle().addr().cast_signed()
}

/// A copy that children inherit who have it on their lists.
pub(super) fn inheritable(handle: RawHandle) -> io::Result<OwnedHandle> {
    copy(handle, true)
}

/// A copy of a handle that other code owns. It stays what it is when theirs is closed.
#[cfg(any(feature = "python", test))]
pub(crate) fn duplicate(handle: RawHandle) -> io::Result<OwnedHandle> {
    copy(handle, false)
}

/// No: every pipe can be waited for.
pub(crate) fn never_blocks<T>(_end: &T, _error: &io::Error) -> bool {
    false
}

/// DuplicateHandle. Negative numbers are pseudo handles: -1 is the current process, and a copy of that
/// would give a child full access to us.
fn copy(handle: RawHandle, inheritable: bool) -> io::Result<OwnedHandle> {
    if handle < 0 {
        return Err(io::Error::from_raw_os_error(
            ERROR_INVALID_HANDLE.cast_signed(),
        ));
    }
    let mut copy = ptr::null_mut();
    // SAFETY: both processes are this one, whose pseudo handle is always valid. The source is a
    // number that the system checks; `copy` receives a new handle.
    unsafe {
        let process = GetCurrentProcess();
        check(DuplicateHandle(
            process,
            system(handle),
            process,
            &raw mut copy,
            0,
            inheritable.into(),
            DUPLICATE_SAME_ACCESS,
        ))?;
        own(copy)
    }
}

/// `NUL`, open in both directions.
pub(crate) fn open_null() -> io::Result<OwnedHandle> {
    let file = OpenOptions::new().read(true).write(true).open("NUL")?;
    Ok(file.into())
}

/// ERROR_INVALID_HANDLE if `handle` is not open. Asked before any handle of ours is made, which
/// might get the number and be taken for the caller's. GetHandleInformation.
pub(crate) fn check_open(handle: RawHandle) -> io::Result<()> {
    let mut flags = 0;
    // SAFETY: the number is only looked up.
    check(unsafe { GetHandleInformation(system(handle), &raw mut flags) })
}

/// One of our own standard streams; `None` when there is none. GetStdHandle.
pub(super) fn standard(which: STD_HANDLE) -> Option<RawHandle> {
    // SAFETY: takes a number and returns one.
    let handle = unsafe { GetStdHandle(which) };
    let usable = !handle.is_null() && handle != INVALID_HANDLE_VALUE;
    usable.then(|| handle.addr().cast_signed())
}

/// Another handle on the same pipe: it would be of no use to another port.
pub(crate) fn try_clone(_handle: &impl AsHandle) -> io::Result<OwnedHandle> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Our own standard output; `None` when there is none, as in a service.
pub(crate) fn own_stdout() -> Option<RawHandle> {
    standard(STD_OUTPUT_HANDLE)
}

/// What a child can write to and nothing reads: what `Popen` gives it in place of a stream that we
/// have not.
pub(crate) fn unread_pipe() -> io::Result<OwnedHandle> {
    Ok(io::pipe()?.1.into())
}
