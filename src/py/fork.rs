//! Forks that Python knows of: the program's own, and those for `preexec_fn`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::sys::{self, Fork};

/// Has [`sys::before_fork`] called before each fork, after what others have called there.
pub(super) fn watch_forks(py: Python<'_>) -> PyResult<()> {
    let handlers = PyDict::new(py);
    handlers.set_item("before", wrap_pyfunction!(before_fork, py)?)?;
    py.import("os")?
        .call_method("register_at_fork", (), Some(&handlers))?;
    Ok(())
}

#[pyfunction(name = "_before_fork")]
fn before_fork(py: Python<'_>) {
    py.detach(sys::before_fork);
}

/// What `subprocess.Popen` does around its fork: runs the handlers of `os.register_at_fork`, makes the copy of the
/// interpreter usable, and calls `preexec_fn` in the child, where no collection of cycles runs finalizers of objects
/// that the parent has.
///
/// Not `os.fork()`: it warns of other threads, and from 3.15 on raises that warning where warnings are errors, so that
/// its caller never learns of the child. `Popen` gives none.
pub(super) struct PythonFork<'py> {
    preexec_fn: Bound<'py, PyAny>,
    /// Whether the collector was on.
    collector: bool,
}

impl<'py> PythonFork<'py> {
    /// Raises what `Popen` raises once the interpreter shuts down.
    pub(super) fn new(preexec_fn: Bound<'py, PyAny>) -> PyResult<Self> {
        if cfg!(Py_3_12) && is_finalizing(preexec_fn.py())? {
            return Err(finalization_error(preexec_fn.py()));
        }
        Ok(PythonFork {
            preexec_fn,
            collector: false,
        })
    }
}

fn is_finalizing(py: Python<'_>) -> PyResult<bool> {
    py.import("sys")?.call_method0("is_finalizing")?.extract()
}

fn finalization_error(py: Python<'_>) -> PyErr {
    const TEXT: &str = "preexec_fn not supported at interpreter shutdown";
    let class = py
        .import("builtins")
        .and_then(|builtins| builtins.getattr("PythonFinalizationError"));
    match class.map(|class| class.call1((TEXT,))) {
        Ok(Ok(error)) => PyErr::from_value(error),
        _ => PyRuntimeError::new_err(TEXT),
    }
}

// SAFETY: after `PyOS_AfterFork_Child` the interpreter of the child is usable by this thread. That a lock of another
// thread may be held for good is the caller's matter, as with `Popen`.
unsafe impl Fork for PythonFork<'_> {
    fn before(&mut self) {
        // SAFETY: attached, as `preexec_fn` is bound. Exceptions of handlers are given to `sys.unraisablehook`.
        unsafe {
            self.collector = ffi::PyGC_Disable() != 0;
            ffi::PyOS_BeforeFork();
        }
    }

    fn after_in_parent(&mut self) {
        // SAFETY: as before; each call has had its counterpart.
        unsafe {
            ffi::PyOS_AfterFork_Parent();
            if self.collector {
                ffi::PyGC_Enable();
            }
        }
    }

    fn after_in_child(&mut self) {
        // SAFETY: in the child, in the thread that has called `PyOS_BeforeFork`.
        unsafe { ffi::PyOS_AfterFork_Child() }
    }

    fn in_child(&mut self) -> Result<(), i32> {
        self.preexec_fn.call0().map(drop).map_err(|_| 0)
    }
}
