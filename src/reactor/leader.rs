//! Which thread waits for events, when several drive one reactor.
//!
//! An event comes out of the poller once. That of a wake-up would be lost if it came to another thread than the one
//! that is to be woken, and sleeps in the poller as well. So one thread at a time, the leader, takes events out of the poller; the
//! followers sleep on a condition variable until they are woken or there is no leader any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Wake;

use crate::reactor::flags::WakeThread;
use crate::sync::modelled::{AtomicBool, Condvar, Mutex, MutexGuard, lock, wait};

pub(super) struct Leadership {
    threads: Mutex<Threads>,
    /// Something has come that a follower waits for.
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct Threads {
    /// Who takes events out of the poller.
    leader: Option<usize>,
    /// How many threads wait for their wake-up, or for the leader to stop.
    followers: usize,
}

impl Leadership {
    pub(super) fn new() -> Self {
        Leadership {
            threads: Mutex::new(Threads::default()),
            changed: Condvar::new(),
        }
    }

    /// Makes the calling thread the leader. One that would not sleep gets `None` if there is another; a `sleeper` follows until there
    /// is none, and gets `None` if it is woken before.
    pub(super) fn take<N>(&self, sleeper: Option<&ThreadWaker<N>>) -> Option<Leading<'_>> {
        let mut threads = lock(&self.threads);
        let Some(sleeper) = sleeper else {
            return threads.leader.is_none().then_some(Leading::Awake(threads));
        };
        // Under the lock, as in `wake`: that comes before, and is seen here, or finds the thread leading or
        // following.
        while threads.leader.is_some() && !sleeper.is_notified() {
            threads.followers += 1;
            threads = wait(&self.changed, threads);
            threads.followers -= 1;
        }
        if sleeper.is_notified() {
            return None;
        }
        threads.leader = Some(sleeper.name());
        Some(Leading::Asleep(self))
    }

    /// All of them: each looks whether it is meant.
    fn tell(&self, threads: &Threads) {
        if threads.followers > 0 {
            self.changed.notify_all();
        }
    }
}

/// The calling thread is the leader, until this is dropped.
pub(super) enum Leading<'a> {
    /// It does not sleep in the poller, so that all others may wait for the lock.
    Awake(#[expect(dead_code, reason = "held")] MutexGuard<'a, Threads>),
    Asleep(&'a Leadership),
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if let Leading::Asleep(leadership) = self {
            let mut threads = lock(&leadership.threads);
            threads.leader = None;
            leadership.tell(&threads);
        }
    }
}

/// The waker of a thread that drives a reactor and polls one future.
pub(super) struct ThreadWaker<N> {
    notified: AtomicBool,
    notifier: N,
    leadership: Arc<Leadership>,
}

impl<N> ThreadWaker<N> {
    /// The first poll is due.
    pub(super) fn new(leadership: &Arc<Leadership>, notifier: N) -> Self {
        ThreadWaker {
            notified: AtomicBool::new(true),
            notifier,
            leadership: leadership.clone(),
        }
    }

    /// Whether a poll is due, which then is no more.
    pub(super) fn take(&self) -> bool {
        self.notified.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_notified(&self) -> bool {
        self.notified.load(Ordering::Acquire)
    }

    #[cfg(all(test, loom))]
    pub(super) fn notifier(&self) -> &N {
        &self.notifier
    }

    /// No other has this address while a thread sleeps by it.
    fn name(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<N: WakeThread> Wake for ThreadWaker<N> {
    fn wake(self: Arc<Self>) {
        if self.notified.swap(true, Ordering::AcqRel) {
            return;
        }
        let threads = lock(&self.leadership.threads);
        if threads.leader == Some(self.name()) {
            // The event stays in the poller until this thread takes it, which alone can.
            self.notifier.notify();
        } else {
            // One that is awake looks at the flag before it sleeps.
            self.leadership.tell(&threads);
        }
    }
}
