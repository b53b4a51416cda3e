//! Where an awaitable was created, for the warning that it was never awaited: asyncio's debug mode.
//!
//! An operation then stands inside of another one, which knows its origin. Without debug mode that
//! costs a look at a flag of its loop.

use std::sync::Arc;
use std::task::{Context, Poll};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::Op;
use crate::py::event_loop::LoopBinding;
use crate::py::operation::{FollowUp, Operation};

/// An operation whose awaitable was created while origins are tracked.
struct Traced {
    inner: Op,
    origin: Py<PyAny>,
}

/// The operation with its origin, if the operation's loop tracks origins.
#[inline]
pub(super) fn traced(op: Op) -> Op {
    if op.binding().tracks_origins() {
        with_origin(op)
    } else {
        op
    }
}

#[cold]
fn with_origin(op: Op) -> Op {
    let origin = Python::attach(|py| {
        static ORIGIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let origin = ORIGIN.import(py, "procio._coroutine", "origin")?.call0()?;
        PyResult::Ok((!origin.is_none()).then(|| origin.unbind()))
    });
    // An awaitable without its origin is better than none.
    let Ok(Some(origin)) = origin else {
        return op;
    };
    let binding: Arc<LoopBinding> = op.binding().clone();
    Op::Other(binding, Box::new(Traced { inner: op, origin }))
}

impl Operation for Traced {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn origin(&self) -> Option<&Py<PyAny>> {
        Some(&self.origin)
    }

    fn try_now(&mut self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        self.inner.try_now(py)
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        self.inner.start(py)
    }

    fn may_end_elsewhere(&self) -> bool {
        self.inner.may_end_elsewhere()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll(cx)
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.inner.finish(py)
    }

    fn cancel(&mut self) -> bool {
        self.inner.cancel()
    }

    fn cancel_again(&mut self) -> bool {
        self.inner.cancel_again()
    }

    fn take_follow_up(&mut self) -> Option<FollowUp> {
        self.inner.take_follow_up()
    }
}
