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
//!     let child = command.spawn(driver)?.await?;
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
//!   find nobody.
//! - In Python a process is killed when the last reference to it and its streams is dropped. A child
//!   that came from there keeps that: it is killed when the [`Child`] is dropped.

use std::sync::Mutex;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::os_error;
use super::event_loop::LoopBinding;
use super::process::make_process;
use crate::child::Child;
use crate::process::transfer::{DetachedChild, DetachedOutput, DetachedStdin};
use crate::reactor::Handle;
use crate::status::{Exit, ExitStatus, Usage};
use crate::sync::lock;
use crate::sys;

/// Takes a `procio.Process` out of its event loop, and gives the child to a reactor of Rust's.
///
/// To be called while that loop does not run: in its thread, or when nobody uses the process.
///
/// # Errors
/// RuntimeError while an operation on it is under way, and when it was handed over before;
/// AttributeError for what is no `procio.Process`; OSError when there are no descriptors.
pub fn from_process(process: &Bound<'_, PyAny>, reactor: &impl AsRef<Handle>) -> PyResult<Child> {
    let py = process.py();
    let detached = process.call_method0(pyo3::intern!(py, "_detach"))?;
    let attached = claim(&detached)?.attach(&reactor.as_ref().0, 0);
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

/// A child between two reactors. Another copy of this crate may have made it: what is common to
/// both are the three methods.
#[pyclass(frozen, module = "procio._core")]
pub struct Detached(Mutex<Option<DetachedChild>>);

/// What a copy of this crate tells another. The descriptors are the teller's, for the other to
/// duplicate.
#[derive(FromPyObject, IntoPyObject)]
#[pyo3(from_item_all)]
pub struct State {
    pid: u32,
    /// What names the process, or else what is left of its group.
    handle: Option<sys::RawHandle>,
    /// How it ended: exited, by signal, by signal with a core, or lost; with the number.
    exit: Option<(u8, u32)>,
    /// User and system time in microseconds, and the largest resident set in bytes.
    usage: (u64, u64, u64),
    leads: bool,
    kill_on_drop: bool,
    /// The descriptor, what is queued, and whether that is all.
    stdin: Option<(sys::RawHandle, Py<PyBytes>, bool)>,
    stdout: Option<Reading>,
    stderr: Option<Reading>,
}

/// The descriptor, what was read ahead, and the longest line.
type Reading = (Option<sys::RawHandle>, Py<PyBytes>, usize);

impl Detached {
    pub(super) fn of(parts: DetachedChild) -> Self {
        Detached(Mutex::new(Some(parts)))
    }

    fn new(py: Python<'_>, mut child: Child) -> PyResult<Self> {
        let parts = child.take_parts();
        parts
            .map(Detached::of)
            .map_err(|error| os_error(py, &error, None))
    }

    fn attach(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        attach_by_package(&Bound::new(py, self)?)
    }
}

/// The class of Python's processes is that of the copy in the package.
fn attach_by_package<'py>(detached: &Bound<'py, Detached>) -> PyResult<Bound<'py, PyAny>> {
    let core = detached.py().import("procio._core")?;
    core.call_method1("_attach", (detached,))
}

#[pymethods]
impl Detached {
    /// Everything about the child.
    fn _state(&self, py: Python<'_>) -> PyResult<State> {
        match &*lock(&self.0) {
            Some(parts) => State::new(py, parts),
            None => Err(PyRuntimeError::new_err("the child was handed over already")),
        }
    }

    /// Somebody else has it now.
    fn _claimed(&self) {
        let parts = lock(&self.0).take();
        if let Some(mut parts) = parts {
            parts.process = None;
        }
    }

    fn __await__(slf: Py<Self>) -> AttachOnAwait {
        AttachOnAwait(slf)
    }
}

/// What an `await` drives: it ends at once.
#[pyclass(frozen, module = "procio._core")]
pub struct AttachOnAwait(Py<Detached>);

#[pymethods]
impl AttachOnAwait {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<()> {
        let process = attach_by_package(self.0.bind(py))?;
        Err(PyStopIteration::new_err(process.unbind()))
    }
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

/// Takes over what somebody, perhaps of another copy, has detached.
fn claim(detached: &Bound<'_, PyAny>) -> PyResult<DetachedChild> {
    let py = detached.py();
    let state: State = detached.call_method0("_state")?.extract()?;
    let parts = state.parts(py);
    let parts = parts.map_err(|error| os_error(py, &error, None))?;
    detached.call_method0("_claimed")?;
    Ok(parts)
}

impl State {
    fn new(py: Python<'_>, parts: &DetachedChild) -> PyResult<Self> {
        let usage = parts.exit.map(|exit| exit.usage).unwrap_or_default();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let reading = |output: &Option<DetachedOutput>| {
            let output = output.as_ref()?;
            let handle = output.handle.as_ref().map(sys::raw);
            let ahead = PyBytes::new(py, &output.ahead).unbind();
            Some((handle, ahead, output.limit))
        };
        let handle = match (&parts.process, &parts.group) {
            (Some(process), _) => process.handle(),
            (None, Some(group)) => group.handle().map(Some),
            (None, None) => Ok(None),
        };
        Ok(State {
            pid: parts.pid,
            handle: handle.map_err(|error| os_error(py, &error, None))?,
            exit: parts.exit.map(|exit| match exit.status {
                ExitStatus::Exited(code) => (0, code),
                ExitStatus::Signaled { signal, core } => {
                    (1 + u8::from(core), signal.cast_unsigned())
                }
                ExitStatus::Lost => (3, 0),
            }),
            usage: (micros(usage.user), micros(usage.system), usage.max_resident),
            leads: parts.leads,
            kill_on_drop: parts.kill_on_drop,
            stdin: parts.stdin.as_ref().map(|input| {
                let queued = PyBytes::new(py, &input.queued).unbind();
                (sys::raw(&input.handle), queued, input.closing)
            }),
            stdout: reading(&parts.stdout),
            stderr: reading(&parts.stderr),
        })
    }

    fn parts(self, py: Python<'_>) -> std::io::Result<DetachedChild> {
        let reading = |reading: Option<Reading>| {
            let output = reading.map(|(handle, ahead, limit)| {
                std::io::Result::Ok(DetachedOutput {
                    handle: handle.map(sys::duplicate).transpose()?,
                    ahead: ahead.as_bytes(py).to_vec(),
                    limit,
                })
            });
            output.transpose()
        };
        let stdin = self.stdin.map(|(handle, queued, closing)| {
            std::io::Result::Ok(DetachedStdin {
                handle: sys::duplicate(handle)?,
                queued: queued.as_bytes(py).to_vec(),
                closing,
            })
        });
        let (stdin, stdout) = (stdin.transpose()?, reading(self.stdout)?);
        let stderr = reading(self.stderr)?;
        let handle = self.handle.map(sys::duplicate).transpose()?;
        let (process, group) = match self.exit {
            None => (Some(sys::Process::from_detached(self.pid, handle)?), None),
            Some(_) => (None, handle.map(sys::Group::from_detached).transpose()?),
        };
        let leads = self.leads || process.as_ref().is_some_and(sys::Process::leads_group);
        Ok(DetachedChild {
            pid: self.pid,
            process,
            group,
            exit: self.exit.map(|exit| exited(exit, self.usage)),
            leads,
            kill_on_drop: self.kill_on_drop,
            stdin,
            stdout,
            stderr,
        })
    }
}

fn exited((kind, number): (u8, u32), (user, system, max_resident): (u64, u64, u64)) -> Exit {
    let status = match kind {
        0 => ExitStatus::Exited(number),
        1 | 2 => ExitStatus::Signaled {
            signal: number.cast_signed(),
            core: kind == 2,
        },
        _ => ExitStatus::Lost,
    };
    let usage = Usage {
        user: Duration::from_micros(user),
        system: Duration::from_micros(system),
        max_resident,
    };
    Exit { status, usage }
}
