//! A call back into Python when a pipe can go on: what waits for the bytes that a protocol is given.
//!
//! No future and no coroutine-like object is made for it, and it comes within the dispatch.

use std::sync::{Arc, Mutex};
use std::task::Wake;

use pyo3::prelude::*;

use super::event_loop::{Host, Ready};
use crate::sync::lock;

/// Calls once.
pub(super) struct Call {
    host: Arc<Host>,
    function: Mutex<Option<Py<PyAny>>>,
}

impl Call {
    pub(super) fn new(host: &Arc<Host>, function: Py<PyAny>) -> Arc<Self> {
        Arc::new(Call {
            host: host.clone(),
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

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.host.clone().push_ready(Ready::Call(self));
    }
}
