//! `Process`: a child, as Python sees it.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyProcessLookupError, PyResourceWarning, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use super::awaitable::Awaitable;
use super::errors::{in_drop, os_error};
use super::event_loop::LoopBinding;
use super::interop::Detached;
use super::operations::{CommunicateOp, WaitOp};
use super::popen;
use super::reader::{Stream, to_bytes};
use crate::process::reaper::ChildGuard;
use crate::process::spawn::Pipes;
use crate::process::transfer::DetachedChild;
use crate::status::ExitStatus;
use crate::stream::pipe::{ReadPipe, WritePipe};

/// The classes of the Python package that are made for a child.
struct Classes {
    process: Py<PyType>,
    reader: Py<PyType>,
    writer: Py<PyType>,
}

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

/// Tells which subclasses of the classes here are made for a child. Called once, on import.
#[pyfunction]
#[pyo3(name = "_register_classes")]
pub fn register_classes(
    py: Python<'_>,
    process: Py<PyType>,
    reader: Py<PyType>,
    writer: Py<PyType>,
) -> PyResult<()> {
    let classes = Classes {
        process,
        reader,
        writer,
    };
    CLASSES
        .set(py, classes)
        .map_err(|_| PyRuntimeError::new_err("already registered"))
}

fn classes(py: Python<'_>) -> PyResult<&Classes> {
    let classes = CLASSES.get(py);
    classes.ok_or_else(|| PyRuntimeError::new_err("import procio first"))
}

/// What the process, its streams and their operations hold: while one of them is there, the child
/// lives on. The last one to go says so, and lets it be killed.
pub(super) struct ChildLifetime(Arc<ChildGuard>, AtomicBool);

impl ChildLifetime {
    pub(super) fn held(&self) -> Arc<ChildGuard> {
        self.0.clone()
    }

    /// The return code, once it is known. That it is only a stand-in for a status which somebody
    /// else took is worth a warning in asyncio's log, once, as in asyncio.
    pub(super) fn returncode(&self, py: Python<'_>) -> PyResult<Option<i64>> {
        let Some(exit) = self.exit() else {
            return Ok(None);
        };
        self.forget_group();
        if exit.status == ExitStatus::Lost && !self.1.swap(true, Ordering::Relaxed) {
            static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let logger = LOGGER.import(py, "asyncio.log", "logger")?;
            let text = "child process pid %d exit status already read: will report returncode 255";
            logger.call_method1("warning", (text, self.pid()))?;
        }
        Ok(Some(exit.status.returncode()))
    }
}

impl Deref for ChildLifetime {
    type Target = ChildGuard;

    fn deref(&self) -> &ChildGuard {
        &self.0
    }
}

impl Drop for ChildLifetime {
    fn drop(&mut self) {
        if self.0.is_unattended() {
            let pid = self.0.pid();
            in_drop(|py| warn_running(py, pid));
        }
    }
}

/// What a constructor is given: a part of a child that has none of Python's objects yet.
#[pyclass(frozen, module = "procio._core")]
pub struct ConstructorToken(Mutex<Option<Part>>);

enum Part {
    Reader(Arc<LoopBinding>, Arc<Stream>),
    Writer(Arc<LoopBinding>, Arc<WritePipe>, Option<Arc<ChildLifetime>>),
    Process(Process),
}

impl ConstructorToken {
    fn make<'py>(py: Python<'py>, class: &Py<PyType>, part: Part) -> PyResult<Bound<'py, PyAny>> {
        let handle = ConstructorToken(Mutex::new(Some(part)));
        let class = class.bind(py);
        class.call_method1(pyo3::intern!(py, "__new__"), (class, handle))
    }

    fn take(&self) -> PyResult<Part> {
        let part = crate::sync::lock(&self.0).take();
        part.ok_or_else(|| PyRuntimeError::new_err("this handle was used already"))
    }

    pub(super) fn take_reader(&self) -> PyResult<(Arc<LoopBinding>, Arc<Stream>)> {
        match self.take()? {
            Part::Reader(binding, stream) => Ok((binding, stream)),
            _ => Err(PyRuntimeError::new_err("not the handle of a reader")),
        }
    }

    #[allow(clippy::type_complexity)]
    pub(super) fn take_writer(
        &self,
    ) -> PyResult<(Arc<LoopBinding>, Arc<WritePipe>, Option<Arc<ChildLifetime>>)> {
        match self.take()? {
            Part::Writer(binding, pipe, guard) => Ok((binding, pipe, guard)),
            _ => Err(PyRuntimeError::new_err("not the handle of a writer")),
        }
    }
}

/// The Python object of a pipe's reading end that is no child's.
pub(super) fn make_reader(
    py: Python<'_>,
    binding: &Arc<LoopBinding>,
    pipe: ReadPipe,
) -> PyResult<Py<PyAny>> {
    let part = Part::Reader(binding.clone(), Stream::new(pipe, None));
    Ok(ConstructorToken::make(py, &classes(py)?.reader, part)?.unbind())
}

/// The Python object of a pipe's writing end that is no child's.
pub(super) fn make_writer(
    py: Python<'_>,
    binding: &Arc<LoopBinding>,
    pipe: WritePipe,
) -> PyResult<Py<PyAny>> {
    let part = Part::Writer(binding.clone(), Arc::new(pipe), None);
    Ok(ConstructorToken::make(py, &classes(py)?.writer, part)?.unbind())
}

/// A child process, with the methods of `asyncio.subprocess.Process`.
#[pyclass(subclass, frozen, module = "procio._core", weakref)]
pub struct Process {
    guard: Arc<ChildLifetime>,
    binding: Arc<LoopBinding>,
    stdin: Option<Arc<WritePipe>>,
    stdout: Option<Arc<Stream>>,
    stderr: Option<Arc<Stream>>,
}

/// The Python object of a child that runs.
pub(super) fn make_process(
    py: Python<'_>,
    binding: &Arc<LoopBinding>,
    guard: Arc<ChildGuard>,
    pipes: Pipes,
) -> PyResult<Py<PyAny>> {
    let guard = Arc::new(ChildLifetime(guard, AtomicBool::new(false)));
    let classes = classes(py)?;
    let stream = |pipe: Option<_>| pipe.map(|pipe| Stream::new(pipe, Some(guard.clone())));
    let (stdout, stderr) = (stream(pipes.stdout), stream(pipes.stderr));
    let stdin = pipes.stdin.map(Arc::new);
    let reader = |stream: &Option<Arc<Stream>>| {
        let part = stream
            .as_ref()
            .map(|stream| Part::Reader(binding.clone(), stream.clone()));
        part.map(|part| ConstructorToken::make(py, &classes.reader, part))
            .transpose()
    };
    let (reader_out, reader_err) = (reader(&stdout)?, reader(&stderr)?);
    let part = stdin
        .as_ref()
        .map(|pipe| Part::Writer(binding.clone(), pipe.clone(), Some(guard.clone())));
    let writer = part
        .map(|part| ConstructorToken::make(py, &classes.writer, part))
        .transpose()?;
    let pid = guard.pid();
    let process = Process {
        guard,
        binding: binding.clone(),
        stdin,
        stdout,
        stderr,
    };
    let object = ConstructorToken::make(py, &classes.process, Part::Process(process))?;
    object.setattr(pyo3::intern!(py, "pid"), pid)?;
    object.setattr(pyo3::intern!(py, "stdin"), writer)?;
    object.setattr(pyo3::intern!(py, "stdout"), reader_out)?;
    object.setattr(pyo3::intern!(py, "stderr"), reader_err)?;
    Ok(object.unbind())
}

impl Process {
    fn sent(&self, py: Python<'_>, result: std::io::Result<()>) -> PyResult<()> {
        result.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => PyProcessLookupError::new_err(()),
            _ => os_error(py, &error, None),
        })
    }
}

#[pymethods]
impl Process {
    #[new]
    fn new(handle: &Bound<'_, ConstructorToken>) -> PyResult<Self> {
        match handle.get().take()? {
            Part::Process(process) => Ok(process),
            _ => Err(PyRuntimeError::new_err("not the handle of a process")),
        }
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

    /// Waits for the end of the process, whoever still holds its pipes, and returns `returncode`.
    /// Cancelled, it loses nothing.
    fn wait(&self) -> Awaitable {
        Awaitable::new(
            &self.binding,
            WaitOp {
                guard: self.guard.clone(),
                key: None,
            },
        )
    }

    /// Writes `input` (bytes, a bytearray or a memoryview) to standard input and closes it, reads
    /// standard output and error to their ends, waits for the end of the process, and returns
    /// `(stdout, stderr)`, with None for what is no pipe. That the child does not read its input
    /// is no error. Cancelled, it loses nothing: the next call returns everything.
    #[pyo3(signature = (input=None))]
    fn communicate(&self, input: Option<&Bound<'_, PyAny>>) -> PyResult<Awaitable> {
        let input = input
            .map(to_bytes)
            .transpose()?
            .map(Bound::<PyBytes>::unbind);
        let op = CommunicateOp {
            guard: self.guard.clone(),
            stdin: self.stdin.clone(),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            input,
            inner: Mutex::default(),
            memory: true,
        };
        Ok(Awaitable::new(&self.binding, op))
    }

    /// Takes the child out of this loop, for a reactor elsewhere. Raises RuntimeError while an
    /// operation is under way.
    fn _detach(&self, py: Python<'_>) -> PyResult<Detached> {
        let pipe = |stream: &Option<Arc<Stream>>| stream.as_ref().map(|s| s.pipe.clone());
        let (stdout, stderr) = (pipe(&self.stdout), pipe(&self.stderr));
        let (reads, stdin) = ([&stdout, &stderr], self.stdin.as_deref());
        let claimed = self.guard.is_awaited()
            || reads.into_iter().flatten().any(|pipe| pipe.lock().claimed)
            || stdin.is_some_and(|stdin| stdin.lock().is_awaited());
        if claimed {
            let text = "the process cannot be handed over while operations are under way";
            return Err(PyRuntimeError::new_err(text));
        }
        if self.guard.is_detached() {
            return Err(PyRuntimeError::new_err("the process was handed over"));
        }
        let parts = DetachedChild::take(&self.guard, stdin, stdout.as_deref(), stderr.as_deref());
        let parts = parts.map_err(|error| os_error(py, &error, None))?;
        Ok(Detached::of(parts))
    }

    /// Sends a signal. Raises ProcessLookupError once `returncode` is known; before that it may
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
        self.sent(py, self.guard.signal(number))
    }

    /// Sends SIGTERM. Raises as `send_signal`.
    fn terminate(&self, py: Python<'_>) -> PyResult<()> {
        self.sent(py, self.guard.signal(15))
    }

    /// Sends SIGKILL; on Windows the same as `terminate`. Raises as `send_signal`.
    fn kill(&self, py: Python<'_>) -> PyResult<()> {
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

/// The warning that asyncio gives for a transport that was not closed.
fn warn_running(py: Python<'_>, pid: u32) {
    let Ok(text) = std::ffi::CString::new(format!("unclosed <Process {pid} running>")) else {
        return;
    };
    if let Err(error) = PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &text, 1) {
        error.write_unraisable(py, None);
    }
}
