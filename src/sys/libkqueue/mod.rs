//! Linux with the kqueue of macOS and the BSDs, over libkqueue: for tests of `src/sys/bsd` on Linux.
//!
//! `RUSTFLAGS="--cfg procio_kqueue"` puts it in the place of `linux`: the event queue, the wake-ups and the
//! watch over the ends of children are the files of `bsd`, and what makes a child is Linux's. No child
//! has a pidfd. docs/dev/kqueue.md says how it is built and what libkqueue does otherwise than a kernel.

mod api;
#[path = "../bsd/exit.rs"]
pub(crate) mod exit;
#[path = "../bsd/kqueue.rs"]
mod kqueue;
#[path = "../bsd/wake.rs"]
mod wake;
#[path = "../bsd/watch.rs"]
mod watch;

use std::os::fd::BorrowedFd;

pub(crate) use kqueue::{Notifier, Poller};
pub(crate) use watch::watch_exit;

#[cfg(feature = "python")]
pub(crate) use super::linux::before_fork;
pub(crate) use super::linux::{
    ChildMemory, Cloner, Enlarged, SpawnStrategy, cgroup, check, check_not_reaped, has_executed,
    holds_more, in_main_thread, max_fd, may_be_record, open_pidfd, pipe_cloexec, prefault, raw,
    set_pipe_size, signal_group,
};
use super::{Interest, above_stdio, current_pid, switches};

/// There is nothing to look at again, as on the BSDs.
pub(crate) fn remind(_poller: &Poller, _token: usize) {}

/// A kernel forgets a child that ended; libkqueue would go on to try.
pub(crate) fn unwatch_exit(pid: i32, _pidfd: Option<BorrowedFd<'_>>, poller: &Poller) {
    poller.remove_exit(pid);
}
