//! `Process.merged`: the lines of both outputs as they arrive, by one awaitable over both readers.
//!
//! Lines are not moved anywhere before they are handed out: they stay in the buffers of the streams, so
//! a consumer that is cancelled, or that stops, loses none. What two pipes hold at the same moment has no
//! order; the streams take turns, each with what its buffer held when its turn began.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use pyo3::exceptions::{PyMemoryError, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt};

use super::awaitable::{Awaitable, Op, slots};
use super::bytes_sink::new_bytes;
use super::c_api::Pair;
use super::event_loop::LoopBinding;
use super::operation::Operation;
use super::operations::{Shape, overrun};
use super::stream::{Stream, Told, raise, release};
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

impl NumberedStream {
    fn numbered(&self, py: Python<'_>, pair: Pair<'_>, bytes: Py<PyBytes>) -> Py<PyAny> {
        let fd = PyInt::new(py, self.fd).into_any();
        pair.of(fd, bytes.into_bound(py).into_any()).unbind()
    }
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

    pub(super) fn binding(&self) -> &Arc<LoopBinding> {
        &self.binding
    }

    /// The streams, beginning with the one whose turn it is.
    fn in_turn(&self, turn: &Turn) -> impl Iterator<Item = (usize, &NumberedStream)> + use<'_> {
        let (first, count) = (turn.index, self.streams.len());
        (0..count).filter_map(move |step| {
            let index = (first + step) % count;
            Some((index, self.streams.get(index)?))
        })
    }

    /// What is wanted of one of the streams, if it is at hand. Else, or where there is no memory for it, nothing has changed.
    pub(super) fn take_now(
        &self,
        py: Python<'_>,
        wants: &mut [Want; 2],
    ) -> Option<PyResult<Py<PyAny>>> {
        let pair = match Pair::new(py) {
            Ok(pair) => pair,
            Err(error) => return Some(Err(error)),
        };
        let mut turn = lock(&self.turn);
        for (index, source) in self.in_turn(&turn) {
            let Some(want) = wants.get_mut(index) else {
                continue;
            };
            if source.stream.has_exception() {
                return None;
            }
            let make = |bytes: &[u8]| new_bytes(py, bytes).map(|object| (object, bytes.len()));
            let (bytes, count) = match source.stream.pipe.take_now(want, make) {
                None => continue,
                Some(Ok((_, 0))) => return None,
                Some(Ok(taken)) => taken,
                Some(Err(error)) => return Some(Err(error)),
            };
            self.given(&mut turn, index, count);
            return Some(Ok(source.numbered(py, pair, bytes)));
        }
        None
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
    fn given(&self, turn: &mut Turn, index: usize, count: usize) {
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
        slots::line(slf.py(), &slf.get().binding, slf.clone().unbind())
    }

    /// The next bytes, as `(fd, bytes)`; no bytes at the end of each stream.
    fn _read<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Awaitable>> {
        let wants = [Want::Some(CHUNK), Want::Some(CHUNK)];
        let op = MergedOp::of(slf.clone().unbind(), false, wants);
        slots::awaitable(slf.py(), op)
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

pub(super) struct MergedOp {
    merged: Py<MergedLines>,
    lines: bool,
    wants: [Want; 2],
    found: Option<(usize, Found)>,
    told: Option<Told>,
    waits: bool,
}

impl MergedOp {
    pub(super) fn line_wants() -> [Want; 2] {
        [(); 2].map(|()| Want::Until(Separators::newline()))
    }

    pub(super) fn of_lines(merged: Py<MergedLines>) -> Op {
        MergedOp::of(merged, true, MergedOp::line_wants())
    }

    fn of(merged: Py<MergedLines>, lines: bool, wants: [Want; 2]) -> Op {
        let binding = merged.get().binding.clone();
        let op = MergedOp {
            merged,
            lines,
            wants,
            found: None,
            told: None,
            waits: false,
        };
        Op::Other(binding, Box::new(op))
    }

    fn take(&self, py: Python<'_>, index: usize, count: usize) -> PyResult<Py<PyAny>> {
        let merged = self.merged.get();
        let Some(source) = merged.streams.get(index) else {
            return Ok(py.None());
        };
        let pair = Pair::new(py)?;
        let mut reader = source.stream.pipe.lock();
        let bytes = new_bytes(py, reader.buffered().get(..count).unwrap_or_default())?;
        reader.consume(count);
        drop(reader);
        merged.given(&mut lock(&merged.turn), index, count);
        Ok(source.numbered(py, pair, bytes))
    }
}

impl Operation for MergedOp {
    fn name(&self) -> &'static str {
        "Process.merged"
    }

    fn try_now(&mut self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        self.merged.get().take_now(py, &mut self.wants)
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
        let streams = merged.in_turn(&lock(&merged.turn));
        for (index, source) in streams {
            let Some(want) = self.wants.get_mut(index) else {
                continue;
            };
            self.told = source.stream.exception();
            if self.told.is_some() {
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
        raise(py, self.told.take())?;
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
