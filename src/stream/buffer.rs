//! The bytes that were read and not yet asked for.

use std::io;

use crate::stream::reader::ReadIo;
use crate::sys;

/// From this size on, the pages of what is collected are made many at once, in about such steps,
/// rather than by one fault each.
pub(crate) const LARGE: usize = 256 * 1024;

/// Bytes in one piece, added at the end and taken from the front.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// A larger buffer gives its memory back when nothing comes.
    const KEEP: usize = 64 * 1024;

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A vector with room for at least `room` more bytes at its end, to be appended to.
    pub(crate) fn room(&mut self, room: usize) -> &mut Vec<u8> {
        if self.start > 0 && self.data.capacity() - self.data.len() < room {
            // Moving what is left costs less than growing, and happens at most once for each time
            // that the free part in front has grown to the size of the rest.
            if self.start >= self.len() {
                self.data.drain(..self.start);
                self.start = 0;
            }
        }
        self.data.reserve(room);
        &mut self.data
    }

    #[cfg(any(test, feature = "python"))]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).extend_from_slice(bytes);
    }

    /// Takes `count` bytes from the front, at most what there is.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.data.len());
        if self.start == self.data.len() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.data.clear();
    }

    /// Gives memory back that an empty buffer does not need while nothing comes.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() && self.data.capacity() > Self::KEEP {
            *self = Buffer::default();
        }
    }

    /// Puts pieces back, in their order, before the first byte.
    pub(crate) fn unread(&mut self, pieces: &[&[u8]]) {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if length == 0 {
            return;
        }
        let mut data = Vec::with_capacity(length + self.len());
        for piece in pieces {
            data.extend_from_slice(piece);
        }
        data.extend_from_slice(self.as_slice());
        *self = Buffer { data, start: 0 };
    }
}

/// Where an operation collects its bytes, so that they need not be copied once more at the end.
pub(crate) trait Sink: Send {
    /// Appends bytes. On an error what was collected may be lost.
    fn append(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory>;
    /// Appends what one read of at most `room` bytes gives, and returns how many that were.
    fn read(&mut self, io: &mut dyn ReadIo, room: usize) -> Result<io::Result<usize>, OutOfMemory>;
    /// How many bytes there are.
    fn len(&self) -> usize;
    /// What there is, in order.
    fn pieces(&self) -> Vec<&[u8]>;
}

/// There was no memory for more output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutOfMemory;

impl From<OutOfMemory> for io::Error {
    fn from(_: OutOfMemory) -> Self {
        io::ErrorKind::OutOfMemory.into()
    }
}

impl Sink for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.try_reserve(bytes.len()).map_err(|_| OutOfMemory)?;
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, io: &mut dyn ReadIo, room: usize) -> Result<io::Result<usize>, OutOfMemory> {
        self.try_reserve(room).map_err(|_| OutOfMemory)?;
        let large = self.len() >= LARGE;
        Ok(sys::append(self, room, |spare| {
            if large {
                sys::prefault(spare);
            }
            io.try_read_into(spare)
        }))
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn pieces(&self) -> Vec<&[u8]> {
        vec![self]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mut buffer = Buffer::default();
        let mut expected = Vec::new();
        let mut taken = Vec::new();
        for i in 0..2000u32 {
            let bytes = i.to_ne_bytes();
            buffer.extend(&bytes);
            expected.extend(bytes);
            let count = (i as usize * 7) % 6;
            taken.extend_from_slice(&buffer.as_slice()[..count.min(buffer.len())]);
            buffer.consume(count);
        }
        taken.extend_from_slice(buffer.as_slice());
        assert_eq!(taken, expected);
    }

    #[test]
    fn unread_bytes_come_first() {
        let mut buffer = Buffer::default();
        buffer.extend(b"xyz");
        buffer.consume(1);
        buffer.unread(&[b"a", b"b"]);
        assert_eq!(buffer.as_slice(), b"abyz");
        buffer.consume(9);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_large_buffer_gives_its_memory_back() {
        let mut buffer = Buffer::default();
        buffer.extend(&vec![0; 1 << 20]);
        buffer.consume(1 << 20);
        buffer.rest();
        assert_eq!(buffer.data.capacity(), 0);
    }
}
