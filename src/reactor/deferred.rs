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
    /// Until the reactor ends.
    queue: Mutex<Option<Vec<Deferred>>>,
    /// Whether there is something, for a look without the lock.
    pending: AtomicBool,
    /// The waker of the host, which drives the reactor: woken when a turn is due.
    host: Mutex<Option<Waker>>,
}

impl DeferredQueue {
    pub(super) fn new() -> Self {
        DeferredQueue {
            queue: Mutex::new(Some(Vec::new())),
            pending: AtomicBool::new(false),
            host: Mutex::new(None),
        }
    }

    /// `false` if the reactor has ended, and there is no other turn. Under the lock, as
    /// [`end`](DeferredQueue::end): that comes before, and nothing is added, or after, and takes it.
    pub(super) fn push(&self, what: Deferred) -> bool {
        let mut queue = lock(&self.queue);
        let Some(waiting) = &mut *queue else {
            return false;
        };
        waiting.push(what);
        self.pending.store(true, Ordering::Release);
        drop(queue);
        self.wake_host();
        true
    }

    /// Takes all. The flag is lowered under the lock: what is added after that raises it again.
    pub(super) fn take(&self) -> Vec<Deferred> {
        let mut queue = lock(&self.queue);
        self.pending.store(false, Ordering::Release);
        queue.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The reactor ends. Takes all that will have no turn.
    pub(super) fn end(&self) -> Vec<Deferred> {
        let mut queue = lock(&self.queue);
        self.pending.store(false, Ordering::Release);
        queue.take().unwrap_or_default()
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
