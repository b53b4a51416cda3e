//! Wakers of operations that wait for the same thing.

use std::task::{Context, Waker};

use slab::Slab;

/// A set of wakers. Each operation has a key of its own, so that one which is given up leaves
/// nothing behind, however often it is tried again.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Slab<Waker>);

/// The place of one operation in [`Waiters`].
pub(crate) type Key = Option<usize>;

impl Waiters {
    /// Registers the operation, or renews its waker.
    pub(crate) fn register(&mut self, key: &mut Key, cx: &Context<'_>) {
        match key.and_then(|key| self.0.get_mut(key)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *key = Some(self.0.insert(cx.waker().clone())),
        }
    }

    /// Forgets an operation that gives up, if it has not been woken.
    pub(crate) fn forget(&mut self, key: &mut Key) {
        if let Some(key) = key.take() {
            self.0.try_remove(key);
        }
    }

    #[cfg(feature = "python")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all wakers. The keys of their operations become void.
    pub(crate) fn take(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.0.drain());
    }
}
