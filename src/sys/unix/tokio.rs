//! A poller's descriptor, watched by a tokio runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;

use super::{Poller, poll_thread_forced};

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
