//! Python's bytes on their way into a pipe.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::bytes_sink::new_bytes;
use crate::stream::buffer::{OutOfMemory, copy_of};
use crate::stream::write_pipe::WritePipe;
use crate::stream::writer::Piece;

/// A rest smaller than this is copied rather than its object kept.
const COPY: usize = 4 * 1024;

/// `bytes` as they are; a copy of a `bytearray` or `memoryview`, whose contents may change, and of a subclass of
/// `bytes`, whose finalizer could come back here when the writer, under its lock, lets go of what is written.
pub(super) fn to_bytes<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    use pyo3::types::{PyByteArray, PyMemoryView};
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return Ok(bytes.clone());
    }
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(new_bytes(data.py(), bytes.as_bytes())?.into_bound(data.py()));
    }
    if data.is_instance_of::<PyByteArray>() || data.is_instance_of::<PyMemoryView>() {
        let copy = data.py().get_type::<PyBytes>().call1((data,))?;
        return copy.cast_into().map_err(Into::into);
    }
    let name = data.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "data: expecting a bytes-like instance, got {name}"
    )))
}

/// Writes now what the pipe takes, and queues the rest. False if writing has ended: the bytes are dropped.
///
/// On error nothing was written.
pub(super) fn write(pipe: &WritePipe, data: &Bound<'_, PyBytes>) -> Result<bool, OutOfMemory> {
    let bytes = data.as_bytes();
    pipe.write(bytes, |written| {
        let rest = bytes.get(written..).unwrap_or_default();
        let copied = (rest.len() <= COPY).then(|| copy_of(rest));
        match copied {
            Some(Ok(copied)) => (Box::new(copied), 0),
            // Where there is no memory for a copy, the object is kept after all.
            _ => {
                let kept: Piece = Box::new(PyBackedBytes::from(data.clone()));
                (kept, written)
            }
        }
    })
}
