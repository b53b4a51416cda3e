//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever happened to a thread that held the lock: every state is consistent between any
/// two statements that could panic.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
