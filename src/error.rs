//! What can go wrong when a child is started, with the step at which it did.

use std::fmt;
use std::io;

/// The step of starting a child at which an error occurred.
///
/// The step decides which file an error is about: the working directory, the program, or none.
///
/// ```
/// # use procio::{Command, Reactor, Stage};
/// # let reactor = Reactor::new()?;
/// let starting = Command::new("true").current_dir("/no/such/directory").spawn(&reactor);
/// let error = reactor.run_until(starting)?.unwrap_err();
/// assert_eq!(error.stage(), Stage::Chdir);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Before the program was looked at: pipes, the clone, standard streams, ids, session, umask.
    Setup,
    /// Changing to the working directory.
    Chdir,
    /// Entering the control group.
    Cgroup,
    /// Setting the resource limits.
    Limits,
    /// Setting the niceness.
    Nice,
    /// Choosing the processors that it may run on.
    Affinity,
    /// Tying its life to that of its parent.
    ParentExit,
    /// Forgoing new privileges.
    NoNewPrivs,
    /// The hook that runs in the child between fork and exec.
    PreExec,
    /// Executing the program.
    Exec,
    /// Executing the program in a job object, on Windows: access was denied, by the one or by the other.
    Job,
}

/// Why a child could not be started. Nothing is left behind by a start that failed.
///
/// Its source is the operating system's error, and it can be turned into that with
/// [`io::Error::from`].
///
/// ```
/// # use procio::{Command, Reactor};
/// # let reactor = Reactor::new()?;
/// let starting = Command::new("/etc").spawn(&reactor);
/// let error = reactor.run_until(starting)?.unwrap_err();
/// assert!(error.to_string().starts_with("could not execute the program: "));
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SpawnError {
    stage: Stage,
    source: io::Error,
}

impl SpawnError {
    pub(crate) fn new(stage: Stage, source: io::Error) -> Self {
        SpawnError { stage, source }
    }

    /// The step that failed.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stage};
    /// # let reactor = Reactor::new()?;
    /// let error = Command::new("a\0b").spawn(&reactor);
    /// let error = reactor.run_until(error)?.unwrap_err();
    /// assert_eq!(error.stage(), Stage::Setup);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The operating system's error.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let error = Command::new("a\0b").spawn(&reactor);
    /// let error = reactor.run_until(error)?.unwrap_err();
    /// assert_eq!(error.io_error().kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }

    /// What kind of error it is: that of [`io_error`](SpawnError::io_error).
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let error = reactor.run_until(Command::new("/none").spawn(&reactor))?.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// An error before the program was looked at.
    pub(crate) fn setup(source: io::Error) -> Self {
        SpawnError::new(Stage::Setup, source)
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.stage {
            Stage::Setup => "could not prepare the child",
            Stage::Chdir => "could not change to the working directory",
            Stage::Cgroup => "could not enter the control group",
            Stage::Limits => "could not set the resource limits",
            Stage::Nice => "could not set the niceness",
            Stage::Affinity => "could not set the CPU affinity",
            Stage::ParentExit => "could not tie the child to its parent",
            Stage::NoNewPrivs => "could not forgo new privileges",
            Stage::PreExec => "the hook before exec failed",
            Stage::Exec => "could not execute the program",
            Stage::Job => "could not execute the program in a job object",
        };
        write!(f, "{step}: {}", self.source)
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> Self {
        let kind = error.source.kind();
        match error.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(kind, error),
        }
    }
}

/// The same error once more: one that every caller is told.
pub(crate) fn error_again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None if is_reactor_ended(error) => reactor_ended(),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Whether an operation failed because its reactor, or the runtime that drives it, has ended.
///
/// ```
/// use procio::{Command, Reactor, is_reactor_ended};
///
/// let reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// drop(reactor);
/// let other = Reactor::new()?;
/// let error = other.run_until(Command::new("true").spawn(&handle))?.unwrap_err();
/// assert!(is_reactor_ended(error.io_error()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn is_reactor_ended(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<ReactorEnded>())
}

#[derive(Debug)]
struct ReactorEnded;

impl fmt::Display for ReactorEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reactor has ended")
    }
}

impl std::error::Error for ReactorEnded {}

/// The error of operations that outlive their reactor.
pub(crate) fn reactor_ended() -> io::Error {
    io::Error::other(ReactorEnded)
}

/// The error of operations on a child that another reactor has taken over.
pub(crate) fn detached_error() -> io::Error {
    io::Error::other("the child was handed over to another reactor")
}
