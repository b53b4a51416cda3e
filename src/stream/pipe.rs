//! The parent's ends of pipes: the stream state machines, joined to descriptors and the reactor.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use crate::error::reactor_ended;
use crate::reactor::waiters::Key;
use crate::reactor::{Inner, Registered, Source};
use crate::stream::buffer::{OutOfMemory, Sink};
use crate::stream::reader::{Fill, Found, ReadIo, Reader, Want};
#[cfg(feature = "python")]
use crate::stream::writer::Piece;
use crate::stream::writer::{Flush, WriteIo, Writer};
use crate::sync::lock;
use crate::sys::Readiness;
use crate::sys::{self, Interest, OwnedHandle, PipeReader, PipeWriter};

/// From this size on, bytes are read to where the caller wants them.
#[cfg(feature = "tokio")]
const LARGE_READ: usize = 8 * 1024;

type ReadEnd = Registered<PipeReader>;
type WriteEnd = Registered<PipeWriter>;

impl ReadIo for ReadEnd {
    fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.get_mut().try_read(buffer)
    }

    fn try_read_into<'a>(&mut self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        self.get_mut().try_read_into(room)
    }

    fn may_be_record(&self, count: usize) -> bool {
        sys::may_be_record(count)
    }

    fn holds_more(&self) -> bool {
        self.get().holds_more()
    }

    fn enlarge(&mut self, bytes: usize) {
        self.get_mut().enlarge(bytes);
    }
}

impl WriteIo for WriteEnd {
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.get_mut().try_write(slices)
    }

    fn want_write(&mut self) -> io::Result<()> {
        self.modify(Interest::Write)
    }

    fn written_since(&mut self) -> usize {
        self.get_mut().written_since()
    }

    fn enlarge(&mut self, bytes: usize) {
        self.get_mut().enlarge(bytes);
    }
}

/// The reading end of a pipe. Dropping it closes it.
pub(crate) struct ReadPipe(Arc<ReadSource>);

struct ReadSource {
    reactor: Arc<Inner>,
    token: usize,
    reader: Mutex<Reader<ReadEnd>>,
}

impl ReadPipe {
    /// Registers `io`. `limit` is the longest line and `ahead` half of what is read ahead, bytes.
    pub(crate) fn new(
        reactor: &Arc<Inner>,
        io: PipeReader,
        limit: usize,
        ahead: usize,
    ) -> io::Result<Self> {
        #[cfg(feature = "tokio")]
        let (mut io, mut watched) = (io, false);
        // What is read ahead is read when no task waits.
        #[cfg(feature = "tokio")]
        if ahead == 0 {
            watched = reactor.watch_by_host(&mut io);
        }
        #[cfg(not(feature = "tokio"))]
        let watched = false;
        let make = |token| {
            let io = Registered::new(io, reactor.clone(), token);
            let reader = Mutex::new(Reader::new(io, limit, ahead));
            Arc::new(ReadSource {
                reactor: reactor.clone(),
                token,
                reader,
            })
        };
        let register = |source: &ReadSource, _| {
            if watched {
                return Ok(());
            }
            let mut reader = lock(&source.reader);
            let Some(io) = reader.io() else {
                return Ok(());
            };
            match io.register(Interest::Read) {
                Err(error) if sys::never_blocks(io.get(), &error) => reader.mark_ready(true),
                result => return result,
            }
            Ok(())
        };
        reactor.add(make, register).map(ReadPipe)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Reader<ReadEnd>> {
        lock(&self.0.reader)
    }

    #[cfg(any(unix, feature = "python"))]
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
        let mut reader = self.lock();
        let count = match ready!(self.0.poll(&mut reader, want, cx)) {
            Found::Complete(count) => count,
            found => return Poll::Ready(Err(found)),
        };
        let taken = take(reader.buffered().get(..count).unwrap_or_default());
        if taken.is_ok() {
            reader.consume(count);
        }
        Poll::Ready(taken.map_err(|OutOfMemory| Found::OutOfMemory))
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
        drop(reader);
        self.poll_take(&mut Want::Some(room), cx, |bytes| {
            buffer.put_slice(bytes);
            Ok(bytes.len())
        })
    }

    /// Gives what one read finds, at most `most` bytes, to `take`.
    #[cfg(feature = "python")]
    pub(crate) fn poll_piece<R>(
        &self,
        most: usize,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> Result<R, OutOfMemory>,
    ) -> Poll<Result<R, Found>> {
        self.lock().small_reads = true;
        self.poll_take(&mut Want::Some(most), cx, take)
    }

    /// Answers `want` if that can be done with what is in the buffer, no other operation reads, and
    /// the turn's budget allows it: gives the bytes to `take`, and consumes as many as that says.
    #[cfg(feature = "python")]
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
            reader: Mutex::new(Reader::ended(limit)),
        };
        ReadPipe(Arc::new(source))
    }

    /// A second handle on the pipe, unless its end was read.
    pub(crate) fn duplicate(&self) -> io::Result<Option<OwnedHandle>> {
        let reader = self.lock();
        reader.io().map(|io| sys::try_clone(io.get())).transpose()
    }

    /// Makes what was read ready to be handed over. On error nothing is lost.
    pub(crate) fn gather(&self) -> Result<(), OutOfMemory> {
        self.lock().unpark_all()
    }

    /// Gives up the pipe to another reactor: what was [gathered](ReadPipe::gather), and the longest line.
    pub(crate) fn detach(&self, error: io::Error) -> (Vec<u8>, usize) {
        let (detached, waker) = {
            let mut reader = self.lock();
            (reader.detach(error), reader.waker.take())
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

    /// Closes our end: the child is told by SIGPIPE or EPIPE when it writes on. What was read
    /// stays to be taken. An operation that waits sees the end.
    #[cfg(feature = "python")]
    pub(crate) fn close(&self) {
        self.change(Reader::close);
    }

    /// Does something to the reader that an operation under way must see.
    #[cfg(feature = "python")]
    pub(crate) fn change(&self, change: impl FnOnce(&mut Reader<ReadEnd>)) {
        let waker = {
            let mut reader = self.lock();
            change(&mut reader);
            reader.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets reading ahead go on, if there is cause.
    #[cfg(feature = "python")]
    pub(crate) fn nudge(&self) {
        if self.lock().wants_ahead() {
            self.0.reactor.defer(self.0.token);
        }
    }
}

impl Drop for ReadPipe {
    fn drop(&mut self) {
        self.lock().close();
    }
}

impl ReadSource {
    fn poll(
        &self,
        reader: &mut Reader<ReadEnd>,
        want: &mut Want,
        cx: &mut Context<'_>,
    ) -> Poll<Found> {
        if self.reactor.budget_exhausted() {
            reader.waker = Some(cx.waker().clone());
            self.reactor.defer_wake(cx.waker());
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

    /// Reads once for an operation; `false` when it has to wait, and will be woken.
    fn fill_by(
        &self,
        reader: &mut Reader<ReadEnd>,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut Reader<ReadEnd>) -> Result<Fill, OutOfMemory>,
    ) -> Result<bool, OutOfMemory> {
        if self.reactor.budget_exhausted() && (reader.is_ready() || reader.has_parked()) {
            self.reactor.defer_wake(cx.waker());
            return Ok(false);
        }
        Ok(match read(reader)? {
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
                match &mut reader.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    waker => *waker = Some(cx.waker().clone()),
                }
                false
            }
        })
    }

    /// Whether the runtime, where it watches the pipe, has seen it become ready. Otherwise it wakes
    /// the operation.
    #[cfg(feature = "tokio")]
    fn seen_by_host(&self, reader: &mut Reader<ReadEnd>, cx: &mut Context<'_>) -> bool {
        let Some(io) = reader.io() else { return false };
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
    fn leave_host(&self, reader: &mut Reader<ReadEnd>) {
        let Some(io) = reader.io_mut() else { return };
        io.get_mut().leave_host();
        if let Err(error) = io.register(Interest::Read) {
            reader.fail(error);
        }
    }

    /// An operation is done. If the pipe has more, the next read may be far off, and no
    /// event will come for what is there already: so look again in the next turn.
    fn finish(&self, reader: &mut Reader<ReadEnd>) {
        self.reactor.consume_operation();
        reader.waker = None;
        reader.operations = reader.operations.wrapping_add(1);
        if reader.swept_at.is_none() && reader.wants_ahead() {
            reader.swept_at = Some(reader.operations);
            self.reactor.defer(self.token);
        }
    }

    /// Reads ahead while there is something, room for it, and budget.
    fn read_ahead(&self, reader: &mut Reader<ReadEnd>) {
        while reader.wants_ahead() {
            if self.reactor.budget_exhausted() {
                self.reactor.defer(self.token);
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
        let mut reader = lock(&self.reader);
        reader.mark_ready(readiness.hangup);
        match reader.waker.take() {
            Some(waker) => wakers.push(waker),
            None if reader.claimed => {}
            None => self.read_ahead(&mut reader),
        }
    }

    fn resume(&self, _wakers: &mut Vec<Waker>) {
        let mut reader = lock(&self.reader);
        let seen = reader.swept_at.take();
        if reader.claimed {
            return;
        }
        if seen.is_some_and(|seen| seen != reader.operations) {
            // An operation has read meanwhile: leave the bytes to the next one, and look again.
            reader.swept_at = Some(reader.operations);
            self.reactor.defer(self.token);
            return;
        }
        self.read_ahead(&mut reader);
    }

    fn shutdown(&self, wakers: &mut Vec<Waker>) {
        wakers.extend(lock(&self.reader).waker.take());
    }
}

/// The writing end of a pipe. Dropping it closes it at once; what is queued is lost.
pub(crate) struct WritePipe(Arc<WriteSource>);

struct WriteSource {
    reactor: Arc<Inner>,
    token: usize,
    writer: Mutex<Writer<WriteEnd>>,
}

impl WritePipe {
    pub(crate) fn new(reactor: &Arc<Inner>, io: PipeWriter) -> io::Result<Self> {
        let make = |token| {
            let io = Registered::new(io, reactor.clone(), token);
            let writer = Mutex::new(Writer::new(io));
            Arc::new(WriteSource {
                reactor: reactor.clone(),
                token,
                writer,
            })
        };
        let register = |source: &WriteSource, _| {
            let writer = lock(&source.writer);
            let Some(io) = writer.io() else {
                return Ok(());
            };
            match io.register(Interest::Hangup) {
                Err(error) if sys::never_blocks(io.get(), &error) => Ok(()),
                result => result,
            }
        };
        reactor.add(make, register).map(WritePipe)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Writer<WriteEnd>> {
        lock(&self.0.writer)
    }

    #[cfg(any(unix, feature = "python"))]
    pub(crate) fn handle(&self) -> Option<sys::RawHandle> {
        self.lock().io().map(|io| sys::raw(io.get()))
    }

    /// Writes what can be written now, and queues the rest as the piece that `keep` makes (whose
    /// first bytes, as many as it is told, are written).
    #[cfg(feature = "python")]
    pub(crate) fn write(
        &self,
        bytes: &[u8],
        keep: impl FnOnce(usize) -> (Piece, usize),
    ) -> Result<(), OutOfMemory> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.reserve()?;
        self.change(|writer| {
            let written = writer.write_now(bytes);
            if written < bytes.len() && !writer.is_closing() {
                let (piece, skip) = keep(written);
                writer.queue(piece, skip);
                writer.arm();
            }
        });
        Ok(())
    }

    /// On error nothing was written.
    fn reserve(&self) -> Result<(), OutOfMemory> {
        self.lock().reserve()
    }

    /// The same with bytes that are given away.
    pub(crate) fn write_owned(&self, bytes: Vec<u8>) -> Result<(), OutOfMemory> {
        self.reserve()?;
        self.change(|writer| {
            let written = writer.write_now(&bytes);
            if written < bytes.len() && !writer.is_closing() {
                writer.queue(Box::new(bytes), written);
                writer.arm();
            }
        });
        Ok(())
    }

    /// Closes once everything is written.
    pub(crate) fn close(&self) {
        self.change(Writer::close);
    }

    /// Closes at once; what is queued is lost.
    #[cfg(feature = "python")]
    pub(crate) fn abort(&self) {
        self.change(Writer::abort);
    }

    /// Does something to the writer that waiting operations must see.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Writer<WriteEnd>)) {
        let mut wakers = Vec::new();
        {
            let mut writer = self.lock();
            change(&mut writer);
            writer.wake(&mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A second handle on the pipe, unless writing has ended.
    pub(crate) fn duplicate(&self) -> io::Result<Option<OwnedHandle>> {
        let writer = self.lock();
        writer.io().map(|io| sys::try_clone(io.get())).transpose()
    }

    /// Makes sure of the memory for [`detach`](WritePipe::detach). On error nothing has changed.
    pub(crate) fn gather(&self) -> Result<(), OutOfMemory> {
        self.lock().gather()
    }

    /// Gives up the pipe to another reactor: what was still to be written, and whether that is all.
    pub(crate) fn detach(&self) -> (Vec<u8>, bool) {
        let mut detached = Default::default();
        self.change(|writer| detached = writer.detach());
        detached
    }

    /// Waits until no more than the low-water mark is queued, or writing has ended.
    #[cfg(feature = "python")]
    pub(crate) fn poll_drain(&self, key: &mut Key, cx: &mut Context<'_>) -> Poll<()> {
        let mut writer = self.lock();
        if !writer.is_paused() {
            *key = None;
            return Poll::Ready(());
        }
        writer.drain_waiters.register(key, cx);
        Poll::Pending
    }

    /// Writes once, after all that is queued; returns how many bytes were taken.
    pub(crate) fn poll_write(
        &self,
        slices: &[IoSlice<'_>],
        key: &mut Key,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut writer = self.lock();
        if self.0.reactor.budget_exhausted() {
            self.0.reactor.defer_wake(cx.waker());
            return Poll::Pending;
        }
        let result = writer.write_some(slices);
        if let Ok(None) = result {
            return self.wait_for_room(&mut writer, key, cx).map(Err);
        }
        let mut wakers = Vec::new();
        writer.write_waiters.forget(key);
        writer.wake(&mut wakers);
        drop(writer);
        wakers.into_iter().for_each(Waker::wake);
        let count = result.map(Option::unwrap_or_default);
        self.0.reactor.consume_budget(*count.as_ref().unwrap_or(&0));
        Poll::Ready(count)
    }

    /// Waits until everything that is queued has been written.
    pub(crate) fn poll_flush(&self, key: &mut Key, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writer = self.lock();
        match writer.closed() {
            Some(closed) => Poll::Ready(closed.error().map_or(Ok(()), Err)),
            None if writer.has_room() => Poll::Ready(Ok(())),
            None => self.wait_for_room(&mut writer, key, cx).map(Err),
        }
    }

    fn wait_for_room(
        &self,
        writer: &mut Writer<WriteEnd>,
        key: &mut Key,
        cx: &mut Context<'_>,
    ) -> Poll<io::Error> {
        // Looked at under the lock: the thread that closes the reactor takes the waiters after that.
        if self.0.reactor.is_closed() {
            return Poll::Ready(reactor_ended());
        }
        writer.write_waiters.register(key, cx);
        Poll::Pending
    }

    /// The error with which writing has ended, once, unless it is that the other side does not read.
    /// Until then, the operation is woken when writing ends.
    pub(crate) fn watch_failure(&self, key: &mut Key, cx: &mut Context<'_>) -> io::Result<()> {
        let mut writer = self.lock();
        if writer.closed().is_none() {
            writer.close_waiters.register(key, cx);
        }
        writer.take_failure()
    }

    /// Waits until writing has ended.
    #[cfg(feature = "python")]
    pub(crate) fn poll_closed(&self, key: &mut Key, cx: &mut Context<'_>) -> Poll<()> {
        let mut writer = self.lock();
        if writer.closed().is_some() {
            *key = None;
            return Poll::Ready(());
        }
        writer.close_waiters.register(key, cx);
        Poll::Pending
    }
}

impl WritePipe {
    /// For a terminal: its other end may close and open again, and closing ours at once would send
    /// SIGHUP to a program that is about to end by itself.
    #[cfg(feature = "python")]
    pub(crate) fn ignore_hangup(&self) {
        lock(&self.0.writer).ignore_hangup = true;
    }
}

impl Drop for WritePipe {
    fn drop(&mut self) {
        self.lock().abort();
    }
}

impl WriteSource {
    fn flush(&self, wakers: &mut Vec<Waker>) {
        let mut writer = lock(&self.writer);
        let consume_budget = |bytes| {
            self.reactor.consume_budget(bytes);
            !self.reactor.budget_exhausted()
        };
        if writer.flush(consume_budget) == Flush::Spent {
            self.reactor.defer(self.token);
        }
        writer.wake(wakers);
    }
}

impl Source for WriteSource {
    fn ready(&self, readiness: Readiness, wakers: &mut Vec<Waker>) {
        let mut writer = lock(&self.writer);
        if readiness.hangup && !writer.ignore_hangup {
            writer.hangup();
            writer.wake(wakers);
            return;
        }
        drop(writer);
        if readiness.hangup || readiness.writable {
            self.flush(wakers);
        }
    }

    fn resume(&self, wakers: &mut Vec<Waker>) {
        self.flush(wakers);
    }

    fn shutdown(&self, wakers: &mut Vec<Waker>) {
        let mut writer = lock(&self.writer);
        writer.drain_waiters.take(wakers);
        writer.close_waiters.take(wakers);
        writer.write_waiters.take(wakers);
    }
}
