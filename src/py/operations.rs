//! The core's operations as awaitables see them.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyConnectionResetError, PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use super::bytes_sink::{BytesSink, new_bytes, new_bytes_up_to};
use super::child_lifetime::ChildLifetime;
use super::errors::{memory_error, os_error};
use super::event_loop::LoopBinding;
use super::operation::Operation;
use super::python_bytes::write;
use super::stream::{Stream, StreamReader, Told, claim, raise, release};
use crate::process::communicate::{Collect, Communicate};
use crate::reactor::waiters::Key;
use crate::stream::reader::{Found, Want};
use crate::stream::write_pipe::WritePipe;
use crate::stream::writer::Closed;
use crate::sync::lock;

/// What a method of the reader makes of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Read,
    Exactly,
    Until,
    Line,
    /// As a line, but the end ends the iteration.
    Next,
}

impl Shape {
    /// What the method returns of the bytes that were found for it, and how many that are: where
    /// memory is short, `read` gives fewer.
    fn bytes_of(self, py: Python<'_>, found: &[u8]) -> PyResult<(Py<PyBytes>, usize)> {
        match self {
            Shape::Read => new_bytes_up_to(py, found),
            _ => new_bytes(py, found).map(|bytes| (bytes, found.len())),
        }
    }
}

/// One of the reader's methods that finds its answer in the buffer. It holds the reader as Python
/// does: that costs less than a count that threads could share.
pub(super) struct ReadOp {
    reader: Py<StreamReader>,
    pub want: Want,
    pub shape: Shape,
    found: Option<Found>,
    told: Option<Told>,
    claimed: bool,
}

impl ReadOp {
    pub(super) fn new(reader: Py<StreamReader>, want: Want, shape: Shape) -> Self {
        ReadOp {
            reader,
            want,
            shape,
            found: None,
            told: None,
            claimed: false,
        }
    }

    pub(super) fn binding(&self) -> &Arc<LoopBinding> {
        &self.reader.get().binding
    }

    fn stream(&self) -> &Arc<Stream> {
        &self.reader.get().stream
    }

    fn take(&self, py: Python<'_>, count: usize) -> PyResult<Py<PyBytes>> {
        let mut reader = self.stream().pipe.lock();
        let found = reader.buffered().get(..count).unwrap_or_default();
        let (bytes, count) = self.shape.bytes_of(py, found)?;
        reader.consume(count);
        Ok(bytes)
    }
}

/// What a method of this shape wants, if it is at hand. Else, or where there is no memory for it, nothing has changed.
pub(super) fn at_hand(
    py: Python<'_>,
    reader: &StreamReader,
    want: &mut Want,
    shape: Shape,
) -> Option<PyResult<Py<PyAny>>> {
    let stream = &reader.stream;
    if stream.has_exception() || stream.is_reserved() {
        return None;
    }
    // To take no bytes needs no stream: it is answered even while another operation waits.
    if matches!(want, Want::Some(0) | Want::Exactly(0)) {
        return Some(new_bytes(py, &[]).map(Py::into_any));
    }
    let take = |found: &[u8]| shape.bytes_of(py, found);
    let taken = stream.pipe.take_now(want, take)?;
    Some(taken.map(|(bytes, _)| bytes.into_any()))
}

fn method(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

impl Operation for ReadOp {
    fn name(&self) -> &'static str {
        match self.shape {
            Shape::Read => "StreamReader.read",
            Shape::Exactly => "StreamReader.readexactly",
            Shape::Until => "StreamReader.readuntil",
            Shape::Line => "StreamReader.readline",
            Shape::Next => "StreamReader.__anext__",
        }
    }

    fn try_now(&mut self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        at_hand(py, self.reader.get(), &mut self.want, self.shape)
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        self.stream().check(py)?;
        claim(self.stream(), method(self.name()))?;
        self.claimed = true;
        Ok(())
    }

    fn may_end_elsewhere(&self) -> bool {
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.told = self.stream().exception();
        if self.told.is_some() {
            return Poll::Ready(());
        }
        let stream = &self.reader.get().stream;
        stream
            .pipe
            .poll(&mut self.want, cx)
            .map(|found| self.found = Some(found))
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        raise(py, self.told.take())?;
        self.stream().check(py)?;
        let bytes = match (self.found, self.shape) {
            (Some(Found::Complete(count)), _) => self.take(py, count)?,
            (Some(Found::Incomplete(0)), Shape::Next) => {
                return Err(pyo3::exceptions::PyStopAsyncIteration::new_err(()));
            }
            (Some(Found::Incomplete(count)), Shape::Line | Shape::Next) => self.take(py, count)?,
            (Some(Found::Incomplete(count)), _) => {
                let expected = match self.want {
                    Want::Exactly(count) => Some(count),
                    _ => None,
                };
                return Err(incomplete(py, self.take(py, count)?, expected));
            }
            (Some(Found::Overrun { consumed, found }), shape) => {
                return Err(overrun(py, consumed, found, shape));
            }
            (Some(Found::OutOfMemory), _) => return Err(PyMemoryError::new_err(())),
            (Some(Found::Failed) | None, _) => return Err(self.stream().failure(py)),
        };
        Ok(bytes.into_any())
    }
}

impl Drop for ReadOp {
    fn drop(&mut self) {
        if self.claimed {
            release(self.stream());
        }
    }
}

fn asyncio_error<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, "asyncio", name)
}

fn incomplete(py: Python<'_>, partial: Py<PyBytes>, expected: Option<usize>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match asyncio_error(py, &CLASS, "IncompleteReadError") {
        Ok(class) => PyErr::from_type(class.clone(), (partial, expected)),
        Err(error) => error,
    }
}

/// Nothing is taken out of the buffer, so nothing is lost. `readline` raises ValueError, with the
/// LimitOverrunError as its cause, which tells how much can be read.
pub(super) fn overrun(py: Python<'_>, consumed: usize, found: bool, shape: Shape) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let text = if found {
        "Separator is found, but chunk is longer than limit"
    } else {
        "Separator is not found, and chunk exceed the limit"
    };
    let cause = match asyncio_error(py, &CLASS, "LimitOverrunError") {
        Ok(class) => PyErr::from_type(class.clone(), (text, consumed)),
        Err(error) => error,
    };
    if shape == Shape::Until {
        return cause;
    }
    let error = PyValueError::new_err(text);
    error.set_cause(py, Some(cause));
    error
}

/// One of the reader's methods that collects more than it wants to keep in the buffer.
pub(super) struct CollectOp {
    pub stream: Arc<Stream>,
    collect: Option<Collect<BytesSink>>,
    want: Option<usize>,
    memory: bool,
    told: Option<Told>,
}

impl CollectOp {
    /// `want` bytes, or all there are.
    pub(super) fn new(stream: Arc<Stream>, want: Option<usize>) -> Self {
        CollectOp {
            stream,
            collect: None,
            want,
            memory: true,
            told: None,
        }
    }
}

impl Operation for CollectOp {
    fn name(&self) -> &'static str {
        if self.want.is_some() {
            "StreamReader.readexactly"
        } else {
            "StreamReader.read"
        }
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        self.stream.check(py)?;
        claim(&self.stream, method(self.name()))?;
        self.collect = Some(Collect::new(
            self.stream.pipe.clone(),
            BytesSink::default(),
            self.want,
        ));
        Ok(())
    }

    fn may_end_elsewhere(&self) -> bool {
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(collect) = &mut self.collect else {
            return Poll::Ready(());
        };
        self.told = self.stream.exception();
        if self.told.is_some() {
            return Poll::Ready(());
        }
        collect.poll(cx).map(|result| self.memory = result.is_ok())
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        raise(py, self.told.take())?;
        self.stream.check(py)?;
        if !self.memory {
            return Err(PyMemoryError::new_err(()));
        }
        if self.stream.pipe.lock().error().is_some() {
            return Err(self.stream.failure(py));
        }
        let sink = self.collect.as_mut().and_then(Collect::sink);
        let bytes = sink.map_or_else(|| new_bytes(py, b""), |sink| sink.finish(py))?;
        match self.want {
            Some(count) if bytes.as_bytes(py).len() < count => {
                Err(incomplete(py, bytes, Some(count)))
            }
            _ => Ok(bytes.into_any()),
        }
    }
}

impl Drop for CollectOp {
    fn drop(&mut self) {
        if let Some(collect) = self.collect.take() {
            drop(collect);
            release(&self.stream);
        }
    }
}

/// `Process.wait`.
pub(super) struct WaitOp {
    pub guard: Arc<ChildLifetime>,
    pub key: Key,
}

impl Operation for WaitOp {
    fn name(&self) -> &'static str {
        "Process.wait"
    }

    fn may_end_elsewhere(&self) -> bool {
        self.guard.try_wait().is_some()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.guard.poll_wait(&mut self.key, cx).map(drop)
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.guard.is_detached() {
            return Err(PyRuntimeError::new_err("the process was handed over"));
        }
        self.guard.returncode_after_wait(py)?.into_py_any(py)
    }
}

impl Drop for WaitOp {
    fn drop(&mut self) {
        self.guard.forget(&mut self.key);
    }
}

/// `StreamWriter.drain`.
pub(super) struct DrainOp {
    pub pipe: WritePipe,
    pub key: Key,
    /// It had to wait: an error that came meanwhile is its own to raise.
    pub waited: bool,
}

impl Operation for DrainOp {
    fn name(&self) -> &'static str {
        "StreamWriter.drain"
    }

    fn try_now(&mut self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        let writer = self.pipe.lock();
        let free = !writer.is_paused() && writer.closed().is_none();
        free.then(|| Ok(py.None()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.pipe.poll_drain(&mut self.key, cx);
        self.waited |= polled.is_pending();
        polled
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mut writer = self.pipe.lock();
        let Some(closed) = writer.closed() else {
            return Ok(py.None());
        };
        match closed.error() {
            Some(error) if self.waited => {
                writer.told = true;
                drop(writer);
                Err(os_error(py, &error, None))
            }
            // What it asks for came about: everything is written, and then it was closed. asyncio, too, tells of a close
            // of the program's own only later, where it is no news.
            None if writer.take_own_close() || self.waited => Ok(py.None()),
            _ => Err(PyConnectionResetError::new_err("Connection lost")),
        }
    }
}

impl Drop for DrainOp {
    fn drop(&mut self) {
        let _stale = self.pipe.lock().drain_waiters.forget(&mut self.key);
    }
}

/// `StreamWriter.wait_closed`.
pub(super) struct ClosedOp {
    pub pipe: WritePipe,
    pub key: Key,
}

impl Operation for ClosedOp {
    fn name(&self) -> &'static str {
        "StreamWriter.wait_closed"
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe.poll_closed(&mut self.key, cx)
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let closed = {
            let mut writer = self.pipe.lock();
            writer.take_own_close();
            writer.closed()
        };
        match closed.and_then(Closed::error) {
            None => Ok(py.None()),
            Some(error) => Err(os_error(py, &error, None)),
        }
    }
}

impl Drop for ClosedOp {
    fn drop(&mut self) {
        let _stale = self.pipe.lock().close_waiters.forget(&mut self.key);
    }
}

/// `Process.communicate`.
pub(super) struct CommunicateOp {
    pub guard: Arc<ChildLifetime>,
    pub stdin: Option<WritePipe>,
    pub stdout: Option<Arc<Stream>>,
    pub stderr: Option<Arc<Stream>>,
    pub input: Option<Py<PyBytes>>,
    pub inner: Mutex<Option<Communicate<BytesSink>>>,
    pub failure: Option<io::Error>,
    pub told: Option<Told>,
}

impl CommunicateOp {
    fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.stdout.iter().chain(&self.stderr)
    }
}

impl Operation for CommunicateOp {
    fn name(&self) -> &'static str {
        "Process.communicate"
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        // As in asyncio, the input is written even if another task reads an output.
        if let Some(stdin) = &self.stdin {
            if let Some(input) = self.input.take() {
                write(stdin, input.bind(py)).map_err(memory_error)?;
            }
            stdin.close();
        }
        let mut claimed: Vec<&Arc<Stream>> = Vec::new();
        for stream in self.streams() {
            if let Err(error) = stream.check(py).and_then(|()| claim(stream, "read")) {
                claimed.into_iter().for_each(|stream| release(stream));
                return Err(error);
            }
            claimed.push(stream);
        }
        let collect = |stream: &Option<Arc<Stream>>| {
            let pipe = stream.as_ref().map(|stream| stream.pipe.clone());
            pipe.map(|pipe| Collect::new(pipe, BytesSink::default(), None))
        };
        let (stdout, stderr) = (collect(&self.stdout), collect(&self.stderr));
        *lock(&self.inner) = Some(Communicate::new(
            self.guard.guard(),
            self.stdin.clone(),
            stdout,
            stderr,
        ));
        Ok(())
    }

    fn may_end_elsewhere(&self) -> bool {
        self.guard.try_wait().is_some()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let told = self.streams().find_map(|stream| stream.exception());
        self.told = told;
        if self.told.is_some() {
            return Poll::Ready(());
        }
        let mut inner = lock(&self.inner);
        let Some(communicate) = inner.as_mut() else {
            return Poll::Ready(());
        };
        let polled = communicate.poll(cx);
        drop(inner);
        polled.map(|result| self.failure = result.err())
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        raise(py, self.told.take())?;
        for stream in self.streams() {
            stream.check(py)?;
            if stream.pipe.lock().error().is_some() {
                return Err(stream.failure(py));
            }
        }
        if let Some(error) = self.failure.take() {
            return Err(os_error(py, &error, None));
        }
        self.guard.forget_group();
        let mut inner = lock(&self.inner);
        let Some(communicate) = inner.as_mut() else {
            return Ok(py.None());
        };
        let take = |collect: &mut Option<Collect<BytesSink>>| {
            let sink = collect.as_mut().and_then(Collect::sink);
            sink.map(|sink| sink.finish(py)).transpose()
        };
        (
            take(&mut communicate.stdout)?,
            take(&mut communicate.stderr)?,
        )
            .into_py_any(py)
    }
}

impl Drop for CommunicateOp {
    fn drop(&mut self) {
        if let Some(communicate) = lock(&self.inner).take() {
            drop(communicate);
            self.streams().for_each(|stream| release(stream));
        }
    }
}
