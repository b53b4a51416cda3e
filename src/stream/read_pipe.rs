//! The parent's reading ends of pipes: the reader's state machine, joined to a descriptor and the reactor.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use crate::error::{error_again, reactor_ended};
use crate::reactor::{Inner, Registered, Source};
use crate::stream::buffer::{OutOfMemory, Sink};
use crate::stream::read_state::{ReadEnd, ReadGuard, ReadState};
use crate::stream::reader::{Fill, Found, Reader, Want};
use crate::sync::lock;
use crate::sys::{self, OwnedHandle, PipeReader, Readiness};

/// From this size on, bytes are read to where the caller wants them.
#[cfg(feature = "tokio")]
const LARGE_READ: usize = 8 * 1024;

/// A counted handle on the reading end of a pipe. Dropping the last one closes it.
pub(crate) struct ReadPipe(Arc<ReadSource>);

struct ReadSource {
    reactor: Arc<Inner>,
    token: usize,
    handles: AtomicU32,
    state: Mutex<ReadState>,
}

impl ReadPipe {
    /// Registers `io`. `limit` is the longest line and `ahead` half of what is read ahead, bytes.
    pub(crate) fn new(
        reactor: &Arc<Inner>,
        io: PipeReader,
        limit: usize,
        ahead: usize,
    ) -> io::Result<Self> {
        // A runtime that watches pipes itself is told of this one when the first operation has to wait. What
        // is read ahead is read when no task waits.
        #[cfg(feature = "tokio")]
        let watched_later = ahead == 0 && reactor.has_watching_host();
        #[cfg(not(feature = "tokio"))]
        let watched_later = false;
        let make = |token| {
            let io = Registered::new(io, reactor.clone(), token);
            let state = ReadState::new(Reader::new(io, limit, ahead));
            Arc::new(ReadSource {
                reactor: reactor.clone(),
                token,
                handles: AtomicU32::new(1),
                state,
            })
        };
        let register = |source: &ReadSource, _| {
            let mut reader = lock(&source.state);
            if watched_later {
                reader.mark_ready(false);
                return Ok(());
            }
            reader.register()
        };
        reactor.add(make, register).map(ReadPipe)
    }

    pub(crate) fn lock(&self) -> ReadGuard<'_> {
        self.0.lock()
    }

    #[cfg_attr(
        not(feature = "python"),
        allow(dead_code, reason = "for Python, and for Unix's `as_raw_fd`")
    )]
    pub(crate) fn handle(&self) -> Option<sys::RawHandle> {
        self.lock().io().map(|io| sys::raw(io.get()))
    }

    /// Reads until `want` can be answered. One waker is kept: only one operation waits at a time.
    pub(crate) fn poll(&self, want: &mut Want, cx: &mut Context<'_>) -> Poll<Found> {
        self.0.poll(&mut self.lock(), want, cx)
    }

    /// The same, and gives the bytes that complete it to `take` and consumes them.
    pub(crate) fn poll_take<R>(
        &self,
        want: &mut Want,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> Result<R, OutOfMemory>,
    ) -> Poll<Result<R, Found>> {
        self.0.poll_take(&mut self.lock(), want, cx, take)
    }

    /// Reads what there is into `buffer`, after waiting until there is something. What is large is
    /// read past the buffer of ours; a small read is not, since one that is full would tell nothing
    /// of what comes next.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_read_buf(
        &self,
        buffer: &mut ::tokio::io::ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Found>> {
        let mut reader = self.lock();
        let room = buffer.remaining();
        while room >= LARGE_READ && reader.len() == 0 && !reader.has_ended() {
            let mut count = 0;
            let read = |io: &mut ReadEnd| {
                count = sys::fill(buffer, |room| io.get_mut().try_read_into(room))?;
                Ok(count)
            };
            let read = |reader: &mut Reader<ReadEnd>| Ok(reader.fill_by(room, read));
            match self.0.fill_by(&mut reader, cx, read) {
                Ok(false) => return Poll::Pending,
                Ok(true) if count > 0 => {
                    self.0.finish(&mut reader);
                    return Poll::Ready(Ok(count));
                }
                _ => {}
            }
        }
        let take = |bytes: &[u8]| {
            buffer.put_slice(bytes);
            Ok(bytes.len())
        };
        self.0
            .poll_take(&mut reader, &mut Want::Some(room), cx, take)
    }

    /// Counts an operation that finds its answer in what was lent; `false` if it has to wait for the
    /// next turn.
    pub(crate) fn counts_operation(&self) -> bool {
        let exhausted = self.0.reactor.budget_exhausted();
        if !exhausted {
            self.0.reactor.consume_operation();
        }
        !exhausted
    }

    /// One whose end was read already.
    pub(crate) fn ended(reactor: &Arc<Inner>, limit: usize) -> Self {
        let source = ReadSource {
            reactor: reactor.clone(),
            token: sys::WAKE_TOKEN,
            handles: AtomicU32::new(1),
            state: ReadState::new(Reader::ended(limit)),
        };
        ReadPipe(Arc::new(source))
    }

    /// A second handle on the pipe, unless its end was read.
    pub(crate) fn duplicate(&self) -> io::Result<Option<OwnedHandle>> {
        let reader = self.lock();
        reader.io().map(|io| sys::try_clone(io.get())).transpose()
    }

    /// Makes what was read ready to be handed over. An error that ended reading cannot be: it is the
    /// error here. On error nothing is lost.
    pub(crate) fn gather(&self) -> io::Result<()> {
        let mut reader = self.lock();
        match reader.error() {
            Some(error) => Err(error_again(error)),
            None => Ok(reader.unpark_all()?),
        }
    }

    /// Gives up the pipe to another reactor: what was [gathered](ReadPipe::gather), and the longest line.
    pub(crate) fn detach(&self, error: io::Error) -> (Vec<u8>, usize) {
        let (detached, waker) = {
            let mut reader = self.lock();
            (reader.detach(error), reader.state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        detached
    }

    /// Reads into `sink` until the end, or until it holds `want` bytes.
    pub(crate) fn poll_collect<K: Sink>(
        &self,
        sink: &mut K,
        want: Option<usize>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), OutOfMemory>> {
        let mut reader = self.lock();
        loop {
            let missing = want.map_or(usize::MAX, |want| want - sink.len());
            if let Err(error) = reader.drain_into(sink, missing) {
                return Poll::Ready(Err(error));
            }
            let missing = want.map_or(usize::MAX, |want| want - sink.len());
            if missing == 0 || reader.is_last() {
                self.0.finish(&mut reader);
                return Poll::Ready(Ok(()));
            }
            let read = |reader: &mut Reader<ReadEnd>| reader.fill_sink(sink, missing);
            match self.0.fill_by(&mut reader, cx, read) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

// Only Python asks for this.
#[cfg(feature = "python")]
impl ReadPipe {
    /// Gives what one read finds, at most `most` bytes, to `take`.
    pub(crate) fn poll_piece<R>(
        &self,
        most: usize,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> Result<R, OutOfMemory>,
    ) -> Poll<Result<R, Found>> {
        self.lock().set_small_reads();
        self.poll_take(&mut Want::Some(most), cx, take)
    }

    /// Answers `want` if that can be done with what is in the buffer, no other operation reads, and
    /// the turn's budget allows it: gives the bytes to `take`, and consumes as many as that says.
    pub(crate) fn take_now<R, E>(
        &self,
        want: &mut Want,
        take: impl FnOnce(&[u8]) -> Result<(R, usize), E>,
    ) -> Option<Result<(R, usize), E>> {
        let mut reader = self.lock();
        if reader.claimed || self.0.reactor.budget_exhausted() {
            return None;
        }
        let Some(Found::Complete(count)) = reader.find(want) else {
            return None;
        };
        let taken = take(reader.buffered().get(..count).unwrap_or_default());
        if let Ok((_, count)) = &taken {
            reader.consume(*count);
        }
        self.0.finish(&mut reader);
        Some(taken)
    }

    /// Closes our end: the child is told by SIGPIPE or EPIPE when it writes on. What was read
    /// stays to be taken. An operation that waits sees the end.
    pub(crate) fn close(&self) {
        self.change(Reader::close);
    }

    /// Does something to the reader that an operation under way must see.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Reader<ReadEnd>)) {
        let waker = {
            let mut reader = self.lock();
            change(&mut reader.reader);
            reader.state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets reading ahead go on, if there is cause.
    pub(crate) fn nudge(&self) {
        let mut reader = self.lock();
        if reader.wants_ahead() {
            reader.put_off(self.0.token);
        }
    }
}

impl Clone for ReadPipe {
    fn clone(&self) -> Self {
        // As for an Arc: the caller has a handle, so that no other can be the last meanwhile.
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        ReadPipe(self.0.clone())
    }
}

impl Drop for ReadPipe {
    fn drop(&mut self) {
        // The reactor has a reference of its own, which does not count.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lock().close();
        }
    }
}

impl ReadSource {
    fn lock(&self) -> ReadGuard<'_> {
        ReadGuard::new(&self.state, &self.reactor)
    }

    fn poll(
        &self,
        reader: &mut ReadGuard<'_>,
        want: &mut Want,
        cx: &mut Context<'_>,
    ) -> Poll<Found> {
        if reader.puts_off(cx) {
            reader.wait(cx);
            return Poll::Pending;
        }
        loop {
            if let Some(found) = reader.find(want) {
                self.finish(reader);
                return Poll::Ready(found);
            }
            match self.fill_by(reader, cx, Reader::fill) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(OutOfMemory) => {
                    self.finish(reader);
                    return Poll::Ready(Found::OutOfMemory);
                }
            }
        }
    }

    /// The same, and gives the bytes that complete it to `take` and consumes them.
    fn poll_take<R>(
        &self,
        reader: &mut ReadGuard<'_>,
        want: &mut Want,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> Result<R, OutOfMemory>,
    ) -> Poll<Result<R, Found>> {
        let count = match ready!(self.poll(reader, want, cx)) {
            Found::Complete(count) => count,
            found => return Poll::Ready(Err(found)),
        };
        let taken = take(reader.buffered().get(..count).unwrap_or_default());
        if taken.is_ok() {
            reader.consume(count);
        }
        Poll::Ready(taken.map_err(|OutOfMemory| Found::OutOfMemory))
    }

    /// Reads once for an operation; `false` when it has to wait, and will be woken.
    fn fill_by(
        &self,
        reader: &mut ReadGuard<'_>,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut Reader<ReadEnd>) -> Result<Fill, OutOfMemory>,
    ) -> Result<bool, OutOfMemory> {
        let finds_something = reader.is_ready() || reader.has_parked();
        if finds_something && reader.puts_off(cx) {
            return Ok(false);
        }
        Ok(match read(&mut reader.reader)? {
            Fill::Progress(count) => {
                self.reactor.consume_budget(count);
                true
            }
            Fill::Blocked if self.reactor.is_closed() => {
                reader.fail(reactor_ended());
                true
            }
            #[cfg(feature = "tokio")]
            Fill::Blocked if self.seen_by_host(reader, cx) => true,
            Fill::Blocked => {
                reader.wait(cx);
                false
            }
        })
    }

    /// Whether the runtime, where it watches the pipe, has seen it become ready. Otherwise it wakes
    /// the operation.
    #[cfg(feature = "tokio")]
    fn seen_by_host(&self, reader: &mut ReadGuard<'_>, cx: &mut Context<'_>) -> bool {
        let Some(io) = reader.io_mut() else {
            return false;
        };
        if io.is_registered() {
            return false;
        }
        if !io.get().has_host() && !self.reactor.watch_by_host(io.get_mut()) {
            if let Err(error) = reader.register() {
                reader.fail(error);
            }
            return reader.is_ready() || reader.has_ended();
        }
        let Poll::Ready(ready) = io.get().poll_host(cx) else {
            return false;
        };
        match ready {
            Ok(true) if reader.hung_up() => self.leave_host(reader),
            Ok(hangup) => reader.mark_ready(hangup),
            Err(_) => reader.fail(reactor_ended()),
        }
        true
    }

    /// A runtime reports for ever that the writers are gone. Where one can come back, by the name of
    /// the pipe in /proc, only a poller of ours can wait for it.
    #[cfg(feature = "tokio")]
    fn leave_host(&self, reader: &mut ReadGuard<'_>) {
        let Some(io) = reader.io_mut() else { return };
        io.get_mut().leave_host();
        if let Err(error) = reader.register() {
            reader.fail(error);
        }
    }

    /// An operation is done. If the pipe has more, the next read may be far off, and no
    /// event will come for what is there already: so look again in the next turn.
    fn finish(&self, reader: &mut ReadGuard<'_>) {
        self.reactor.consume_operation();
        reader.forget_waker();
        if let Some(read_since) = &mut reader.sweep {
            *read_since = true;
        } else if reader.wants_ahead() {
            reader.sweep = Some(false);
            reader.put_off(self.token);
        }
    }

    /// Reads ahead while there is something, room for it, and budget.
    fn read_ahead(&self, reader: &mut ReadGuard<'_>) {
        while reader.wants_ahead() {
            if self.reactor.budget_exhausted() {
                reader.put_off(self.token);
                return;
            }
            match reader.fill() {
                Ok(Fill::Progress(count)) => self.reactor.consume_budget(count),
                Ok(Fill::Blocked) => {}
                // The operation that asks for more tries again, and reports it.
                Err(OutOfMemory) => return,
            }
        }
    }
}

impl Source for ReadSource {
    fn ready(&self, readiness: Readiness, wakers: &mut Vec<Waker>) {
        let mut reader = self.lock();
        reader.mark_ready(readiness.hangup);
        match reader.state.waker.take() {
            Some(waker) => wakers.push(waker),
            None if reader.claimed => {}
            None => self.read_ahead(&mut reader),
        }
    }

    fn resume(&self, _wakers: &mut Vec<Waker>) {
        let mut reader = self.lock();
        let sweep = reader.sweep.take();
        if reader.claimed {
            return;
        }
        if sweep == Some(true) {
            // An operation has read meanwhile: leave the bytes to the next one, and look again.
            reader.sweep = Some(false);
            reader.put_off(self.token);
            return;
        }
        self.read_ahead(&mut reader);
    }

    fn shutdown(&self, wakers: &mut Vec<Waker>) {
        wakers.extend(lock(&self.state).waker.take());
    }
}
