//! A completion port cannot be watched by a tokio runtime, so a thread does.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{PipeReader, Poller};

/// A runtime.
pub(crate) type HostRuntime = ::tokio::runtime::Handle;

/// There is none.
pub(crate) struct HostFd(Infallible);

impl HostFd {
    pub(crate) fn new(_poller: &Arc<Poller>) -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn poll_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

/// A runtime watches no pipe.
pub(crate) fn host_watches_pipes() -> bool {
    false
}

impl PipeReader {
    pub(crate) fn watch_by_host(&mut self, _runtime: &HostRuntime) -> bool {
        false
    }

    pub(crate) fn has_host(&self) -> bool {
        false
    }

    pub(crate) fn leave_host(&mut self) {}

    pub(crate) fn poll_host(&self, _cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        Poll::Pending
    }
}
