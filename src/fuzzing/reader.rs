//! The reader against a naive one, which has the whole stream before it: reads of all kinds, limits,
//! separators, operations that are given up half-way and go on, bytes that are put back.

use std::io;
use std::mem::MaybeUninit;

use super::decisions::Decisions;
use crate::stream::buffer::{OutOfMemory, Sink};
use crate::stream::io::ReadIo;
use crate::stream::reader::{Fill, Found, Reader, Separators, Want};

/// Long enough for reads of more than one chunk.
const LONG: usize = 70_000;

/// Does with a reader what the input says.
pub fn reader(input: &[u8]) {
    let mut input = Decisions(input);
    let mut run = ReaderRun::new(&mut input);
    while !input.is_empty() {
        match input.below(8) {
            0..=2 => run.until(&mut input),
            3 => {
                let most = input.below(70);
                run.wanted(Want::Some(most), &mut input);
            }
            4 => {
                let count = input.below(70);
                run.wanted(Want::Exactly(count), &mut input);
            }
            5 | 6 => run.collect(&mut input),
            _ => run.event(&mut input),
        }
        run.check();
    }
    run.read_to_end();
}

/// The stream, of which the reader gets pieces.
struct FakeStream {
    bytes: Vec<u8>,
    given: usize,
    /// How many bytes each next read gives; 0 is that there is nothing now.
    sizes: Vec<usize>,
    fails: bool,
}

impl ReadIo for FakeStream {
    fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let rest = self.bytes.get(self.given..).unwrap_or_default();
        let size = self.sizes.pop().unwrap_or(usize::MAX);
        if size == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if rest.is_empty() && self.fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        let count = size.min(room).min(rest.len());
        buffer.extend_from_slice(rest.get(..count).unwrap_or_default());
        self.given += count;
        Ok(count)
    }

    fn try_read_into<'a>(&mut self, _room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn enlarge(&mut self, _bytes: usize) {}
}

/// Collects as a vector does, but takes what is read through another.
#[derive(Default)]
struct FakeSink(Vec<u8>);

impl Sink for FakeSink {
    fn append(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        Sink::append(&mut self.0, bytes)
    }

    fn read(&mut self, io: &mut dyn ReadIo, room: usize) -> Result<io::Result<usize>, OutOfMemory> {
        let mut read = Vec::with_capacity(room);
        let result = io.try_read(&mut read);
        // A vector may have more room than was asked for.
        assert!(read.len() <= read.capacity());
        self.append(&read)?;
        Ok(result)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn piece_at(&self, start: usize) -> &[u8] {
        self.0.get(start..).unwrap_or_default()
    }
}

/// A reader, and what is known of it.
struct ReaderRun {
    reader: Reader<FakeStream>,
    bytes: Vec<u8>,
    /// How many bytes operations have got.
    taken: usize,
    /// How many bytes the reader had before it gave up its source.
    given: usize,
    limit: usize,
    fails: bool,
    closed: bool,
}

impl ReaderRun {
    fn new(input: &mut Decisions<'_>) -> Self {
        let shape = input.byte();
        let mut bytes: Vec<u8> = (0..input.below(120))
            .map(|_| input.one_of(b"aab;\n\r").unwrap_or_default())
            .collect();
        if shape & 15 == 15 && !bytes.is_empty() {
            bytes = bytes.repeat(LONG / bytes.len());
        }
        let fails = shape & 16 != 0;
        let limit = if shape & 32 == 0 {
            input.below(40)
        } else {
            1 << 30
        };
        let source = FakeStream {
            bytes: bytes.clone(),
            given: 0,
            sizes: Vec::new(),
            fails,
        };
        let mut reader = Reader::new(source, limit, input.below(40));
        if shape & 64 != 0 {
            reader.mark_ready(false);
        }
        ReaderRun {
            reader,
            bytes,
            taken: 0,
            given: 0,
            limit,
            fails,
            closed: false,
        }
    }

    /// The bytes that no operation has got.
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    fn plan_reads(&mut self, input: &mut Decisions<'_>) {
        let count = input.below(8);
        let sizes: Vec<usize> = (0..count)
            .map(|_| match input.byte() {
                size @ 0..192 => usize::from(size % 12),
                size => usize::from(size) * 400,
            })
            .collect();
        if let Some(source) = self.reader.io_mut() {
            source.sizes = sizes;
        }
    }

    /// Notes what was read, which cannot be asked any more when the reader has given up its source.
    fn note_given(&mut self) {
        self.given = match self.reader.io() {
            Some(source) => source.given,
            None if self.closed => self.given,
            None => self.bytes.len(),
        };
    }

    /// Nothing is lost, doubled, or out of its order.
    fn check(&mut self) {
        self.note_given();
        let there = self.given - self.taken;
        assert_eq!(self.reader.len(), there, "bytes were lost or doubled");
        let buffered = self.reader.buffered();
        assert!(self.rest().starts_with(buffered), "another order");
    }

    fn event(&mut self, input: &mut Decisions<'_>) {
        match input.below(6) {
            0 => self.reader.mark_ready(true),
            1 if input.below(8) == 0 => {
                self.note_given();
                self.closed |= self.reader.io().is_some();
                self.reader.close();
            }
            2 => self.reader.unpark_all().unwrap_or_default(),
            3 => {
                while self.reader.wants_ahead() {
                    let Ok(Fill::Progress(_)) = self.reader.fill() else {
                        break;
                    };
                }
            }
            _ => self.reader.mark_ready(false),
        }
    }

    fn until(&mut self, input: &mut Decisions<'_>) {
        let choices: [&[u8]; 7] = [b"\n", b";", b"\r\n", b"aab", b"aa", b"ab;a", b"ba"];
        let count = input.below(3);
        let list: Vec<Vec<u8>> = (0..=count)
            .filter_map(|_| input.one_of(&choices).map(<[u8]>::to_vec))
            .collect();
        let separators = match list.as_slice() {
            [one] if one == b"\n" => Some(Separators::newline()),
            _ => Separators::new(list.clone()),
        };
        let Some(separators) = separators else { return };
        let found = self.run(&mut Want::Until(separators), input);
        let first = first_match(self.rest(), &list);
        match found {
            None => {}
            Some(Found::Complete(end)) => {
                let (start, expected) = first.unwrap_or_default();
                assert_eq!(end, expected, "not the first match");
                assert!(start <= self.limit, "beyond the limit");
                self.take(end);
            }
            Some(Found::Overrun { consumed, found }) => {
                assert!(consumed > self.limit, "within the limit");
                assert!(consumed <= self.reader.buffered().len());
                match first {
                    Some((start, _)) if found => assert_eq!(consumed, start),
                    Some((start, _)) => assert!(consumed <= start, "a separator was torn apart"),
                    None => assert!(!found, "there is no separator"),
                }
                if input.below(2) == 0 {
                    self.take(consumed);
                }
            }
            Some(found) => {
                let there = self.ended_with(found);
                let left = self.rest().get(..there).unwrap_or_default();
                assert_eq!(first_match(left, &list), None, "a separator was missed");
            }
        }
    }

    /// Checks an end that came first, and returns how many bytes are left before it.
    fn ended_with(&mut self, found: Found) -> usize {
        self.note_given();
        let there = self.given - self.taken;
        assert!(self.reader.has_ended() && !self.reader.has_parked());
        match found {
            Found::Failed => assert!(self.fails),
            Found::Incomplete(left) => assert_eq!(left, there),
            other => panic!("{other:?}"),
        }
        there
    }

    fn wanted(&mut self, mut want: Want, input: &mut Decisions<'_>) {
        let found = self.run(&mut want, input);
        match (want, found) {
            (_, None) => {}
            (Want::Some(most), Some(Found::Complete(count))) => {
                assert!(count <= most);
                let at_end = self.reader.has_ended() && self.reader.len() == 0;
                assert!(count > 0 || most == 0 || at_end, "nothing, before the end");
                self.take(count);
            }
            (Want::Exactly(wanted), Some(Found::Complete(count))) => {
                assert_eq!(count, wanted);
                self.take(count);
            }
            (_, Some(found)) => {
                self.ended_with(found);
            }
        }
    }

    /// Polls an operation until it is done, or is given up.
    fn run(&mut self, want: &mut Want, input: &mut Decisions<'_>) -> Option<Found> {
        self.plan_reads(input);
        let patience = input.below(12);
        for _ in 0..patience {
            if let Some(found) = self.reader.find(want) {
                return Some(found);
            }
            if self.reader.fill().ok()? == Fill::Blocked {
                self.reader.mark_ready(false);
            }
        }
        self.reader.find(want)
    }

    fn take(&mut self, count: usize) {
        let got = self.reader.buffered().get(..count).map(<[u8]>::to_vec);
        assert!(got.is_some_and(|got| self.rest().starts_with(&got)));
        self.reader.consume(count);
        self.taken += count;
    }

    /// `read(n)` of much, which collects into memory of its own, and may be given up.
    fn collect(&mut self, input: &mut Decisions<'_>) {
        let most = input.one_of(&[3, 20, 100, usize::MAX]).unwrap_or_default();
        self.plan_reads(input);
        let mut sink: FakeSink = self.reader.resume(most).unwrap_or_default();
        assert!(sink.len() <= most);
        let room = most - sink.len();
        let drained = self.reader.drain_into(&mut sink, room);
        assert!(drained.is_ok());
        for _ in 0..input.below(6) {
            if sink.len() == most {
                break;
            }
            let room = most - sink.len();
            match self.reader.fill_sink(&mut sink, room) {
                Ok(Fill::Blocked) => self.reader.mark_ready(false),
                Ok(Fill::Progress(0)) | Err(_) => break,
                Ok(Fill::Progress(_)) => {}
            }
        }
        assert!(self.rest().starts_with(&sink.0), "collected other bytes");
        if input.below(2) == 0 {
            self.reader.park(Box::new(sink));
        } else {
            self.taken += sink.len();
        }
    }

    /// What is left comes, and then the end.
    fn read_to_end(&mut self) {
        for _ in 0..4 * LONG {
            let found = self.reader.find(&mut Want::Some(usize::MAX));
            match found {
                Some(Found::Complete(0)) | Some(Found::Failed) => break,
                Some(Found::Complete(count)) => self.take(count),
                _ => {
                    self.reader.mark_ready(false);
                    assert!(self.reader.fill().is_ok());
                }
            }
        }
        self.check();
        assert!(self.reader.has_ended() && self.reader.len() == 0);
        assert_eq!(self.taken, self.given);
        assert!(self.closed || self.taken == self.bytes.len());
    }
}

/// The match that ends first; of several the shortest.
fn first_match(bytes: &[u8], separators: &[Vec<u8>]) -> Option<(usize, usize)> {
    (1..=bytes.len()).find_map(|end| {
        let head = bytes.get(..end).unwrap_or_default();
        let matching = separators.iter().filter(|it| head.ends_with(it));
        let shortest = matching.map(Vec::len).min()?;
        Some((end - shortest, end))
    })
}
