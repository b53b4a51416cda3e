//! What a child's two outputs share: the operations on a pipe that is read.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use crate::error::error_again;
use crate::stream::buffer::{Buffer, OutOfMemory, Sink};
use crate::stream::read_pipe::ReadPipe;
use crate::stream::reader::{Found, Separators, Want};

/// What the two outputs share.
pub(crate) struct Reading {
    pub(crate) pipe: ReadPipe,
    lent: Option<Box<Lent>>,
}

/// Taken from the pipe, so that what is in it needs no lock; it comes before what the pipe has.
struct Lent {
    buffer: Buffer,
    /// The longest line.
    limit: usize,
}

impl Lent {
    /// The length of the first line, unless it is too long.
    fn line(&self) -> Option<usize> {
        let at = memchr::memchr(b'\n', self.buffer.as_slice())?;
        (at <= self.limit).then_some(at + 1)
    }
}

impl Reading {
    pub(crate) fn new(pipe: ReadPipe) -> Self {
        Reading { pipe, lent: None }
    }

    /// Borrows what the pipe has. Nothing is lent at the time.
    fn borrow(&mut self) {
        let mut reader = self.pipe.lock();
        let lent = self.lent.get_or_insert_with(|| {
            let (buffer, limit) = (Buffer::default(), reader.limit());
            Box::new(Lent { buffer, limit })
        });
        reader.swap(&mut lent.buffer);
    }

    /// The pipe, with everything that was read in it.
    #[inline]
    pub(crate) fn whole(&mut self) -> &ReadPipe {
        if self.has_lent() {
            self.put_back();
        }
        &self.pipe
    }

    fn put_back(&mut self) {
        if let Some(lent) = &mut self.lent {
            let buffer = std::mem::take(&mut lent.buffer);
            self.pipe.lock().put_back(buffer);
        }
    }

    pub(crate) fn poll_take<R>(
        &mut self,
        want: &mut Want,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> Result<R, OutOfMemory>,
    ) -> Poll<io::Result<Result<R, usize>>> {
        let pipe = self.whole();
        Poll::Ready(match ready!(pipe.poll_take(want, cx, take)) {
            Ok(taken) => Ok(Ok(taken)),
            Err(found) => length(pipe, found).map(Err),
        })
    }

    pub(crate) fn poll_read(
        &mut self,
        buffer: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut want = Want::Some(buffer.len());
        let take = |bytes: &[u8]| Ok(copy(bytes, buffer));
        let taken = ready!(self.poll_take(&mut want, cx, take))?;
        Poll::Ready(Ok(taken.unwrap_or_else(|count| count)))
    }

    /// The same with a buffer of tokio's.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_read_buf(
        &mut self,
        buffer: &mut ::tokio::io::ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let pipe = self.whole();
        Poll::Ready(match ready!(pipe.poll_read_buf(buffer, cx)) {
            Ok(count) => Ok(count),
            Err(found) => length(pipe, found),
        })
    }

    /// Whether there is something to be had without waiting.
    #[inline]
    pub(crate) fn has_lent(&self) -> bool {
        self.lent
            .as_ref()
            .is_some_and(|lent| !lent.buffer.is_empty())
    }

    /// What has been read, after waiting until there is something; empty at the end.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if !self.has_lent() {
            match ready!(self.pipe.poll(&mut Want::Some(usize::MAX), cx)) {
                Found::Failed => return Poll::Ready(Err(failure(&self.pipe))),
                Found::OutOfMemory => return Poll::Ready(Err(OutOfMemory.into())),
                _ => self.borrow(),
            }
        }
        let lent = self.lent.as_ref();
        Poll::Ready(Ok(lent.map_or(&[], |lent| lent.buffer.as_slice())))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(lent) = &mut self.lent {
            lent.buffer.consume(count);
        }
    }

    async fn take<R>(
        &mut self,
        mut want: Want,
        mut take: impl FnMut(&[u8]) -> Result<R, OutOfMemory>,
    ) -> io::Result<Result<R, usize>> {
        poll_fn(|cx| self.poll_take(&mut want, cx, &mut take)).await
    }

    pub(super) async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let want = Want::Exactly(buffer.len());
        match self.take(want, |bytes| Ok(copy(bytes, buffer))).await? {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(super) async fn read_until(
        &mut self,
        separators: Separators,
        line: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let mut add = |bytes: &[u8]| {
            Sink::append(line, bytes)?;
            Ok(bytes.len())
        };
        match self.take(Want::Until(separators), &mut add).await? {
            Ok(count) => Ok(count),
            Err(rest) => {
                let mut reader = self.pipe.lock();
                let count = add(reader.buffered().get(..rest).unwrap_or_default())?;
                reader.consume(count);
                Ok(count)
            }
        }
    }

    /// Checks a line before it is taken, so that one that is no text can still be read as bytes.
    pub(super) async fn read_line(&mut self, line: &mut String) -> io::Result<usize> {
        if let Some(lent) = &mut self.lent
            && let Some(count) = lent.line()
            && self.pipe.counts_operation()
        {
            let bytes = lent.buffer.as_slice().get(..count).unwrap_or_default();
            push_text(line, bytes)?;
            lent.buffer.consume(count);
            return Ok(count);
        }
        let mut want = Want::Until(Separators::newline());
        let found = poll_fn(|cx| self.whole().poll(&mut want, cx)).await;
        let count = length(&self.pipe, found)?;
        let mut reader = self.pipe.lock();
        let bytes = reader.buffered().get(..count).unwrap_or_default();
        push_text(line, bytes)?;
        reader.consume(count);
        let more = !reader.buffered().is_empty();
        drop(reader);
        if more {
            self.borrow();
        }
        Ok(count)
    }

    pub(super) async fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let before = bytes.len();
        let pipe = self.whole();
        let collect = poll_fn(|cx| pipe.poll_collect(bytes, None, cx)).await;
        collect?;
        if pipe.lock().error().is_some() {
            return Err(failure(pipe));
        }
        Ok(bytes.len() - before)
    }
}

/// How much was found.
fn length(pipe: &ReadPipe, found: Found) -> io::Result<usize> {
    match found {
        Found::Complete(count) | Found::Incomplete(count) => Ok(count),
        Found::Failed => Err(failure(pipe)),
        Found::OutOfMemory => Err(OutOfMemory.into()),
        Found::Overrun { .. } => {
            let text = "the line is longer than the limit";
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

/// Why reading failed, made anew: it can be asked for more than once.
pub(crate) fn failure(pipe: &ReadPipe) -> io::Error {
    match pipe.lock().error() {
        Some(error) => error_again(error),
        None => io::ErrorKind::Other.into(),
    }
}

fn push_text(line: &mut String, bytes: &[u8]) -> io::Result<()> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    line.try_reserve(text.len()).map_err(|_| OutOfMemory)?;
    line.push_str(text);
    Ok(())
}

fn copy(bytes: &[u8], buffer: &mut [u8]) -> usize {
    let count = bytes.len().min(buffer.len());
    let (to, _) = buffer.split_at_mut(count);
    to.copy_from_slice(bytes.split_at(count).0);
    count
}
