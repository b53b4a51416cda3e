//! `Process.merged`: the lines of both outputs as they arrive, by one awaitable over both readers.
//!
//! Lines are not moved anywhere before they are handed out: they stay in the buffers of the streams, so
//! a consumer that is cancelled, or that stops, loses none. What two pipes hold at the same moment has no
//! order; the streams take turns, each with what its buffer held when its turn began.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyMemoryError, PyStopAsyncIteration};
use pyo3::prelude::*;

use super::awaitable::{Awaitable, Op, slots};
use super::bytes_sink::new_bytes;
use super::event_loop::LoopBinding;
use super::operation::Operation;
use super::operations::{Shape, overrun};
use super::stream::{Stream, release};
use crate::stream::reader::{Found, Separators, Want};
use crate::sync::lock;

/// What one step reads of text, which is cut into lines when it has been decoded.
const CHUNK: usize = 64 * 1024;

/// An asynchronous iterator over the lines of a process's outputs. While there is one, other readers of
/// the streams are refused.
#[pyclass(frozen, module = "procio._core")]
pub struct MergedLines {
    streams: Vec<NumberedStream>,
    binding: Arc<LoopBinding>,
    turn: Mutex<Turn>,
}

struct NumberedStream {
    fd: u8,
    stream: Arc<Stream>,
}

/// Whose turn it is, and for how many more bytes.
#[derive(Default)]
struct Turn {
    index: usize,
    bytes: usize,
    /// Whose end was told.
    ended: [bool; 2],
}

impl MergedLines {
    /// Raises RuntimeError if another reader is under way.
    pub(super) fn new(
        py: Python<'_>,
        binding: &Arc<LoopBinding>,
        stdout: Option<&Arc<Stream>>,
        stderr: Option<&Arc<Stream>>,
    ) -> PyResult<Self> {
        let mut merged = MergedLines {
            streams: Vec::new(),
            binding: binding.clone(),
            turn: Mutex::default(),
        };
        for (fd, stream) in [(1, stdout), (2, stderr)] {
            if let Some(stream) = stream {
                stream.check(py)?;
                stream.reserve("merged")?;
                let stream = stream.clone();
                merged.streams.push(NumberedStream { fd, stream });
            }
        }
        Ok(merged)
    }

    /// The streams, beginning with the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = (usize, &NumberedStream)> {
        let first = lock(&self.turn).index;
        let count = self.streams.len();
        (0..count).filter_map(move |step| {
            let index = (first + step) % count;
            Some((index, self.streams.get(index)?))
        })
    }

    fn has_ended(&self, index: usize) -> bool {
        lock(&self.turn).ended.get(index).copied().unwrap_or(true)
    }

    fn end(&self, index: usize) {
        if let Some(ended) = lock(&self.turn).ended.get_mut(index) {
            *ended = true;
        }
    }

    /// A stream has given `count` bytes. Its turn ends with what it held when that began.
    fn given(&self, index: usize, count: usize) {
        let mut turn = lock(&self.turn);
        if turn.index != index || turn.bytes == 0 {
            let source = self.streams.get(index);
            let left = source.map_or(0, |source| source.stream.pipe.lock().len());
            (turn.index, turn.bytes) = (index, count + left);
        }
        turn.bytes = turn.bytes.saturating_sub(count);
        if turn.bytes == 0 {
            turn.index = (index + 1) % self.streams.len().max(1);
        }
    }
}

#[pymethods]
impl MergedLines {
    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// The next line, as `(fd, line)`.
    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Awaitable>> {
        MergedOp::awaitable(slf, true)
    }

    /// The next bytes, as `(fd, bytes)`; no bytes at the end of each stream.
    fn _read<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Awaitable>> {
        MergedOp::awaitable(slf, false)
    }

    /// Lets other readers read again.
    fn _close(&self) {
        self.streams.iter().for_each(|source| source.stream.free());
    }
}

impl Drop for MergedLines {
    fn drop(&mut self) {
        self._close();
    }
}

struct MergedOp {
    merged: Py<MergedLines>,
    lines: bool,
    wants: [Want; 2],
    found: Option<(usize, Found)>,
    waits: bool,
}

impl MergedOp {
    fn awaitable<'py>(
        merged: &Bound<'py, MergedLines>,
        lines: bool,
    ) -> PyResult<Bound<'py, Awaitable>> {
        let want = || {
            if lines {
                Want::Until(Separators::newline())
            } else {
                Want::Some(CHUNK)
            }
        };
        let op = MergedOp {
            merged: merged.clone().unbind(),
            lines,
            wants: [want(), want()],
            found: None,
            waits: false,
        };
        let op = Op::Other(merged.get().binding.clone(), Box::new(op));
        slots::awaitable(merged.py(), op)
    }

    fn take(&self, py: Python<'_>, index: usize, count: usize) -> PyResult<Py<PyAny>> {
        let merged = self.merged.get();
        let Some(source) = merged.streams.get(index) else {
            return Ok(py.None());
        };
        let mut reader = source.stream.pipe.lock();
        let bytes = new_bytes(py, reader.buffered().get(..count).unwrap_or_default())?;
        reader.consume(count);
        drop(reader);
        merged.given(index, count);
        (source.fd, bytes).into_py_any(py)
    }
}

impl Operation for MergedOp {
    fn name(&self) -> &'static str {
        "Process.merged"
    }

    fn try_now(&mut self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        let merged = self.merged.get();
        for (index, source) in merged.in_turn() {
            let Some(want) = self.wants.get_mut(index) else {
                continue;
            };
            if source.stream.has_exception() {
                return None;
            }
            let make = |bytes: &[u8]| new_bytes(py, bytes).map(|object| (object, bytes.len()));
            let pipe = &source.stream.pipe;
            if let Some(taken) = pipe.take_now(want, make) {
                let (bytes, count) = match taken {
                    Ok(taken) => taken,
                    Err(error) => return Some(Err(error)),
                };
                if count == 0 {
                    return None;
                }
                merged.given(index, count);
                return Some((source.fd, bytes).into_py_any(py));
            }
        }
        None
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        let merged = self.merged.get();
        for source in &merged.streams {
            source.stream.check(py)?;
        }
        for (done, source) in merged.streams.iter().enumerate() {
            if let Err(error) = source.stream.claim_reserved("merged") {
                let claimed = merged.streams.iter().take(done);
                claimed.for_each(|source| release(&source.stream));
                return Err(error);
            }
        }
        self.waits = true;
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let merged = self.merged.get();
        let mut pending = false;
        for (index, source) in merged.in_turn() {
            let Some(want) = self.wants.get_mut(index) else {
                continue;
            };
            if source.stream.has_exception() {
                self.found = Some((index, Found::Failed));
                return Poll::Ready(());
            }
            if merged.has_ended(index) {
                continue;
            }
            match source.stream.pipe.poll(want, cx) {
                Poll::Pending => pending = true,
                // Text has its end told, for a decoder to finish; lines have not.
                Poll::Ready(Found::Incomplete(0)) if self.lines => merged.end(index),
                Poll::Ready(found) => {
                    self.found = Some((index, found));
                    return Poll::Ready(());
                }
            }
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Some((index, found)) = self.found else {
            return Err(PyStopAsyncIteration::new_err(()));
        };
        let merged = self.merged.get();
        let Some(source) = merged.streams.get(index) else {
            return Ok(py.None());
        };
        source.stream.check(py)?;
        match found {
            Found::Complete(0) => {
                merged.end(index);
                self.take(py, index, 0)
            }
            Found::Complete(count) | Found::Incomplete(count) => self.take(py, index, count),
            Found::Overrun { consumed, found } => Err(overrun(py, consumed, found, Shape::Line)),
            Found::OutOfMemory => Err(PyMemoryError::new_err(())),
            Found::Failed => Err(source.stream.failure(py)),
        }
    }
}

impl Drop for MergedOp {
    fn drop(&mut self) {
        if self.waits {
            let streams = &self.merged.get().streams;
            streams.iter().for_each(|source| release(&source.stream));
        }
    }
}
