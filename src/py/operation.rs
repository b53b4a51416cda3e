//! What an operation is to the awaitable that drives it.

use std::task::{Context, Poll};

use pyo3::prelude::*;

/// A state machine of the core as an awaitable drives it.
pub(super) trait Operation: Send + Sync {
    /// The name of the method that made it.
    fn name(&self) -> &'static str;
    /// Where its awaitable was created, if that is tracked: `(file, line, function)` from the innermost frame on.
    fn origin(&self) -> Option<&Py<PyAny>> {
        None
    }
    /// The first thing at the first `send`: the result, if it is there for the taking.
    fn try_now(&mut self, _py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        None
    }
    /// Runs once, if that was not so.
    fn start(&mut self, _py: Python<'_>) -> PyResult<()> {
        Ok(())
    }
    /// Whether it may be tried where another loop runs: it ends at once, or leaves no trace.
    fn may_end_elsewhere(&self) -> bool {
        false
    }
    /// Goes on as far as it can without waiting.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// The result. Only now is anything consumed.
    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>>;
    /// The awaiting task was cancelled. `true` asks to be polled to the end before the exception
    /// goes on. Otherwise the operation is dropped, and must leave things as if it had not been.
    fn cancel(&mut self) -> bool {
        false
    }
    /// It was cancelled once more while it is polled to the end. `true` drops the new exception and
    /// goes on; the first one counts.
    fn cancel_again(&mut self) -> bool {
        false
    }
    /// What the last poll gave cause for in Python. It is called when no lock is held.
    fn take_follow_up(&mut self) -> Option<FollowUp> {
        None
    }
}

pub(super) type FollowUp = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send + Sync>;

/// Adds something to be called in Python, after what is to be called already.
pub(super) fn follow(
    all: &mut Option<FollowUp>,
    call: impl FnOnce(Python<'_>) -> PyResult<()> + Send + Sync + 'static,
) {
    *all = Some(match all.take() {
        None => Box::new(call),
        Some(first) => Box::new(|py| first(py).and(call(py))),
    });
}
