//! What the Unix systems share. The parts in which they differ come from `linux` or `bsd`.

mod child;
mod end_seen;
mod fd;
mod pipe;
mod plan;
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
mod posix_spawn;
mod pre_exec;
mod process;
mod spawn;
mod switches;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::bsd as os;
#[cfg(procio_kqueue)]
use super::libkqueue as os;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(procio_kqueue)))]
use super::linux as os;

pub(crate) use child::Job;
#[cfg(feature = "python")]
pub(crate) use fd::has_events;
pub(crate) use fd::{
    above_stdio, check_open, duplicate, never_blocks, open_null, set_blocking, try_clone,
};
#[cfg(feature = "python")]
pub(crate) use os::before_fork;
pub(crate) use os::cgroup::CgroupKill;
pub(crate) use os::{Notifier, Poller, may_be_record, prefault};
pub(crate) use pipe::{PipeReader, PipeWriter, pipe_from_child, pipe_to_child};
pub(crate) use plan::Plan;
pub(crate) use pre_exec::PreExec;
pub(crate) use process::{Group, Process};
pub(crate) use spawn::{ExecReport, Fork, Spawner};
#[cfg(feature = "python")]
pub(crate) use switches::busy_polls;
#[cfg(any(feature = "python", feature = "tokio"))]
use switches::poll_thread_forced;
pub(crate) use switches::switches;
#[cfg(feature = "tokio")]
pub(crate) use tokio::{HostFd, HostRuntime, host_watches_pipes};

/// A descriptor that other code owns, as the child will see it.
pub type RawHandle = std::os::fd::RawFd;
/// A descriptor that is owned.
pub type OwnedHandle = std::os::fd::OwnedFd;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::{Interest, Watched, current_pid};

/// A clone is short. posix_spawn(3) reads the program from its disk, and macOS may have it checked first.
#[cfg(feature = "python")]
pub(crate) fn spawn_blocks() -> bool {
    switches().posix_spawn
}

/// mremap(2), where the memory is large.
#[cfg(feature = "python")]
pub(crate) const GROWS_IN_PLACE: bool = true;

/// A descriptor can be watched by one poller after another.
pub(crate) const HANDOVER: bool = true;

/// There are none: what a child starts is in its process group, or not.
pub(crate) const JOBS: bool = false;

/// No option is for Unix only: what Windows lacks is an error there.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlatformOptions {}

/// What a wait for a child does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitMode {
    /// Reaps it if it has ended.
    Reap,
    /// Looks whether it has ended, and leaves it to be reaped.
    Look,
    /// Blocks until it has ended and leaves it to be reaped.
    Block,
}

impl<T: AsFd> Watched for T {
    fn watch(&self, poller: &Poller, token: usize, interest: Interest) -> io::Result<()> {
        poller.add(self.as_fd(), token, interest)
    }

    fn rewatch(&self, poller: &Poller, token: usize, interest: Interest) -> io::Result<()> {
        poller.modify(self.as_fd(), token, interest)
    }

    fn unwatch(&self, poller: &Poller) {
        poller.remove(self.as_fd());
    }
}

/// The number of a descriptor.
pub(crate) fn raw(fd: &impl AsFd) -> RawHandle {
    fd.as_fd().as_raw_fd()
}

/// Our own standard output.
pub(crate) fn own_stdout() -> Option<RawHandle> {
    Some(1)
}

/// What a child can write to and nothing reads.
pub(crate) fn unread_pipe() -> io::Result<OwnedHandle> {
    Ok(os::pipe_cloexec()?.1)
}

/// The descriptor of a poller, for a loop's `add_reader`, unless the poll thread is forced.
#[cfg(feature = "python")]
pub(crate) fn watchable(poller: &Poller) -> Option<RawHandle> {
    (!poll_thread_forced()).then(|| raw(poller))
}

/// How the system words an error, where it is not by its errno.
#[cfg(feature = "python")]
pub(crate) fn error_text(_code: i32) -> Option<String> {
    None
}

/// Whether there may be such a signal; 0 is none, and can be sent.
pub(crate) fn is_signal(signal: i32) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let last = libc::SIGRTMAX();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let last = 127; // kill(2) says whether the system has that many
    (0..=last).contains(&signal)
}

/// The name of a variable of the environment, which is any bytes.
pub(crate) type VariableName = std::ffi::OsString;

/// The system's string of these bytes; any bytes will do.
#[cfg(feature = "python")]
pub(crate) fn os_string_from_bytes(bytes: &[u8]) -> Option<std::ffi::OsString> {
    use std::os::unix::ffi::OsStrExt;
    Some(std::ffi::OsStr::from_bytes(bytes).to_owned())
}
