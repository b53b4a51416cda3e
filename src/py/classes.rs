//! The compiled classes of a child: which Python classes are made for it, what their constructors
//! are given, and how they are made.

use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::child_lifetime::ChildLifetime;
use super::event_loop::LoopBinding;
use super::process::Process;
use super::reader::Stream;
use crate::process::reaper::ChildGuard;
use crate::process::spawn::Pipes;
use crate::stream::pipe::{ReadPipe, WritePipe};
use crate::sync::lock;

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
        let part = lock(&self.0).take();
        part.ok_or_else(|| PyRuntimeError::new_err("this handle was used already"))
    }

    pub(super) fn take_process(&self) -> PyResult<Process> {
        match self.take()? {
            Part::Process(process) => Ok(process),
            _ => Err(PyRuntimeError::new_err("not the handle of a process")),
        }
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

/// The Python object of a child that runs.
pub(super) fn make_process(
    py: Python<'_>,
    binding: &Arc<LoopBinding>,
    guard: Arc<ChildGuard>,
    pipes: Pipes,
) -> PyResult<Py<PyAny>> {
    let guard = Arc::new(ChildLifetime::new(guard));
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
