//! Collecting output of any length in memory of a fixed size.

use std::io;

use crate::stream::buffer::{OutOfMemory, Sink};
use crate::stream::io::ReadIo;
use crate::sys;

/// Keeps the first `head` and the last `tail` bytes of what it is given, and counts the rest.
///
/// The vector is filled like any other until it holds both; from then on the part behind the head is
/// a ring, in which the oldest bytes are overwritten.
#[derive(Debug, Default)]
pub(crate) struct Capped {
    head: usize,
    tail: usize,
    data: Vec<u8>,
    /// Where in the ring the oldest byte is.
    oldest: usize,
    /// How many bytes came.
    total: u64,
    /// What one read gives, once the vector is full.
    scratch: Vec<u8>,
}

impl Capped {
    pub(crate) fn new(head: usize, tail: usize) -> Self {
        Capped {
            head,
            tail,
            ..Capped::default()
        }
    }

    fn capacity(&self) -> usize {
        self.head.saturating_add(self.tail)
    }

    /// The bytes that were kept, where between them others were left out, and how many.
    pub(crate) fn finish(mut self) -> (Vec<u8>, usize, u64) {
        if let Some(ring) = self.data.get_mut(self.head..) {
            ring.rotate_left(self.oldest);
        }
        let dropped = self.total - self.data.len() as u64;
        (self.data, self.head, dropped)
    }

    /// Writes over the oldest bytes of the full ring.
    fn overwrite(&mut self, bytes: &[u8]) {
        let last = bytes.len().saturating_sub(self.tail);
        let bytes = bytes.get(last..).unwrap_or_default();
        let Some(ring) = self.data.get_mut(self.head..) else {
            return;
        };
        if ring.is_empty() {
            return;
        }
        let (first, second) = bytes.split_at(bytes.len().min(ring.len() - self.oldest));
        for (start, part) in [(self.oldest, first), (0, second)] {
            if let Some(place) = ring.get_mut(start..start + part.len()) {
                place.copy_from_slice(part);
            }
        }
        self.oldest = (self.oldest + bytes.len()) % ring.len();
    }

    /// Makes room for `more` bytes, and for no more than can ever be kept.
    fn reserve(&mut self, more: usize) -> Result<(), OutOfMemory> {
        let needed = self.data.len() + more;
        if needed > self.data.capacity() {
            let wanted = needed.max(self.data.capacity() * 2).min(self.capacity());
            let more = wanted.max(needed) - self.data.len();
            self.data.try_reserve_exact(more).map_err(|_| OutOfMemory)?;
        }
        Ok(())
    }
}

impl Sink for Capped {
    fn append(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let free = self.capacity() - self.data.len();
        let (kept, rest) = bytes.split_at(free.min(bytes.len()));
        self.reserve(kept.len())?;
        self.data.extend_from_slice(kept);
        self.overwrite(rest);
        self.total += bytes.len() as u64;
        Ok(())
    }

    fn read(&mut self, io: &mut dyn ReadIo, room: usize) -> Result<io::Result<usize>, OutOfMemory> {
        if room <= self.capacity() - self.data.len() {
            self.reserve(room)?;
            let result = sys::append(&mut self.data, room, |spare| io.try_read_into(spare));
            self.total += *result.as_ref().unwrap_or(&0) as u64;
            return Ok(result);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.try_reserve(room).map_err(|_| OutOfMemory)?;
        let result = sys::append(&mut scratch, room, |spare| io.try_read_into(spare));
        self.append(&scratch)?;
        self.scratch = scratch;
        Ok(result)
    }

    fn len(&self) -> usize {
        self.data.len()
    }

    /// None: what was left out cannot be put back.
    fn piece_at(&self, _start: usize) -> &[u8] {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definition, for every small size and every way to cut the input.
    #[test]
    fn the_first_and_the_last_bytes_are_kept() {
        let input: Vec<u8> = (0..40).collect();
        for (head, tail) in (0..6).flat_map(|head| (0..6).map(move |tail| (head, tail))) {
            for length in 0..input.len() {
                for step in 1..14 {
                    let input = &input[..length];
                    let mut capped = Capped::new(head, tail);
                    for piece in input.chunks(step) {
                        capped.append(piece).unwrap();
                        assert!(capped.data.capacity() <= (head + tail).max(8));
                    }
                    let (kept, seam, dropped) = capped.finish();
                    let left_out = length.saturating_sub(head + tail);
                    let start = head.min(length);
                    let expected = [&input[..start], &input[start + left_out..]].concat();
                    assert_eq!((kept, dropped), (expected, left_out as u64));
                    assert_eq!(seam, head);
                }
            }
        }
    }
}
