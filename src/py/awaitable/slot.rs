//! An operation that waits: what carries it on, and the future that is completed at its end.

use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use super::Op;
use crate::py::completion::Completion;
use crate::py::event_loop::{LoopBinding, running_loop};
use crate::py::operation::Operation;
use crate::sync::lock;

/// An operation that has to wait: what its waker leads to.
pub(in crate::py) struct Slot {
    pub(super) binding: Arc<LoopBinding>,
    /// Its place among those that wait.
    pub(super) key: usize,
    pub(super) state: Mutex<SlotState>,
}

pub(super) struct SlotState {
    pub(super) op: Option<Op>,
    pub(super) future: Option<Py<PyAny>>,
    pub(super) done: bool,
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.binding.clone().push_ready(self);
    }
}

impl Slot {
    /// Schedules the callbacks of a future that could not do so itself.
    fn wake_again(
        &self,
        py: Python<'_>,
        future: &Py<PyAny>,
        callbacks: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let owner = self.binding.event_loop(py)?;
        let is_scheduled = || -> PyResult<bool> {
            // The handler of a signal may have raised just after that.
            let last = owner.getattr("_ready")?.get_item(-1)?;
            let args = last.getattr("_args")?;
            args.contains(future)
        };
        if is_scheduled().unwrap_or(false) {
            return Ok(());
        }
        let Some(callbacks) = callbacks.filter(|callbacks| !callbacks.is_none(py)) else {
            return Ok(());
        };
        for entry in callbacks.bind(py).try_iter()? {
            let (callback, context): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry?.extract()?;
            let keywords = PyDict::new(py);
            keywords.set_item("context", context)?;
            owner.call_method("call_soon", (callback, future), Some(&keywords))?;
        }
        Ok(())
    }

    pub(super) fn poll(self: &Arc<Self>, state: &mut SlotState) -> bool {
        let Some(op) = state.op.as_mut() else {
            return false;
        };
        if !state.done {
            let waker = Waker::from(self.clone());
            state.done = op.poll(&mut Context::from_waker(&waker)).is_ready();
        }
        state.done
    }

    /// Goes on, or gives the future to wait for; the running loop, if it is known already, need
    /// not be asked for again. No lock is held while Python code runs: it may
    /// come back here, by a signal handler or a finalizer that closes the stream.
    pub(super) fn resume<'py>(
        self: &Arc<Self>,
        py: Python<'py>,
        running: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (done, follow_up) = {
            let mut state = lock(&self.state);
            let done = self.poll(&mut state);
            let follow_up = state.op.as_mut().and_then(|op| op.take_follow_up());
            (done, follow_up)
        };
        follow_up.map_or(Ok(()), |call| call(py))?;
        if done {
            return Ok(None);
        }
        let running = running.map_or_else(|| running_loop(py), Ok)?;
        let future = running.call_method0(pyo3::intern!(py, "create_future"))?;
        future.setattr(pyo3::intern!(py, "_asyncio_future_blocking"), true)?;
        let mut state = lock(&self.state);
        if state.done {
            return Ok(None);
        }
        let stale = state.future.replace(future.clone().unbind());
        drop(state);
        drop(stale);
        Ok(Some(future))
    }

    /// What the operation answers to a cancellation.
    pub(super) fn asks(&self, cancel: fn(&mut dyn Operation) -> bool) -> bool {
        let mut state = lock(&self.state);
        state.op.as_mut().is_some_and(|op| cancel(&mut **op))
    }

    /// Whether another task waits for it already.
    pub(super) fn is_awaited(&self, py: Python<'_>) -> PyResult<bool> {
        let future = lock(&self.state)
            .future
            .as_ref()
            .map(|future| future.clone_ref(py));
        future.map_or(Ok(false), |future| Ok(!is_done(py, &future)?))
    }

    /// Takes the operation out; the future, whose callbacks lead back to us, is let go.
    pub(super) fn take(&self) -> Option<Op> {
        let mut state = lock(&self.state);
        let (op, future) = (state.op.take(), state.future.take());
        drop(state);
        drop(future);
        op
    }
}

impl Completion for Slot {
    /// Carries the operation on, and completes its future if that ended it. Raises what the loop's
    /// own code raises, such as a KeyboardInterrupt that arrived meanwhile.
    fn advance(self: Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let (future, follow_up) = {
            let mut state = lock(&self.state);
            let done = self.poll(&mut state);
            let follow_up = state.op.as_mut().and_then(|op| op.take_follow_up());
            (done.then(|| state.future.take()).flatten(), follow_up)
        };
        let followed = follow_up.map_or(Ok(()), |call| call(py));
        let Some(future) = future else {
            return followed;
        };
        // A future that cannot schedule its callbacks forgets them.
        let callbacks = future.getattr(py, pyo3::intern!(py, "_callbacks")).ok();
        let Err(error) = future.call_method1(py, pyo3::intern!(py, "set_result"), (py.None(),))
        else {
            return followed;
        };
        // The future of a task that was cancelled is done; the task is told by that already.
        if is_invalid_state(py, &error)? {
            return followed;
        }
        // Anything may have come up here, such as what the handler of a signal raises.
        if !is_done(py, &future)? {
            lock(&self.state).future.get_or_insert(future);
        } else {
            // The run goes on, or another cancels what is left of it: neither must wait for a wake-up
            // that never comes.
            self.wake_again(py, &future, callbacks)?;
        }
        Err(error)
    }

    /// Whether its future is still to be completed.
    fn is_unfinished(&self) -> bool {
        let state = lock(&self.state);
        state.done && state.future.is_some()
    }

    /// Whether its operation goes on.
    fn waits(&self) -> bool {
        let state = lock(&self.state);
        !state.done && state.op.is_some()
    }

    fn abandon(&self) {
        drop(self.take());
    }
}

fn is_invalid_state(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "asyncio", "InvalidStateError")?;
    Ok(error.is_instance(py, class))
}

fn is_done(py: Python<'_>, future: &Py<PyAny>) -> PyResult<bool> {
    let done = future.call_method0(py, pyo3::intern!(py, "done"))?;
    done.is_truthy(py)
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.binding.forget_waiting(self.key, self);
    }
}
