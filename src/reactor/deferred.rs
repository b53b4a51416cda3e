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
    /// Who drives the reactor, and is woken when a turn is due.
    drivers: Mutex<Drivers>,
}

#[derive(Default)]
struct Drivers {
    /// The host's loop, if it is to be woken.
    host: Option<Waker>,
    /// The thread that sleeps in [`run_until`](crate::Reactor::run_until), or was the last to do so.
    sleeper: Option<Waker>,
}

impl DeferredQueue {
    pub(super) fn new() -> Self {
        DeferredQueue {
            queue: Mutex::new(Some(Vec::new())),
            pending: AtomicBool::new(false),
            drivers: Mutex::new(Drivers::default()),
        }
    }

    /// `false` if the reactor has ended, and there is no other turn. Under the lock, as
    /// [`end`](DeferredQueue::end): that comes before, and nothing is added, or after, and takes it. Wakes no one: the
    /// caller does, by [`wake_host`](DeferredQueue::wake_host), when it has let go of its own locks.
    #[must_use]
    pub(super) fn push(&self, what: Deferred) -> bool {
        let mut queue = lock(&self.queue);
        let Some(waiting) = &mut *queue else {
            return false;
        };
        waiting.push(what);
        self.pending.store(true, Ordering::Release);
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
        self.set(waker, |drivers| &mut drivers.host);
    }

    /// A thread is about to sleep. The host keeps its waker: it goes on when the thread does not drive any more.
    pub(super) fn set_sleeper(&self, waker: &Waker) {
        self.set(waker, |drivers| &mut drivers.sleeper);
    }

    fn set(&self, waker: &Waker, of: impl FnOnce(&mut Drivers) -> &mut Option<Waker>) {
        let mut drivers = lock(&self.drivers);
        let known = of(&mut drivers);
        let is_known = known.as_ref().is_some_and(|known| known.will_wake(waker));
        let stale = (!is_known).then(|| known.replace(waker.clone()));
        drop(drivers);
        drop(stale);
    }

    /// That thread does not drive any more.
    pub(super) fn forget_sleeper(&self, waker: &Waker) {
        let mut drivers = lock(&self.drivers);
        let stale = drivers.sleeper.take_if(|known| known.will_wake(waker));
        drop(drivers);
        drop(stale);
    }

    /// Outside of the lock: what is woken may set another waker. The caller has no lock of the reactor's either, as
    /// a host may dispatch at once.
    pub(super) fn wake_host(&self) {
        let (host, sleeper) = {
            let drivers = lock(&self.drivers);
            (drivers.host.clone(), drivers.sleeper.clone())
        };
        [sleeper, host].into_iter().flatten().for_each(Waker::wake);
    }

    pub(super) fn forget_host(&self) {
        let stale = std::mem::take(&mut *lock(&self.drivers));
        drop(stale);
    }
}
