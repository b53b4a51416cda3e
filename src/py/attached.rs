//! A value that is used only by threads that are attached to the interpreter.
//!
//! Where the interpreter has a lock, that lock makes it one thread at a time, and what is left to find out is
//! whether the value is in use already: a lock of its own, which every line would take twice, costs more
//! than the reading of a short line. Where threads run freely it is a lock.

#[cfg(not(Py_GIL_DISABLED))]
use std::cell::{RefCell, RefMut};
#[cfg(Py_GIL_DISABLED)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::Python;

#[cfg(not(Py_GIL_DISABLED))]
pub(super) struct Attached<T>(RefCell<T>);

#[cfg(Py_GIL_DISABLED)]
pub(super) struct Attached<T>(Mutex<T>);

// SAFETY: the value is reached only through `borrow`, while attached to an interpreter whose lock makes that one
// thread at a time, and PyO3 lets the module into one interpreter only; or through a reference that is exclusive. A thread
// that detaches with a borrow leaves the value borrowed for all others. The borrow cannot go to another thread.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl<T: Send> Sync for Attached<T> {}

#[cfg(not(Py_GIL_DISABLED))]
pub(super) type Borrow<'a, T> = RefMut<'a, T>;

#[cfg(Py_GIL_DISABLED)]
pub(super) type Borrow<'a, T> = MutexGuard<'a, T>;

impl<T> Attached<T> {
    #[cfg(not(Py_GIL_DISABLED))]
    pub(super) fn new(value: T) -> Self {
        Attached(RefCell::new(value))
    }

    #[cfg(Py_GIL_DISABLED)]
    pub(super) fn new(value: T) -> Self {
        Attached(Mutex::new(value))
    }

    /// The value; None while it is in use, which only code can meet that the use itself has called.
    #[cfg(not(Py_GIL_DISABLED))]
    pub(super) fn borrow<'a>(&'a self, _py: Python<'a>) -> Option<Borrow<'a, T>> {
        self.0.try_borrow_mut().ok()
    }

    /// The value.
    #[cfg(Py_GIL_DISABLED)]
    pub(super) fn borrow<'a>(&'a self, _py: Python<'a>) -> Option<Borrow<'a, T>> {
        Some(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(not(Py_GIL_DISABLED))]
    pub(super) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    #[cfg(Py_GIL_DISABLED)]
    pub(super) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
