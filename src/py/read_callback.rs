//! A call back into Python when a pipe can go on: what waits for the bytes that a protocol is given.
//!
//! No future and no coroutine-like object is made for it. It is not called within the dispatch: the
//! protocol may run the loop again (a debugger, a notebook), and the loop could not enter the context of
//! the dispatch's own callback a second time.

use std::sync::{Arc, Mutex};
use std::task::Wake;

use pyo3::prelude::*;

use super::completion::Completion;
use super::event_loop::LoopBinding;
use crate::sync::lock;

/// Calls once.
pub(super) struct ReadCallback {
    binding: Arc<LoopBinding>,
    function: Mutex<Option<Py<PyAny>>>,
}

impl ReadCallback {
    pub(super) fn new(binding: &Arc<LoopBinding>, function: Py<PyAny>) -> Arc<Self> {
        Arc::new(ReadCallback {
            binding: binding.clone(),
            function: Mutex::new(Some(function)),
        })
    }
}

impl Completion for ReadCallback {
    /// Has the loop call it. If that raises, it can be tried again.
    fn advance(self: Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let function = lock(&self.function).take();
        let Some(function) = function else {
            return Ok(());
        };
        let scheduled = self.binding.schedule_call(py, function.bind(py).clone());
        if scheduled.is_err() {
            *lock(&self.function) = Some(function);
        }
        scheduled
    }

    /// Whether it is still to be called.
    fn is_unfinished(&self) -> bool {
        lock(&self.function).is_some()
    }
}

impl Wake for ReadCallback {
    fn wake(self: Arc<Self>) {
        self.binding.clone().push_ready(self);
    }
}
