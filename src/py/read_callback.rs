//! A call back into Python when a pipe can go on: what waits for the bytes that a protocol is given.
//!
//! No future and no coroutine-like object is made for it, and it comes within the dispatch.

use std::sync::{Arc, Mutex};
use std::task::Wake;

use pyo3::prelude::*;

use super::event_loop::{LoopBinding, Ready};
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

    pub(super) fn run(&self, py: Python<'_>) -> PyResult<()> {
        let function = lock(&self.function).take();
        match function {
            Some(function) => function.call0(py).map(drop),
            None => Ok(()),
        }
    }
}

impl Wake for ReadCallback {
    fn wake(self: Arc<Self>) {
        self.binding.clone().push_ready(Ready::ReadCallback(self));
    }
}
