//! The core's errors as the exceptions that the standard library raises.

use std::io;

use pyo3::exceptions::{
    PyBrokenPipeError, PyMemoryError, PyNotImplementedError, PyOSError, PyProcessLookupError,
    PyRuntimeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::error::{SpawnError, Stage};
use crate::stream::buffer::OutOfMemory;
use crate::sys;

/// The files that an error may be about, as the caller named them.
pub(super) struct Names {
    pub program: Py<PyAny>,
    pub cwd: Py<PyAny>,
    pub cgroup: Option<Py<PyAny>>,
}

/// Runs Python code in a destructor: an exception may be under way there, and must be there
/// afterwards. While the interpreter shuts down, nothing runs.
pub(super) fn in_drop(run: impl FnOnce(Python<'_>)) {
    let _ = Python::try_attach(|py| {
        let pending = PyErr::take(py);
        run(py);
        if let Some(error) = pending {
            error.restore(py);
        }
    });
}

/// Gives a warning where no code of the user's could take an exception in its place.
pub(super) fn warn(py: Python<'_>, class: &Bound<'_, PyType>, text: String) {
    let Ok(text) = std::ffi::CString::new(text) else {
        return;
    };
    if let Err(error) = PyErr::warn(py, class, &text, 1) {
        error.write_unraisable(py, None);
    }
}

/// What `subprocess.Popen` raises for the same failure: same class, errno and filename. For what `Popen`
/// does not have, the text of the error names the keyword.
pub(super) fn spawn_error(py: Python<'_>, error: &SpawnError, names: &Names) -> PyErr {
    let source = error.io_error();
    let (file, keyword) = match error.stage() {
        Stage::Chdir => (Some(&names.cwd), None),
        Stage::Exec => (Some(&names.program), None),
        Stage::PreExec => return preexec_error(py),
        Stage::Cgroup => (names.cgroup.as_ref(), Some("cgroup")),
        Stage::Limits => (None, Some("rlimits")),
        Stage::Nice => (None, Some("nice")),
        Stage::Affinity => (None, Some("cpu_affinity")),
        Stage::NoNewPrivs => (None, Some("no_new_privs")),
        Stage::ParentExit => (None, Some("kill_on_parent_exit")),
        Stage::Job => (None, Some("the program, or the job object it is to be in")),
        _ => (None, None),
    };
    match (source.raw_os_error(), source.kind(), keyword) {
        (None, io::ErrorKind::Unsupported, _) => PyNotImplementedError::new_err(source.to_string()),
        (None, io::ErrorKind::Other, Some(_)) => PyRuntimeError::new_err(source.to_string()),
        (Some(code), _, keyword) => error_of_code(py, code, file, keyword),
        _ => os_error(py, source, file),
    }
}

/// `OSError(errno, strerror[, filename])`, which picks its subclass by the errno.
fn error_of_code(
    py: Python<'_>,
    code: i32,
    file: Option<&Py<PyAny>>,
    keyword: Option<&str>,
) -> PyErr {
    let note = keyword.map_or_else(String::new, |keyword| format!(" ({keyword})"));
    if let Some(text) = sys::error_text(code) {
        // The fourth is the system's number, from which Python makes the errno. `Popen` names no
        // file here.
        let nothing: Option<()> = None;
        return PyOSError::new_err((0, text + &note, nothing, code, nothing));
    }
    match (strerror(py, code), file) {
        (Err(error), _) => error,
        (Ok(text), None) => PyOSError::new_err((code, text + &note)),
        (Ok(text), Some(file)) => PyOSError::new_err((code, text + &note, file.clone_ref(py))),
    }
}

fn strerror(py: Python<'_>, code: i32) -> PyResult<String> {
    static STRERROR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    STRERROR
        .import(py, "os", "strerror")?
        .call1((code,))?
        .extract()
}

fn preexec_error(py: Python<'_>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match CLASS.import(py, "subprocess", "SubprocessError") {
        Ok(class) => PyErr::from_type(class.clone(), "Exception occurred in preexec_fn."),
        Err(error) => error,
    }
}

/// The exception for an error of the system, or for one of ours that has no number.
pub(super) fn os_error(py: Python<'_>, error: &io::Error, file: Option<&Py<PyAny>>) -> PyErr {
    let Some(code) = error.raw_os_error() else {
        return match error.kind() {
            io::ErrorKind::InvalidInput => PyValueError::new_err(error.to_string()),
            // asyncio's has no arguments when the other end is found to be closed.
            io::ErrorKind::BrokenPipe => PyBrokenPipeError::new_err(()),
            io::ErrorKind::OutOfMemory => PyMemoryError::new_err(()),
            io::ErrorKind::NotFound => PyProcessLookupError::new_err(()),
            _ => PyErr::from(io::Error::new(error.kind(), error.to_string())),
        };
    };
    error_of_code(py, code, file, None)
}

/// `MemoryError`.
pub(super) fn memory_error(_: OutOfMemory) -> PyErr {
    PyMemoryError::new_err(())
}
