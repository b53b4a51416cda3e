//! macOS and the BSDs: kqueue for readiness and for the ends of children, fork(2) for their birth.
//!
//! There is no descriptor for a process here, so a child is named by its number; what keeps a
//! signal off a stranger is the lock round reaping and signalling (see `unix/process.rs`).

pub(crate) mod cgroup;
pub(crate) mod exit;
mod fork;
mod kqueue;
pub(crate) mod raw;
mod wake;
mod watch;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::kqueue as api;
use rustix::io::Errno;

pub(crate) use fork::{ChildMemory, Cloner, SpawnStrategy};
pub(crate) use kqueue::{Notifier, Poller};
pub(crate) use watch::watch_exit;

use super::{Interest, above_stdio, current_pid, switches};
use crate::sys::spec::Attributes;

/// pipe2(2).
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn pipe_cloexec() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// pipe(2), then F_SETFD of fcntl(2): macOS has pipe2 from version 27 on only. Linked directly it would keep the library
/// from being loaded by older ones.
///
/// A fork that another thread makes between the two hands copies of both ends to a stranger, which
/// keeps them through its exec unless it closes what it does not know. All that does is to make
/// the end of file late: of an output, and of the report, so that the start of a child may seem to
/// last as long as that stranger. A lock could keep only our own forks out, and would be one more
/// thing for a fork to find locked.
#[cfg(target_vendor = "apple")]
pub(crate) fn pipe_cloexec() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe()?;
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::CLOEXEC)?;
    Ok((reader, writer))
}

/// Pipes have the size that the kernel gives them, and grow by themselves. To ask for another is
/// no error, as it is none for Python's `pipesize`.
pub(crate) fn set_pipe_size(_fd: &impl AsFd, _bytes: usize) -> io::Result<()> {
    Ok(())
}

/// A pipe with a large buffer: the system makes it one by itself here.
#[derive(Debug)]
pub(crate) enum Enlarged {}

impl Enlarged {
    pub(crate) fn new(_fd: &impl AsFd, _bytes: usize) -> Option<Self> {
        None
    }
}

/// A read that has room for more empties a pipe here.
pub(crate) fn may_be_record(_count: usize) -> bool {
    false
}

pub(crate) fn holds_more(_fd: &impl AsFd) -> bool {
    false
}

/// Not to be had here.
pub(crate) fn prefault(_pages: &mut [MaybeUninit<u8>]) {}

/// The limit on descriptors. One that was opened before the limit was lowered lies above it and is
/// not found. getdtablesize(3).
pub(crate) fn max_fd() -> i32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::getdtablesize() }
}

/// Refuses what only Linux has.
pub(crate) fn check(given: &Attributes) -> io::Result<()> {
    let name = match given {
        _ if given.cpu_affinity.is_some() => "cpu_affinity",
        _ if given.no_new_privs => "no_new_privs",
        _ if given.kill_on_parent_exit => "kill_on_parent_exit",
        _ => return Ok(()),
    };
    let text = format!("{name} is not to be had on this system");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// Not asked here: no child is tied to a thread.
pub(crate) fn in_main_thread() -> bool {
    true
}

/// No thread of ours comes and goes here.
#[cfg(feature = "python")]
pub(crate) fn before_fork() {}

/// Not known here before the report or the child has ended.
pub(crate) fn has_executed(_pid: u32) -> bool {
    false
}

/// There is nothing to look at again.
pub(crate) fn remind(_poller: &Poller, _token: usize) {}

/// Does nothing: to remove it by its number could hit the next child that got the number. The
/// kernel forgets what it watched as soon as the event was collected. If it was not, because
/// the program asked first how the child ended, the event wakes no operation; and should the number's
/// next child be watched before, then it takes the event over, which is found to be too early.
pub(crate) fn unwatch_exit(_pid: i32, _pidfd: Option<BorrowedFd<'_>>, _poller: &Poller) {}

/// There are no pidfds.
pub(crate) fn signal_group(_leader: BorrowedFd<'_>, _signal: i32) -> io::Result<()> {
    Err(Errno::NOSYS.into())
}

/// There are no pidfds.
pub(crate) fn check_not_reaped(_pidfd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

/// There are no pidfds.
pub(crate) fn open_pidfd(_pid: i32) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}
