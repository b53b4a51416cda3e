//! `StreamWriter`: the writing end of a child's standard input, with the methods of asyncio's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use super::awaitable::slots;
use super::awaitable::{Awaitable, Op};
use super::child_lifetime::ChildLifetime;
use super::constructor_token::ConstructorToken;
use super::errors::memory_error;
use super::event_loop::LoopBinding;
use super::operations::{ClosedOp, DrainOp};
use super::python_bytes::{to_bytes, write};
use super::reader::saturated;
use crate::stream::write_pipe::WritePipe;
use crate::sys;

/// The writing end of a pipe, with the methods of `asyncio.StreamWriter` and of its transport.
#[pyclass(subclass, frozen, module = "procio._core", weakref)]
pub struct StreamWriter {
    pipe: WritePipe,
    _lifetime: Option<Arc<ChildLifetime>>,
    binding: Arc<LoopBinding>,
    /// How often bytes were written that have nowhere to go.
    in_vain: AtomicUsize,
}

/// What one is made of.
pub(super) type WriterPart = (Arc<LoopBinding>, WritePipe, Option<Arc<ChildLifetime>>);

/// A mark may be any integer, as in asyncio.
fn mark(number: &Bound<'_, PyAny>) -> PyResult<Option<isize>> {
    if number.is_none() {
        return Ok(None);
    }
    saturated(number).map(Some)
}

#[pymethods]
impl StreamWriter {
    #[new]
    fn new(token: &Bound<'_, ConstructorToken>) -> PyResult<Self> {
        let (binding, pipe, guard): WriterPart = token.get().take("a writer")?;
        Ok(StreamWriter {
            pipe,
            _lifetime: guard,
            binding,
            in_vain: AtomicUsize::new(0),
        })
    }

    /// Write bytes, a bytearray or a memoryview: at once what the pipe takes, the rest in the
    /// background. It never waits: use `drain()`. After the end, bytes are dropped. Raises
    /// TypeError for anything else.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if !write(&self.pipe, &to_bytes(data)?).map_err(memory_error)? {
            self.warn_of_loss(py)?;
        }
        self.binding.run_completions(py)
    }

    /// Write each of an iterable, as `write` does.
    fn writelines(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let empty = PyBytes::new(py, b"");
        let joined = empty.call_method1("join", (data,))?;
        self.write(py, &joined)
    }

    // Documented by procio.StreamWriter, through which it is called.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Awaitable>> {
        let op = DrainOp {
            pipe: self.pipe.clone(),
            key: None,
            waited: false,
        };
        slots::awaitable(py, Op::Drain(self.binding.clone(), op))
    }

    /// Close the pipe once everything is written.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.pipe.close();
        self.binding.run_completions(py)
    }

    /// Close the pipe once everything is written, which ends the child's input.
    fn write_eof(&self, py: Python<'_>) -> PyResult<()> {
        self.close(py)
    }

    /// Return True.
    fn can_write_eof(&self) -> bool {
        true
    }

    /// Close the pipe at once; what is queued is lost.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.pipe.abort();
        self.binding.run_completions(py)
    }

    /// Return whether it was closed, or the child no longer reads.
    fn is_closing(&self) -> bool {
        self.pipe.lock().is_closing()
    }

    // Documented by procio.StreamWriter, through which it is called.
    fn wait_closed(&self) -> Awaitable {
        Awaitable::new(
            &self.binding,
            ClosedOp {
                pipe: self.pipe.clone(),
                key: None,
            },
        )
    }

    /// Return the number of bytes that wait to be written.
    fn get_write_buffer_size(&self) -> usize {
        self.pipe.lock().queued()
    }

    /// Return the low-water and the high-water mark, in bytes.
    fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.pipe.lock().limits()
    }

    /// Set the marks, in bytes, as asyncio derives one from the other. Raises ValueError unless
    /// `high >= low >= 0`.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = mark)] high: Option<isize>,
        #[pyo3(from_py_with = mark)] low: Option<isize>,
    ) -> PyResult<()> {
        let high = high.unwrap_or_else(|| low.map_or(64 * 1024, |low| low.saturating_mul(4)));
        let low = low.unwrap_or(high / 4);
        match (usize::try_from(low), usize::try_from(high)) {
            (Ok(low), Ok(high)) if high >= low => self.pipe.change(|w| w.set_limits(low, high)),
            _ => {
                let text = format!("high ({high}) must be >= low ({low}) must be >= 0");
                return Err(PyValueError::new_err(text));
            }
        }
        self.binding.run_completions(py)
    }

    /// Whether more is queued than the high-water mark, and not yet less than the low one.
    fn _is_paused(&self) -> bool {
        self.pipe.lock().is_paused()
    }

    /// The descriptor (on Windows the handle), or -1 once it is closed.
    fn _fileno(&self) -> sys::RawHandle {
        self.pipe.handle().unwrap_or(-1)
    }
}

impl StreamWriter {
    /// Warns of a program that goes on writing after the end, and does not drain, which would tell it. As asyncio.
    fn warn_of_loss(&self, py: Python<'_>) -> PyResult<()> {
        static THRESHOLD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let name = "LOG_THRESHOLD_FOR_CONNLOST_WRITES";
        let threshold = THRESHOLD.import(py, "asyncio.constants", name);
        let threshold = threshold.and_then(|number| number.extract()).unwrap_or(5);
        if self.in_vain.fetch_add(1, Ordering::Relaxed) >= threshold {
            let text = "pipe closed by peer or os.write(pipe, data) raised exception.";
            let logger = LOGGER.import(py, "asyncio.log", "logger")?;
            logger.call_method1("warning", (text,))?;
        }
        Ok(())
    }
}
