//! Writing: one attempt at once, then a queue.
//!
//! The state machine knows no system calls; it writes to a [`WriteIo`]. It follows asyncio's flow
//! control: above the high-water mark a drain waits until the queue is at or below the low one.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::Waker;

use crate::reactor::waiters::Waiters;
use crate::stream::buffer::OutOfMemory;
use crate::stream::io::WriteIo;

/// asyncio's default high-water mark, in bytes; the low one is a quarter.
const HIGH_WATER: usize = 64 * 1024;
/// A pipe that was found full this often is enlarged: the child reads, and much is written to it.
const BLOCKS: u8 = 4;
const BIG_PIPE: usize = 1024 * 1024;
/// Pieces that one writev(2) is given.
const PIECES: usize = 64;

/// Bytes to write, in the memory of their owner.
pub(crate) type Piece = Box<dyn AsRef<[u8]> + Send>;

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Everything is written, or writing has ended.
    Done,
    /// An event will come when there is room.
    Blocked,
    /// The caller's budget is spent.
    Spent,
}

/// How writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// From our side, with everything written; or by the other side, while nothing was queued.
    Clean,
    /// With this error, and what was queued is lost.
    Failed(io::ErrorKind, Option<i32>),
}

impl Closed {
    fn failed(error: &io::Error) -> Self {
        Closed::Failed(error.kind(), error.raw_os_error())
    }

    /// The error, made anew.
    pub(crate) fn error(self) -> Option<io::Error> {
        match self {
            Closed::Clean => None,
            Closed::Failed(_, Some(code)) => Some(io::Error::from_raw_os_error(code)),
            Closed::Failed(kind, None) => Some(kind.into()),
        }
    }
}

/// Whether the other side has closed: no failure for one who only offers it something to read.
fn no_longer_read(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// The writing side of a stream.
pub(crate) struct Writer<S> {
    io: Option<S>,
    queue: VecDeque<Piece>,
    /// Bytes of the first piece that are written already.
    offset: usize,
    queued: usize,
    high: usize,
    low: usize,
    paused: bool,
    closing: bool,
    closed: Option<Closed>,
    /// A caller was told the error that ended writing.
    pub(crate) told: bool,
    /// We have closed it, and no caller was told so since.
    own_close: bool,
    blocked: bool,
    /// A hang-up is no news: only a write that fails ends writing.
    pub(crate) ignore_hangup: bool,
    times_blocked: u8,
    pub(crate) drain_waiters: Waiters,
    pub(crate) close_waiters: Waiters,
    /// Operations that write by themselves, without the queue, and wait for room.
    pub(crate) write_waiters: Waiters,
}

impl<S: WriteIo> Writer<S> {
    pub(crate) fn new(io: S) -> Self {
        Writer {
            io: Some(io),
            queue: VecDeque::new(),
            offset: 0,
            queued: 0,
            high: HIGH_WATER,
            low: HIGH_WATER / 4,
            paused: false,
            closing: false,
            closed: None,
            told: false,
            own_close: false,
            blocked: false,
            ignore_hangup: false,
            times_blocked: 0,
            drain_waiters: Waiters::default(),
            close_waiters: Waiters::default(),
            write_waiters: Waiters::default(),
        }
    }

    pub(crate) fn io(&self) -> Option<&S> {
        self.io.as_ref()
    }

    /// Bytes that wait to be written.
    #[cfg(any(test, feature = "python"))]
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    #[cfg(any(test, feature = "python"))]
    pub(crate) fn set_limits(&mut self, low: usize, high: usize) {
        (self.low, self.high) = (low, high);
        self.pause();
    }

    /// Whether close was called, or the other side is gone.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// How writing ended, once it has.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.closed
    }

    /// Whether a drain has to wait.
    #[cfg(any(test, feature = "python"))]
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Tries to write bytes before anything is queued; returns how many were taken. 0 when there
    /// is a queue already, and when writing has ended (the bytes then have nowhere to go).
    pub(crate) fn write_now(&mut self, bytes: &[u8]) -> usize {
        if !self.queue.is_empty() || self.blocked || self.closing {
            return 0;
        }
        let Some(io) = &mut self.io else { return 0 };
        match io.try_write(&[IoSlice::new(bytes)]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                self.end(Closed::failed(&error));
                0
            }
        }
    }

    /// Writes once, unless something is queued: how many bytes were taken, or `None` if there is no
    /// room now. Then `write_waiters` will be woken.
    pub(crate) fn write_some(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        let Some(io) = self.io.as_mut().filter(|_| !self.closing) else {
            return Err(self.failure());
        };
        if !self.queue.is_empty() || self.blocked {
            return Ok(None);
        }
        match io.try_write(slices) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.block() {
                Flush::Blocked => Ok(None),
                _ => Err(self.failure()),
            },
            Err(error) => {
                self.end(Closed::failed(&error));
                Err(error)
            }
        }
    }

    /// The error that ended writing, unless it is that the other side does not read, or a caller was
    /// told already.
    pub(crate) fn take_failure(&mut self) -> io::Result<()> {
        match self.untold_failure() {
            Some(error) => {
                self.told = true;
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// The same, and the next caller is told all the same.
    pub(crate) fn untold_failure(&self) -> Option<io::Error> {
        let error = self.closed.and_then(Closed::error);
        error.filter(|error| !self.told && !no_longer_read(error))
    }

    /// Why nothing can be written any more.
    fn failure(&self) -> io::Error {
        let error = self.closed.and_then(Closed::error);
        error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Whether nothing of ours is still to be written: a write that found no room, and may have been given
    /// up, left nothing.
    pub(crate) fn is_flushed(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether nothing is queued and no event is awaited.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.is_empty() && !self.blocked
    }

    /// Makes room for one more piece, to be asked for before anything of it is written.
    pub(crate) fn reserve(&mut self) -> Result<(), OutOfMemory> {
        self.queue.try_reserve(1).map_err(|_| OutOfMemory)
    }

    /// Queues a piece, of which `skip` bytes are written already.
    pub(crate) fn queue(&mut self, piece: Piece, skip: usize) {
        let length = (*piece).as_ref().len();
        if self.closing || self.closed.is_some() || skip >= length {
            return;
        }
        if self.queue.is_empty() {
            self.offset = skip;
        }
        self.queued += length - skip;
        self.queue.push_back(piece);
        self.pause();
    }

    fn pause(&mut self) {
        self.paused |= self.queued > self.high;
        self.paused &= self.queued > self.low;
    }

    /// Writes what is queued until it is done, there is no room, or `consume_budget` says
    /// stop.
    pub(crate) fn flush(&mut self, mut consume_budget: impl FnMut(usize) -> bool) -> Flush {
        self.blocked = false;
        loop {
            let Some(io) = &mut self.io else {
                return Flush::Done;
            };
            if self.queue.is_empty() {
                if self.closing {
                    self.end(Closed::Clean);
                }
                return Flush::Done;
            }
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut skip = self.offset;
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new((**piece).as_ref().get(skip..).unwrap_or_default());
                skip = 0;
                count += 1;
            }
            match io.try_write(slices.get(..count).unwrap_or_default()) {
                Ok(written) => {
                    self.advance(written);
                    if !consume_budget(written) && !self.queue.is_empty() {
                        return Flush::Spent;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.block(),
                Err(error) => {
                    self.end(Closed::failed(&error));
                    return Flush::Done;
                }
            }
        }
    }

    /// Asks for an event if something is queued and none was asked for.
    pub(crate) fn arm(&mut self) {
        if !self.queue.is_empty() && !self.blocked {
            self.block();
        }
    }

    fn block(&mut self) -> Flush {
        self.blocked = true;
        self.times_blocked = self.times_blocked.saturating_add(1);
        if self.times_blocked == BLOCKS
            && let Some(io) = &mut self.io
        {
            io.enlarge(BIG_PIPE);
        }
        match self.io.as_mut().map(WriteIo::want_write) {
            Some(Err(error)) => {
                self.end(Closed::failed(&error));
                Flush::Done
            }
            _ => Flush::Blocked,
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.queued = self.queued.saturating_sub(written);
        while let Some(piece) = self.queue.front() {
            let remaining = (**piece).as_ref().len() - self.offset;
            if written < remaining {
                self.offset += written;
                break;
            }
            written -= remaining;
            self.offset = 0;
            self.queue.pop_front();
        }
        self.pause();
    }

    /// The other side is gone. Bytes that wait can no longer be written: a broken pipe.
    pub(crate) fn hangup(&mut self) {
        let written = self.io.as_mut().map_or(0, WriteIo::written_since);
        self.advance(written);
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        self.end(if self.queue.is_empty() {
            Closed::Clean
        } else {
            Closed::failed(&broken)
        });
    }

    /// Closes once everything is written. Nothing can be written any more.
    pub(crate) fn close(&mut self) {
        self.own_close |= self.closed.is_none();
        self.closing = true;
        if self.queue.is_empty() {
            self.end(Closed::Clean);
        }
    }

    /// Closes at once; what is queued is lost.
    pub(crate) fn abort(&mut self) {
        self.end(Closed::Clean);
    }

    /// Memory for what is queued, in one piece, to be [given up](Writer::detach).
    pub(crate) fn gather(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut room = Vec::new();
        let reserved = room.try_reserve_exact(self.queued);
        reserved.map(|()| room).map_err(|_| OutOfMemory)
    }

    /// Gives up what it writes to, after [`gather`](Writer::gather): what was queued, and whether nothing comes after that.
    pub(crate) fn detach(&mut self, mut queued: Vec<u8>) -> (Vec<u8>, bool) {
        let mut skip = std::mem::take(&mut self.offset);
        for piece in self.queue.drain(..) {
            queued.extend_from_slice((*piece).as_ref().get(skip..).unwrap_or_default());
            skip = 0;
        }
        let closing = self.closing;
        self.end(Closed::Clean);
        (queued, closing)
    }

    /// Ends writing; the first reason stands. Gives up the descriptor at once.
    fn end(&mut self, how: Closed) {
        self.closing = true;
        self.closed.get_or_insert(how);
        self.io = None;
        self.queue.clear();
        self.queued = 0;
        self.paused = false;
    }

    /// The wakers of operations that can go on.
    pub(crate) fn wake(&mut self, wakers: &mut Vec<Waker>) {
        if !self.paused {
            self.drain_waiters.take(wakers);
        }
        if self.closed.is_some() {
            self.close_waiters.take(wakers);
        }
        if self.has_room() || self.closed.is_some() {
            self.write_waiters.take(wakers);
        }
    }
}

// Only Python asks for this.
#[cfg(feature = "python")]
impl<S: WriteIo> Writer<S> {
    pub(crate) fn limits(&self) -> (usize, usize) {
        (self.low, self.high)
    }

    /// Ends writing with an error, of which [`take_failure`](Writer::take_failure) tells.
    pub(crate) fn fail(&mut self, error: &io::Error) {
        self.end(Closed::failed(error));
    }

    /// Whether we have closed it, and this is asked for the first time since.
    pub(crate) fn take_own_close(&mut self) -> bool {
        std::mem::take(&mut self.own_close)
    }

    /// Whether an operation waits.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.drain_waiters.is_empty() || !self.close_waiters.is_empty()
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
