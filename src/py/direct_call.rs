//! `StreamReader.readline`, called without a frame of Python's.
//!
//! It is a function in Python, since `inspect` has to see a coroutine function, and its body calls the method in Rust. A
//! frame for that takes as long as the reading of a short line. From 3.12 on a function may be given another way to be
//! called, if that does the same: `PyFunction_SetVectorcall`, documented with the C API's function objects.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use super::awaitable::Awaitable;
use super::c_api::PyFunction_SetVectorcall;
use super::operations::Shape;
use super::reader;
use super::stream::StreamReader;

/// How the function is called by itself.
static BY_FRAME: OnceLock<ffi::vectorcallfunc> = OnceLock::new();

/// Has the `readline` of this class called directly. Called once, when the class is registered.
pub(super) fn install(class: &Bound<'_, PyAny>) -> PyResult<()> {
    let function = class.getattr("readline")?;
    // SAFETY: attached; the object is looked at as a function once it is known to be one. The class keeps it.
    unsafe {
        if ffi::PyFunction_Check(function.as_ptr()) == 0 {
            return Ok(());
        }
        let function = function.as_ptr().cast::<ffi::PyFunctionObject>();
        if let Some(call) = (*function).vectorcall
            && BY_FRAME.set(call).is_ok()
        {
            PyFunction_SetVectorcall(function, readline);
        }
    }
    Ok(())
}

/// `readline(reader)`. What is called otherwise gets the errors of a call by a frame.
unsafe extern "C" fn readline(
    function: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls it while attached, with as many arguments as it says.
    unsafe {
        if ffi::PyVectorcall_NARGS(nargsf) == 1 && names.is_null() {
            let this = Borrowed::from_ptr(Python::assume_attached(), *args);
            // A panic must not go on into the interpreter; in the call by a frame PyO3 makes an exception of it.
            match catch_unwind(AssertUnwindSafe(|| line_of(&this))) {
                Ok(Some(Ok(line))) => return line.into_ptr(),
                Ok(Some(Err(error))) => {
                    error.restore(this.py());
                    return ptr::null_mut();
                }
                Ok(None) | Err(_) => {}
            }
        }
        match BY_FRAME.get() {
            Some(call) => call(function, args, nargsf, names),
            None => ptr::null_mut(),
        }
    }
}

/// An awaitable for the next line. None if this is no reader, or where the frame has to be there.
fn line_of<'py>(this: &Bound<'py, PyAny>) -> Option<PyResult<Bound<'py, Awaitable>>> {
    let this = this.cast::<StreamReader>().ok()?;
    let traced = this.get().binding.tracks_origins();
    (!traced).then(|| reader::line(this, Shape::Line))
}
