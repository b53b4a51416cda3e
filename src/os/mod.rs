//! What the crate's types can do on one platform only, a file for each platform.

/// What keeps the traits here to the crate's own types, so that they may grow.
mod sealed {
    pub trait Sealed {}
}

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{ExitStatusExt, IntoOwnedFdError};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::CommandExt;
