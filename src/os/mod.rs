//! What the crate's types can do on one platform only, a file for each platform.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{ExitStatusExt, IntoOwnedFdError};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::CommandExt;
