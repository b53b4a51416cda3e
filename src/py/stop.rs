//! `Process.stop`, and how a block ends that owns a process.

use std::sync::Arc;
use std::task::{Context, Poll};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;

use super::child_lifetime::ChildLifetime;
use super::errors::warn;
use super::event_loop::LoopBinding;
use super::operation::{FollowUp, Operation, follow};
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
    pub follow_up: Option<FollowUp>,
}

impl StopOp {
    fn start_grace(&mut self) {
        let timer = Timer::new(self.grace);
        follow(&mut self.follow_up, timer.start(&self.binding, self.grace));
        self.timer = Some(timer);
    }
}

impl Operation for StopOp {
    fn name(&self) -> &'static str {
        "Process.stop"
    }

    fn start(&mut self, _py: Python<'_>) -> PyResult<()> {
        let guard = self.guard.guard();
        if self.wait_first {
            self.teardown = Some(Teardown::after_end(guard, self.signal));
            return Ok(());
        }
        self.teardown = Some(Teardown::new(guard, self.signal));
        self.start_grace();
        Ok(())
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
        if teardown.take_refusal() {
            follow(&mut self.follow_up, warn_of_refusal(self.guard.pid()));
        }
        polled
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.guard.returncode_after_wait(py)?.into_py_any(py)
    }

    fn take_follow_up(&mut self) -> Option<FollowUp> {
        self.follow_up.take()
    }

    fn cancel(&mut self) -> bool {
        let Some(teardown) = &mut self.teardown else {
            return false;
        };
        if teardown.is_waiting() {
            teardown.ask();
            self.start_grace();
        } else {
            teardown.end_grace();
        }
        true
    }

    fn cancel_again(&mut self) -> bool {
        self.cancel()
    }
}

/// The system does not let us signal the process: it has become another user's.
pub(super) fn warn_of_refusal(pid: u32) -> impl FnOnce(Python<'_>) -> PyResult<()> + Send + Sync {
    move |py| {
        let text = format!(
            "process {pid} may not be signalled, and is waited for until it ends by itself"
        );
        warn(py, &py.get_type::<PyRuntimeWarning>(), text);
        Ok(())
    }
}
