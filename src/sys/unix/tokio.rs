//! A poller's descriptor, watched by a tokio runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;

use super::{Poller, current_pid, poll_thread_forced};

/// A runtime, to be entered.
pub(crate) type HostRuntime = ::tokio::runtime::Handle;

/// A poller, registered with the runtime in whose context this was made.
pub(crate) struct HostFd(AsyncFd<Fd>);

struct Fd(Arc<Poller>);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl HostFd {
    /// `None` where it is not certain that one poller is woken by another. Only for reading: a
    /// kqueue cannot be watched for anything else.
    pub(crate) fn new(poller: &Arc<Poller>) -> io::Result<Option<Self>> {
        if poll_thread_forced() {
            return Ok(None);
        }
        let fd = Fd(poller.clone());
        // SAFETY: the descriptor is the poller's, which never changes it and is kept open by the
        // value that is given away here.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Some(HostFd(watched?)))
    }

    /// Waits until the poller may hold events. The runtime watches by edges: the caller must then
    /// collect them all before asking again.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_read_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

/// The reading end of a pipe, watched by a runtime without a poller of ours between them, which would
/// cost a call and a wake-up of another task for each event.
#[derive(Debug)]
pub(super) struct HostPipe {
    watch: Option<AsyncFd<Number>>,
    owner: u32,
}

#[derive(Debug)]
struct Number(RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Whether a runtime watches pipes without a poller of ours: where it is known how it reports hang-ups.
pub(crate) fn host_watches_pipes() -> bool {
    cfg!(target_os = "linux") && !poll_thread_forced()
}

impl HostPipe {
    /// `None` where the runtime [does not watch pipes](host_watches_pipes), and where it refuses. Goes before the
    /// descriptor is closed.
    pub(super) fn new(fd: &OwnedFd, runtime: &HostRuntime) -> Option<Self> {
        if !host_watches_pipes() {
            return None;
        }
        let _context = runtime.enter();
        let number = Number(fd.as_raw_fd());
        // SAFETY: the number does not change, and the reader drops this before it closes it.
        let watch = unsafe { AsyncFd::register_with_interest(number, Interest::READABLE) };
        Some(HostPipe {
            watch: Some(watch.ok()?),
            owner: current_pid(),
        })
    }

    /// Whether it has become ready, and then whether the other side is gone.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(watch) = &self.watch else {
            return Poll::Pending;
        };
        let mut guard = ready!(watch.poll_read_ready(cx))?;
        let hangup = guard.ready().is_read_closed();
        guard.clear_ready();
        Poll::Ready(Ok(hangup))
    }
}

impl Drop for HostPipe {
    fn drop(&mut self) {
        if self.owner != current_pid() {
            // A forked copy shares the runtime's epoll file with its parent.
            std::mem::forget(self.watch.take());
        }
    }
}
