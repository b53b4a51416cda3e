//! Children that go from Rust to Python and back, in a program that has both.
//!
//! A child belongs to one reactor at a time: Rust's, or that of a Python event loop. These functions
//! take it out of the one and put it into the other, with its pipes and what was read ahead from
//! them; its exit status and the guarantee that a signal reaches it alone go along.
//!
#![cfg_attr(feature = "tokio", doc = "```no_run")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use procio::Stdio;
//! use procio::tokio::Driver;
//! use pyo3::prelude::*;
//!
//! /// Runs the coroutine function `handler` with a child that Rust started, and returns what a
//! /// child writes that Python started and returned.
//! async fn serve(driver: &Driver, handler: Py<PyAny>) -> Result<String, Box<dyn std::error::Error>> {
//!     let mut command = procio::Command::new("sort");
//!     command.stdin(Stdio::piped()).stdout(Stdio::piped());
//!     let child = command.spawn(driver).await?;
//!     let returned = Python::attach(|py| {
//!         let child = procio::python::into_awaitable(py, child)?;
//!         // async def handler(child): process = await child; ...
//!         let coroutine = handler.bind(py).call1((child,))?;
//!         pyo3_async_runtimes::tokio::into_future(coroutine)
//!     })?
//!     .await?;
//!     let mut theirs =
//!         Python::attach(|py| procio::python::from_process(returned.bind(py), driver))?;
//!     let mut line = String::new();
//!     if let Some(stdout) = &mut theirs.stdout {
//!         while stdout.read_line(&mut line).await? > 0 {}
//!     }
//!     Ok(line)
//! }
//! ```
//!
//! The program and the Python package `procio` may contain different copies of this crate: what
//! crosses are descriptors, numbers and bytes. Futures and awaitables cross by
//! [`pyo3-async-runtimes`](https://docs.rs/pyo3-async-runtimes).
//!
//! # Caveats
//!
//! - A child is refused while an operation on it is under way in Python.
//! - What still refers to it on the side that gave it away is of no use: operations raise, signals
//!   fail.
//! - In Python a process is killed when the last reference to it and its streams is dropped. A child
//!   that came from there keeps that: it is killed when the [`Child`] is dropped.

use pyo3::prelude::*;

use super::classes::make_process;
use super::detached::{Detached, claim};
use super::errors::os_error;
use super::event_loop::LoopBinding;
use crate::child::Child;
use crate::reactor::AsReactor;

/// Takes a `procio.Process` out of its event loop, and gives the child to a reactor of Rust's.
///
/// To be called while that loop does not run: in its thread, or while no other code uses the process.
///
/// # Errors
/// RuntimeError while an operation on it is under way, while a block or `stop` owns it, and when it was
/// handed over before; AttributeError for what is no `procio.Process`; OSError when it cannot be handed over (on
/// Windows, with `cgroup_kill`, tied to its pidfd, a pipe that has failed), and then it stays where it is. OSError,
/// too, when the other reactor cannot take it for want of descriptors or memory: then the child has been killed.
pub fn from_process(process: &Bound<'_, PyAny>, reactor: &impl AsReactor) -> PyResult<Child> {
    let py = process.py();
    let detached = process.call_method0(pyo3::intern!(py, "_detach"))?;
    let attached = claim(&detached)?.attach(&reactor.reactor_handle().0, 0);
    let (guard, pipes) = attached.map_err(|error| os_error(py, &error, None))?;
    Ok(Child::new(guard, pipes))
}

/// Gives a child to the event loop that runs in this thread, and returns its `procio.Process`.
///
/// # Errors
/// RuntimeError when no loop runs in this thread; ImportError when there is no package `procio`;
/// OSError when there are no descriptors. The child has then been killed.
pub fn into_process(py: Python<'_>, child: Child) -> PyResult<Bound<'_, PyAny>> {
    Detached::new(py, child)?.attach(py)
}

/// Something for Python code to `await` once: it gives the child to the loop on which that is done,
/// and returns its `procio.Process`. If it is dropped before, the child is killed.
///
/// # Errors
/// OSError when there are no descriptors; the child has then been killed.
pub fn into_awaitable(py: Python<'_>, child: Child) -> PyResult<Bound<'_, PyAny>> {
    Ok(Bound::new(py, Detached::new(py, child)?)?.into_any())
}

/// Gives a detached child to the running loop.
#[pyfunction]
#[pyo3(name = "_attach")]
pub fn attach(detached: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = detached.py();
    let binding = LoopBinding::current(py)?;
    let mut parts = claim(detached)?;
    parts.kill_on_drop = true;
    let attached = parts.attach(&binding.reactor, crate::stream::reader::DEFAULT_LIMIT);
    let (guard, pipes) = attached.map_err(|error| os_error(py, &error, None))?;
    make_process(py, &binding, guard, pipes)
}
