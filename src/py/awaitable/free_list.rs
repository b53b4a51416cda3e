//! Objects that only a list refers to, to be used again. To make and to free one costs more than to read a short line.

use std::cell::UnsafeCell;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

const MOST: usize = 16;

/// Where threads run freely, the count of an object may change at any time, and nothing is kept.
pub(super) const HAS_LOCK: bool = cfg!(not(Py_GIL_DISABLED));

/// A free list of objects of one class.
pub(super) struct FreeList(UnsafeCell<Vec<NonNull<ffi::PyObject>>>);

// SAFETY: used only while attached to an interpreter whose lock makes that one thread at a time.
// PyO3 lets the module into one interpreter only.
unsafe impl Sync for FreeList {}

impl FreeList {
    pub(super) const fn new() -> Self {
        FreeList(UnsafeCell::new(Vec::new()))
    }

    /// Gives the object back if it is not kept.
    pub(super) fn keep<'py>(&self, object: Bound<'py, PyAny>) -> Result<(), Bound<'py, PyAny>> {
        if !HAS_LOCK {
            return Err(object);
        }
        // SAFETY: attached; the borrow ends in this function, which runs no Python code and drops
        // nothing.
        let kept = unsafe { &mut *self.0.get() };
        if kept.len() == MOST || kept.try_reserve(1).is_err() {
            return Err(object);
        }
        kept.extend(NonNull::new(object.into_ptr()));
        Ok(())
    }

    /// An object of the list, if this is the only reference to it. Others may have come from what kept it, and from the
    /// collector of cycles, which shows all objects to who asks.
    pub(super) fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        if !HAS_LOCK {
            return None;
        }
        // SAFETY: as in `keep`; the borrow ends before anything is dropped.
        let kept = unsafe { (*self.0.get()).pop() }?;
        // SAFETY: the list's reference becomes ours.
        let object = unsafe { Bound::from_owned_ptr(py, kept.as_ptr()) };
        // SAFETY: an object that we have a reference to.
        let count = unsafe { ffi::Py_REFCNT(object.as_ptr()) };
        (count == 1).then_some(object)
    }
}
