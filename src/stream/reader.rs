//! Reading: what has been read ahead, and the operations that wait for more.
//!
//! The state machine knows no system calls; it reads from a [`ReadIo`], which in the tests is a
//! script. It gives nothing away before the operation that asked for it takes it: an operation
//! that was given up, even after its bytes had come, loses nothing.

use std::io;

use memchr::{memchr, memmem};

use crate::stream::buffer::{Buffer, OutOfMemory, Sink};
use crate::stream::io::ReadIo;
use crate::stream::parked::Parked;

/// Half of what is read ahead when nothing is said: asyncio's own default, in bytes.
#[cfg(any(test, feature = "python"))]
pub(crate) const DEFAULT_LIMIT: usize = 64 * 1024;
/// The longest line when no limit was given. It is lossless like any other limit.
pub(crate) const LINE_CEILING: usize = 1 << 30;

/// One read. Pipes hold this much by default.
const CHUNK: usize = 64 * 1024;
/// One read from a pipe that was enlarged.
const BIG_CHUNK: usize = 256 * 1024;
const BIG_PIPE: usize = 1024 * 1024;
/// After this many reads in a row that came back full, the pipe is enlarged. Not from the start:
/// the kernel grants each user a total, and a thousand idle children should not use it up.
const FULL_READS: u8 = 4;

/// How reading ended.
#[derive(Debug)]
enum End {
    Eof,
    Failed(io::Error),
}

/// What one attempt to read more came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// There are more bytes, or the end was reached.
    Progress(usize),
    /// Nothing now: an event will come.
    Blocked,
}

/// What an operation is waiting for.
#[derive(Debug)]
pub(crate) enum Want {
    /// At least one byte, and at most this many.
    Some(usize),
    /// Exactly this many.
    Exactly(usize),
    /// The shortest prefix that ends with one of the separators.
    Until(Separators),
}

/// Separators, the shortest first, and how far the buffer was searched in vain.
#[derive(Debug)]
pub(crate) struct Separators {
    /// None for the newline, the one that matters and needs no memory.
    list: Option<Box<[Vec<u8>]>>,
    searched: usize,
}

impl Separators {
    /// `None` if there are none, or one is empty.
    #[cfg(any(test, fuzzing, feature = "python"))]
    pub(crate) fn new(mut list: Vec<Vec<u8>>) -> Option<Self> {
        list.sort_by_key(Vec::len);
        (!list.first()?.is_empty()).then(|| Separators {
            list: Some(list.into()),
            searched: 0,
        })
    }

    pub(crate) fn byte(byte: u8) -> Self {
        let list = (byte != b'\n').then(|| vec![vec![byte]].into());
        Separators { list, searched: 0 }
    }

    pub(crate) fn newline() -> Self {
        Separators::byte(b'\n')
    }

    /// Start and end of the first match: the one that ends first.
    fn find(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        let tail = bytes.get(self.searched..).unwrap_or_default();
        let Some(list) = &self.list else {
            let Some(at) = memchr(b'\n', tail) else {
                self.searched = bytes.len();
                return None;
            };
            let start = self.searched + at;
            return Some((start, start + 1));
        };
        let search = |separator: &Vec<u8>| {
            let at = match separator.as_slice() {
                [byte] => memchr(*byte, tail),
                many => memmem::find(tail, many),
            }?;
            let start = self.searched + at;
            Some((start, start + separator.len()))
        };
        let found = list.iter().filter_map(search).min_by_key(|(_, end)| *end);
        if found.is_none() {
            // A separator may have begun in the last bytes.
            let longest = list.last().map_or(1, Vec::len);
            self.searched = (bytes.len() + 1).saturating_sub(longest);
        }
        found
    }
}

/// What has been found: a number of bytes at the front of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// What was wanted.
    Complete(usize),
    /// The end came first; this much is left.
    Incomplete(usize),
    /// The separator is further away than the limit, or not yet to be seen within it. `usize`
    /// bytes can be taken without tearing a separator apart.
    Overrun { consumed: usize, found: bool },
    /// Reading failed.
    Failed,
    /// There is no memory for more. What was read stays to be taken.
    OutOfMemory,
}

/// The reading side of a stream.
#[derive(Debug)]
pub(crate) struct Reader<S> {
    io: Option<S>,
    buffer: Buffer,
    /// What comes after the buffer, and before what is still to be read.
    parked: Parked,
    end: Option<End>,
    limit: usize,
    /// Reading ahead pauses above this; 0 turns reading ahead off.
    high_water: usize,
    /// An event has come since the last read that found nothing.
    ready: bool,
    hangup: bool,
    /// A short read may leave something behind: a terminal gives a line, a socket a message.
    message_oriented: bool,
    full_reads: u8,
    /// Callback mode: one read is capped at `CHUNK`, so that each `bytes` object stays below the
    /// threshold above which malloc maps memory, and the protocol gets it early.
    small_reads: bool,
    /// Nothing is to be read ahead for the time being.
    read_ahead_paused: bool,
}

impl<S: ReadIo> Reader<S> {
    /// `limit` is the longest line, `ahead` half of what is read ahead, both in bytes.
    pub(crate) fn new(io: S, limit: usize, ahead: usize) -> Self {
        Reader {
            io: Some(io),
            ..Reader::empty(limit, ahead)
        }
    }

    fn empty(limit: usize, ahead: usize) -> Self {
        Reader {
            io: None,
            buffer: Buffer::default(),
            parked: Parked::default(),
            end: None,
            limit,
            high_water: ahead.saturating_mul(2),
            ready: false,
            hangup: false,
            message_oriented: false,
            full_reads: 0,
            small_reads: false,
            read_ahead_paused: false,
        }
    }

    /// With nothing to come.
    pub(crate) fn ended(limit: usize) -> Self {
        Reader {
            end: Some(End::Eof),
            ..Reader::empty(limit, 0)
        }
    }

    /// Gives up what it reads from, and with this error; returns what was read, and the limit. What is
    /// [parked](Reader::unpark_all) is lost.
    pub(crate) fn detach(&mut self, error: io::Error) -> (Vec<u8>, usize) {
        let ahead = std::mem::take(&mut self.buffer).into_vec();
        self.parked = Parked::default();
        self.end = None;
        self.fail(error);
        (ahead, self.limit)
    }

    pub(crate) fn io(&self) -> Option<&S> {
        self.io.as_ref()
    }

    #[cfg(any(test, fuzzing, feature = "tokio"))]
    pub(crate) fn io_mut(&mut self) -> Option<&mut S> {
        self.io.as_mut()
    }

    /// Whether the other side is known to be gone.
    #[cfg(feature = "tokio")]
    pub(crate) fn hung_up(&self) -> bool {
        self.hangup
    }

    /// Ends reading from our side. What was read stays to be taken.
    pub(crate) fn close(&mut self) {
        self.finish(End::Eof);
    }

    /// The first bytes of what was read: all that [`find`](Reader::find) looks at.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.buffer.as_slice()
    }

    /// How many bytes were read and not taken.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() + self.parked.len()
    }

    #[cfg(any(test, feature = "python"))]
    pub(crate) fn at_eof(&self) -> bool {
        self.has_ended() && self.len() == 0
    }

    /// Whether nothing comes after the buffer.
    pub(crate) fn is_last(&self) -> bool {
        self.has_ended() && self.parked.is_empty()
    }

    /// The longest line, in bytes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Sets the longest line, and with it how much is read ahead.
    #[cfg(feature = "python")]
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.high_water = limit.saturating_mul(2);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The error that ended reading.
    pub(crate) fn error(&self) -> Option<&io::Error> {
        match &self.end {
            Some(End::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// Adds bytes as if they had been read.
    #[cfg(any(test, feature = "python"))]
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        if self.parked.is_empty() {
            return self.buffer.extend(bytes);
        }
        self.parked
            .push_back(Box::new(crate::stream::buffer::copy_of(bytes)?));
        Ok(())
    }

    /// Puts back what an operation had taken and did not deliver, as it is: copied when it is asked
    /// for, and as much as is asked for.
    pub(crate) fn park(&mut self, sink: Box<dyn Sink>) {
        let (rest, gone) = std::mem::take(&mut self.buffer).into_parts();
        self.parked.push_front(Box::new(rest), gone);
        self.parked.push_front(sink, 0);
        self.settle();
    }

    /// Moves little at once, so that reading ahead goes on.
    fn settle(&mut self) {
        while !self.parked.is_empty() && self.len() <= CHUNK {
            if self.unpark(CHUNK).is_err() {
                break;
            }
        }
    }

    /// Puts back what was lent out as a buffer.
    pub(crate) fn put_back(&mut self, front: Buffer) {
        let rest = std::mem::replace(&mut self.buffer, front);
        let (rest, gone) = rest.into_parts();
        self.parked.push_front(Box::new(rest), gone);
        self.settle();
    }

    /// What an operation that was given up had collected, at most `most` bytes, to collect on.
    pub(crate) fn resume<K: Sink>(&mut self, most: usize) -> Option<K> {
        if self.buffer.is_empty() {
            self.parked.resume(most)
        } else {
            None
        }
    }

    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Moves at most `most` bytes to where they are found.
    fn unpark(&mut self, most: usize) -> Result<usize, OutOfMemory> {
        let bytes = self.parked.front();
        let count = bytes.len().min(most);
        self.buffer.extend(bytes.get(..count).unwrap_or_default())?;
        self.parked.consume(count);
        Ok(count)
    }

    /// Moves everything there.
    pub(crate) fn unpark_all(&mut self) -> Result<(), OutOfMemory> {
        while self.has_parked() {
            self.unpark(usize::MAX)?;
        }
        Ok(())
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.buffer.consume(count);
    }

    /// Moves the whole buffer, or its first `most` bytes, into a sink.
    pub(crate) fn drain_into(
        &mut self,
        sink: &mut dyn Sink,
        most: usize,
    ) -> Result<(), OutOfMemory> {
        let count = most.min(self.buffer.len());
        sink.append(self.buffer.as_slice().get(..count).unwrap_or_default())?;
        self.buffer.consume(count);
        Ok(())
    }

    /// An event has come.
    pub(crate) fn mark_ready(&mut self, hangup: bool) {
        self.ready = true;
        self.hangup |= hangup;
    }

    /// The descriptor was made by other code, and may be anything: it is empty only when a read finds nothing. It may hold
    /// bytes already, for which no event will come; then it `has_input`. A read that finds nothing before the first event
    /// is no sign of the end: there are FIFOs whose first writer is still to come.
    #[cfg(any(test, feature = "python"))]
    pub(crate) fn mark_foreign(&mut self, has_input: bool) {
        self.ready |= has_input;
        self.message_oriented = true;
    }

    /// Whether a read would find something, for all we know.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready && self.io.is_some()
    }

    /// Whether to read ahead. asyncio reads until twice the limit lies in the buffer, and programs
    /// rely on a child being able to write that much while no operation reads.
    pub(crate) fn wants_ahead(&self) -> bool {
        self.high_water > 0
            && !self.read_ahead_paused
            && self.is_ready()
            && self.parked.is_empty()
            && self.buffer.len() <= self.high_water
    }

    /// Reads once.
    pub(crate) fn fill(&mut self) -> Result<Fill, OutOfMemory> {
        if self.has_parked() {
            return self.unpark(CHUNK).map(Fill::Progress);
        }
        if let Some(known) = self.before_read() {
            return Ok(known);
        }
        let chunk = self.chunk();
        let Some(io) = &mut self.io else {
            return Ok(Fill::Progress(0));
        };
        let room = self.buffer.room(chunk)?;
        let capacity = room.capacity() - room.len();
        let result = io.try_read(room);
        Ok(self.after_read(result, capacity, chunk))
    }

    /// Reads once, past the buffer, which must be empty: at most `most` bytes, into a sink.
    pub(crate) fn fill_sink(
        &mut self,
        sink: &mut dyn Sink,
        most: usize,
    ) -> Result<Fill, OutOfMemory> {
        if self.has_parked() {
            let bytes = self.parked.front();
            let count = bytes.len().min(most).min(BIG_CHUNK);
            sink.append(bytes.get(..count).unwrap_or_default())?;
            self.parked.consume(count);
            return Ok(Fill::Progress(count));
        }
        if let Some(known) = self.before_read() {
            return Ok(known);
        }
        let room = self.chunk().min(most);
        let Some(io) = &mut self.io else {
            return Ok(Fill::Progress(0));
        };
        let result = sink.read(io, room)?;
        Ok(self.after_read(result, room, room))
    }

    /// Reads once, past the buffer, which must be empty: at most `room` bytes, by `read`.
    #[cfg(feature = "tokio")]
    pub(crate) fn fill_by(
        &mut self,
        room: usize,
        read: impl FnOnce(&mut S) -> io::Result<usize>,
    ) -> Fill {
        if let Some(known) = self.before_read() {
            return known;
        }
        let Some(io) = &mut self.io else {
            return Fill::Progress(0);
        };
        let result = read(io);
        self.after_read(result, room, room)
    }

    /// What a read would come to, if that is known without one.
    fn before_read(&mut self) -> Option<Fill> {
        if self.io.is_none() {
            return Some(Fill::Progress(0));
        }
        if !self.ready {
            self.buffer.rest();
            return Some(Fill::Blocked);
        }
        None
    }

    fn chunk(&self) -> usize {
        if self.full_reads >= FULL_READS && !self.small_reads {
            BIG_CHUNK
        } else {
            CHUNK
        }
    }

    /// Notes what a read of up to `capacity` bytes has given.
    fn after_read(&mut self, result: io::Result<usize>, capacity: usize, chunk: usize) -> Fill {
        match result {
            Ok(0) => {
                self.finish(End::Eof);
                Fill::Progress(0)
            }
            Ok(count) => {
                // A short read has emptied the pipe, and the next byte will be an event; but the
                // event of a hang-up comes only once, so after it reading goes on to the end. A pipe
                // of records gives one at a time, and their event came before the first was read.
                let full = count == capacity || count >= chunk;
                let more = full || self.hangup || self.message_oriented;
                self.ready = more || self.may_hold_more(count);
                self.count_full_read(count >= CHUNK);
                Fill::Progress(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ready = false;
                self.buffer.rest();
                Fill::Blocked
            }
            Err(error) => {
                self.finish(End::Failed(error));
                Fill::Progress(0)
            }
        }
    }

    /// Whether something may be left after a short read. Where nothing is read ahead, the next
    /// operation finds out by its read, which may have its answer by then: to ask is a call as well.
    fn may_hold_more(&self, count: usize) -> bool {
        self.io
            .as_ref()
            .is_some_and(|io| io.may_be_record(count) && (self.high_water == 0 || io.holds_more()))
    }

    fn count_full_read(&mut self, full: bool) {
        self.full_reads = if full {
            self.full_reads.saturating_add(1)
        } else {
            0
        };
        if self.full_reads == FULL_READS
            && let Some(io) = &mut self.io
        {
            io.enlarge(BIG_PIPE);
        }
    }

    /// Ends reading; the first reason stands. Gives up the descriptor at once.
    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.io = None;
    }

    /// Ends reading with an error. What was read stays to be taken.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.finish(End::Failed(error));
    }

    /// Exchanges what was read and not taken.
    pub(crate) fn swap(&mut self, buffer: &mut Buffer) {
        std::mem::swap(&mut self.buffer, buffer);
    }

    /// Marks the end as if it had been read. The descriptor is given up.
    #[cfg(any(test, feature = "python"))]
    pub(crate) fn feed_eof(&mut self) {
        self.finish(End::Eof);
    }

    /// Looks for what is wanted in what there is; `None` means that more must be read.
    pub(crate) fn find(&self, want: &mut Want) -> Option<Found> {
        let bytes = self.buffer.as_slice();
        let ended = |found| match &self.end {
            _ if self.has_parked() => None,
            None => None,
            Some(End::Failed(_)) => Some(Found::Failed),
            Some(End::Eof) => Some(found),
        };
        match want {
            Want::Some(most) if !bytes.is_empty() => Some(Found::Complete(bytes.len().min(*most))),
            Want::Some(0) => Some(Found::Complete(0)),
            Want::Some(_) => ended(Found::Complete(0)),
            Want::Exactly(count) if bytes.len() >= *count => Some(Found::Complete(*count)),
            Want::Exactly(_) => ended(Found::Incomplete(bytes.len())),
            Want::Until(separators) => match separators.find(bytes) {
                Some((start, _)) if start > self.limit => Some(Found::Overrun {
                    consumed: start,
                    found: true,
                }),
                Some((_, end)) => Some(Found::Complete(end)),
                None if separators.searched > self.limit => Some(Found::Overrun {
                    consumed: separators.searched,
                    found: false,
                }),
                None => ended(Found::Incomplete(bytes.len())),
            },
        }
    }
}

// Only Python asks for this.
#[cfg(feature = "python")]
impl<S: ReadIo> Reader<S> {
    /// Has every read give little, and early.
    pub(crate) fn set_small_reads(&mut self) {
        self.small_reads = true;
    }

    /// Reads nothing ahead for the time being, or again.
    pub(crate) fn pause_ahead(&mut self, pause: bool) {
        self.read_ahead_paused = pause;
    }

    pub(crate) fn is_ahead_paused(&self) -> bool {
        self.read_ahead_paused
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
