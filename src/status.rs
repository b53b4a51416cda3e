//! How a child ended.

use std::fmt;
use std::time::Duration;

/// How a child ended.
///
/// ```
/// # use procio::{Command, ExitStatus, Reactor};
/// # let reactor = Reactor::new()?;
/// # reactor.run_until(async {
/// let child = Command::new("sh").args(["-c", "kill -9 $$"]).spawn(&reactor).await?;
/// let status = child.wait().await?;
/// assert!(matches!(status, ExitStatus::Signaled { signal: 9, .. }));
/// assert_eq!(status.to_string(), "signal 9");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It called `exit` with this code: 0 to 255, on Windows any number of 32 bits.
    Exited(u32),
    /// A signal ended it; `core` tells whether it left a core dump.
    Signaled {
        /// The number of the signal.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It ended, but other code took the status and the kernel no longer knows it.
    Lost,
}

impl ExitStatus {
    /// The number that Python calls the return code: the exit code, or the negative signal number,
    /// or 255 when the status was lost (as asyncio has it).
    ///
    /// ```
    /// assert_eq!(procio::ExitStatus::Exited(3).returncode(), 3);
    /// ```
    #[must_use]
    pub fn returncode(self) -> i64 {
        match self {
            ExitStatus::Exited(code) => code.into(),
            ExitStatus::Signaled { signal, .. } => -i64::from(signal),
            ExitStatus::Lost => 255,
        }
    }

    /// The exit code, if it ended by `exit`.
    ///
    /// ```
    /// assert_eq!(procio::ExitStatus::Exited(3).code(), Some(3));
    /// ```
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            ExitStatus::Exited(code) => Some(code.cast_signed()),
            _ => None,
        }
    }

    /// The number of the signal that ended it, if one did.
    ///
    /// ```
    /// assert_eq!(procio::ExitStatus::Exited(3).signal(), None);
    /// ```
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        match self {
            ExitStatus::Signaled { signal, .. } => Some(signal),
            _ => None,
        }
    }

    /// Whether it exited with code 0.
    ///
    /// ```
    /// assert!(procio::ExitStatus::Exited(0).success());
    /// ```
    #[must_use]
    pub fn success(self) -> bool {
        self == ExitStatus::Exited(0)
    }

    /// Whether it left a core dump.
    ///
    /// ```
    /// assert!(!procio::ExitStatus::Exited(3).core_dumped());
    /// ```
    #[must_use]
    pub fn core_dumped(self) -> bool {
        matches!(self, ExitStatus::Signaled { core: true, .. })
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Exited(code) => write!(f, "exit code {code}"),
            ExitStatus::Signaled {
                signal,
                core: false,
            } => write!(f, "signal {signal}"),
            ExitStatus::Signaled { signal, core: true } => {
                write!(f, "signal {signal} (core dumped)")
            }
            ExitStatus::Lost => write!(f, "unknown exit status"),
        }
    }
}

/// What a child consumed, as the kernel counted it. `getrusage(2)`.
///
/// ```
/// # use procio::{Command, Reactor};
/// # let reactor = Reactor::new()?;
/// # reactor.run_until(async {
/// let child = Command::new("true").spawn(&reactor).await?;
/// child.wait().await?;
/// assert!(child.usage().is_some_and(|usage| usage.max_resident != Some(0)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The largest resident set, in bytes. `None` where it cannot be told: on Linux the kernel counts the
    /// memory that the child shared with its parent before it executed its program, so this is known
    /// only of a child that became larger than its parent ever was.
    pub max_resident: Option<u64>,
}

/// The end of a child: its status and what it consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub status: ExitStatus,
    pub usage: Usage,
}
