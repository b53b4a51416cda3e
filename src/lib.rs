//! Subprocesses for event loops.
//!
//! A [`Reactor`] owns one pollable descriptor in which everything about children is registered; any
//! event loop can watch it. A [`Command`] describes a child, with the options of Python's
//! `subprocess.Popen`; on Linux, starting it neither copies the parent's memory nor waits for the exec.
//! What comes back is a [`Child`] with [`ChildStdin`], [`ChildStdout`] and [`ChildStderr`]. Names and
//! ownership are those of [`std::process`], but for what the module `migration` tells.
//!
//! ```
//! use procio::{Command, Reactor, Stdio};
//!
//! let reactor = Reactor::new()?;
//! let mut command = Command::new("echo");
//! command.arg("hi").stdout(Stdio::piped());
//! let output = reactor.run_until(async {
//!     let mut child = command.spawn(&reactor).await?;
//!     let output = child.communicate(None).await?;
//!     Ok::<_, Box<dyn std::error::Error>>(output)
//! })??;
//! assert_eq!(output.stdout, b"hi\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who drives it
//!
//! - A program without an event loop: [`Reactor::run_until`].
//! - A service on tokio, with the feature `tokio`: `procio::tokio::Driver`.
//! - A loop of one's own: it watches the descriptor and calls [`Reactor::dispatch`].
//!
//! # Features
//!
//! None is on by default; the crate then contains nothing of Python.
//!
//! - `python`: the extension module of the Python package, and `procio::python`, which hands children from
//!   Rust to Python and back.
//! - `tokio`: the reactor driven by a tokio runtime, and tokio's traits for the pipes.
//!
//! # Caveats
//!
//! - A reactor has to be driven. Children that were dropped are reaped, and input that
//!   [`Child::communicate`] has still to write is written, by [`Reactor::dispatch`] or
//!   [`Reactor::run_until`] only; without them a child that has ended stays a zombie.
//! - Dropping a [`Child`] does not end it, unless [`Command::kill_on_drop`] was asked for. Only the child
//!   itself is killed, not what it has started: see [`Child::signal_group`].
//! - When the reactor is dropped, all operations fail. Children that were to be killed when they are
//!   dropped are killed and reaped where they are dropped, which may take up to 100 ms, and after that by
//!   a thread. Others run on, and become zombies of this process when they end: no
//!   other reactor reaps them, as tokio's queue of orphans would.
//! - [`Child::wait`] closes standard input, unless it was taken out, and nothing else. A child that waits
//!   for a reader of its output does not end.
//! - `read_to_end` and [`Child::communicate`] have no bound; a line has that of
//!   [`Command::line_limit`], which is 1 GiB if nothing is said.
//! - A turn has a budget of 1 MiB. What exceeds it waits for the next
//!   [`dispatch`](Reactor::dispatch), so that a child that floods cannot starve what else runs.
//! - [`Command::uid`], [`gid`](Command::gid), [`groups`](Command::groups) and a hook in the child need a
//!   fork, which takes the longer the more memory the parent uses; so does any start where the system
//!   refuses a clone that shares memory.
//! - On Linux a child has the identity of its parent and shares its memory until its exec. In a process that
//!   may change its identity (CAP_SETUID, CAP_SETGID, or ids that differ) a thread has `setuid` and its family wait
//!   for that. The thread exists for a millisecond or two after each start; `unshare(CLONE_NEWUSER)` fails
//!   meanwhile. Code that makes the system call by itself, or enters a sandbox, must await the starts under way.
//! - If other code reaps the child (`waitpid(-1)`, SIGCHLD ignored), its status can be had on Linux 6.15
//!   or newer; elsewhere it is [`ExitStatus::Lost`].
//! - A child that has become another user, by a set-user-ID program, cannot be signalled by us.
//! - In a forked copy of the process, what was made before is of no use: signals and [`Reactor::run_until`] fail, and
//!   dropping it does nothing to the parent's children. Make a new reactor there, and do not
//!   [dispatch](Reactor::dispatch) the old one: its events are the parent's.

#![deny(unsafe_code)]
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod attributes;
mod child;
mod child_stdio;
mod command;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
/// Coming from `std::process`, `tokio::process` or `async-process`.
#[cfg(unix)]
pub mod migration {
    #![doc = include_str!("migration.md")]
}
mod os;
mod process;
#[cfg(feature = "python")]
#[allow(missing_debug_implementations, reason = "these are Python's classes")]
mod py;
mod reactor;
mod status;
mod stdio;
mod stream;
mod sync;
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use child::{Child, Output, Spawning};
pub use child_stdio::{ChildStderr, ChildStdin, ChildStdout, Lines};
pub use command::Command;
pub use error::{SpawnError, Stage, is_reactor_ended};
pub use os::*;
#[cfg(feature = "python")]
#[doc(inline)]
pub use py::interop as python;
pub use reactor::{AsReactor, Handle, Reactor};
pub use status::{ExitStatus, Usage};
pub use stdio::Stdio;
