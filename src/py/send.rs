//! The slot `am_send` of [`Awaitable`], which PyO3 cannot declare: by it `await` is given a result
//! as it is. Without it every result has to be raised, as a StopIteration.

use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::ffi::{self, PySendResult};
use pyo3::prelude::*;

use super::awaitable::Awaitable;

/// How `__next__` gives a result to whoever called it.
#[derive(Default)]
pub(super) struct Giving(AtomicU8);

/// By raising StopIteration, which is what an iterator does.
const RAISED: u8 = 0;
/// As it is.
const PLAIN: u8 = 1;
/// What was given so is a result, and not a future to wait for.
const RETURNED: u8 = 2;

impl Giving {
    pub(super) fn is_plain(&self) -> bool {
        self.0.load(Ordering::Relaxed) == PLAIN
    }

    pub(super) fn note_return(&self) {
        self.0.store(RETURNED, Ordering::Relaxed);
    }
}

/// Fills the slot. Called once, when the module is made.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<Awaitable>();
    // SAFETY: a class made by PyO3 is a heap type, whose `tp_as_async` points to a table of its own
    // inside it. It has no instance and no subclass yet, and cannot have subclasses at all, so
    // nobody else looks at the table.
    unsafe {
        let table = (*class.as_type_ptr()).tp_as_async;
        if !table.is_null() {
            (*table).am_send = Some(send);
        }
    }
    Ok(())
}

/// `PyIter_Send`: one step. Nothing here can panic or drop a reference; the work is done by the
/// class's `tp_iternext`, which PyO3 made of `Awaitable::__next__`.
unsafe extern "C" fn send(
    slf: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> PySendResult {
    // SAFETY: the interpreter calls a slot while attached, with an instance of the class, an
    // object or null to send, and a place for the result, for which it gets a reference. An
    // exact instance of a class holds what PyO3 has put there as long as it lives.
    unsafe {
        *result = ptr::null_mut();
        if !value.is_null() && value != ffi::Py_None() {
            let text = c"can't send non-None value";
            ffi::PyErr_SetString(ffi::PyExc_TypeError, text.as_ptr());
            return PySendResult::PYGEN_ERROR;
        }
        let py = Python::assume_attached();
        let object = Borrowed::from_ptr(py, slf).cast_unchecked::<Awaitable>();
        let giving = &object.get().giving.0;
        let Some(next) = (*ffi::Py_TYPE(slf)).tp_iternext else {
            return PySendResult::PYGEN_ERROR;
        };
        giving.store(PLAIN, Ordering::Relaxed);
        *result = next(slf);
        let returned = giving.load(Ordering::Relaxed) == RETURNED;
        giving.store(RAISED, Ordering::Relaxed);
        match ((*result).is_null(), returned) {
            (true, _) => PySendResult::PYGEN_ERROR,
            (false, true) => PySendResult::PYGEN_RETURN,
            (false, false) => PySendResult::PYGEN_NEXT,
        }
    }
}
