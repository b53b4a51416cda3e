//! A completion port cannot be watched by a tokio runtime, so a thread does.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Poller;

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
