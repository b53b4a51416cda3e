//! The parent's ends of a child's standard streams, for Rust programs.

mod input;
mod output;
mod reading;

pub use input::ChildStdin;
pub use output::{ChildStderr, ChildStdout, Lines};
pub(crate) use reading::{Reading, failure};
