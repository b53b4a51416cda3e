//! `StreamWriter`: the writing end of a child's standard input, with the methods of asyncio's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::IntoPyObjectExt;
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

/// A mark that may be any number, as in asyncio, in whole bytes: as many are above it and below. One that is
/// more than there can be is the most there can be.
fn mark(number: &Bound<'_, PyAny>) -> PyResult<usize> {
    let most = isize::MAX;
    if number.ge(most)? {
        return Ok(most.unsigned_abs());
    }
    let whole: isize = number.floor_div(1)?.call_method0("__int__")?.extract()?;
    Ok(whole.unsigned_abs())
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

    /// Set the marks, in bytes, as asyncio derives one from the other; of any number the whole part counts.
    /// Raises ValueError unless `high >= low >= 0`.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        &self,
        py: Python<'_>,
        high: Option<Bound<'_, PyAny>>,
        low: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let high = match (high, &low) {
            (Some(high), _) => high,
            (None, Some(low)) => 4_u8.into_pyobject(py)?.mul(low)?,
            (None, None) => (64 * 1024).into_bound_py_any(py)?,
        };
        let low = match low {
            Some(low) => low,
            None => high.floor_div(4)?,
        };
        if !(high.ge(&low)? && low.ge(0)?) {
            let (high, low) = (high.repr()?, low.repr()?);
            let text = format!("high ({high}) must be >= low ({low}) must be >= 0");
            return Err(PyValueError::new_err(text));
        }
        let (low, high) = (mark(&low)?, mark(&high)?);
        self.pipe.change(|writer| writer.set_limits(low, high));
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
