//! A child's standard input.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use crate::reactor::waiters::Key;
use crate::stream::write_pipe::WritePipe;

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
    pub(crate) pipe: WritePipe,
    pub(crate) key: Key,
}

impl ChildStdin {
    pub(crate) fn new(pipe: WritePipe) -> Self {
        ChildStdin { pipe, key: None }
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
    /// let mut child = Command::new("wc").arg("-w").stdin(Stdio::piped()).stdout(Stdio::piped())
    ///     .spawn(&reactor).await?;
    /// if let Some(stdin) = &mut child.stdin {
    ///     stdin.write_all(b"some words\n").await?;
    /// }
    /// assert_eq!(child.wait_with_output().await?.stdout.trim_ascii(), b"2");
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
    ///     stdin.write_all(b"hi").await?;
    ///     assert!(stdin.flush().await.is_ok()); // at once: nothing is queued
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
