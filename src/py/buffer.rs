//! A `bytes` object that grows.

use std::ptr;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::{OutOfMemory, Sink};

const FIRST: usize = 16 * 1024;

// On Windows every function is imported from a library by name.
#[cfg_attr(
    all(windows, Py_3_11, not(Py_3_12)),
    link(name = "python311", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_12, not(Py_3_13)),
    link(name = "python312", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_13, not(Py_3_14), not(Py_GIL_DISABLED)),
    link(name = "python313", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_13, not(Py_3_14), Py_GIL_DISABLED),
    link(name = "python313t", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_14, not(Py_3_15), not(Py_GIL_DISABLED)),
    link(name = "python314", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_14, not(Py_3_15), Py_GIL_DISABLED),
    link(name = "python314t", kind = "raw-dylib")
)]
unsafe extern "C" {
    /// Documented in Python's C API; PyO3 does not export it.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// A `bytes` object under construction: output is collected right where Python will find it, and
/// is never held twice.
#[derive(Default)]
pub(super) struct BytesSink {
    /// Seen by nobody else while it grows: its reference count is 1.
    bytes: Option<Py<PyBytes>>,
    length: usize,
    capacity: usize,
}

impl BytesSink {
    /// The finished object.
    pub(super) fn finish(mut self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        let length = self.length;
        match self.resize(py, length) {
            Ok(()) => Ok(self
                .bytes
                .take()
                .unwrap_or_else(|| PyBytes::new(py, b"").unbind())),
            Err(OutOfMemory) => Err(PyMemoryError::new_err(())),
        }
    }

    fn resize(&mut self, py: Python<'_>, capacity: usize) -> Result<(), OutOfMemory> {
        let Ok(size) = ffi::Py_ssize_t::try_from(capacity) else {
            return Err(OutOfMemory);
        };
        let mut object = match self.bytes.take() {
            Some(bytes) if capacity == self.capacity => {
                self.bytes = Some(bytes);
                return Ok(());
            }
            Some(bytes) => bytes.into_ptr(),
            None if capacity == 0 => return Ok(()),
            // SAFETY: attached; with a null pointer the contents are left uninitialised.
            None => unsafe { ffi::PyBytes_FromStringAndSize(ptr::null(), size) },
        };
        // SAFETY: attached; `object` is null or the only reference to a bytes object that nobody
        // has hashed. On failure the object is gone, the pointer null, and an exception set.
        if object.is_null() || unsafe { _PyBytes_Resize(&raw mut object, size) } != 0 {
            drop(PyErr::take(py));
            (self.length, self.capacity) = (0, 0);
            return Err(OutOfMemory);
        }
        // SAFETY: a new reference to a bytes object.
        let object = unsafe { Bound::from_owned_ptr(py, object).cast_into_unchecked() };
        self.bytes = Some(object.unbind());
        self.capacity = capacity;
        Ok(())
    }
}

impl Sink for BytesSink {
    fn append(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        if bytes.is_empty() {
            return Ok(());
        }
        let needed = self.length.checked_add(bytes.len()).ok_or(OutOfMemory)?;
        Python::attach(|py| {
            if needed > self.capacity {
                let grown = self.capacity.saturating_add(self.capacity / 2);
                self.resize(py, needed.max(grown).max(FIRST))?;
            }
            let Some(object) = &self.bytes else {
                return Err(OutOfMemory);
            };
            // SAFETY: the object has `capacity` bytes, of which those from `length` on are ours to
            // fill, and `needed <= capacity`. `bytes` is other memory: nobody else has this object.
            unsafe {
                let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>();
                ptr::copy_nonoverlapping(bytes.as_ptr(), start.add(self.length), bytes.len());
            }
            self.length = needed;
            Ok(())
        })
    }

    fn as_slice(&self) -> &[u8] {
        let Some(object) = &self.bytes else {
            return &[];
        };
        // SAFETY: `length` bytes have been filled, and nobody changes them while they are borrowed
        // from us: growing takes `&mut self`.
        unsafe {
            let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>();
            std::slice::from_raw_parts(start, self.length)
        }
    }
}
