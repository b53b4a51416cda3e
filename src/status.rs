//! How a child ended.

use std::fmt;
use std::time::Duration;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It called `exit` with this code.
    Exited(i32),
    /// A signal ended it; `core` tells whether it left a core dump.
    Signaled {
        /// The number of the signal.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It ended, but somebody else took the status and the kernel no longer knows it.
    Lost,
}

impl ExitStatus {
    /// The number that Python calls the return code: the exit code, or the negative signal number,
    /// or 255 when the status was lost (as asyncio has it).
    #[must_use]
    pub fn returncode(self) -> i32 {
        match self {
            ExitStatus::Exited(code) => code,
            ExitStatus::Signaled { signal, .. } => -signal,
            ExitStatus::Lost => 255,
        }
    }

    /// Whether it exited with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == ExitStatus::Exited(0)
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The largest resident set, in bytes.
    pub max_resident: u64,
}

/// The end of a child: its status and what it consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub status: ExitStatus,
    pub usage: Usage,
}
