//! A child's standard output and standard error.

use std::fmt;
use std::future::poll_fn;
use std::io;

use crate::child_stdio::Reading;
use crate::stream::reader::Separators;

/// The lines of a child's output: see [`ChildStdout::read_lines`] and [`ChildStderr::read_lines`].
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
    /// assert_eq!(output.read_lines().next_line().await?.as_deref(), Some("hi"));
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
            /// It is not called `lines`, since tokio's `AsyncBufReadExt` has a method of that name. Where that trait is in
            /// scope its method would be taken, which takes the stream by value and knows of no [`Command::line_limit`].
            ///
            /// ```
            /// # use procio::{Command, Reactor, Stdio};
            /// # let reactor = Reactor::new()?;
            /// # reactor.run_until(async {
            /// # let mut command = Command::new("sh");
            #[doc = concat!("# command.args([\"-c\", \"printf 'a\\nb' ", $redirect, "\"]).", $field, "(Stdio::piped());")]
            /// # let mut child = command.spawn(&reactor).await?;
            #[doc = concat!("# let mut output = child.", $field, ".take().ok_or(\"not piped\")?;")]
            /// let mut lines = output.read_lines();
            /// assert_eq!(lines.next_line().await?.as_deref(), Some("a"));
            /// assert_eq!(lines.next_line().await?.as_deref(), Some("b"));
            /// assert_eq!(lines.next_line().await?, None);
            /// # Ok::<_, Box<dyn std::error::Error>>(())
            /// # })??;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// [`Command::line_limit`]: crate::Command::line_limit
            pub fn read_lines(&mut self) -> Lines<'_> {
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

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

child_output!(ChildStdout, "output", "stdout", "");
child_output!(ChildStderr, "error", "stderr", ">&2");
