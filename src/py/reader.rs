//! `StreamReader`: the reading end of a child's pipe, with the methods of asyncio's.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::{
    PyAssertionError, PyMemoryError, PyOverflowError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::awaitable::slots;
use super::awaitable::{Awaitable, Op};
use super::bytes_sink::new_bytes;
use super::constructor_token::ConstructorToken;
use super::errors::os_error;
use super::event_loop::LoopBinding;
use super::operations::{CollectOp, ReadOp, Shape};
use super::python_bytes::to_bytes;
use super::read_callback::ReadCallback;
use super::stream::{Stream, StreamReader};
use crate::stream::buffer::{OutOfMemory, copy_of};
use crate::stream::reader::{Found, LINE_CEILING, Reader, Separators, Want};
use crate::sys;

/// Above this size, `readexactly` collects in the object that is returned, and not first
/// in the buffer.
const COLLECT: usize = 64 * 1024;

impl StreamReader {
    fn collect<'py>(&self, py: Python<'py>, want: Option<usize>) -> AwaitableResult<'py> {
        let op = CollectOp::new(self.stream.clone(), want);
        Bound::new(py, Awaitable::new(&self.binding, op))
    }
}

/// What one is made of.
pub(super) type ReaderPart = (Arc<LoopBinding>, Arc<Stream>);

type AwaitableResult<'py> = PyResult<Bound<'py, Awaitable>>;

fn awaitable<'py>(
    reader: &Bound<'py, StreamReader>,
    want: Want,
    shape: Shape,
) -> AwaitableResult<'py> {
    let op = ReadOp::new(reader.clone().unbind(), want, shape);
    slots::awaitable(reader.py(), Op::Read(op))
}

/// A line; `Shape::Next` for the iteration.
pub(super) fn line<'py>(reader: &Bound<'py, StreamReader>, shape: Shape) -> AwaitableResult<'py> {
    let line = (reader.clone().unbind(), shape);
    slots::line(reader.py(), &reader.get().binding, line)
}

/// A number of bytes. More than there can be is the most there can be.
pub(super) fn saturated(n: &Bound<'_, PyAny>) -> PyResult<isize> {
    match n.extract::<isize>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(n.py()) => {
            Ok(if n.lt(0)? { isize::MIN } else { isize::MAX })
        }
        number => number,
    }
}

#[pymethods]
impl StreamReader {
    #[new]
    fn new(token: &Bound<'_, ConstructorToken>) -> PyResult<Self> {
        let (binding, stream): ReaderPart = token.get().take("a reader")?;
        Ok(StreamReader { stream, binding })
    }

    /// The longest line, in bytes.
    #[getter]
    fn _limit(&self) -> usize {
        self.stream.pipe.lock().limit()
    }

    /// Programs set it in asyncio's streams, whose limit is 64 KiB, when they meet a longer line.
    #[setter(_limit)]
    fn set_limit(&self, #[pyo3(from_py_with = saturated)] limit: isize) {
        let limit = usize::try_from(limit).unwrap_or(0);
        self.stream.pipe.lock().set_limit(limit);
    }

    // Documented by procio.StreamReader, through which it is called.
    #[pyo3(signature = (n=-1), text_signature = "($self, n=-1)")]
    fn read<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = saturated)] n: isize,
    ) -> AwaitableResult<'py> {
        match usize::try_from(n) {
            Ok(count) => awaitable(slf, Want::Some(count), Shape::Read),
            Err(_) => slf.get().collect(slf.py(), None),
        }
    }

    // Documented by procio.StreamReader, through which it is called.
    fn readline<'py>(slf: &Bound<'py, Self>) -> AwaitableResult<'py> {
        line(slf, Shape::Line)
    }

    // Documented by procio.StreamReader, through which it is called.
    fn readuntil<'py>(
        slf: &Bound<'py, Self>,
        separator: &Bound<'py, PyAny>,
    ) -> AwaitableResult<'py> {
        let separators = match separator.cast::<PyTuple>() {
            Ok(tuple) => tuple
                .iter()
                .map(|item| one_separator(&item))
                .collect::<PyResult<Vec<_>>>()?,
            Err(_) => vec![one_separator(separator)?],
        };
        let text = if separators.is_empty() {
            "Separator should contain at least one element"
        } else {
            "Separator should be at least one-byte string"
        };
        let separators = Separators::new(separators).ok_or_else(|| PyValueError::new_err(text))?;
        awaitable(slf, Want::Until(separators), Shape::Until)
    }

    // Documented by procio.StreamReader, through which it is called.
    fn readexactly<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = saturated)] n: isize,
    ) -> AwaitableResult<'py> {
        let count = usize::try_from(n)
            .map_err(|_| PyValueError::new_err("readexactly size can not be less than zero"))?;
        if count > COLLECT {
            return slf.get().collect(slf.py(), Some(count));
        }
        awaitable(slf, Want::Exactly(count), Shape::Exactly)
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> AwaitableResult<'py> {
        line(slf, Shape::Next)
    }

    /// Return whether the end was reached and everything was read.
    fn at_eof(&self) -> bool {
        self.stream.pipe.lock().at_eof()
    }

    /// Return what `set_exception` was given, or the error that ended reading; None if there is none.
    fn exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        if let Some(exception) = self.stream.exception() {
            return Some(exception.clone_ref(py));
        }
        self.stream
            .read_error()
            .map(|error| os_error(py, &error, None).into_value(py).into_any())
    }

    /// Make every reading method raise `exc`, from now on; or, with None, read on.
    #[pyo3(signature = (exc))]
    fn set_exception(&self, py: Python<'_>, exc: Option<Py<PyAny>>) -> PyResult<()> {
        self.stream.set_exception(exc);
        self.binding.run_completions(py)
    }

    /// Add bytes as if the child had written them. Raises AssertionError after the end.
    fn feed_data(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.stream.pipe.lock().has_ended() {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        let data = to_bytes(data)?;
        let mut fed = Ok(());
        self.stream
            .pipe
            .change(|reader| fed = reader.feed(data.as_bytes()));
        fed.map_err(|OutOfMemory| PyMemoryError::new_err(()))?;
        self.binding.run_completions(py)
    }

    /// Signal the end to readers, and close our end of the pipe.
    fn feed_eof(&self, py: Python<'_>) -> PyResult<()> {
        self.stream.pipe.change(Reader::feed_eof);
        self.binding.run_completions(py)
    }

    /// Close our end of the pipe. A child that goes on writing gets SIGPIPE. What was read before can
    /// still be had; after that comes the end.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.stream.pipe.close();
        self.binding.run_completions(py)
    }

    /// At most `most` bytes, `b""` at the end; or None, and then `again` is called once, by the
    /// loop, when it is worth another try. Raises the error that ended reading.
    fn _read_nowait(
        &self,
        py: Python<'_>,
        most: usize,
        again: Py<PyAny>,
    ) -> PyResult<Option<Py<PyBytes>>> {
        let waker = Waker::from(ReadCallback::new(&self.binding, again));
        let mut cx = Context::from_waker(&waker);
        let take = |bytes: &[u8]| new_bytes(py, bytes).map_err(|_| OutOfMemory);
        let received = match self.stream.pipe.poll_piece(most, &mut cx, take) {
            Poll::Pending => None,
            Poll::Ready(Ok(bytes)) => Some(bytes),
            Poll::Ready(Err(Found::OutOfMemory)) => return Err(PyMemoryError::new_err(())),
            Poll::Ready(Err(_)) => return Err(self.stream.failure(py)),
        };
        self.binding.run_completions(py)?;
        Ok(received)
    }

    /// Forgets what `_read_nowait` was to call.
    fn _cancel_callback(&self) {
        let waker = self.stream.pipe.lock().take_waker();
        drop(waker);
    }

    /// Stops reading ahead, or lets it go on.
    fn _pause_read_ahead(&self, py: Python<'_>, pause: bool) -> PyResult<()> {
        self.stream.pipe.lock().pause_ahead(pause);
        self.stream.pipe.nudge();
        self.binding.run_completions(py)
    }

    /// Whether reading ahead was stopped by `_pause_read_ahead`.
    fn _is_read_ahead_paused(&self) -> bool {
        self.stream.pipe.lock().is_ahead_paused()
    }

    /// The descriptor (on Windows the handle), or -1 once it is closed.
    fn _fileno(&self) -> sys::RawHandle {
        self.stream.pipe.handle().unwrap_or(-1)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let reader = self.stream.pipe.lock();
        let (bytes, ended, limit) = (reader.len(), reader.has_ended(), reader.limit());
        drop(reader);
        let mut text = "<StreamReader".to_owned();
        if bytes > 0 {
            text += &format!(" {bytes} bytes");
        }
        if ended {
            text += " eof";
        }
        if limit != LINE_CEILING {
            text += &format!(" limit={limit}");
        }
        // No lock is held: the exception may have a method of its own for this, which asks the reader.
        if let Some(exception) = self.exception(py) {
            text += &format!(" exception={}", exception.bind(py).repr()?);
        }
        Ok(text + ">")
    }
}

/// Bytes, and no other sequence of numbers.
fn one_separator(item: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let name = item.get_type().name()?;
    let bytes = to_bytes(item).map_err(|_| {
        PyTypeError::new_err(format!(
            "separator: expecting a bytes-like instance, got {name}"
        ))
    })?;
    copy_of(bytes.as_bytes()).map_err(|OutOfMemory| PyMemoryError::new_err(()))
}
