//! A `bytes` object that grows.

use std::io;
use std::mem::MaybeUninit;
use std::{ptr, slice};

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::c_api::_PyBytes_Resize;
use crate::stream::buffer::{LARGE, OutOfMemory, Sink};
use crate::stream::io::ReadIo;
use crate::sys;

/// Where memory that grows is copied, a part that has this size is not to grow.
const PART: usize = 1024 * 1024;

/// A `bytes` object under construction: output is collected right where Python will find it, and
/// is never held twice. Only where growing costs a copy each time a large one is put together from
/// parts at the end.
#[derive(Default)]
pub(super) struct BytesSink {
    /// Parts that are full, and how many bytes of each are filled.
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
    /// The finished object. On error nothing is lost.
    pub(super) fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        let finished = if self.parts.is_empty() {
            let length = self.length;
            self.resize(py, length)
        } else {
            self.join(py)
        };
        finished.map_err(|OutOfMemory| PyMemoryError::new_err(()))?;
        let bytes = std::mem::take(self).bytes;
        bytes.map_or_else(|| new_bytes(py, b""), Ok)
    }

    /// Puts the parts together, and lets go of each as soon as it is copied.
    fn join(&mut self, py: Python<'_>) -> Result<(), OutOfMemory> {
        let mut whole = BytesSink::default();
        whole.resize(py, self.len())?;
        self.set_aside();
        for (part, length) in self.parts.drain(..) {
            // SAFETY: that number of its bytes have been filled.
            whole.append(unsafe { front(&part, length) })?;
        }
        *self = whole;
        Ok(())
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

    /// Makes room for `more` bytes.
    fn reserve(&mut self, more: usize) -> Result<(), OutOfMemory> {
        let needed = self.length.checked_add(more).ok_or(OutOfMemory)?;
        if needed <= self.capacity {
            return Ok(());
        }
        let grown = needed.max(self.capacity.saturating_add(self.capacity / 2));
        // Python frees an object that cannot grow: one that may not be able to stays as it is.
        if self.capacity >= PART && !(sys::GROWS_IN_PLACE && can_grow(grown)) {
            let size = Some(more.max(PART)).filter(|size| can_grow(*size));
            let mut next = BytesSink::default();
            Python::attach(|py| next.resize(py, size.ok_or(OutOfMemory)?))?;
            self.set_aside();
            (self.bytes, self.capacity) = (next.bytes.take(), next.capacity);
            return Ok(());
        }
        let size = [grown, needed].into_iter().find(|size| can_grow(*size));
        Python::attach(|py| self.resize(py, size.ok_or(OutOfMemory)?))
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

    fn piece_at(&self, start: usize) -> &[u8] {
        let mut start = start;
        let last = self.bytes.iter().map(|bytes| (bytes, self.length));
        let parts = self.parts.iter().map(|(part, length)| (part, *length));
        for (part, length) in parts.chain(last) {
            if start < length {
                // SAFETY: that number of bytes have been filled, and none changes while they are
                // borrowed from us: growing takes `&mut self`.
                let bytes = unsafe { front(part, length) };
                return bytes.get(start..).unwrap_or_default();
            }
            start -= length;
        }
        &[]
    }
}

/// A new object with these bytes. Raises MemoryError, which `PyBytes::new` does not.
pub(super) fn new_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Py<PyBytes>> {
    let Ok(size) = ffi::Py_ssize_t::try_from(bytes.len()) else {
        return Err(PyMemoryError::new_err(()));
    };
    // SAFETY: attached; the bytes are copied. Returns a new reference to a bytes object, or null.
    let object = unsafe {
        let object = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), size);
        Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked()
    };
    Ok(object.unbind())
}

/// A new object with the first of these bytes: as many as there is memory for, and all of a few. For
/// what may give less than it was asked for. Raises MemoryError.
pub(super) fn new_bytes_up_to(py: Python<'_>, bytes: &[u8]) -> PyResult<(Py<PyBytes>, usize)> {
    const FEW: usize = 4096;
    let mut count = bytes.len();
    loop {
        match new_bytes(py, bytes.get(..count).unwrap_or_default()) {
            Ok(object) => return Ok((object, count)),
            Err(error) if count <= FEW => return Err(error),
            Err(_) => count /= 2,
        }
    }
}

/// Whether an object can grow, even if it has to be copied: the system moves the pages of a large one, but not
/// if the allocator has it in its heap.
fn can_grow(grown: usize) -> bool {
    // Some is left for others, who are to report that memory has run out.
    let asked = grown.saturating_add(4 * PART);
    grown < LARGE || Vec::<u8>::new().try_reserve_exact(asked).is_ok()
}
