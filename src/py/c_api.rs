//! Functions of Python's C API that PyO3 does not export.

use pyo3::ffi;

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
