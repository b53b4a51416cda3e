//! What keeps a child alive in Python, and the warnings about its end.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyResourceWarning, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::errors::{in_drop, os_error, warn};
use crate::process::guard::ChildGuard;
use crate::status::ExitStatus;

/// What the process, its streams and their operations hold: while one of them is there, the child
/// lives on. The last one to go says so, and lets it be killed.
pub(super) struct ChildLifetime(ChildGuard, AtomicBool);

impl ChildLifetime {
    pub(super) fn new(guard: ChildGuard) -> Self {
        ChildLifetime(guard, AtomicBool::new(false))
    }

    pub(super) fn guard(&self) -> ChildGuard {
        self.0.clone()
    }

    /// The return code, once it is known. That it is only a stand-in for a status which other code
    /// took is worth a warning in asyncio's log, once, as in asyncio.
    pub(super) fn returncode(&self, py: Python<'_>) -> PyResult<Option<i64>> {
        let Some(exit) = self.exit() else {
            return Ok(None);
        };
        self.forget_group();
        if exit.status == ExitStatus::Lost && !self.1.swap(true, Ordering::Relaxed) {
            static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let logger = LOGGER.import(py, "asyncio.log", "logger")?;
            let text = "child process pid %d exit status already read: will report returncode 255";
            logger.call_method1("warning", (text, self.pid()))?;
        }
        Ok(Some(exit.status.returncode()))
    }

    /// The return code for an operation that has waited for it. It raises if the end of the event loop
    /// has ended the wait, or an error of the system, and not the end of the child.
    pub(super) fn returncode_after_wait(&self, py: Python<'_>) -> PyResult<i64> {
        let text = "the event loop of this process has ended";
        self.returncode(py)?.ok_or_else(|| match self.refusal() {
            Some(error) => os_error(py, &error, None),
            None => PyRuntimeError::new_err(text),
        })
    }
}

impl Deref for ChildLifetime {
    type Target = ChildGuard;

    fn deref(&self) -> &ChildGuard {
        &self.0
    }
}

impl Drop for ChildLifetime {
    fn drop(&mut self) {
        // It may have ended, and the loop has not come to notice.
        if self.0.is_unattended() && self.0.try_wait().is_none() {
            let pid = self.0.pid();
            let text = format!("unclosed <Process {pid} running>");
            // As asyncio, for a transport that was not closed.
            in_drop(|py| warn(py, &py.get_type::<PyResourceWarning>(), text));
        }
    }
}
