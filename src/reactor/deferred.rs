//! What was put off to the next turn, and how the host learns that there is such a turn.

use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::sync::modelled::{AtomicBool, Mutex, lock};

/// What is to be done in the next turn.
pub(super) enum Deferred {
    Wake(Waker),
    Resume(usize),
}

/// Any thread adds to it; the one that drives the reactor takes all at the start of a turn.
pub(super) struct DeferredQueue {
    queue: Mutex<Vec<Deferred>>,
    /// Whether there is something, for a look without the lock.
    pending: AtomicBool,
    /// The waker of the host, which drives the reactor: woken when a turn is due.
    host: Mutex<Option<Waker>>,
}

impl DeferredQueue {
    pub(super) fn new() -> Self {
        DeferredQueue {
            queue: Mutex::new(Vec::new()),
            pending: AtomicBool::new(false),
            host: Mutex::new(None),
        }
    }

    pub(super) fn push(&self, what: Deferred) {
        let mut queue = lock(&self.queue);
        queue.push(what);
        self.pending.store(true, Ordering::Release);
        drop(queue);
        self.wake_host();
    }

    /// Takes all. The flag is lowered under the lock: what is added after that raises it again.
    pub(super) fn take(&self) -> Vec<Deferred> {
        let mut queue = lock(&self.queue);
        self.pending.store(false, Ordering::Release);
        std::mem::take(&mut *queue)
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// As [`Reactor::set_waker`](crate::Reactor::set_waker).
    pub(super) fn set_host(&self, waker: &Waker) {
        let mut host = lock(&self.host);
        let known = host.as_ref().is_some_and(|host| host.will_wake(waker));
        let stale = (!known).then(|| host.replace(waker.clone()));
        drop(host);
        drop(stale);
    }

    /// Outside of the lock: what is woken may set another waker.
    pub(super) fn wake_host(&self) {
        let host = lock(&self.host).clone();
        if let Some(waker) = host {
            waker.wake();
        }
    }

    pub(super) fn forget_host(&self) {
        let host = lock(&self.host).take();
        drop(host);
    }
}
