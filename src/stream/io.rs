//! What the state machines read from and write to: a pipe, or in their tests a script.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

/// Where bytes come from.
pub(crate) trait ReadIo {
    /// Appends to the spare capacity of `buffer` what one read gives; 0 is the end.
    fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize>;
    /// Reads once into `room`, and returns the front part of it that was filled: empty at the end.
    fn try_read_into<'a>(&mut self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]>;
    /// Whether `count` bytes, after which a read had room for more, may be one record of several.
    fn may_be_record(&self, _count: usize) -> bool {
        false
    }
    /// Whether there is more now.
    fn holds_more(&self) -> bool {
        false
    }
    /// Asks for a larger kernel buffer, if that can be had.
    fn enlarge(&mut self, bytes: usize);
}

/// Where bytes go.
pub(crate) trait WriteIo {
    /// Writes once; returns how many bytes were taken.
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Asks for an event when there is room.
    fn want_write(&mut self) -> io::Result<()>;
    /// How many bytes of the last attempt, which had to wait, were written meanwhile. Only where
    /// the system writes behind our back can there be any.
    fn written_since(&mut self) -> usize {
        0
    }
    /// Asks for a larger kernel buffer, if that can be had.
    fn enlarge(&mut self, bytes: usize);
}
