//! The bytes that were read and not yet asked for.

use std::any::Any;
use std::io;

use crate::stream::io::ReadIo;
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
    pub(crate) fn room(&mut self, room: usize) -> Result<&mut Vec<u8>, OutOfMemory> {
        if self.start > 0 && self.data.capacity() - self.data.len() < room {
            // Moving what is left costs less than growing, and happens at most once for each time
            // that the free part in front has grown to the size of the rest.
            if self.start >= self.len() {
                self.data.drain(..self.start);
                self.start = 0;
            }
        }
        reserve(&mut self.data, room)?;
        Ok(&mut self.data)
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.room(bytes.len())?.extend_from_slice(bytes);
        Ok(())
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

    /// What there is, and how many bytes at its front do not count.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.data, self.start)
    }

    /// What there is, in one piece of its own.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        self.data.drain(..self.start);
        self.data
    }
}

/// Makes room for `more` bytes. As it asks for more than that, some memory is left when it fails, for
/// others who are to report that.
fn reserve(data: &mut Vec<u8>, more: usize) -> Result<(), OutOfMemory> {
    data.try_reserve(more).map_err(|_| OutOfMemory)
}

/// A copy of bytes whose number a caller decides.
#[cfg(any(test, feature = "python"))]
pub(crate) fn copy_of(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut copy = Vec::new();
    Sink::append(&mut copy, bytes)?;
    Ok(copy)
}

/// Where an operation collects its bytes, so that they need not be copied once more at the end.
pub(crate) trait Sink: Any + Send {
    /// Appends bytes. On an error nothing has changed.
    fn append(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory>;
    /// Appends what one read of at most `room` bytes gives, and returns how many that were.
    fn read(&mut self, io: &mut dyn ReadIo, room: usize) -> Result<io::Result<usize>, OutOfMemory>;
    /// How many bytes there are.
    fn len(&self) -> usize;
    /// What there is from this byte on, as far as it lies together. Empty at the end, and for what
    /// cannot be put back.
    fn piece_at(&self, start: usize) -> &[u8];
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
        reserve(self, bytes.len())?;
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, io: &mut dyn ReadIo, room: usize) -> Result<io::Result<usize>, OutOfMemory> {
        reserve(self, room)?;
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

    fn piece_at(&self, start: usize) -> &[u8] {
        self.get(start..).unwrap_or_default()
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
            buffer.extend(&bytes).unwrap();
            expected.extend(bytes);
            let count = (i as usize * 7) % 6;
            taken.extend_from_slice(&buffer.as_slice()[..count.min(buffer.len())]);
            buffer.consume(count);
        }
        taken.extend_from_slice(buffer.as_slice());
        assert_eq!(taken, expected);
    }

    #[test]
    fn a_large_buffer_gives_its_memory_back() {
        let mut buffer = Buffer::default();
        buffer.extend(&vec![0; 1 << 20]).unwrap();
        buffer.consume(1 << 20);
        buffer.rest();
        assert_eq!(buffer.data.capacity(), 0);
    }
}
