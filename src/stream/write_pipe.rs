//! The parent's writing ends of pipes: the writer's state machine, joined to a descriptor and the reactor.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::error::reactor_ended;
use crate::reactor::waiters::{Key, Stale};
use crate::reactor::{Inner, Registered, Source};
use crate::stream::buffer::OutOfMemory;
use crate::stream::io::WriteIo;
#[cfg(feature = "python")]
use crate::stream::writer::Piece;
use crate::stream::writer::{Flush, Writer};
use crate::sync::lock;
use crate::sys::{self, Interest, OwnedHandle, PipeWriter, Readiness};

type WriteEnd = Registered<PipeWriter>;

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

/// A counted handle on the writing end of a pipe. Dropping the last one closes it at once; what is queued is
/// lost.
pub(crate) struct WritePipe(Arc<WriteSource>);

struct WriteSource {
    reactor: Arc<Inner>,
    token: usize,
    handles: AtomicU32,
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
                handles: AtomicU32::new(1),
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

    #[cfg_attr(
        not(feature = "python"),
        allow(dead_code, reason = "for Python, and for Unix's `as_raw_fd`")
    )]
    pub(crate) fn handle(&self) -> Option<sys::RawHandle> {
        self.lock().io().map(|io| sys::raw(io.get()))
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

    /// The memory for [`detach`](WritePipe::detach). An error that ended writing, and that
    /// no caller was told, cannot be handed over: it is the error here. On error nothing has changed.
    pub(crate) fn gather(&self) -> io::Result<Vec<u8>> {
        let writer = self.lock();
        match writer.untold_failure() {
            Some(error) => Err(error),
            None => Ok(writer.gather()?),
        }
    }

    /// Gives up the pipe to another reactor: what was still to be written, and whether that is all.
    pub(crate) fn detach(&self, room: Vec<u8>) -> (Vec<u8>, bool) {
        let mut detached = Default::default();
        self.change(|writer| detached = writer.detach(room));
        detached
    }

    /// Writes once, after all that is queued; returns how many bytes were taken.
    pub(crate) fn poll_write(
        &self,
        slices: &[IoSlice<'_>],
        key: &mut Key,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let reactor = &self.0.reactor;
        if reactor.budget_exhausted() && reactor.put_off_wake(cx.waker()) {
            reactor.wake_host();
            return Poll::Pending;
        }
        let mut stale = Stale::default();
        let mut writer = self.lock();
        let result = writer.write_some(slices);
        if let Ok(None) = result {
            return self
                .wait_for_room(&mut writer, key, cx, &mut stale)
                .map(Err);
        }
        let mut wakers = Vec::new();
        stale = writer.write_waiters.forget(key);
        writer.wake(&mut wakers);
        drop(writer);
        drop(stale);
        wakers.into_iter().for_each(Waker::wake);
        let count = result.map(Option::unwrap_or_default);
        self.0.reactor.consume_budget(*count.as_ref().unwrap_or(&0));
        Poll::Ready(count)
    }

    /// Waits until everything that is queued has been written.
    pub(crate) fn poll_flush(&self, key: &mut Key, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stale = Stale::default();
        let mut writer = self.lock();
        match writer.closed() {
            Some(closed) => Poll::Ready(closed.error().map_or(Ok(()), Err)),
            None if writer.is_flushed() => Poll::Ready(Ok(())),
            None => self
                .wait_for_room(&mut writer, key, cx, &mut stale)
                .map(Err),
        }
    }

    fn wait_for_room(
        &self,
        writer: &mut Writer<WriteEnd>,
        key: &mut Key,
        cx: &mut Context<'_>,
        stale: &mut Stale,
    ) -> Poll<io::Error> {
        // Looked at under the lock: the thread that closes the reactor takes the waiters after that.
        if self.0.reactor.is_closed() {
            return Poll::Ready(reactor_ended());
        }
        *stale = writer.write_waiters.register(key, cx);
        Poll::Pending
    }

    /// The error with which writing has ended, once, unless it is that the other side does not read.
    /// Until then, the operation is woken when writing ends.
    pub(crate) fn watch_failure(&self, key: &mut Key, cx: &mut Context<'_>) -> io::Result<()> {
        let _stale;
        let mut writer = self.lock();
        if writer.closed().is_none() {
            _stale = writer.close_waiters.register(key, cx);
        }
        writer.take_failure()
    }
}

// Only Python asks for this.
#[cfg(feature = "python")]
impl WritePipe {
    /// Writes what can be written now, and queues the rest as the piece that `keep` makes (whose
    /// first bytes, as many as it is told, are written).
    pub(crate) fn write(
        &self,
        bytes: &[u8],
        keep: impl FnOnce(usize) -> (Piece, usize),
    ) -> Result<bool, OutOfMemory> {
        if bytes.is_empty() {
            return Ok(true);
        }
        self.reserve()?;
        let mut accepted = true;
        self.change(|writer| {
            let written = writer.write_now(bytes);
            if written == bytes.len() {
                return;
            }
            accepted = !writer.is_closing();
            if accepted {
                let (piece, skip) = keep(written);
                writer.queue(piece, skip);
                writer.arm();
            }
        });
        Ok(accepted)
    }

    /// Closes at once; what is queued is lost.
    pub(crate) fn abort(&self) {
        self.change(Writer::abort);
    }

    /// Waits until no more than the low-water mark is queued, or writing has ended.
    pub(crate) fn poll_drain(&self, key: &mut Key, cx: &mut Context<'_>) -> Poll<()> {
        let _stale;
        let mut writer = self.lock();
        if !writer.is_paused() {
            *key = None;
            return Poll::Ready(());
        }
        _stale = writer.drain_waiters.register(key, cx);
        Poll::Pending
    }

    /// Waits until writing has ended.
    pub(crate) fn poll_closed(&self, key: &mut Key, cx: &mut Context<'_>) -> Poll<()> {
        let _stale;
        let mut writer = self.lock();
        if writer.closed().is_some() {
            *key = None;
            return Poll::Ready(());
        }
        _stale = writer.close_waiters.register(key, cx);
        Poll::Pending
    }

    /// For a terminal: its other end may close and open again, and closing ours at once would send
    /// SIGHUP to a program that is about to end by itself.
    pub(crate) fn ignore_hangup(&self) {
        lock(&self.0.writer).ignore_hangup = true;
    }
}

impl Clone for WritePipe {
    fn clone(&self) -> Self {
        // As for an Arc: the caller has a handle, so that no other can be the last meanwhile.
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        WritePipe(self.0.clone())
    }
}

impl Drop for WritePipe {
    fn drop(&mut self) {
        // The reactor has a reference of its own, which does not count.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lock().abort();
        }
    }
}

impl WriteSource {
    fn flush(&self, wakers: &mut Vec<Waker>) {
        let mut writer = lock(&self.writer);
        let consume_budget = |bytes| {
            self.reactor.consume_budget(bytes);
            !self.reactor.budget_exhausted()
        };
        let is_spent = writer.flush(consume_budget) == Flush::Spent;
        writer.wake(wakers);
        drop(writer);
        if is_spent {
            self.reactor.put_off(self.token);
            self.reactor.wake_host();
        }
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
