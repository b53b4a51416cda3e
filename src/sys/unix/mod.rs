//! What the Unix systems share. The parts in which they differ come from `linux` or `bsd`.

mod child;
mod config;
mod fd;
mod hook;
mod pipe;
mod plan;
mod process;
mod spawn;

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
use super::bsd as os;
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::linux as os;

pub(crate) use child::Job;
pub(crate) use config::config;
#[cfg(feature = "python")]
pub(crate) use config::relay_forced;
#[cfg(feature = "python")]
pub(crate) use fd::duplicate;
pub(crate) use fd::{above_stdio, check_open, never_blocks, open_null};
pub(crate) use hook::Hook;
pub(crate) use os::{Notifier, Poller};
pub(crate) use pipe::{PipeReader, PipeWriter, pipe_from_child, pipe_to_child};
pub(crate) use plan::Plan;
pub(crate) use process::{Group, Process};
#[cfg(feature = "python")]
pub(crate) use spawn::Forked;
pub(crate) use spawn::{Fork, Outcome, Spawner};

/// A descriptor somebody else owns, as the child will see it.
pub type RawHandle = std::os::fd::RawFd;
/// A descriptor that is owned.
pub type OwnedHandle = std::os::fd::OwnedFd;
/// A borrowed descriptor.
pub type BorrowedHandle<'a> = std::os::fd::BorrowedFd<'a>;

pub(crate) use std::os::fd::{AsFd as AsHandle, AsRawFd as AsRawHandle};

/// A token that no source has: all it does is end a wait.
pub(crate) const NOBODY: usize = usize::MAX >> 2;

/// The calling process. Compared with the process that made a reactor, it tells whether we are a
/// forked copy that must leave the children of its parent alone.
pub(crate) fn current_pid() -> u32 {
    std::process::id()
}

/// The number of a descriptor.
pub(crate) fn raw_handle(handle: &OwnedHandle) -> RawHandle {
    handle.as_raw_fd()
}

/// Whether two names are those of one environment variable.
pub(crate) fn same_variable(one: &std::ffi::OsStr, other: &std::ffi::OsStr) -> bool {
    one == other
}

/// The system's string of these bytes; any bytes will do.
#[cfg(feature = "python")]
pub(crate) fn os_string_from_bytes(bytes: &[u8]) -> Option<std::ffi::OsString> {
    use std::os::unix::ffi::OsStrExt;
    Some(std::ffi::OsStr::from_bytes(bytes).to_owned())
}

/// One thing that became ready in a [`Poller`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub token: usize,
    pub readiness: crate::reactor::Readiness,
}

/// What a descriptor is watched for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    /// Only that the other side went away: what an idle writing end wants to know.
    Hangup,
    Write,
}
