//! Making a child: fork(2).
//!
//! There is one strategy only. The memory is copied, lazily, so the child half may take its time while
//! we go on; nothing has to be kept alive for it. What it has in common with the strategies of Linux:
//!
//! - The child is made by the calling thread, and inherits that thread's signal mask.
//! - All signals are blocked round the fork, so no handler of the parent can run in the child. The
//!   child lifts the mask last, after it has reset what was caught.
//! - Between fork and exec only functions that are safe in a signal handler are called (see
//!   [`raw`]): another thread may have held any lock at the moment of the fork.
//!
//! The child has a pid only, and it cannot be recycled before we reap it.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::OwnedFd;

use super::{raw, switches};
use crate::error::SpawnError;
use crate::sys::Job;

/// A way to make a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpawnStrategy {
    /// The child has a copy of our memory.
    Fork,
}

impl SpawnStrategy {
    pub(crate) const FIRST: SpawnStrategy = SpawnStrategy::Fork;
}

/// What a running child half uses of its parent: nothing.
pub(crate) struct ChildMemory;

/// Makes children.
pub(crate) struct Cloner {
    strategy: SpawnStrategy,
}

impl Cloner {
    pub(crate) fn new() -> Self {
        Cloner {
            strategy: switches().first_strategy,
        }
    }

    /// Starts `entry(job)` in a new process and returns its pid.
    ///
    /// # Safety
    /// `job` is valid, and `entry` does not return.
    pub(crate) unsafe fn start(
        &self,
        job: &Job,
        entry: extern "C" fn(*mut c_void) -> c_int,
    ) -> Result<(i32, Option<OwnedFd>, ChildMemory), SpawnError> {
        let made = match self.strategy {
            // SAFETY: the caller's promise.
            SpawnStrategy::Fork => unsafe { fork(job, entry) },
        };
        let pid = made.map_err(SpawnError::setup)?;
        Ok((pid, None, ChildMemory))
    }

    pub(crate) fn recycle(&self, _started: ChildMemory) {}
}

/// fork(2).
///
/// # Safety
/// As [`Cloner::start`].
unsafe fn fork(job: &Job, entry: extern "C" fn(*mut c_void) -> c_int) -> io::Result<i32> {
    let job: *const Job = job;
    let caller = raw::set_signal_mask(&raw::all_signals());
    // SAFETY: until it ends or executes a program the child calls only what is safe in a signal
    // handler.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        raw::exit(entry(job.cast_mut().cast()));
    }
    let error = io::Error::last_os_error();
    raw::set_signal_mask(&caller);
    if pid == -1 { Err(error) } else { Ok(pid) }
}
