//! Locks, and what loom takes the place of in its tests.

use std::sync::{MutexGuard, PoisonError};

/// Locks, whatever happened to a thread that held the lock: every state is consistent between any
/// two statements that could panic.
pub(crate) fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What threads share without the help of the reactor's host. In a test under `cfg(loom)` these are loom's,
/// which tries all that several threads and a weak memory model can come to.
pub(crate) mod modelled {
    #[cfg(all(test, loom))]
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
    #[cfg(all(test, loom))]
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    #[cfg(not(all(test, loom)))]
    #[allow(unused_imports, reason = "not every system has what needs them")]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
    #[cfg(not(all(test, loom)))]
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

    #[cfg(not(all(test, loom)))]
    pub(crate) use super::lock;

    /// As [`lock`](super::lock).
    #[cfg(all(test, loom))]
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until `condition` is notified, perhaps for nothing.
    pub(crate) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let guard = condition.wait(guard);
        guard.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs a test with at most two interruptions of threads that could go on, which loom's documentation says
    /// find most faults; LOOM_MAX_PREEMPTIONS says otherwise.
    #[cfg(all(test, loom))]
    pub(crate) fn check(run: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound.get_or_insert(2);
        builder.check(run);
    }
}
