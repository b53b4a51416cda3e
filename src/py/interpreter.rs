//! Which of the interpreters of this process has procio: the main one.
//!
//! The classes of the module, and what it has imported, are kept in variables of the process. The
//! first interpreter would have them, even after its end. So the others are refused before any of
//! it is made, and the main one has procio whatever was tried before.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Raises ImportError in every interpreter but the main one.
pub(super) fn check(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: attached, so there is an interpreter; neither function has any other condition.
    let is_main = unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() };
    if is_main {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "procio works in the main interpreter only, and this is a subinterpreter (under mod_wsgi: \
         set WSGIApplicationGroup to %{GLOBAL})",
    ))
}
