//! `Process`: a child, as Python sees it.

use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyNotImplementedError, PyProcessLookupError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::awaitable::Awaitable;
use super::child_lifetime::ChildLifetime;
use super::constructor_token::ConstructorToken;
use super::detached::Detached;
use super::errors::os_error;
use super::event_loop::LoopBinding;
use super::merged::MergedLines;
use super::operations::{CommunicateOp, WaitOp};
use super::popen;
use super::python_bytes::to_bytes;
use super::stop::StopOp;
use super::stream::{Stream, StreamReader};
use super::writer::StreamWriter;
use crate::process::transfer::DetachedChild;
use crate::stream::write_pipe::WritePipe;
use crate::sys;

/// A child process, with the methods of `asyncio.subprocess.Process`.
#[pyclass(subclass, frozen, module = "procio._core", weakref)]
pub struct Process {
    pub(super) guard: Arc<ChildLifetime>,
    pub(super) binding: Arc<LoopBinding>,
    pub(super) stdin: Option<WritePipe>,
    pub(super) stdout: Option<Arc<Stream>>,
    pub(super) stderr: Option<Arc<Stream>>,
}

impl Process {
    /// Popen looks first whether the child has ended, and then sends nothing.
    fn audit(&self, py: Python<'_>, signal: i32) -> PyResult<()> {
        match self.guard.exit() {
            Some(_) => Ok(()),
            None => audit(py, "os.kill", self.guard.pid(), signal),
        }
    }

    fn sent(&self, py: Python<'_>, result: std::io::Result<()>) -> PyResult<()> {
        result.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => PyProcessLookupError::new_err(()),
            _ => os_error(py, &error, None),
        })
    }
}

/// Raises the audit event of the function by which Popen would send the signal. (On Windows it
/// terminates by a handle, and has no such event.)
fn audit(py: Python<'_>, event: &str, pid: u32, signal: i32) -> PyResult<()> {
    if cfg!(unix) {
        py.import("sys")?
            .call_method1("audit", (event, pid, signal))?;
    }
    Ok(())
}

/// The stream, unless the program has set the attribute to None: then it serves that stream itself, as with
/// asyncio, whose methods look at the attributes. `replaced` if it is another object, which only that object's
/// methods can serve.
fn unless_taken<'a, S>(
    process: &Bound<'_, Process>,
    name: &Bound<'_, PyString>,
    stream: &'a Option<S>,
    replaced: &mut bool,
) -> PyResult<Option<&'a S>> {
    let attribute = process.getattr(name)?;
    if attribute.is_none() {
        return Ok(None);
    }
    *replaced |= stream.is_none()
        || !(attribute.is_instance_of::<StreamReader>()
            || attribute.is_instance_of::<StreamWriter>());
    Ok(stream.as_ref())
}

#[pymethods]
impl Process {
    #[new]
    fn new(token: &Bound<'_, ConstructorToken>) -> PyResult<Self> {
        token.get().take("a process")
    }

    /// The exit code; the negative number of the signal that ended it; None while it runs.
    #[getter]
    fn returncode(&self, py: Python<'_>) -> PyResult<Option<i64>> {
        self.guard.returncode(py)
    }

    /// Looks whether it has ended, and returns `returncode`.
    fn _poll(&self, py: Python<'_>) -> PyResult<Option<i64>> {
        let _ = self.guard.try_wait();
        self.binding.run_completions(py)?;
        self.guard.returncode(py)
    }

    // Documented by procio.Process, through which it is called.
    fn wait(&self) -> Awaitable {
        Awaitable::new(
            &self.binding,
            WaitOp {
                guard: self.guard.clone(),
                key: None,
            },
        )
    }

    // Documented by procio.Process, through which it is called.
    #[pyo3(signature = (input=None))]
    fn communicate<'py>(
        slf: &Bound<'py, Self>,
        input: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let mut replaced = false;
        let stdin = unless_taken(slf, intern!(py, "stdin"), &this.stdin, &mut replaced)?;
        let stdout = unless_taken(slf, intern!(py, "stdout"), &this.stdout, &mut replaced)?;
        let stderr = unless_taken(slf, intern!(py, "stderr"), &this.stderr, &mut replaced)?;
        if replaced {
            let module = py.import("procio._communicate")?;
            return module.call_method1("by_attributes", (slf, input));
        }
        let input = input
            .map(to_bytes)
            .transpose()?
            .map(Bound::<PyBytes>::unbind);
        let op = CommunicateOp {
            guard: this.guard.clone(),
            stdin: stdin.cloned(),
            stdout: stdout.cloned(),
            stderr: stderr.cloned(),
            input,
            inner: Mutex::default(),
            failure: None,
            told: None,
        };
        let awaitable = Bound::new(py, Awaitable::new(&this.binding, op))?;
        Ok(awaitable.into_any())
    }

    /// Send a signal to the process group that it leads, because it was started with
    /// `start_new_session` or `process_group=0`. Raises ProcessLookupError when it leads none, the
    /// group has ended, or `returncode` is known. It never reaches another group.
    fn send_signal_to_group(&self, py: Python<'_>, signal: &Bound<'_, PyAny>) -> PyResult<()> {
        let number = popen::signal_number(signal)?;
        audit(py, "os.killpg", self.guard.pid(), number)?;
        self.sent(py, self.guard.signal_group(number))
    }

    /// Return the descriptor that names the process (a pidfd), readable once it has ended. It belongs to
    /// the process, which closes it when its last reference goes. Raises ProcessLookupError for a
    /// process that was reaped before it was asked for, NotImplementedError where the system has none.
    fn fileno(&self, py: Python<'_>) -> PyResult<sys::RawHandle> {
        let shown = self.guard.expose();
        shown.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => PyProcessLookupError::new_err(()),
            std::io::ErrorKind::Unsupported => {
                PyNotImplementedError::new_err("this system has no descriptors for processes")
            }
            _ => os_error(py, &error, None),
        })
    }

    /// User and system time in seconds, and the largest resident set in bytes, if it is known; None until the end.
    fn _usage(&self) -> Option<(f64, f64, Option<u64>)> {
        let usage = self.guard.exit()?.usage;
        Some((
            usage.user.as_secs_f64(),
            usage.system.as_secs_f64(),
            usage.max_resident,
        ))
    }

    /// Asks the group to end, waits for the leader, kills what is left after `grace` seconds, and
    /// reaps. With `wait_first` the process is asked only if the wait for its end is cancelled.
    fn _stop(&self, signal: i32, grace: f64, wait_first: bool) -> Awaitable {
        let op = StopOp {
            binding: self.binding.clone(),
            guard: self.guard.clone(),
            signal,
            grace,
            wait_first,
            teardown: None,
            timer: None,
            follow_up: None,
        };
        Awaitable::new(&self.binding, op)
    }

    /// The lines of both outputs as they arrive, as `(fd, line)`.
    fn _merged(slf: &Bound<'_, Self>) -> PyResult<MergedLines> {
        let (py, this) = (slf.py(), slf.get());
        let mut replaced = false;
        let stdout = unless_taken(slf, intern!(py, "stdout"), &this.stdout, &mut replaced)?;
        let stderr = unless_taken(slf, intern!(py, "stderr"), &this.stderr, &mut replaced)?;
        if replaced {
            let text = "a stream of this process has been replaced by another object";
            return Err(PyRuntimeError::new_err(text));
        }
        MergedLines::new(py, &this.binding, stdout, stderr)
    }

    /// Kills it with its group, without waiting.
    fn _kill_with_group(&self) {
        // What another user's process has become cannot be killed, and is left alone.
        let _ = self.guard.kill_with_group();
    }

    /// Takes the child out of this loop, for a reactor elsewhere. Raises RuntimeError while an
    /// operation is under way.
    fn _detach(&self, py: Python<'_>) -> PyResult<Detached> {
        let pipe = |stream: &Option<Arc<Stream>>| stream.as_ref().map(|s| s.pipe.clone());
        let (stdout, stderr) = (pipe(&self.stdout), pipe(&self.stderr));
        let (reads, stdin) = ([&stdout, &stderr], self.stdin.as_ref());
        let claimed = self.guard.is_awaited()
            || reads
                .into_iter()
                .flatten()
                .any(|pipe| pipe.lock().is_claimed())
            || stdin.is_some_and(|stdin| stdin.lock().is_awaited());
        if claimed {
            let text = "the process cannot be handed over while operations are under way";
            return Err(PyRuntimeError::new_err(text));
        }
        if self.guard.is_detached() {
            return Err(PyRuntimeError::new_err("the process was handed over"));
        }
        if self.guard.is_pinned() {
            let text = "the process is owned by a block, and cannot be handed over";
            return Err(PyRuntimeError::new_err(text));
        }
        let parts = DetachedChild::take(&self.guard, stdin, stdout.as_ref(), stderr.as_ref());
        let parts = parts.map_err(|error| os_error(py, &error, None))?;
        Ok(Detached::of(parts))
    }

    /// Send a signal. Raises ProcessLookupError once `returncode` is known; before that it may
    /// reach a child that has just ended, and nothing happens. It never reaches another process.
    ///
    /// On Windows SIGTERM ends the process, CTRL_C_EVENT and CTRL_BREAK_EVENT go to its process
    /// group, and any other signal is a ValueError.
    fn send_signal(&self, py: Python<'_>, signal: &Bound<'_, PyAny>) -> PyResult<()> {
        let number = match popen::signal_number(signal) {
            Err(_) if self.guard.exit().is_some() => {
                return Err(PyProcessLookupError::new_err(()));
            }
            number => number?,
        };
        self.audit(py, number)?;
        self.sent(py, self.guard.signal(number))
    }

    /// Send SIGTERM. Raises as `send_signal`.
    fn terminate(&self, py: Python<'_>) -> PyResult<()> {
        self.audit(py, 15)?;
        self.sent(py, self.guard.signal(15))
    }

    /// Send SIGKILL; on Windows the same as `terminate`. Raises as `send_signal`.
    fn kill(&self, py: Python<'_>) -> PyResult<()> {
        self.audit(py, 9)?;
        self.sent(py, self.guard.kill())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!(
            "<{} {}>",
            slf.get_type().name()?,
            slf.get().guard.pid()
        ))
    }
}
