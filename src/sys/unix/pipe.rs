//! The parent's ends of pipes.

#[cfg(feature = "python")]
use std::io::IsTerminal;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(feature = "tokio")]
use std::task::{Context, Poll};

use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::retry_on_intr;

#[cfg(feature = "python")]
use super::fd::has_input;
use super::fd::{above_stdio, set_nonblocking};
use super::os;

/// The reading end of a pipe, a socket or a terminal. Never blocks.
#[derive(Debug)]
pub(crate) struct PipeReader {
    /// Goes before the descriptor that it watches.
    #[cfg(feature = "tokio")]
    host: Option<Box<super::tokio::HostPipe>>,
    fd: OwnedFd,
    enlarged: Option<os::Enlarged>,
    /// It is a terminal: a read that finds nothing may be told as the end.
    #[cfg(feature = "python")]
    asks_first: bool,
}

/// The writing end of a pipe, a socket or a terminal. Never blocks.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    fd: OwnedFd,
    enlarged: Option<os::Enlarged>,
}

impl PipeReader {
    fn new(fd: OwnedFd) -> Self {
        PipeReader {
            #[cfg(feature = "tokio")]
            host: None,
            fd,
            enlarged: None,
            #[cfg(feature = "python")]
            asks_first: false,
        }
    }

    /// One that was made by other code, and may be anything; and whether there is something to read.
    #[cfg(feature = "python")]
    pub(crate) fn foreign(fd: OwnedFd) -> io::Result<(Self, bool)> {
        let mut reader = PipeReader::try_from(fd)?;
        reader.asks_first = reader.fd.is_terminal();
        let has_input = has_input(&reader);
        Ok((reader, has_input))
    }

    #[cfg(feature = "python")]
    fn check_input(&self) -> io::Result<()> {
        if self.asks_first && !has_input(self) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    /// Has the runtime watch it, if that can be: no poller of ours may then do so.
    #[cfg(feature = "tokio")]
    pub(crate) fn watch_by_host(&mut self, runtime: &super::HostRuntime) -> bool {
        self.host = super::tokio::HostPipe::new(&self.fd, runtime).map(Box::new);
        self.host.is_some()
    }

    /// Whether the runtime watches it.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_host(&self) -> bool {
        self.host.is_some()
    }

    /// The runtime forgets it.
    #[cfg(feature = "tokio")]
    pub(crate) fn leave_host(&mut self) {
        self.host = None;
    }

    /// Whether the runtime has seen that it became ready, and then whether the other side is gone.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_host(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.host
            .as_ref()
            .map_or(Poll::Pending, |host| host.poll_ready(cx))
    }

    /// Reads once into the spare capacity of `buffer` (which the caller reserved) and returns the
    /// number of bytes; 0 is the end. `WouldBlock` when there is nothing now. read(2).
    pub(crate) fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        #[cfg(feature = "python")]
        self.check_input()?;
        retry_on_intr(|| rustix::io::read(&self.fd, spare_capacity(buffer))).map_err(Into::into)
    }

    /// Reads once into `room`, and returns the front part of it that was filled; empty is the end.
    /// `WouldBlock` when there is nothing now. read(2).
    pub(crate) fn try_read_into<'a>(
        &mut self,
        room: &'a mut [MaybeUninit<u8>],
    ) -> io::Result<&'a [u8]> {
        #[cfg(feature = "python")]
        self.check_input()?;
        loop {
            match rustix::io::read(&self.fd, &mut *room) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok((filled, _)) => {
                    let count = filled.len();
                    let filled = room.get(..count).unwrap_or_default();
                    // SAFETY: read(2) has filled these bytes.
                    return Ok(unsafe {
                        std::slice::from_raw_parts(filled.as_ptr().cast(), count)
                    });
                }
            }
        }
    }

    /// Whether there is more now.
    pub(crate) fn holds_more(&self) -> bool {
        os::holds_more(&self.fd)
    }

    /// Asks for a larger kernel buffer, in bytes. Best effort: what all pipes of
    /// the process get together is bounded. F_SETPIPE_SZ in fcntl(2).
    pub(crate) fn enlarge(&mut self, bytes: usize) {
        if self.enlarged.is_none() {
            self.enlarged = os::Enlarged::new(&self.fd, bytes);
        }
    }
}

impl PipeWriter {
    /// Writes once, and returns how many bytes were taken. `WouldBlock` when none. writev(2).
    pub(crate) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let write = || match slices {
            [only] => rustix::io::write(&self.fd, only),
            many => rustix::io::writev(&self.fd, many),
        };
        retry_on_intr(write).map_err(Into::into)
    }

    /// As [`PipeReader::enlarge`].
    pub(crate) fn enlarge(&mut self, bytes: usize) {
        if self.enlarged.is_none() {
            self.enlarged = os::Enlarged::new(&self.fd, bytes);
        }
    }

    /// Nothing is written but by [`try_write`](PipeWriter::try_write).
    pub(crate) fn written_since(&mut self) -> usize {
        0
    }
}

impl AsFd for PipeReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for PipeWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TryFrom<OwnedFd> for PipeReader {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&fd)?;
        Ok(PipeReader::new(fd))
    }
}

impl TryFrom<OwnedFd> for PipeWriter {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&fd)?;
        Ok(PipeWriter { fd, enlarged: None })
    }
}

/// A pipe that the child writes and we read: `(ours, the child's)`.
///
/// Only our end is non-blocking: each end has its own open file description, and a child that
/// finds `O_NONBLOCK` on its standard output breaks. `size` in bytes sets the kernel buffer.
pub(crate) fn pipe_from_child(size: Option<usize>) -> io::Result<(PipeReader, OwnedFd)> {
    let (reader, writer) = pipe(size)?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    Ok((PipeReader::new(reader), writer))
}

/// A pipe that we write and the child reads: `(ours, the child's)`.
pub(crate) fn pipe_to_child(size: Option<usize>) -> io::Result<(PipeWriter, OwnedFd)> {
    let (reader, writer) = pipe(size)?;
    fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    let ours = PipeWriter {
        fd: writer,
        enlarged: None,
    };
    Ok((ours, reader))
}

/// Close-on-exec, and with no other flag set.
fn pipe(size: Option<usize>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = os::pipe_cloexec()?;
    let ends = (above_stdio(reader)?, above_stdio(writer)?);
    if let Some(bytes) = size {
        os::set_pipe_size(&ends.1, bytes)?;
    }
    Ok(ends)
}

/// A close-on-exec pipe whose reading end does not block: the channel on which a child reports.
pub(crate) fn report_pipe() -> io::Result<(PipeReader, OwnedFd)> {
    pipe_from_child(None)
}
