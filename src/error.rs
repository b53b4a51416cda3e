//! What can go wrong when a child is started, with the step at which it did.

use std::fmt;
use std::io;

/// The step of starting a child at which an error occurred.
///
/// The step decides which file an error is about: the working directory, the program, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Before the program was looked at: pipes, the clone, standard streams, ids, session, umask.
    Setup,
    /// Changing to the working directory.
    Chdir,
    /// The hook that runs in the child between fork and exec.
    PreExec,
    /// Executing the program.
    Exec,
}

/// Why a child could not be started. Nothing is left behind by a start that failed.
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
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The operating system's error.
    #[must_use]
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.stage {
            Stage::Setup => "could not prepare the child",
            Stage::Chdir => "could not change to the working directory",
            Stage::PreExec => "the hook before exec failed",
            Stage::Exec => "could not execute the program",
        };
        write!(f, "{step}: {}", self.source)
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<io::Error> for SpawnError {
    fn from(source: io::Error) -> Self {
        SpawnError::new(Stage::Setup, source)
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
