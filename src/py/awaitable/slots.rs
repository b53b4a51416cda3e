//! What PyO3 cannot do for [`Awaitable`], of which one is made for every line.
//!
//! - The slot `am_send`: by it a task is given a result as it is, and on CPython 3.11 so is `await`.
//! - The slot `am_await`, which `await` asks first: the awaitable itself, by a function that does nothing else.
//! - The slot `tp_iternext`, which `await` asks from 3.12 on: every result has to be raised
//!   there, as a StopIteration ([`stop_iteration`]).
//! - Awaitables that are done are used again, once the free list holds the only reference. To make and to free
//!   an object costs more than to read a short line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use pyo3::ffi::{self, PySendResult};
use pyo3::prelude::*;

use super::free_list::FreeList;
#[cfg(Py_3_12)]
use super::stop_iteration;
use super::{Awaitable, Course, Line, Op};
use crate::py::event_loop::LoopBinding;

/// How `__next__` gives a result to its caller.
#[derive(Default)]
pub(in crate::py) struct SendMode(AtomicU8);

/// By raising StopIteration, which is what an iterator does.
const RAISED: u8 = 0;
/// As it is.
const PLAIN: u8 = 1;
/// What was given so is a result, and not a future to wait for.
const RETURNED: u8 = 2;

impl SendMode {
    pub(in crate::py) fn is_plain(&self) -> bool {
        self.0.load(Ordering::Relaxed) == PLAIN
    }

    pub(in crate::py) fn note_return(&self) {
        self.0.store(RETURNED, Ordering::Relaxed);
    }
}

/// What `tp_iternext` was: the slot that PyO3 has made of `Awaitable::__next__`.
static NEXT: OnceLock<ffi::iternextfunc> = OnceLock::new();

/// Fills the slots. Called once, when the module is made.
pub(in crate::py) fn install(py: Python<'_>) {
    let class = py.get_type::<Awaitable>();
    // SAFETY: a class made by PyO3 is a heap type, whose `tp_as_async` points to a table of its own
    // inside it. It has no instance and no subclass yet, and cannot have subclasses at all, so
    // no other code looks at the slots.
    unsafe {
        let class = class.as_type_ptr();
        let table = (*class).tp_as_async;
        let Some(next) = (*class).tp_iternext else {
            return;
        };
        if !table.is_null() && NEXT.set(next).is_ok() {
            (*table).am_send = Some(send);
            (*table).am_await = Some(itself);
            #[cfg(Py_3_12)]
            {
                (*class).tp_iternext = Some(iternext);
            }
        }
    }
}

/// `am_await`: what `Awaitable::__await__` does, without PyO3's preparations for a method that may panic.
unsafe extern "C" fn itself(slf: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a slot while attached, with an instance of the class, and gets a reference.
    unsafe { ffi::Py_NewRef(slf) }
}

/// `PyIter_Send`: one step.
unsafe extern "C" fn send(
    slf: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> PySendResult {
    // SAFETY: the interpreter calls a slot while attached, with an instance of the class, an
    // object or null to send, and a place for the result, for which it gets a reference.
    unsafe {
        *result = ptr::null_mut();
        if !value.is_null() && value != ffi::Py_None() {
            let text = c"can't send non-None value";
            ffi::PyErr_SetString(ffi::PyExc_TypeError, text.as_ptr());
            return PySendResult::PYGEN_ERROR;
        }
        let (given, returned) = line_at_hand(slf).unwrap_or_else(|| step(slf));
        *result = given;
        match (given.is_null(), returned) {
            (true, _) => PySendResult::PYGEN_ERROR,
            (false, true) => PySendResult::PYGEN_RETURN,
            (false, false) => PySendResult::PYGEN_NEXT,
        }
    }
}

/// `tp_iternext`: one step, and a result is raised.
#[cfg(Py_3_12)]
unsafe extern "C" fn iternext(slf: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a slot while attached, with an instance of the class, and gets
    // a reference or an exception. The result is a reference that is ours to give away.
    unsafe {
        let (given, returned) = line_at_hand(slf).unwrap_or_else(|| step(slf));
        if returned && !given.is_null() {
            stop_iteration::raise(Bound::from_owned_ptr(Python::assume_attached(), given));
            return ptr::null_mut();
        }
        given
    }
}

/// One step: a new reference or null and an exception, and whether it is a result and not a future
/// to wait for. Nothing here can panic or drop a reference; the work is done by the slot that PyO3
/// has made.
///
/// # Safety
///
/// The thread is attached, and `slf` an instance of the class.
unsafe fn step(slf: *mut ffi::PyObject) -> (*mut ffi::PyObject, bool) {
    let Some(next) = NEXT.get() else {
        return (ptr::null_mut(), false);
    };
    // SAFETY: as promised. An exact instance of a class holds what PyO3 has put there as long as
    // it lives.
    unsafe {
        let object = Borrowed::from_ptr(Python::assume_attached(), slf);
        let send_mode = &object.cast_unchecked::<Awaitable>().get().send_mode.0;
        send_mode.store(PLAIN, Ordering::Relaxed);
        let given = next(slf);
        let returned = send_mode.load(Ordering::Relaxed) == RETURNED;
        send_mode.store(RAISED, Ordering::Relaxed);
        (given, returned)
    }
}

/// A line, if that is asked for and at hand: what [`step`] would give, but without what PyO3 prepares for code
/// that may drop references or call Python, which takes as long as the reading.
///
/// # Safety
///
/// The thread is attached, and `slf` an instance of the class.
unsafe fn line_at_hand(slf: *mut ffi::PyObject) -> Option<(*mut ffi::PyObject, bool)> {
    // SAFETY: as promised.
    let object = unsafe {
        let object = Borrowed::from_ptr(Python::assume_attached(), slf);
        object.cast_unchecked::<Awaitable>()
    };
    // A panic must not go on into the interpreter, and [`step`] finds what it has left.
    let line = catch_unwind(AssertUnwindSafe(|| take_line(&object))).unwrap_or_default()?;
    Some((line, true))
}

/// A new reference, or null and an exception. Drops no reference by the means of [`Py`], for which PyO3 would have to know
/// that the thread is attached.
fn take_line(object: &Bound<'_, Awaitable>) -> Option<*mut ffi::PyObject> {
    let py = object.py();
    let (result, line) = {
        let mut course = object.get().course.borrow(py)?;
        let result = match course.line.as_ref()?.take_now(py)? {
            Ok(line) => line.into_ptr(),
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        };
        (result, course.line.take()?)
    };
    let binding = line.binding();
    let result = if binding.has_no_completions() {
        result
    } else {
        complete(py, binding, result)
    };
    line.release(py);
    keep(object);
    Some(result)
}

/// Completes what a line has led to. The result, whose exception waits meanwhile; or null and an exception, which was raised
/// by that.
#[cold]
fn complete(
    py: Python<'_>,
    binding: &Arc<LoopBinding>,
    result: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let waits = PyErr::take(py);
    let Err(error) = Python::attach(|py| binding.run_completions(py)) else {
        if let Some(waits) = waits {
            waits.restore(py);
        }
        return result;
    };
    Python::attach(|_| drop(waits));
    // SAFETY: attached; a reference that is ours, or null.
    drop(unsafe { Bound::from_owned_ptr_or_opt(py, result) });
    error.restore(py);
    ptr::null_mut()
}

/// A frame that runs nothing and has the name of a method, as coroutines in C have it in tracebacks.
pub(in crate::py) fn frame<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let name = std::ffi::CString::new(name)?;
    let globals = pyo3::types::PyDict::new(py);
    // SAFETY: attached; both functions give a new reference or null and an exception, and the frame
    // takes references of its own to the code and the dictionary, which live until the end.
    unsafe {
        let code = ffi::PyCode_NewEmpty(c"<procio>".as_ptr(), name.as_ptr(), 1);
        let code = Bound::from_owned_ptr_or_err(py, code.cast())?;
        let frame = ffi::PyFrame_New(
            ffi::PyThreadState_Get(),
            code.as_ptr().cast(),
            globals.as_ptr(),
            ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(py, frame.cast())
    }
}

/// Awaitables that are done. None of them has weak references when it is used again.
static FREE_LIST: FreeList = FreeList::new();

fn has_weak_references(object: &Bound<'_, Awaitable>) -> bool {
    // SAFETY: at this offset from its start an instance has the head of the list of its weak
    // references, an object or null; 0 is no offset. Attached.
    unsafe {
        let offset = (*ffi::Py_TYPE(object.as_ptr())).tp_weaklistoffset;
        let list = object.as_ptr().byte_offset(offset);
        offset > 0 && !list.cast::<*mut ffi::PyObject>().read().is_null()
    }
}

/// Keeps an awaitable that is done, to be used again. A weak reference has to die with the last reference of the
/// program.
pub(in crate::py) fn keep(object: &Bound<'_, Awaitable>) {
    if !has_weak_references(object) {
        let _ = FREE_LIST.keep(object.clone().into_any());
    }
}

fn kept(py: Python<'_>) -> Option<Bound<'_, Awaitable>> {
    let object = FREE_LIST.take(py)?;
    // SAFETY: only awaitables are in the list.
    let object = unsafe { object.cast_into_unchecked::<Awaitable>() };
    (!has_weak_references(&object)).then_some(object)
}

/// An awaitable for `op`: a new one, or one from the free list.
pub(in crate::py) fn awaitable(py: Python<'_>, op: Op) -> PyResult<Bound<'_, Awaitable>> {
    let course = Course::of(op);
    if let Some(object) = kept(py) {
        *object.get().course(py)? = course;
        return Ok(object);
    }
    Bound::new(py, Awaitable::on(course))
}

/// Likewise, for a line.
pub(in crate::py) fn line<'py>(
    py: Python<'py>,
    binding: &LoopBinding,
    line: impl Into<Line>,
) -> PyResult<Bound<'py, Awaitable>> {
    let line = line.into();
    if binding.tracks_origins() {
        return awaitable(py, line.into_op());
    }
    if let Some(object) = kept(py) {
        // It was done, and else is as it was.
        object.get().course(py)?.line = Some(line);
        return Ok(object);
    }
    Bound::new(py, Awaitable::on(Course::line(line)))
}
