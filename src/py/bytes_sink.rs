//! A `bytes` object that grows.

use std::io;
use std::mem::MaybeUninit;
use std::{ptr, slice};

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::stream::buffer::{LARGE, OutOfMemory, Sink};
use crate::stream::reader::ReadIo;
use crate::sys;

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
#[cfg_attr(
    all(windows, Py_3_15, not(Py_3_16), not(Py_GIL_DISABLED)),
    link(name = "python315", kind = "raw-dylib")
)]
#[cfg_attr(
    all(windows, Py_3_15, not(Py_3_16), Py_GIL_DISABLED),
    link(name = "python315t", kind = "raw-dylib")
)]
unsafe extern "C" {
    /// Documented in Python's C API; PyO3 does not export it.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// Where memory that grows is copied, a part that has this size is not to grow.
const PART: usize = 1024 * 1024;

/// A `bytes` object under construction: output is collected right where Python will find it, and
/// is never held twice. Only where growing costs a copy each time a large one is put together from
/// parts at the end.
#[derive(Default)]
pub(super) struct BytesSink {
    /// DetachedChild that are full, and how many bytes of each are filled.
    parts: Vec<(Py<PyBytes>, usize)>,
    /// How many bytes that is.
    before: usize,
    /// The only reference while it grows: its reference count is 1.
    bytes: Option<Py<PyBytes>>,
    length: usize,
    capacity: usize,
    /// Up to here the pages are there.
    populated: usize,
}

/// The first bytes of an object under construction.
///
/// # Safety
/// The first `length` bytes have been filled, and are not changed while they are borrowed.
unsafe fn front(bytes: &Py<PyBytes>, length: usize) -> &[u8] {
    // SAFETY: promised by the caller; the object has more bytes than that, or as many.
    unsafe { slice::from_raw_parts(ffi::PyBytes_AsString(bytes.as_ptr()).cast(), length) }
}

impl BytesSink {
    /// The finished object.
    pub(super) fn finish(mut self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        if !self.parts.is_empty() {
            return self.join(py);
        }
        let length = self.length;
        match self.resize(py, length) {
            Ok(()) => Ok(self
                .bytes
                .take()
                .unwrap_or_else(|| PyBytes::new(py, b"").unbind())),
            Err(OutOfMemory) => Err(PyMemoryError::new_err(())),
        }
    }

    /// Puts the parts together, and lets go of each as soon as it is copied.
    fn join(mut self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        self.set_aside();
        let mut whole = BytesSink::default();
        let grown = whole.resize(py, self.before);
        let copied = grown.and_then(|()| {
            self.parts.drain(..).try_for_each(|(part, length)| {
                // SAFETY: that number of its bytes have been filled.
                whole.append(unsafe { front(&part, length) })
            })
        });
        match copied {
            Ok(()) => whole.finish(py),
            Err(OutOfMemory) => Err(PyMemoryError::new_err(())),
        }
    }

    /// Ends a part.
    fn set_aside(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.parts.push((bytes, self.length));
            self.before += self.length;
        }
        (self.length, self.capacity, self.populated) = (0, 0, 0);
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
        // SAFETY: attached; `object` is null or the only reference to a bytes object that was
        // never hashed. On failure the object is gone, the pointer null, and an exception set.
        if object.is_null() || unsafe { _PyBytes_Resize(&raw mut object, size) } != 0 {
            drop(PyErr::take(py));
            (self.length, self.capacity) = (0, 0);
            return Err(OutOfMemory);
        }
        self.populated = self.populated.min(capacity);
        // SAFETY: a new reference to a bytes object.
        let object = unsafe { Bound::from_owned_ptr(py, object).cast_into_unchecked() };
        self.bytes = Some(object.unbind());
        self.capacity = capacity;
        Ok(())
    }
}

impl BytesSink {
    /// Makes room for `more` bytes.
    fn reserve(&mut self, more: usize) -> Result<(), OutOfMemory> {
        let needed = self.length.checked_add(more).ok_or(OutOfMemory)?;
        if needed <= self.capacity {
            return Ok(());
        }
        if !sys::GROWS_IN_PLACE && self.capacity >= PART {
            self.set_aside();
            return Python::attach(|py| self.resize(py, more.max(PART)));
        }
        let grown = self.capacity.saturating_add(self.capacity / 2);
        Python::attach(|py| self.resize(py, needed.max(grown)))
    }

    /// What is not filled yet.
    fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        let Some(object) = &self.bytes else {
            return &mut [];
        };
        // SAFETY: the object has `capacity` bytes, of which those from `length` on are ours to fill;
        // this is the only reference to the object.
        unsafe {
            let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<MaybeUninit<u8>>();
            slice::from_raw_parts_mut(start.add(self.length), self.capacity - self.length)
        }
    }

    /// Has the kernel make the pages for the next `room` bytes, of a large result.
    fn prefault(&mut self, room: usize) {
        if self.length < LARGE || self.populated >= self.length + room {
            return;
        }
        let have = self.populated.saturating_sub(self.length);
        let wanted = room.max(LARGE).min(self.capacity - self.length);
        if let Some(pages) = self.spare().get_mut(have..wanted) {
            sys::prefault(pages);
        }
        self.populated = self.length + wanted;
    }
}

impl Sink for BytesSink {
    fn append(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.reserve(bytes.len())?;
        let spare = self.spare().as_mut_ptr();
        // SAFETY: there is room for `bytes`, which is other memory.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), spare.cast(), bytes.len()) };
        self.length += bytes.len();
        Ok(())
    }

    fn read(&mut self, io: &mut dyn ReadIo, room: usize) -> Result<io::Result<usize>, OutOfMemory> {
        self.reserve(room)?;
        self.prefault(room);
        let Some(spare) = self.spare().get_mut(..room) else {
            return Err(OutOfMemory);
        };
        let start = spare.as_ptr().cast::<u8>();
        let filled = match io.try_read_into(spare) {
            Ok(filled) => filled,
            Err(error) => return Ok(Err(error)),
        };
        // Bytes that lie here, and can be read, have been filled: so `length` stays true.
        if !ptr::eq(filled.as_ptr(), start) {
            return Err(OutOfMemory);
        }
        let count = filled.len();
        self.length += count;
        Ok(Ok(count))
    }

    fn len(&self) -> usize {
        self.before + self.length
    }

    fn pieces(&self) -> Vec<&[u8]> {
        let parts = self.parts.iter().map(|(part, length)| (part, *length));
        let last = self.bytes.iter().map(|bytes| (bytes, self.length));
        // SAFETY: that number of bytes have been filled, and none changes while they are borrowed
        // from us: growing takes `&mut self`.
        let piece = |(part, length)| unsafe { front(part, length) };
        parts.chain(last).map(piece).collect()
    }
}
