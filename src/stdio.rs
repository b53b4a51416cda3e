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
/// let (one, other) = (first.spawn(&reactor), second.spawn(&reactor));
/// drop(first); // and its copy of the writing end, without which `cat` would not see the end
/// let other = reactor.run_until(async { one.await?; other.await })??;
/// assert!(reactor.run_until(other.wait())??.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stdio(pub(crate) Target);

#[derive(Clone, Debug, Default)]
pub(crate) enum Target {
    /// Nothing was said: the parent's own, unless the output is to be collected.
    #[default]
    Unset,
    Inherit,
    Null,
    Pipe,
    /// Standard error only: wherever standard output leads.
    Stdout,
    Owned(Arc<OwnedHandle>),
    #[cfg_attr(
        not(feature = "python"),
        allow(
            dead_code,
            reason = "by number from Python, and for Unix's standard streams"
        )
    )]
    Raw(RawHandle),
}

impl Stdio {
    /// The parent's own stream.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = Command::new("true").stdout(Stdio::inherit()).spawn(&reactor).await?;
    /// assert!(child.stdout.is_none());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn inherit() -> Self {
        Stdio(Target::Inherit)
    }

    /// Nothing: reads end at once and writes vanish.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("echo");
    /// command.arg("hi").stdout(Stdio::null());
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn null() -> Self {
        Stdio(Target::Null)
    }

    /// A new pipe whose other end the [`Child`](crate::Child) holds.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = Command::new("true").stdout(Stdio::piped()).spawn(&reactor).await?;
    /// assert!(child.stdout.is_some());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn piped() -> Self {
        Stdio(Target::Pipe)
    }

    /// For standard error: the same open file as standard output, in one order.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo out; echo err >&2"]).stderr(Stdio::to_stdout());
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"out\nerr\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_stdout() -> Self {
        Stdio(Target::Stdout)
    }

    /// Sets what nothing was said of.
    pub(crate) fn set_default(&mut self, default: Stdio) {
        if let Target::Unset = self.0 {
            *self = default;
        }
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

/// What std makes a stream of, the command makes one of: it owns the handle.
macro_rules! from_owned {
    ($($kind:ty,)*) => {$(
        impl From<$kind> for Stdio {
            fn from(stream: $kind) -> Self {
                OwnedHandle::from(stream).into()
            }
        }
    )*};
}

from_owned! {
    File,
    PipeReader,
    PipeWriter,
    std::process::ChildStdin,
    std::process::ChildStdout,
    std::process::ChildStderr,
}
