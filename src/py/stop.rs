//! `Process.stop`, and how a block ends that owns a process.

use std::sync::Arc;
use std::task::{Context, Poll};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use super::awaitable::Operation;
use super::child_lifetime::ChildLifetime;
use super::event_loop::LoopBinding;
use super::timer::Timer;
use crate::process::teardown::Teardown;

/// Ends a process with its group, and gives its return code. Cancelled, it goes on: the first
/// cancellation ends the grace, and the exception is raised when the process is gone.
pub(super) struct StopOp {
    pub binding: Arc<LoopBinding>,
    pub guard: Arc<ChildLifetime>,
    pub signal: i32,
    /// Seconds between the signal and the kill.
    pub grace: f64,
    /// Whether to wait first until the process ends by itself; then a cancellation asks it to.
    pub wait_first: bool,
    pub teardown: Option<Teardown>,
    pub timer: Option<Timer>,
}

impl StopOp {
    fn start_grace(&mut self, py: Python<'_>) -> PyResult<()> {
        self.timer = Some(Timer::start(py, &self.binding, self.grace)?);
        Ok(())
    }
}

impl Operation for StopOp {
    fn name(&self) -> &'static str {
        "Process.stop"
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        let guard = self.guard.held();
        if self.wait_first {
            self.teardown = Some(Teardown::after_end(guard, self.signal));
            return Ok(());
        }
        self.teardown = Some(Teardown::new(guard, self.signal));
        self.start_grace(py)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(teardown) = &mut self.teardown else {
            return Poll::Ready(());
        };
        let mut polled = teardown.poll(cx);
        if polled.is_pending() && self.timer.as_ref().is_some_and(|timer| timer.is_due(cx)) {
            teardown.end_grace();
            polled = teardown.poll(cx);
        }
        if polled.is_ready() {
            self.timer = None;
        }
        polled
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.guard.returncode(py)?.into_py_any(py)
    }

    fn take_warning(&mut self) -> Option<String> {
        let refused = self.teardown.as_mut().is_some_and(Teardown::take_refusal);
        refused.then(|| refusal(self.guard.pid()))
    }

    fn cancel(&mut self) -> bool {
        let Some(teardown) = &mut self.teardown else {
            return false;
        };
        if teardown.is_waiting() {
            teardown.ask();
            // Without a timer the process gets no grace.
            if Python::attach(|py| self.start_grace(py)).is_err() {
                self.timer = Some(Timer::due());
            }
        } else {
            teardown.end_grace();
        }
        true
    }

    fn cancel_again(&mut self) -> bool {
        self.cancel()
    }
}

/// The text of the warning for a process that the system does not let us signal.
pub(super) fn refusal(pid: u32) -> String {
    format!(
        "process {pid} cannot be signalled (it has become another user's): waiting until it ends"
    )
}
