//! The parent's ends of a child's standard streams, for Rust programs.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::reactor::waiters::Key;
use crate::stream::buffer::{Buffer, OutOfMemory, Sink};
use crate::stream::pipe::{ReadPipe, WritePipe};
use crate::stream::reader::{Found, Separators, Want};

/// A child's standard input. Dropping it closes the pipe: the child then reads the end of its
/// input.
///
/// What is written here is with the kernel when a method returns; nothing is queued on our side.
///
/// ```
/// use procio::{Command, Reactor, Stdio};
///
/// let reactor = Reactor::new()?;
/// reactor.run_until(async {
///     let mut command = Command::new("sort");
///     command.stdin(Stdio::piped()).stdout(Stdio::piped());
///     let mut child = command.spawn(&reactor).await?;
///     let mut stdin = child.stdin.take().ok_or("not piped")?;
///     stdin.write_all(b"b\na\n").await?;
///     drop(stdin);
///     let output = child.communicate(None).await?;
///     assert_eq!(output.stdout, b"a\nb\n");
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ChildStdin {
    pub(crate) pipe: Arc<WritePipe>,
    pub(crate) key: Key,
}

impl ChildStdin {
    pub(crate) fn new(pipe: WritePipe) -> Self {
        ChildStdin {
            pipe: Arc::new(pipe),
            key: None,
        }
    }

    /// Writes once, and returns how many bytes the pipe took.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).spawn(&reactor).await?;
    /// if let Some(stdin) = &mut child.stdin {
    ///     let written = stdin.write(b"").await?;
    ///     assert_eq!(written, 0);
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `BrokenPipe` when the child no longer reads; what write(2) reports.
    ///
    /// # Cancel safety
    /// If it is dropped before it is done, nothing was written.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write(&[IoSlice::new(bytes)], cx)).await
    }

    /// Writes all of `bytes`.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut child = Command::new("wc").stdin(Stdio::piped()).stdout(Stdio::null())
    ///     .spawn(&reactor).await?;
    /// if let Some(stdin) = &mut child.stdin {
    ///     stdin.write_all(b"some words\n").await?;
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`write`](ChildStdin::write).
    ///
    /// # Cancel safety
    /// Not safe to begin anew: if it is dropped before it is done, the first part of `bytes` may
    /// have been written. Use [`write`](ChildStdin::write) to know how much.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until everything is with the kernel. There is something to wait for only after a
    /// [`communicate`](crate::Child::communicate) that was given up: what it had to write goes on
    /// being written.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).spawn(&reactor).await?;
    /// if let Some(stdin) = &mut child.stdin {
    ///     stdin.flush().await?;
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `BrokenPipe` when the child stopped to read before it had everything.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Closes the pipe, after everything is with the kernel. Dropping does the same, but loses what
    /// a `communicate` that was given up had still to write.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).spawn(&reactor).await?;
    /// if let Some(stdin) = &mut child.stdin {
    ///     stdin.close().await?;
    /// }
    /// assert!(child.wait().await?.success());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`flush`](ChildStdin::flush).
    ///
    /// # Cancel safety
    /// Safe: it will be closed all the same.
    pub async fn close(&mut self) -> io::Result<()> {
        self.pipe.close();
        poll_fn(|cx| self.poll_closed(cx)).await
    }

    /// The descriptor, in blocking mode, as another program expects it.
    ///
    /// ```
    /// # use std::io::Write;
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped())
    ///     .spawn(&reactor).await?;
    /// let stdin = child.stdin.take().ok_or("not piped")?.into_owned_fd()?;
    /// std::fs::File::from(stdin).write_all(b"hi")?;
    /// assert_eq!(child.wait_with_output().await?.stdout, b"hi");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When it is closed, or a [`communicate`](crate::Child::communicate) that was given up has still to
    /// write; when there are no descriptors.
    #[cfg(unix)]
    pub fn into_owned_fd(self) -> io::Result<std::os::fd::OwnedFd> {
        if !self.pipe.lock().has_room() {
            return Err(in_use());
        }
        let fd = self.pipe.duplicate()?.ok_or_else(in_use)?;
        crate::sys::set_blocking(&fd)?;
        Ok(fd)
    }

    /// The number of the descriptor, which is in non-blocking mode; `None` once it is closed.
    #[cfg(unix)]
    #[must_use]
    pub fn as_raw_fd(&self) -> Option<std::os::fd::RawFd> {
        self.pipe.handle()
    }

    pub(crate) fn poll_write(
        &mut self,
        slices: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.pipe.poll_write(slices, &mut self.key, cx)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_flush(&mut self.key, cx)
    }

    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.close();
        self.poll_flush(cx)
    }
}

impl fmt::Debug for ChildStdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildStdin").finish_non_exhaustive()
    }
}

/// What the two outputs share.
pub(crate) struct Reading {
    pipe: Arc<ReadPipe>,
    /// Taken from the pipe, so that what is in it needs no lock; it comes before what the pipe has.
    lent: Buffer,
    /// The longest line.
    limit: usize,
}

impl Reading {
    pub(crate) fn new(pipe: ReadPipe) -> Self {
        let limit = pipe.lock().limit();
        Reading {
            limit,
            pipe: Arc::new(pipe),
            lent: Buffer::default(),
        }
    }

    /// The pipe, with everything that was read in it.
    pub(crate) fn whole(&mut self) -> &Arc<ReadPipe> {
        if !self.lent.is_empty() {
            let lent = std::mem::take(&mut self.lent);
            self.pipe.lock().put_back(lent);
        }
        &self.pipe
    }

    #[cfg(unix)]
    fn into_owned_fd(mut self) -> io::Result<std::os::fd::OwnedFd> {
        let pipe = self.whole();
        if !pipe.lock().buffered().is_empty() {
            return Err(in_use());
        }
        let fd = pipe.duplicate()?.ok_or_else(in_use)?;
        crate::sys::set_blocking(&fd)?;
        Ok(fd)
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
    #[cfg(feature = "tokio")]
    pub(crate) fn has_lent(&self) -> bool {
        !self.lent.is_empty()
    }

    /// What has been read, after waiting until there is something; empty at the end.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.lent.is_empty() {
            match ready!(self.pipe.poll(&mut Want::Some(usize::MAX), cx)) {
                Found::Failed => return Poll::Ready(Err(failure(&self.pipe))),
                Found::OutOfMemory => return Poll::Ready(Err(OutOfMemory.into())),
                _ => self.pipe.lock().swap(&mut self.lent),
            }
        }
        Poll::Ready(Ok(self.lent.as_slice()))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn consume(&mut self, count: usize) {
        self.lent.consume(count);
    }

    async fn take<R>(
        &mut self,
        mut want: Want,
        mut take: impl FnMut(&[u8]) -> Result<R, OutOfMemory>,
    ) -> io::Result<Result<R, usize>> {
        poll_fn(|cx| self.poll_take(&mut want, cx, &mut take)).await
    }

    async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let want = Want::Exactly(buffer.len());
        match self.take(want, |bytes| Ok(copy(bytes, buffer))).await? {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn read_until(
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
    async fn read_line(&mut self, line: &mut String) -> io::Result<usize> {
        if let Some(count) = self.lent_line()
            && self.pipe.counts_operation()
        {
            let bytes = self.lent.as_slice().get(..count).unwrap_or_default();
            push_text(line, bytes)?;
            self.lent.consume(count);
            return Ok(count);
        }
        let mut want = Want::Until(Separators::newline());
        let found = poll_fn(|cx| self.whole().poll(&mut want, cx)).await;
        let count = length(&self.pipe, found)?;
        let mut reader = self.pipe.lock();
        let bytes = reader.buffered().get(..count).unwrap_or_default();
        push_text(line, bytes)?;
        reader.consume(count);
        if !reader.buffered().is_empty() {
            reader.swap(&mut self.lent);
        }
        Ok(count)
    }

    /// The length of the first line of what was lent, unless it is too long.
    fn lent_line(&self) -> Option<usize> {
        let at = memchr::memchr(b'\n', self.lent.as_slice())?;
        (at <= self.limit).then_some(at + 1)
    }

    async fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
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

#[cfg(unix)]
fn in_use() -> io::Error {
    io::Error::other("the pipe is closed, or has bytes that only this end knows of")
}

/// The lines of a child's output: see [`ChildStdout::lines`] and [`ChildStderr::lines`].
pub struct Lines<'a>(&'a mut Reading);

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines<'_> {
    /// The next line, without its line ending; `None` at the end.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("echo");
    /// let mut child = command.arg("hi").stdout(Stdio::piped()).spawn(&reactor).await?;
    /// let mut output = child.stdout.take().ok_or("not piped")?;
    /// assert_eq!(output.lines().next_line().await?.as_deref(), Some("hi"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidData` when the line is not UTF-8, or is longer than
    /// [`Command::line_limit`](crate::Command::line_limit), and then stays to be read with another
    /// method; what read(2) reports.
    ///
    /// # Cancel safety
    /// Safe: if it is dropped before it is done, nothing was taken.
    pub async fn next_line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if line.ends_with('\n') {
            line.pop();
            if line.ends_with('\r') {
                line.pop();
            }
        }
        Ok(Some(line))
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
        Some(error) => match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        },
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

macro_rules! child_output {
    ($name:ident, $which:literal, $field:literal, $redirect:literal) => {
        #[doc = concat!("A child's standard ", $which, ".")]
        ///
        /// Nothing is read before it is asked for, unless [`Command::read_limit`] says so. Dropping
        /// it closes the pipe: a child that writes on gets SIGPIPE, or EPIPE.
        ///
        /// ```
        /// use procio::{Command, Reactor, Stdio};
        ///
        /// let reactor = Reactor::new()?;
        /// reactor.run_until(async {
        ///     let mut command = Command::new("sh");
        #[doc = concat!("    command.args([\"-c\", \"printf 'a\\\\nb\\\\n' ", $redirect, "\"]).", $field, "(Stdio::piped());")]
        ///     let mut child = command.spawn(&reactor).await?;
        #[doc = concat!("    let mut output = child.", $field, ".take().ok_or(\"not piped\")?;")]
        ///     let mut line = String::new();
        ///     while output.read_line(&mut line).await? > 0 {}
        ///     assert_eq!(line, "a\nb\n");
        ///     Ok::<_, Box<dyn std::error::Error>>(())
        /// })??;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        ///
        /// [`Command::read_limit`]: crate::Command::read_limit
        pub struct $name(pub(crate) Reading);

        impl $name {
            /// Reads what there is, at most as much as `buffer` takes, after waiting until there is
            /// something. Returns the number of bytes, which is 0 at the end.
            ///
            /// ```
            /// # use procio::{Command, Reactor, Stdio};
            /// # let reactor = Reactor::new()?;
            /// # reactor.run_until(async {
            /// # let mut command = Command::new("sh");
            #[doc = concat!("# command.args([\"-c\", \"echo hi ", $redirect, "\"]).", $field, "(Stdio::piped());")]
            /// # let mut child = command.spawn(&reactor).await?;
            #[doc = concat!("# let mut output = child.", $field, ".take().ok_or(\"not piped\")?;")]
            /// let mut buffer = [0; 64];
            /// let count = output.read(&mut buffer).await?;
            /// assert_eq!(&buffer[..count], b"hi\n");
            /// # Ok::<_, Box<dyn std::error::Error>>(())
            /// # })??;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// What read(2) reports.
            ///
            /// # Cancel safety
            /// Safe: if it is dropped before it is done, nothing was taken.
            pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                poll_fn(|cx| self.0.poll_read(buffer, cx)).await
            }

            /// Fills `buffer`.
            ///
            /// ```
            /// # use procio::{Command, Reactor, Stdio};
            /// # let reactor = Reactor::new()?;
            /// # reactor.run_until(async {
            /// # let mut command = Command::new("sh");
            #[doc = concat!("# command.args([\"-c\", \"echo hi ", $redirect, "\"]).", $field, "(Stdio::piped());")]
            /// # let mut child = command.spawn(&reactor).await?;
            #[doc = concat!("# let mut output = child.", $field, ".take().ok_or(\"not piped\")?;")]
            /// let mut buffer = [0; 2];
            /// output.read_exact(&mut buffer).await?;
            /// assert_eq!(&buffer, b"hi");
            /// # Ok::<_, Box<dyn std::error::Error>>(())
            /// # })??;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// `UnexpectedEof` when there is less before the end, which then stays to be read; what
            /// read(2) reports.
            ///
            /// # Cancel safety
            /// Safe: if it is dropped before it is done, nothing was taken.
            pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
                self.0.read_exact(buffer).await
            }

            /// Appends to `bytes` everything up to and with the next byte `delimiter`, or what is
            /// left at the end. Returns the number of bytes, which is 0 at the end.
            ///
            /// ```
            /// # use procio::{Command, Reactor, Stdio};
            /// # let reactor = Reactor::new()?;
            /// # reactor.run_until(async {
            /// # let mut command = Command::new("sh");
            #[doc = concat!("# command.args([\"-c\", \"echo a:b ", $redirect, "\"]).", $field, "(Stdio::piped());")]
            /// # let mut child = command.spawn(&reactor).await?;
            #[doc = concat!("# let mut output = child.", $field, ".take().ok_or(\"not piped\")?;")]
            /// let mut field = Vec::new();
            /// output.read_until(b':', &mut field).await?;
            /// assert_eq!(field, b"a:");
            /// # Ok::<_, Box<dyn std::error::Error>>(())
            /// # })??;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// `InvalidData` when the delimiter is further away than [`Command::line_limit`]; what
            /// read(2) reports. Everything stays to be read.
            ///
            /// # Cancel safety
            /// Safe: if it is dropped before it is done, nothing was taken.
            ///
            /// [`Command::line_limit`]: crate::Command::line_limit
            pub async fn read_until(
                &mut self,
                delimiter: u8,
                bytes: &mut Vec<u8>,
            ) -> io::Result<usize> {
                self.0.read_until(Separators::byte(delimiter), bytes).await
            }

            /// Appends the next line to `line`, with its newline if it has one. Returns the number
            /// of bytes, which is 0 at the end.
            ///
            /// ```
            /// # use procio::{Command, Reactor, Stdio};
            /// # let reactor = Reactor::new()?;
            /// # reactor.run_until(async {
            /// # let mut command = Command::new("sh");
            #[doc = concat!("# command.args([\"-c\", \"echo hi ", $redirect, "\"]).", $field, "(Stdio::piped());")]
            /// # let mut child = command.spawn(&reactor).await?;
            #[doc = concat!("# let mut output = child.", $field, ".take().ok_or(\"not piped\")?;")]
            /// let mut line = String::new();
            /// assert_eq!(output.read_line(&mut line).await?, 3);
            /// assert_eq!(line, "hi\n");
            /// # Ok::<_, Box<dyn std::error::Error>>(())
            /// # })??;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// `InvalidData` when the line is not UTF-8, or is longer than
            /// [`Command::line_limit`]; what read(2) reports. Everything stays to be read, with
            /// another method.
            ///
            /// # Cancel safety
            /// Safe: if it is dropped before it is done, nothing was taken.
            ///
            /// [`Command::line_limit`]: crate::Command::line_limit
            pub async fn read_line(&mut self, line: &mut String) -> io::Result<usize> {
                self.0.read_line(line).await
            }

            /// Its lines, one after the other, without their line endings (`\n` or `\r\n`).
            ///
            /// ```
            /// # use procio::{Command, Reactor, Stdio};
            /// # let reactor = Reactor::new()?;
            /// # reactor.run_until(async {
            /// # let mut command = Command::new("sh");
            #[doc = concat!("# command.args([\"-c\", \"printf 'a\\nb' ", $redirect, "\"]).", $field, "(Stdio::piped());")]
            /// # let mut child = command.spawn(&reactor).await?;
            #[doc = concat!("# let mut output = child.", $field, ".take().ok_or(\"not piped\")?;")]
            /// let mut lines = output.lines();
            /// assert_eq!(lines.next_line().await?.as_deref(), Some("a"));
            /// assert_eq!(lines.next_line().await?.as_deref(), Some("b"));
            /// assert_eq!(lines.next_line().await?, None);
            /// # Ok::<_, Box<dyn std::error::Error>>(())
            /// # })??;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn lines(&mut self) -> Lines<'_> {
                Lines(&mut self.0)
            }

            /// Appends everything up to the end to `bytes`. Returns the number of bytes.
            ///
            /// ```
            /// # use procio::{Command, Reactor, Stdio};
            /// # let reactor = Reactor::new()?;
            /// # reactor.run_until(async {
            /// # let mut command = Command::new("sh");
            #[doc = concat!("# command.args([\"-c\", \"echo hi ", $redirect, "\"]).", $field, "(Stdio::piped());")]
            /// # let mut child = command.spawn(&reactor).await?;
            #[doc = concat!("# let mut output = child.", $field, ".take().ok_or(\"not piped\")?;")]
            /// let mut bytes = Vec::new();
            /// output.read_to_end(&mut bytes).await?;
            /// assert_eq!(bytes, b"hi\n");
            /// # Ok::<_, Box<dyn std::error::Error>>(())
            /// # })??;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// What read(2) reports; `OutOfMemory`.
            ///
            /// # Cancel safety
            /// Safe: what was read before it was dropped is in `bytes`.
            pub async fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
                self.0.read_to_end(bytes).await
            }
        }

        #[cfg(unix)]
        impl $name {
            /// The descriptor, in blocking mode, as another program expects it.
            ///
            /// # Errors
            /// When its end was read, or bytes were read from it that are not taken yet; when there are
            /// no descriptors.
            pub fn into_owned_fd(self) -> io::Result<std::os::fd::OwnedFd> {
                self.0.into_owned_fd()
            }

            /// The number of the descriptor, which is in non-blocking mode; `None` once its end was read.
            #[must_use]
            pub fn as_raw_fd(&self) -> Option<std::os::fd::RawFd> {
                self.0.pipe.handle()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

child_output!(ChildStdout, "output", "stdout", "");
child_output!(ChildStderr, "error", "stderr", ">&2");
