//! Ends of pipes that belong to no child: what `connect_read_pipe` and `connect_write_pipe` are given.

use std::io::IsTerminal;

use pyo3::prelude::*;

use super::classes::{make_reader, make_writer};
use super::errors::os_error;
use super::event_loop::LoopBinding;
use crate::stream::read_pipe::ReadPipe;
use crate::stream::reader::LINE_CEILING;
use crate::stream::write_pipe::WritePipe;
use crate::sys;

/// A reader of a copy of this descriptor, which is made non-blocking. Nothing is read ahead.
#[pyfunction]
pub fn open_reader(py: Python<'_>, fd: sys::RawHandle) -> PyResult<Py<PyAny>> {
    let binding = LoopBinding::current(py)?;
    let open = || {
        let (end, has_input) = sys::PipeReader::foreign(sys::duplicate(fd)?)?;
        let pipe = ReadPipe::new(&binding.reactor, end, LINE_CEILING, 0)?;
        pipe.lock().mark_foreign(has_input);
        Ok(pipe)
    };
    let pipe = open().map_err(|error| os_error(py, &error, None))?;
    make_reader(py, &binding, pipe)
}

/// A writer to a copy of this descriptor, which is made non-blocking.
#[pyfunction]
pub fn open_writer(py: Python<'_>, fd: sys::RawHandle) -> PyResult<Py<PyAny>> {
    let binding = LoopBinding::current(py)?;
    let end = sys::duplicate(fd).map_err(|error| os_error(py, &error, None))?;
    let terminal = end.is_terminal();
    let pipe = end
        .try_into()
        .and_then(|end| WritePipe::new(&binding.reactor, end))
        .map_err(|error| os_error(py, &error, None))?;
    if terminal {
        pipe.ignore_hangup();
    }
    make_writer(py, &binding, pipe)
}
