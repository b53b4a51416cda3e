//! `preexec_fn`: Python code in the child needs a fork that Python knows of.

use std::io;

use pyo3::prelude::*;

use crate::sys::{Fork, Forked};

/// Forks by `os.fork()`, which runs Python's at-fork handlers and makes the copy of the interpreter
/// usable, and calls `preexec_fn` in the child.
pub(super) struct PythonFork<'py> {
    pub preexec_fn: Bound<'py, PyAny>,
    /// The exception that `os.fork()` raised.
    pub raised: Option<PyErr>,
}

impl PythonFork<'_> {
    fn try_fork(&self) -> PyResult<i32> {
        self.preexec_fn
            .py()
            .import("os")?
            .call_method0("fork")?
            .extract()
    }
}

impl Fork for PythonFork<'_> {
    fn fork(&mut self) -> io::Result<Forked> {
        match self.try_fork() {
            Ok(0) => Ok(Forked::Child),
            Ok(pid) => Ok(Forked::Parent(pid)),
            Err(error) => {
                self.raised = Some(error);
                Err(io::Error::other("os.fork() raised"))
            }
        }
    }

    fn in_child(&mut self) -> Result<(), i32> {
        self.preexec_fn.call0().map(drop).map_err(|_| 0)
    }
}
