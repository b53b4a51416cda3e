//! What the crate's types can do on Unix only: the extensions that std has in `std::os::unix`.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::sealed::Sealed;
use crate::child::Child;
use crate::child_stdio::{ChildStderr, ChildStdin, ChildStdout, Reading};
use crate::command::Command;
use crate::reactor::Reactor;
use crate::status::ExitStatus;
use crate::stdio::{Stdio, Target};
use crate::sys;

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller().as_fd()
    }
}

/// On Unix, a status as wait(2) has it: what [`std::os::unix::process::ExitStatusExt`] is to std's.
/// No other type can have it.
///
/// ```
/// use procio::{ExitStatus, ExitStatusExt};
/// let status = ExitStatus::from_raw(3 << 8);
/// assert_eq!(status, ExitStatus::Exited(3));
/// assert_eq!(status.into_raw(), Some(3 << 8));
/// ```
pub trait ExitStatusExt: Sized + Sealed {
    /// The status of an ended process. That of one which has only stopped, or goes on, counts as lost.
    fn from_raw(raw: i32) -> Self;
    /// The same back; `None` for one that was lost, and for a code above 255.
    fn into_raw(self) -> Option<i32>;
}

impl Sealed for ExitStatus {}

impl ExitStatusExt for ExitStatus {
    fn from_raw(raw: i32) -> Self {
        match raw & 0x7f {
            // It has stopped, or goes on: its end is not known.
            0x7f => ExitStatus::Lost,
            0 => ExitStatus::Exited((raw >> 8).cast_unsigned() & 0xff),
            signal => ExitStatus::Signaled {
                signal,
                core: raw & 0x80 != 0,
            },
        }
    }

    fn into_raw(self) -> Option<i32> {
        match self {
            ExitStatus::Exited(code) => u8::try_from(code).ok().map(|code| i32::from(code) << 8),
            ExitStatus::Signaled { signal, core } => Some(signal | i32::from(core) << 7),
            ExitStatus::Lost => None,
        }
    }
}

impl From<std::process::ExitStatus> for ExitStatus {
    fn from(status: std::process::ExitStatus) -> Self {
        ExitStatusExt::from_raw(std::os::unix::process::ExitStatusExt::into_raw(status))
    }
}

/// ```
/// let lost = std::process::ExitStatus::try_from(procio::ExitStatus::Lost);
/// assert!(lost.is_err());
/// let killed = procio::ExitStatus::Signaled { signal: 9, core: false };
/// assert_eq!(procio::ExitStatus::from(std::process::ExitStatus::try_from(killed)?), killed);
/// # Ok::<(), std::io::Error>(())
/// ```
impl TryFrom<ExitStatus> for std::process::ExitStatus {
    type Error = io::Error;

    /// Fails for a status that was lost, and for a code above 255, which std cannot express.
    fn try_from(status: ExitStatus) -> io::Result<Self> {
        let lost = || io::Error::other("the exit status was lost, or is above 255");
        let raw = status.into_raw().ok_or_else(lost)?;
        Ok(std::os::unix::process::ExitStatusExt::from_raw(raw))
    }
}

impl From<TcpStream> for Stdio {
    fn from(stream: TcpStream) -> Self {
        OwnedFd::from(stream).into()
    }
}

impl From<UnixStream> for Stdio {
    fn from(stream: UnixStream) -> Self {
        OwnedFd::from(stream).into()
    }
}

impl From<std::io::Stdout> for Stdio {
    fn from(_: std::io::Stdout) -> Self {
        Stdio(Target::Raw(1))
    }
}

impl From<std::io::Stderr> for Stdio {
    fn from(_: std::io::Stderr) -> Self {
        Stdio(Target::Raw(2))
    }
}

/// An end of one child's pipe as a stream of another: a pipeline.
///
/// ```
/// use procio::{Command, Reactor, Stdio};
///
/// let reactor = Reactor::new()?;
/// reactor.run_until(async {
///     let mut first = Command::new("echo").arg("hi").stdout(Stdio::piped()).spawn(&reactor).await?;
///     let output: Stdio = first.stdout.take().ok_or("not piped")?.try_into()?;
///     let second = Command::new("cat").stdin(output).output(&reactor).await?;
///     assert_eq!(second.stdout, b"hi\n");
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl TryFrom<ChildStdout> for Stdio {
    type Error = IntoOwnedFdError<ChildStdout>;

    fn try_from(stream: ChildStdout) -> Result<Self, Self::Error> {
        stream.into_owned_fd().map(Stdio::from)
    }
}

impl TryFrom<ChildStderr> for Stdio {
    type Error = IntoOwnedFdError<ChildStderr>;

    fn try_from(stream: ChildStderr) -> Result<Self, Self::Error> {
        stream.into_owned_fd().map(Stdio::from)
    }
}

impl TryFrom<ChildStdin> for Stdio {
    type Error = IntoOwnedFdError<ChildStdin>;

    fn try_from(stream: ChildStdin) -> Result<Self, Self::Error> {
        stream.into_owned_fd().map(Stdio::from)
    }
}

impl Child {
    /// A descriptor that names the child and is readable once it has ended: a pidfd of the caller's own,
    /// for another event loop, or to be sent to another process. pidfd_open(2).
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// # let reactor = procio::Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = procio::Command::new("sleep").arg("100").kill_on_drop(true).spawn(&reactor).await?;
    /// match child.pidfd() {
    ///     Ok(pidfd) => println!("{pidfd:?}"),
    ///     Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` when it has been reaped, `Unsupported` where the system has no such descriptors; when
    /// there are no descriptors left.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        self.guard.pidfd()
    }
}

impl Command {
    /// Runs `hook` in the child, after everything else and before the program is executed. If it
    /// fails, so does the start, at [`Stage::PreExec`](crate::Stage::PreExec), with EINVAL if its error
    /// has no number. Hooks run in the order in which they were added. One that panics
    /// aborts the child, after the program's own panic hook has run there: if that waits for a lock which another thread had
    /// at the fork, the start waits until it is dropped.
    ///
    /// The child is then made by fork(2), which takes the longer the more memory the parent uses.
    /// Most of what a hook is used for is an option of its own here.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stage};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("true");
    /// // SAFETY: makes no call at all.
    /// unsafe { command.pre_exec(|| Err(std::io::ErrorKind::Other.into())) };
    /// let error = reactor.run_until(command.spawn(&reactor))?.unwrap_err();
    /// assert_eq!(error.stage(), Stage::PreExec);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    /// The hook runs in a copy of the process in which no other thread exists, but the locks that
    /// they held are still held. It may only do what is allowed in a signal handler: allocate
    /// nothing, take no lock, not panic. See signal-safety(7).
    #[allow(
        unsafe_code,
        reason = "as in std; the caller promises what `sys` needs"
    )]
    pub unsafe fn pre_exec<F>(&mut self, hook: F) -> &mut Self
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        let hooks = self.hook.get_or_insert_default();
        // SAFETY: passed on from the caller.
        unsafe { hooks.add(hook) };
        self
    }
}

impl ChildStdin {
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
    /// When it is closed, which the reactor does when the child has closed its end; when a
    /// [`communicate`](crate::Child::communicate) that was given up has still to write; when there are no descriptors.
    /// The error gives the stream back.
    pub fn into_owned_fd(self) -> Result<OwnedFd, IntoOwnedFdError<Self>> {
        let duplicate = || {
            if !self.pipe.lock().is_flushed() {
                return Err(in_use());
            }
            let fd = self.pipe.duplicate()?.ok_or_else(in_use)?;
            sys::set_blocking(&fd)?;
            Ok(fd)
        };
        let result = duplicate();
        result.map_err(|source| IntoOwnedFdError {
            stream: self,
            source,
        })
    }

    /// The number of the descriptor, which is in non-blocking mode; `None` once it is closed.
    #[must_use]
    pub fn as_raw_fd(&self) -> Option<RawFd> {
        self.pipe.handle()
    }
}

/// The descriptor of an output that has nothing which only this end knows of. Under one lock it is looked at and
/// taken from the reactor: a thread that drives that could read ahead in between. It is made blocking after that,
/// since the reactor's descriptor is of the same open file description, and a read of it must not block.
fn into_blocking(reading: &mut Reading) -> io::Result<OwnedFd> {
    let pipe = reading.whole();
    let mut reader = pipe.lock();
    let unread = reader.io().filter(|_| reader.len() == 0);
    let fd = sys::try_clone(unread.ok_or_else(in_use)?.get())?;
    reader.close();
    drop(reader);
    sys::set_blocking(&fd)?;
    Ok(fd)
}

macro_rules! output_as_descriptor {
    ($name:ident) => {
        impl $name {
            /// The descriptor, in blocking mode, as another program expects it.
            ///
            /// # Errors
            /// When its end was read, or bytes were read from it that are not taken yet; when there are
            /// no descriptors. The error gives the stream back, with what it has read.
            pub fn into_owned_fd(mut self) -> Result<OwnedFd, IntoOwnedFdError<Self>> {
                let result = into_blocking(&mut self.0);
                result.map_err(|source| IntoOwnedFdError {
                    stream: self,
                    source,
                })
            }

            /// The number of the descriptor, which is in non-blocking mode; `None` once its end was read.
            #[must_use]
            pub fn as_raw_fd(&self) -> Option<RawFd> {
                self.0.pipe.handle()
            }
        }
    };
}

output_as_descriptor!(ChildStdout);
output_as_descriptor!(ChildStderr);

/// Why a stream could not be turned into a descriptor, with the stream.
///
/// ```
/// # use procio::{Command, Reactor, Stdio};
/// # let reactor = Reactor::new()?;
/// # reactor.run_until(async {
/// let mut command = Command::new("printf");
/// command.arg("head\\nbody").stdout(Stdio::piped());
/// let mut child = command.spawn(&reactor).await?;
/// let mut stdout = child.stdout.take().ok_or("not piped")?;
/// let mut line = String::new();
/// stdout.read_line(&mut line).await?;
/// // The body came with the head, and would be lost.
/// let mut stdout = stdout.into_owned_fd().unwrap_err().into_inner();
/// line.clear();
/// stdout.read_line(&mut line).await?;
/// assert_eq!(line, "body");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct IntoOwnedFdError<S> {
    stream: S,
    source: io::Error,
}

impl<S> IntoOwnedFdError<S> {
    /// The stream, as it was.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// The reason.
    #[must_use]
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }
}

impl<S> fmt::Display for IntoOwnedFdError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl<S: fmt::Debug> std::error::Error for IntoOwnedFdError<S> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

impl<S> From<IntoOwnedFdError<S>> for io::Error {
    fn from(error: IntoOwnedFdError<S>) -> Self {
        error.source
    }
}

/// The bytes that this end has read, or has to write, would be lost.
fn in_use() -> io::Error {
    io::Error::other("the pipe is closed, or has bytes that only this end knows of")
}
