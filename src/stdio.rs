//! Where a child's standard streams lead.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::sync::Arc;

use crate::sys::{OwnedHandle, RawHandle};

/// Where one of a child's standard streams leads.
///
/// It can also be made of a file or of one end of a [`std::io::pipe`], which the command then owns:
///
/// ```
/// use procio::{Command, Reactor};
///
/// let reactor = Reactor::new()?;
/// let (reader, writer) = std::io::pipe()?;
/// let (mut first, mut second) = (Command::new("echo"), Command::new("cat"));
/// first.arg("hi").stdout(writer);
/// second.stdin(reader).stdout(std::fs::File::create("/dev/null")?);
/// let (one, other) = (first.spawn(&reactor)?, second.spawn(&reactor)?);
/// drop(first); // and its copy of the writing end, without which `cat` would not see the end
/// let other = reactor.run_until(async { one.await?; other.await })??;
/// assert!(reactor.run_until(other.wait())??.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stdio(pub(crate) Target);

#[derive(Clone, Debug, Default)]
pub(crate) enum Target {
    #[default]
    Inherit,
    Null,
    Pipe,
    /// Standard error only: wherever standard output leads.
    Stdout,
    Owned(Arc<OwnedHandle>),
    #[cfg_attr(
        not(feature = "python"),
        expect(dead_code, reason = "Python goes by numbers")
    )]
    Raw(RawHandle),
}

impl Stdio {
    /// The parent's own stream.
    ///
    /// ```
    /// procio::Command::new("ls").stdout(procio::Stdio::inherit());
    /// ```
    #[must_use]
    pub fn inherit() -> Self {
        Stdio(Target::Inherit)
    }

    /// Nothing: reads end at once and writes vanish.
    ///
    /// ```
    /// procio::Command::new("ls").stdout(procio::Stdio::null());
    /// ```
    #[must_use]
    pub fn null() -> Self {
        Stdio(Target::Null)
    }

    /// A new pipe whose other end the [`Child`](crate::Child) holds.
    ///
    /// ```
    /// procio::Command::new("ls").stdout(procio::Stdio::piped());
    /// ```
    #[must_use]
    pub fn piped() -> Self {
        Stdio(Target::Pipe)
    }

    /// For standard error: the same open file as standard output, in one order.
    ///
    /// ```
    /// procio::Command::new("ls").stderr(procio::Stdio::to_stdout());
    /// ```
    #[must_use]
    pub fn to_stdout() -> Self {
        Stdio(Target::Stdout)
    }

    /// A descriptor of the caller's, by number. The caller keeps it open until the child was
    /// started; a number that is not open makes the start fail.
    #[cfg(feature = "python")]
    pub(crate) fn from_raw(handle: RawHandle) -> Self {
        Stdio(Target::Raw(handle))
    }
}

impl From<OwnedHandle> for Stdio {
    fn from(handle: OwnedHandle) -> Self {
        Stdio(Target::Owned(Arc::new(handle)))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        OwnedHandle::from(file).into()
    }
}

impl From<PipeReader> for Stdio {
    fn from(reader: PipeReader) -> Self {
        OwnedHandle::from(reader).into()
    }
}

impl From<PipeWriter> for Stdio {
    fn from(writer: PipeWriter) -> Self {
        OwnedHandle::from(writer).into()
    }
}
