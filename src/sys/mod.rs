//! Everything that knows an operating system, and nearly all `unsafe` of the crate.
//!
//! # The contract
//!
//! A platform is a module that supplies the items below with these meanings; the rest of the crate
//! is written against them and names no system.
//!
//! | item | meaning |
//! | --- | --- |
//! | [`Poller`] | where readiness is collected, edge-triggered: an event says that something changed, and is not repeated until it changes again. One pollable descriptor on Unix, one completion port on Windows |
//! | [`watchable`] | the number by which a host's loop can watch a `Poller`; `None` where it cannot and the poll thread must |
//! | `PacketSink`, `Packet` | only on Windows: a `Poller` on the completion port of the host, who says which packets it has taken |
//! | [`Watched`] | what a `Poller` watches |
//! | [`Event`] | which token, and what it became: readable, writable, hung up |
//! | [`Notifier`] | wakes a `Poller` from any thread with a token |
//! | [`PipeReader`], [`PipeWriter`] | the parent's ends of pipes, never blocking: `WouldBlock` promises an event |
//! | [`prefault`] | asks for the memory of pages that are about to be filled; may do nothing |
//! | [`GROWS_IN_PLACE`] | whether memory that grows is moved by its pages; where it is copied, much is collected in pieces |
//! | [`never_blocks`] | whether a `Poller` refused a descriptor because it is always ready |
//! | [`duplicate`] | an end of a pipe that other code made as one of our own |
//! | [`pipe_from_child`], [`pipe_to_child`] | a pipe whose one end is ours and whose other end the child gets |
//! | [`Plan`] | a validated [`Spec`] in the form in which the child half can use it without allocating |
//! | [`Spawner::spawn`] | starts a plan: the [`Process`], and the [`ExecReport`] of its exec if that comes later |
//! | `spawn_blocks` | whether that call takes its time, so that the caller had better let others go on meanwhile |
//! | `before_fork` | Unix, with the feature `python`: waits shortly for a thread of ours that is about to end, so that a fork of the program's does not meet it |
//! | `HostFd` | with the feature `tokio`: a `Poller` watched by a tokio runtime, or `None` where a thread has to |
//! | [`HANDOVER`], [`try_clone`] | whether a child can go from one `Poller` to another, and a second handle for that |
//! | [`PreExec`] | code of the caller's that runs in the child; where there is no fork, a type without values |
//! | [`Process`] | one child that has not been reaped: watch, reap once, signal. After `try_wait` returned an exit the caller may not signal; the caller's lock orders the two |
//! | [`Group`] | the process group of a leader that was reaped, if it can still be signalled safely |
//! | [`CgroupKill`] | what kills everything in a child's control group; where there are none, a type without values |
//! | [`PlatformOptions`] | the options that a [`Spec`] has on this platform only |
//! | [`VariableName`] | the name of a variable of the environment, in an order that takes two for one where the system does |
//!
//! Every descriptor that a platform creates is close-on-exec and above 2; every handle is one that
//! no child inherits.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;

mod environment;
mod spec;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

/// Of Windows, for its tests and the fuzzer on every system.
#[cfg(all(not(windows), any(test, fuzzing)))]
#[path = "windows/command_line.rs"]
pub(crate) mod command_line;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

pub(crate) use environment::Environment;
#[cfg(all(unix, feature = "python"))]
pub(crate) use spec::Attributes;
pub(crate) use spec::{Directory, Groups, Limit, Spec};

#[cfg(any(target_os = "linux", target_os = "android"))]
#[cfg_attr(procio_kqueue, allow(dead_code, unused_imports))]
mod linux;

#[cfg(procio_kqueue)]
mod libkqueue;

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
mod bsd;

/// A token that no source has: all it does is end a wait.
pub(crate) const WAKE_TOKEN: usize = usize::MAX >> 2;

/// The calling process. Compared with the process that made a reactor, it tells whether we are a
/// forked copy that must leave the children of its parent alone.
pub(crate) fn current_pid() -> u32 {
    std::process::id()
}

/// What a source of events has become.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    pub writable: bool,
    /// The other side is gone: reading goes on to the end, writing fails.
    pub hangup: bool,
}

/// One thing that became ready in a [`Poller`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub token: usize,
    pub readiness: Readiness,
}

/// What a descriptor is watched for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    /// Only that the other side went away: what an idle writing end wants to know.
    Hangup,
    Write,
}

/// Something that becomes ready.
pub(crate) trait Watched {
    /// Has the poller report `token` from now on.
    fn watch(&self, poller: &Poller, token: usize, interest: Interest) -> io::Result<()>;
    /// Changes what it is watched for. If that holds already, an event comes.
    fn rewatch(&self, poller: &Poller, token: usize, interest: Interest) -> io::Result<()>;
    /// Ends that. Must come before it is closed.
    fn unwatch(&self, poller: &Poller);
}

/// Has `read` fill the front of what is left of `buffer`, which must only write into it, and counts
/// what it returns to have filled. Returns how many bytes that were.
#[cfg(feature = "tokio")]
pub(crate) fn fill(
    buffer: &mut ::tokio::io::ReadBuf<'_>,
    read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<&[u8]>,
) -> io::Result<usize> {
    // SAFETY: `read` is one of ours, and makes no byte uninitialized: it reads into some.
    let room = unsafe { buffer.unfilled_mut() };
    let (start, length) = (room.as_ptr().cast::<u8>(), room.len());
    let filled = read(room)?;
    if !std::ptr::eq(filled.as_ptr(), start) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let count = filled.len().min(length);
    // SAFETY: the bytes at the front can be read, and so have been filled.
    unsafe { buffer.assume_init(count) };
    buffer.advance(count);
    Ok(count)
}

/// Has `read` fill the front of the next `room` bytes of `vec`'s spare capacity, and appends what
/// it returns to have filled. Returns how many bytes that were.
pub(crate) fn append(
    vec: &mut Vec<u8>,
    room: usize,
    read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<&[u8]>,
) -> io::Result<usize> {
    let spare = vec.spare_capacity_mut();
    let room = room.min(spare.len());
    let spare = &mut spare[..room];
    let start = spare.as_ptr().cast::<u8>();
    let filled = read(spare)?;
    if !std::ptr::eq(filled.as_ptr(), start) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = filled.len().min(room);
    // SAFETY: the bytes that follow the last one can be read, and so have been filled.
    unsafe { vec.set_len(vec.len() + length) };
    Ok(length)
}
