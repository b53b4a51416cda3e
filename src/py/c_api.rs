//! Functions of Python's C API that PyO3 does not export, or that end in a panic there when memory runs out.

use pyo3::ffi;
use pyo3::prelude::*;

// On Windows every function is imported from a library by name.
#[cfg_attr(
    all(windows, Py_3_11, not(Py_3_12)),
    link(name = "python311", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_12, not(Py_3_13)),
    link(name = "python312", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_13, not(Py_3_14), not(Py_GIL_DISABLED)),
    link(name = "python313", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_13, not(Py_3_14), Py_GIL_DISABLED),
    link(name = "python313t", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_14, not(Py_3_15), not(Py_GIL_DISABLED)),
    link(name = "python314", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_14, not(Py_3_15), Py_GIL_DISABLED),
    link(name = "python314t", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_15, not(Py_3_16), not(Py_GIL_DISABLED)),
    link(name = "python315", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_15, not(Py_3_16), Py_GIL_DISABLED),
    link(name = "python315t", kind = "raw-dylib")
)]
unsafe extern "C" {
    /// Documented with the bytes objects.
    pub(super) fn _PyBytes_Resize(
        bytes: *mut *mut ffi::PyObject,
        size: ffi::Py_ssize_t,
    ) -> std::ffi::c_int;

    /// Documented with the function objects.
    #[cfg(Py_3_12)]
    pub(super) fn PyFunction_SetVectorcall(
        function: *mut ffi::PyFunctionObject,
        call: ffi::vectorcallfunc,
    );
}

/// A tuple of two that are not known yet.
pub(super) struct Pair<'py>(Bound<'py, PyAny>);

impl<'py> Pair<'py> {
    /// Raises MemoryError. It may run code of the program: that of what the collector of cycles finds.
    pub(super) fn new(py: Python<'py>) -> PyResult<Self> {
        // SAFETY: attached. A new reference to a tuple, or null and an exception.
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(2)).map(Pair) }
    }

    /// The tuple. Needs no memory, and runs no code.
    pub(super) fn of(
        self,
        first: Bound<'py, PyAny>,
        second: Bound<'py, PyAny>,
    ) -> Bound<'py, PyAny> {
        // SAFETY: attached; no other code has the tuple, which has two places, both empty. They take the references.
        unsafe {
            ffi::PyTuple_SetItem(self.0.as_ptr(), 0, first.into_ptr());
            ffi::PyTuple_SetItem(self.0.as_ptr(), 1, second.into_ptr());
        }
        self.0
    }
}
