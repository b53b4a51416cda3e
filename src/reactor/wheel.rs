//! Which thread waits for events, when several drive one reactor.
//!
//! An event comes out of the poller once. That of a wake-up would be lost if it came to another thread than the one
//! that is to be woken, and sleeps in the poller as well. So one thread at a time is at the wheel; the others sleep beside
//! it until they are woken or the wheel is free.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Wake;

use crate::reactor::flags::WakeThread;
use crate::sync::modelled::{AtomicBool, Condvar, Mutex, lock, wait};

/// At the wheel without a name: one that does not sleep there, and needs not be woken.
const UNNAMED: usize = 0;

pub(super) struct Wheel {
    crew: Mutex<Crew>,
    /// Something has come that a thread beside it waits for.
    changed: Condvar,
}

#[derive(Default)]
struct Crew {
    /// Who is at the wheel.
    driver: Option<usize>,
    /// How many threads sleep beside it.
    beside: usize,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Wheel {
            crew: Mutex::new(Crew::default()),
            changed: Condvar::new(),
        }
    }

    /// Takes the wheel, for a thread that would sleep, or for one that would not. `None` if another has it, for
    /// who would not sleep; or if `sleeper` was woken before it got it.
    pub(super) fn take<N>(&self, sleeper: Option<&ThreadWaker<N>>) -> Option<AtWheel<'_>> {
        let mut crew = lock(&self.crew);
        if let Some(sleeper) = sleeper {
            // Under the lock, as in `wake`: that comes before, and is seen here, or finds the thread at the wheel or
            // beside it.
            while crew.driver.is_some() && !sleeper.is_notified() {
                crew.beside += 1;
                crew = wait(&self.changed, crew);
                crew.beside -= 1;
            }
            if sleeper.is_notified() {
                return None;
            }
        } else if crew.driver.is_some() {
            return None;
        }
        crew.driver = Some(sleeper.map_or(UNNAMED, ThreadWaker::name));
        Some(AtWheel(self))
    }

    /// All of them: each looks whether it is meant.
    fn tell(&self, crew: &Crew) {
        if crew.beside > 0 {
            self.changed.notify_all();
        }
    }
}

/// This thread is at the wheel, and no other takes events out of the poller.
pub(super) struct AtWheel<'a>(&'a Wheel);

impl Drop for AtWheel<'_> {
    fn drop(&mut self) {
        let mut crew = lock(&self.0.crew);
        crew.driver = None;
        self.0.tell(&crew);
    }
}

/// The waker of a thread that drives a reactor and polls one future.
pub(super) struct ThreadWaker<N> {
    notified: AtomicBool,
    notifier: N,
    wheel: Arc<Wheel>,
}

impl<N> ThreadWaker<N> {
    /// The first poll is due.
    pub(super) fn new(wheel: &Arc<Wheel>, notifier: N) -> Self {
        ThreadWaker {
            notified: AtomicBool::new(true),
            notifier,
            wheel: wheel.clone(),
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
        let crew = lock(&self.wheel.crew);
        if crew.driver == Some(self.name()) {
            // The event stays in the poller until this thread takes it, which alone can.
            self.notifier.notify();
        } else {
            // One that is awake looks at the flag before it sleeps.
            self.wheel.tell(&crew);
        }
    }
}
