//! A child between two reactors, and the form in which it crosses from one copy of this crate to
//! another.

use std::sync::Mutex;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::bytes_sink::new_bytes;
use super::errors::os_error;
use crate::child::Child;
use crate::process::transfer::{DetachedChild, DetachedOutput, DetachedStdin};
use crate::status::{Exit, ExitStatus, Usage};
use crate::stream::buffer::copy_of;
use crate::sync::lock;
use crate::sys;

/// A child between two reactors. Another copy of this crate may have made it: what is common to
/// both are the three methods.
#[pyclass(frozen, module = "procio._core")]
pub struct Detached(Mutex<Option<DetachedChild>>);

/// The wire format between two copies of this crate, the extension module's and the host program's.
/// The descriptors are borrowed: the receiver duplicates them before it calls `_claimed`.
#[derive(FromPyObject, IntoPyObject)]
#[pyo3(from_item_all)]
pub struct WireChild {
    pid: u32,
    /// What names the process, or else what is left of its group.
    handle: Option<sys::RawHandle>,
    /// How it ended: the kind, which is 0 for exited, 1 for a signal, 2 for a signal with a core
    /// dump and 3 for lost, and the exit code or the signal.
    exit: Option<(u8, u32)>,
    /// User and system time in microseconds, and the largest resident set in bytes.
    usage: (u64, u64, Option<u64>),
    leads: bool,
    kill_on_drop: bool,
    /// The descriptor, what is queued, and whether that is all.
    stdin: Option<WireWriter>,
    stdout: Option<WireReader>,
    stderr: Option<WireReader>,
}

/// The descriptor, what was read ahead, and the longest line.
type WireWriter = (sys::RawHandle, Py<PyBytes>, bool);
type WireReader = (Option<sys::RawHandle>, Py<PyBytes>, usize);

impl Detached {
    pub(super) fn of(parts: DetachedChild) -> Self {
        Detached(Mutex::new(Some(parts)))
    }

    pub(super) fn new(py: Python<'_>, mut child: Child) -> PyResult<Self> {
        let parts = child.take_parts();
        parts
            .map(Detached::of)
            .map_err(|error| os_error(py, &error, None))
    }

    pub(super) fn attach(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
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
    fn _state(&self, py: Python<'_>) -> PyResult<WireChild> {
        match &*lock(&self.0) {
            Some(parts) => WireChild::new(py, parts),
            None => Err(PyRuntimeError::new_err("the child was handed over already")),
        }
    }

    /// Gives up the child: the receiver has taken it over.
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

/// Takes over a detached child, which another copy of this crate may have made.
pub(super) fn claim(detached: &Bound<'_, PyAny>) -> PyResult<DetachedChild> {
    let py = detached.py();
    let state: WireChild = detached.call_method0("_state")?.extract()?;
    let parts = state.parts(py);
    let parts = parts.map_err(|error| os_error(py, &error, None))?;
    detached.call_method0("_claimed")?;
    Ok(parts)
}

impl WireChild {
    fn new(py: Python<'_>, parts: &DetachedChild) -> PyResult<Self> {
        let usage = parts.exit.map(|exit| exit.usage).unwrap_or_default();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let reading = |output: &Option<DetachedOutput>| {
            let wire = |output: &DetachedOutput| -> PyResult<WireReader> {
                let handle = output.handle.as_ref().map(sys::raw);
                Ok((handle, new_bytes(py, &output.ahead)?, output.limit))
            };
            output.as_ref().map(wire).transpose()
        };
        let writing = |input: &DetachedStdin| -> PyResult<WireWriter> {
            let queued = new_bytes(py, &input.queued)?;
            Ok((sys::raw(&input.handle), queued, input.closing))
        };
        let handle = match (&parts.process, &parts.group) {
            (Some(process), _) => process.handle(),
            (None, Some(group)) => group.handle().map(Some),
            (None, None) => Ok(None),
        };
        Ok(WireChild {
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
            stdin: parts.stdin.as_ref().map(writing).transpose()?,
            stdout: reading(&parts.stdout)?,
            stderr: reading(&parts.stderr)?,
        })
    }

    fn parts(self, py: Python<'_>) -> std::io::Result<DetachedChild> {
        let reading = |reading: Option<WireReader>| {
            let output = reading.map(|(handle, ahead, limit)| {
                std::io::Result::Ok(DetachedOutput {
                    handle: handle.map(sys::duplicate).transpose()?,
                    ahead: copy_of(ahead.as_bytes(py))?,
                    limit,
                })
            });
            output.transpose()
        };
        let stdin = self.stdin.map(|(handle, queued, closing)| {
            std::io::Result::Ok(DetachedStdin {
                handle: sys::duplicate(handle)?,
                queued: copy_of(queued.as_bytes(py))?,
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

fn exited(
    (kind, number): (u8, u32),
    (user, system, max_resident): (u64, u64, Option<u64>),
) -> Exit {
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
