//! What a reader is: the pipe, what Python code has told it, and which operation may read. Its methods
//! are in the file `reader.rs`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyAssertionError, PyBaseException, PyRuntimeError};
use pyo3::prelude::*;

use super::child_lifetime::ChildLifetime;
use super::errors::os_error;
use super::event_loop::LoopBinding;
use crate::error::error_again;
use crate::stream::read_pipe::ReadPipe;
use crate::sync::lock;

/// What a reader and its operations share.
pub(super) struct Stream {
    pub pipe: ReadPipe,
    /// Keeps the child from being released while its output can still be read.
    _lifetime: Option<Arc<ChildLifetime>>,
    failed: AtomicBool,
    /// An iterator over both outputs of the process reads it, and no other operation may.
    reserved: AtomicBool,
    exception: Mutex<Option<Told>>,
}

/// What `set_exception` was given. An operation that it wakes keeps it: by the time at which it is resumed the
/// program may have set another, or none.
pub(super) type Told = Arc<Py<PyAny>>;

impl Stream {
    pub(super) fn new(pipe: ReadPipe, guard: Option<Arc<ChildLifetime>>) -> Arc<Self> {
        Arc::new(Stream {
            pipe,
            _lifetime: guard,
            failed: AtomicBool::new(false),
            reserved: AtomicBool::new(false),
            exception: Mutex::default(),
        })
    }

    /// Whether `set_exception` was called.
    pub(super) fn has_exception(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether an iterator over both outputs of the process reads it.
    pub(super) fn is_reserved(&self) -> bool {
        self.reserved.load(Ordering::Acquire)
    }

    /// Refuses other readers from now on; raises RuntimeError if there is one.
    pub(super) fn reserve(&self, name: &str) -> PyResult<()> {
        let claimed = self.pipe.lock().is_claimed();
        if claimed || self.reserved.swap(true, Ordering::AcqRel) {
            return Err(already_read(name));
        }
        Ok(())
    }

    /// Lets other readers read again.
    pub(super) fn free(&self) {
        self.reserved.store(false, Ordering::Release);
    }

    /// Marks it as being read by an operation of the iterator that has reserved it.
    pub(super) fn claim_reserved(&self, name: &str) -> PyResult<()> {
        let claimed = self.pipe.lock().claim();
        claimed.then_some(()).ok_or_else(|| already_read(name))
    }

    /// Makes every operation raise `exception`; with None, reading goes on.
    pub(super) fn set_exception(&self, exception: Option<Py<PyAny>>) {
        let exception = exception.map(Arc::new);
        let former = {
            let mut current = lock(&self.exception);
            self.failed.store(exception.is_some(), Ordering::Release);
            std::mem::replace(&mut *current, exception)
        };
        self.pipe.change(|_| {});
        // Without the lock: a finalizer may ask the stream for its exception.
        drop(former);
    }

    /// What `set_exception` was given.
    pub(super) fn exception(&self) -> Option<Told> {
        if !self.has_exception() {
            return None;
        }
        lock(&self.exception).clone()
    }

    /// Raises what `set_exception` was given.
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        raise(py, self.exception())
    }

    /// The error that ended reading, made anew: to make an exception of it may run code of the program, which may ask for
    /// the lock that guards it.
    pub(super) fn read_error(&self) -> Option<io::Error> {
        self.pipe.lock().error().map(error_again)
    }

    /// Why reading failed.
    pub(super) fn failure(&self, py: Python<'_>) -> PyErr {
        match self.read_error() {
            Some(error) => os_error(py, &error, None),
            None => PyAssertionError::new_err("reading has not failed"),
        }
    }
}

/// The reading end of a pipe, with the methods of `asyncio.StreamReader`.
#[pyclass(subclass, frozen, module = "procio._core", weakref)]
pub struct StreamReader {
    pub(super) stream: Arc<Stream>,
    pub(super) binding: Arc<LoopBinding>,
}

/// Raises it as the statement `raise` does: with the exception that is being handled as its context. (PyO3 raises
/// a finished exception as it is.)
pub(super) fn raise(py: Python<'_>, told: Option<Told>) -> PyResult<()> {
    let Some(told) = told else {
        return Ok(());
    };
    let value = told.bind(py).clone();
    Err(if value.is_instance_of::<PyBaseException>() {
        PyErr::from_type(value.get_type(), value.unbind())
    } else {
        PyErr::from_value(value)
    })
}

/// Marks the stream as being read by one operation, which then must end with `release`.
pub(super) fn claim(stream: &Stream, name: &str) -> PyResult<()> {
    if stream.is_reserved() {
        return Err(already_read(name));
    }
    stream.claim_reserved(name)
}

/// asyncio's words for a second reader.
pub(super) fn already_read(name: &str) -> PyErr {
    let text =
        format!("{name}() called while another coroutine is already waiting for incoming data");
    PyRuntimeError::new_err(text)
}

pub(super) fn release(stream: &Stream) {
    let waker = stream.pipe.lock().release();
    drop(waker);
    stream.pipe.nudge();
}
