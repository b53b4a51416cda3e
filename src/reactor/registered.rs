//! A descriptor that is registered in a reactor.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use crate::reactor::Inner;
use crate::sys::{Interest, Watched};

/// A descriptor's registration with its owner: removed before it is closed, because a copy of it
/// that lives on in some other process would keep an epoll registration alive.
#[derive(Debug)]
pub(crate) struct Registered<T: Watched> {
    io: T,
    inner: Arc<Inner>,
    token: usize,
    /// The poller knows it.
    registered: Cell<bool>,
}

impl<T: Watched> Registered<T> {
    pub(crate) fn new(io: T, inner: Arc<Inner>, token: usize) -> Self {
        Registered {
            io,
            inner,
            token,
            registered: Cell::new(false),
        }
    }

    pub(crate) fn register(&self, interest: Interest) -> io::Result<()> {
        let poller = self.inner.poller()?;
        self.io.watch(&poller, self.token, interest)?;
        self.registered.set(true);
        Ok(())
    }

    /// Whether the poller knows it.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_registered(&self) -> bool {
        self.registered.get()
    }

    pub(crate) fn modify(&self, interest: Interest) -> io::Result<()> {
        let poller = self.inner.poller()?;
        self.io.rewatch(&poller, self.token, interest)
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    pub(crate) fn get(&self) -> &T {
        &self.io
    }
}

impl<T: Watched> Drop for Registered<T> {
    fn drop(&mut self) {
        if self.registered.get()
            && !self.inner.in_forked_child()
            && let Ok(poller) = self.inner.poller()
        {
            self.io.unwatch(&poller);
        }
        self.inner.remove(self.token);
    }
}
