//! The compiled classes of a child: which Python classes are made for it, and of what.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::child_lifetime::ChildLifetime;
use super::constructor_token::ConstructorToken;
use super::event_loop::LoopBinding;
use super::process::Process;
use super::reader::ReaderPart;
use super::stream::Stream;
use super::writer::WriterPart;
use crate::process::guard::ChildGuard;
use crate::process::spawn::Pipes;
use crate::stream::read_pipe::ReadPipe;
use crate::stream::write_pipe::WritePipe;

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
    #[cfg(Py_3_12)]
    super::direct_call::install(reader.bind(py))?;
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

/// An object of a class, made of `part`.
fn make<'py>(
    py: Python<'py>,
    class: &Py<PyType>,
    part: impl Send + Sync + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let class = class.bind(py);
    let token = ConstructorToken::new(part);
    class.call_method1(pyo3::intern!(py, "__new__"), (class, token))
}

/// The Python object of a pipe's reading end that is no child's.
pub(super) fn make_reader(
    py: Python<'_>,
    binding: &Arc<LoopBinding>,
    pipe: ReadPipe,
) -> PyResult<Py<PyAny>> {
    let part: ReaderPart = (binding.clone(), Stream::new(pipe, None));
    Ok(make(py, &classes(py)?.reader, part)?.unbind())
}

/// The Python object of a pipe's writing end that is no child's.
pub(super) fn make_writer(
    py: Python<'_>,
    binding: &Arc<LoopBinding>,
    pipe: WritePipe,
) -> PyResult<Py<PyAny>> {
    let part: WriterPart = (binding.clone(), pipe, None);
    Ok(make(py, &classes(py)?.writer, part)?.unbind())
}

/// The Python object of a child that runs.
pub(super) fn make_process(
    py: Python<'_>,
    binding: &Arc<LoopBinding>,
    guard: ChildGuard,
    pipes: Pipes,
) -> PyResult<Py<PyAny>> {
    let guard = Arc::new(ChildLifetime::new(guard));
    let classes = classes(py)?;
    let stream = |pipe: Option<_>| pipe.map(|pipe| Stream::new(pipe, Some(guard.clone())));
    let (stdout, stderr) = (stream(pipes.stdout), stream(pipes.stderr));
    let stdin = pipes.stdin;
    let reader = |stream: &Option<Arc<Stream>>| {
        let part = stream
            .as_ref()
            .map(|stream| -> ReaderPart { (binding.clone(), stream.clone()) });
        part.map(|part| make(py, &classes.reader, part)).transpose()
    };
    let (reader_out, reader_err) = (reader(&stdout)?, reader(&stderr)?);
    let part = stdin
        .as_ref()
        .map(|pipe| -> WriterPart { (binding.clone(), pipe.clone(), Some(guard.clone())) });
    let writer = part
        .map(|part| make(py, &classes.writer, part))
        .transpose()?;
    let pid = guard.pid();
    let process = Process {
        guard,
        binding: binding.clone(),
        stdin,
        stdout,
        stderr,
    };
    let object = make(py, &classes.process, process)?;
    object.setattr(pyo3::intern!(py, "pid"), pid)?;
    object.setattr(pyo3::intern!(py, "stdin"), writer)?;
    object.setattr(pyo3::intern!(py, "stdout"), reader_out)?;
    object.setattr(pyo3::intern!(py, "stderr"), reader_err)?;
    Ok(object.unbind())
}
