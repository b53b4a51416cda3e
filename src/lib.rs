//! Subprocesses for event loops.
//!
//! The core of the Python package of the same name, usable by itself: a [`Reactor`] owns one
//! pollable descriptor in which everything about children is registered; any event loop can watch
//! it. A [`Command`] describes a child; starting it never copies the parent's memory and never
//! waits for a slow exec.
//!
//! Without the default feature `python` the crate knows nothing of Python.

#![deny(unsafe_code)]
// The streams of the core are not public yet: without the Python layer some of it is unused.
#![cfg_attr(not(feature = "python"), allow(dead_code, unused_imports))]

mod buffer;
mod child;
mod command;
mod communicate;
mod error;
mod life;
mod pipe;
#[cfg(feature = "python")]
mod py;
mod reactor;
mod reader;
mod start;
mod status;
mod stdio;
mod sys;
mod waiters;
mod writer;

pub use child::{Child, Output, Spawning};
pub use command::Command;
pub use error::{SpawnError, Stage};
pub use reactor::Reactor;
pub use status::{ExitStatus, Usage};
pub use stdio::Stdio;
