//! The StopIteration that an `await` makes of a result and at once takes apart again.
//!
//! To make one of the interpreter's own, or one of PyO3's, takes longer than to read a line. So there is a class whose
//! instances are used again: a free list has those that no code refers to any more, emptied.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::free_list::{FreeList, HAS_LOCK};

/// An instance of a class that inherits from StopIteration begins so.
type Fields = ffi::PyStopIterationObject;

/// Instances whose fields are null but for `args`, which is `()`.
static FREE_LIST: FreeList = FreeList::new();

fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || {
        let mut slots = [
            ffi::PyType_Slot {
                slot: ffi::Py_tp_dealloc,
                pfunc: dealloc as *mut c_void,
            },
            ffi::PyType_Slot {
                slot: 0,
                pfunc: ptr::null_mut(),
            },
        ];
        let mut spec = ffi::PyType_Spec {
            name: c"procio._core.StopIteration".as_ptr(),
            basicsize: size_of::<Fields>() as c_int,
            itemsize: 0,
            flags: ffi::Py_TPFLAGS_DEFAULT as c_uint,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: attached. What the class does not have it inherits, the collection of cycles too. The name lives as long as
        // the program, and the interpreter copies the rest. A new reference to a class, or null and an exception.
        unsafe {
            let class = ffi::PyType_FromSpecWithBases(&raw mut spec, ffi::PyExc_StopIteration);
            Bound::from_owned_ptr_or_err(py, class)
                .map(|class| class.cast_into_unchecked().unbind())
        }
    });
    class.map(|class: &Py<PyType>| class.bind(py))
}

/// A new instance without a value.
fn new(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let class = class(py)?.as_type_ptr();
    // SAFETY: attached. By `tp_alloc` the object is there, its fields are null, and the collector knows it. Its `args` are to
    // be a tuple, as for all exceptions.
    unsafe {
        let object = ffi::PyType_GenericAlloc(class, 0);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        (*object.as_ptr().cast::<Fields>()).args = ffi::PyTuple_New(0);
        Ok(object)
    }
}

/// What the last reference to an instance does when it goes.
unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls it while attached, with an instance to which there is no reference any more. What it lets go
    // may run code, and the collector with it. So the collector forgets it first; or, where it may be kept, it gets a reference.
    unsafe {
        if HAS_LOCK {
            ffi::Py_INCREF(object);
        } else {
            ffi::PyObject_GC_UnTrack(object.cast());
        }
        let fields = object.cast::<Fields>();
        let owned = [
            &raw mut (*fields).dict,
            &raw mut (*fields).notes,
            &raw mut (*fields).traceback,
            &raw mut (*fields).context,
            &raw mut (*fields).cause,
            &raw mut (*fields).value,
        ];
        for field in owned {
            if !field.read().is_null() {
                ffi::Py_DECREF(field.replace(ptr::null_mut()));
            }
        }
        let args = (*fields).args;
        if args.is_null() || ffi::Py_SIZE(args) != 0 {
            ffi::Py_XDECREF((&raw mut (*fields).args).replace(ffi::PyTuple_New(0)));
        }
        (*fields).suppress_context = '\0';
        let object = Bound::from_owned_ptr(Python::assume_attached(), object);
        let Err(object) = FREE_LIST.keep(object) else {
            return;
        };
        let object = object.into_ptr();
        if HAS_LOCK && ffi::Py_REFCNT(object) > 1 {
            // What was let go has asked the collector for all objects, and keeps this one.
            return ffi::Py_DECREF(object);
        }
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::Py_XDECREF((&raw mut (*fields).args).replace(ptr::null_mut()));
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

/// Sets a StopIteration with this value, or whatever prevented that.
pub(super) fn raise(value: Bound<'_, PyAny>) {
    let py = value.py();
    let stop = match FREE_LIST.take(py).map_or_else(|| new(py), Ok) {
        Ok(stop) => stop,
        Err(error) => return error.restore(py),
    };
    // SAFETY: attached; an instance that no other code has, and whose value is null.
    unsafe {
        (*stop.as_ptr().cast::<Fields>()).value = value.into_ptr();
        ffi::PyErr_SetRaisedException(stop.into_ptr());
    }
}
