//! One overlapped read or write, and the memory that the system uses for it.
//!
//! # Who owns what
//! An operation lives in an `Arc`. While the system works on it, the system holds one reference
//! (made into a raw pointer: the address of the OVERLAPPED, which is the first field), and the
//! bytes belong to the system: no code looks at them or moves their memory. When the packet
//! of the completion is taken from the port, that reference comes back, and with it the bytes. So
//! an owner may go away in the middle of an operation, and the memory stays until the system has
//! let go of it. What makes this end soon is `CancelIoEx`.
//!
//! Where the host takes the packets from the port, it is only told addresses, and says when one
//! has come (`take_back`): what is believed then is the state and the OVERLAPPED, never the address.
//!
//! A handle with FILE_SKIP_COMPLETION_PORT_ON_SUCCESS sends a packet only for what was pending. An
//! operation that succeeds or fails at once takes its reference back at once.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_PENDING, ERROR_NO_DATA, ERROR_OPERATION_ABORTED,
    ERROR_PIPE_NOT_CONNECTED, HANDLE, NTSTATUS, RtlNtStatusToDosError, STATUS_PENDING,
};
#[cfg(test)]
use windows_sys::Win32::Foundation::{STATUS_CANCELLED, SetLastError};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};

use crate::sys::Readiness;

/// An idle operation keeps no more memory than this.
const KEEP: usize = 64 * 1024;
/// Where memory is short, that much must do.
const LEAST: usize = 4 * 1024;

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    /// A read on a writing end, which nothing but the end of the other side completes.
    Hangup,
    /// Never started: its address stands for packets that are posted.
    Wakeup,
}

#[repr(C)]
pub(super) struct OverlappedIo {
    /// First, so that its address is that of the operation. The system's while it is pending.
    overlapped: UnsafeCell<OVERLAPPED>,
    kind: Kind,
    token: AtomicUsize,
    inner: Mutex<Guarded>,
}

// SAFETY: the OVERLAPPED is touched only under the lock of `inner`, or by the system, to which
// `Progress::Pending` gives it. Its pointers are null, and the handle is only a number.
unsafe impl Send for OverlappedIo {}
// SAFETY: as above.
unsafe impl Sync for OverlappedIo {}

#[derive(Debug)]
struct Guarded {
    state: Progress,
    /// The system's while pending.
    bytes: Vec<u8>,
    /// How many of the bytes that were read are taken.
    taken: usize,
    /// Its owner has gone.
    orphan: bool,
    /// No packet is taken any more: nothing is started.
    refused: bool,
    /// What it was started on, which is open unless the owner has gone.
    handle: HANDLE,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Idle,
    Pending,
    Done,
    Failed(u32),
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IoResult {
    /// There is none.
    Idle,
    /// A packet will come.
    Pending,
    /// That number of bytes was moved.
    Moved(usize),
    Failed(u32),
}

/// What the packet of an operation says.
pub(super) struct Completed {
    pub token: usize,
    pub readiness: Readiness,
    pub orphan: bool,
}

impl OverlappedIo {
    pub(super) fn new(kind: Kind) -> Arc<Self> {
        Arc::new(OverlappedIo {
            overlapped: UnsafeCell::new(OVERLAPPED::default()),
            kind,
            token: AtomicUsize::new(0),
            inner: Mutex::new(Guarded {
                state: Progress::Idle,
                bytes: Vec::new(),
                taken: 0,
                orphan: false,
                refused: false,
                handle: std::ptr::null_mut(),
            }),
        })
    }

    /// What its completions are to be reported as.
    pub(super) fn set_token(&self, token: usize) {
        self.token.store(token, Ordering::Relaxed);
    }

    /// Where its OVERLAPPED is.
    pub(super) fn address(&self) -> *mut OVERLAPPED {
        self.overlapped.get()
    }

    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to read at most `size` bytes, fewer where there is not as much memory, unless something is under way
    /// or to be taken. `OutOfMemory` where nothing was started for lack of it.
    pub(super) fn read(self: &Arc<Self>, handle: HANDLE, size: usize) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.state != Progress::Idle {
            return Ok(());
        }
        inner.taken = 0;
        make_room(&mut inner.bytes, size)?;
        let (start, length) = (inner.bytes.as_mut_ptr(), clamp(inner.bytes.capacity()));
        self.submit(&mut inner, handle, |overlapped| {
            // SAFETY: the handle is open; the memory has that length, and is the system's until
            // the operation is completed (see above).
            unsafe { ReadFile(handle, start, length, std::ptr::null_mut(), overlapped) }
        });
        Ok(())
    }

    /// Starts to write a copy of the first bytes of `slices`, at most `size` of them, as [`read`](OverlappedIo::read).
    pub(super) fn write(
        self: &Arc<Self>,
        handle: HANDLE,
        slices: &[io::IoSlice<'_>],
        size: usize,
    ) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.state != Progress::Idle {
            return Ok(());
        }
        let total = slices.iter().map(|slice| slice.len()).sum::<usize>();
        make_room(&mut inner.bytes, total.min(size))?;
        let most = size.min(inner.bytes.capacity());
        for slice in slices {
            let room = most - inner.bytes.len();
            inner
                .bytes
                .extend_from_slice(slice.get(..room).unwrap_or(slice));
        }
        let (start, length) = (inner.bytes.as_ptr(), clamp(inner.bytes.len()));
        self.submit(&mut inner, handle, |overlapped| {
            // SAFETY: as for reading.
            unsafe { WriteFile(handle, start, length, std::ptr::null_mut(), overlapped) }
        });
        Ok(())
    }

    /// Hands the operation to the system by `start`, which returns FALSE and ERROR_IO_PENDING when
    /// a packet will come. That may come at once, in another thread, which then waits for the lock.
    fn submit(
        self: &Arc<Self>,
        inner: &mut Guarded,
        handle: HANDLE,
        start: impl FnOnce(*mut OVERLAPPED) -> i32,
    ) {
        if inner.refused {
            inner.state = Progress::Failed(ERROR_OPERATION_ABORTED);
            return;
        }
        inner.handle = handle;
        // SAFETY: nothing is pending, so it is ours.
        unsafe { *self.overlapped.get() = OVERLAPPED::default() };
        let systems = Arc::into_raw(self.clone()).cast_mut().cast::<OVERLAPPED>();
        inner.state = Progress::Pending;
        let failure = match start(systems) {
            0 => io::Error::last_os_error()
                .raw_os_error()
                .map(i32::cast_unsigned),
            _ => None,
        };
        if failure == Some(ERROR_IO_PENDING) {
            return;
        }
        // SAFETY: no packet will come, so the system's reference comes back here.
        drop(unsafe { Arc::from_raw(systems.cast_const().cast::<OverlappedIo>()) });
        inner.state = match failure {
            Some(code) => Progress::Failed(code),
            None => {
                self.moved(inner);
                Progress::Done
            }
        };
    }

    /// Is pending as if the system had it, which in truth knows nothing of it.
    #[cfg(test)]
    pub(super) fn start_and_never_end(self: &Arc<Self>) {
        self.submit(&mut self.lock(), std::ptr::null_mut(), |overlapped| {
            // SAFETY: that is the operation's, and no other thread knows it yet. The other call sets a number.
            unsafe {
                (*overlapped).Internal = STATUS_PENDING as usize;
                SetLastError(ERROR_IO_PENDING);
            }
            0
        });
    }

    /// The system is done with it: it was cancelled.
    #[cfg(test)]
    pub(super) fn end_now(&self) {
        // SAFETY: only the test and we know of it, and the test has one thread.
        unsafe { (*self.overlapped.get()).Internal = STATUS_CANCELLED as usize };
    }

    /// After a success: marks the bytes that were read as filled.
    fn moved(&self, inner: &mut Guarded) {
        if self.kind == Kind::Write {
            return;
        }
        // SAFETY: the operation is over, so the OVERLAPPED is ours again. The system has filled
        // that many bytes, at most the capacity that it was told.
        unsafe {
            let count = (*self.overlapped.get()).InternalHigh;
            inner.bytes.set_len(count.min(inner.bytes.capacity()));
        }
    }

    /// Takes the system's reference back, and the result.
    ///
    /// # Safety
    /// `overlapped` comes from a packet, for which [`submit`](OverlappedIo::submit) gave it away.
    pub(super) unsafe fn completed(overlapped: *mut OVERLAPPED) -> Completed {
        // SAFETY: promised by the caller; there is one packet for each pending operation.
        let operation = unsafe { Arc::from_raw(overlapped.cast_const().cast::<OverlappedIo>()) };
        let mut inner = operation.lock();
        let status = operation.status();
        operation.complete(&mut inner, status)
    }

    /// What the system has made of it, if it was started.
    fn status(&self) -> NTSTATUS {
        // SAFETY: the memory is ours as long as `self` is; the system may write to it meanwhile,
        // the status last.
        let status =
            unsafe { (&raw const (*self.overlapped.get()).Internal).read_volatile() as NTSTATUS };
        if status != STATUS_PENDING {
            // What the system wrote before is read after: the number of bytes, and the bytes.
            fence(Ordering::Acquire);
        }
        status
    }

    /// Takes the system's reference back, and the result, if the system is done with it and they
    /// were not taken yet.
    pub(super) fn take_back(self: &Arc<Self>) -> Option<Completed> {
        let mut inner = self.lock();
        let status = self.status();
        if inner.state != Progress::Pending || status == STATUS_PENDING {
            return None;
        }
        // SAFETY: `submit` gave this reference away, and the thread that finds `Progress::Pending` under
        // the lock takes it back, which ends that state. `self` is another one.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(self)) };
        Some(self.complete(&mut inner, status))
    }

    /// The system is done with it.
    fn complete(&self, inner: &mut Guarded, status: NTSTATUS) -> Completed {
        inner.state = if status >= 0 {
            self.moved(inner);
            Progress::Done
        } else {
            // SAFETY: translates a number.
            Progress::Failed(unsafe { RtlNtStatusToDosError(status) })
        };
        let hangup = match (self.kind, inner.state) {
            (Kind::Read, Progress::Failed(_)) => true,
            (Kind::Hangup, Progress::Failed(code)) => is_hangup(code),
            _ => false,
        };
        Completed {
            token: self.token.load(Ordering::Relaxed),
            readiness: Readiness {
                writable: self.kind == Kind::Write,
                hangup,
            },
            orphan: inner.orphan,
        }
    }

    /// Moves what was read to the front of `room`. `Moved(0)` when there is none.
    pub(super) fn take_read(&self, room: &mut [MaybeUninit<u8>]) -> IoResult {
        let mut inner = self.lock();
        match inner.state {
            Progress::Idle => return IoResult::Idle,
            Progress::Pending => return IoResult::Pending,
            Progress::Failed(code) => return IoResult::Failed(code),
            Progress::Done => {}
        }
        let rest = inner.bytes.get(inner.taken..).unwrap_or_default();
        let part = rest.get(..room.len()).unwrap_or(rest);
        let count = part.len();
        if let Some(room) = room.get_mut(..count) {
            room.write_copy_of_slice(part);
        }
        inner.taken += count;
        if inner.taken == inner.bytes.len() {
            inner.state = Progress::Idle;
            return if count == 0 {
                IoResult::Idle
            } else {
                IoResult::Moved(count)
            };
        }
        IoResult::Moved(count)
    }

    /// How many bytes were written, which is told once.
    pub(super) fn take_written(&self) -> IoResult {
        let mut inner = self.lock();
        match inner.state {
            Progress::Idle => IoResult::Idle,
            Progress::Pending => IoResult::Pending,
            Progress::Failed(code) => IoResult::Failed(code),
            Progress::Done => {
                inner.state = Progress::Idle;
                let count = inner.bytes.len();
                if inner.bytes.capacity() > KEEP {
                    inner.bytes = Vec::new();
                }
                IoResult::Moved(count)
            }
        }
    }

    /// The error with which it failed.
    pub(super) fn failure(&self) -> Option<u32> {
        match self.lock().state {
            Progress::Failed(code) => Some(code),
            _ => None,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.lock().state == Progress::Pending
    }

    /// Whether it ended, and its result was not taken yet.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.lock().state, Progress::Done | Progress::Failed(_))
    }

    /// Asks the system to end it. A packet comes all the same. CancelIoEx.
    pub(super) fn cancel(&self, handle: HANDLE) {
        if self.is_pending() {
            // SAFETY: the handle is open. An operation that was completed meanwhile is not found.
            unsafe { CancelIoEx(handle, self.overlapped.get()) };
        }
    }

    /// Its owner goes; `true` if it is pending, and the packet must be collected.
    pub(super) fn shutdown(&self) -> bool {
        let mut inner = self.lock();
        inner.orphan = true;
        let pending = inner.state == Progress::Pending;
        if !pending {
            inner.bytes = Vec::new();
        }
        pending
    }

    /// Whether its owner has gone, or nothing can be started, and no packet will come.
    pub(super) fn is_over(&self) -> bool {
        let inner = self.lock();
        (inner.orphan || inner.refused) && inner.state != Progress::Pending
    }

    /// Closes the operation: refuses new I/O and cancels what is pending. Returns `true` if a
    /// completion packet is still to be dequeued.
    pub(super) fn close(&self) -> bool {
        let mut inner = self.lock();
        inner.refused = true;
        let pending = inner.state == Progress::Pending;
        if pending && !inner.orphan {
            // SAFETY: the owner marks its going under the lock before it closes the handle.
            unsafe { CancelIoEx(inner.handle, self.overlapped.get()) };
        }
        pending
    }
}

impl fmt::Debug for OverlappedIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.lock().state)
    }
}

/// Whether an error is the end of the other side.
pub(super) fn is_end(code: u32) -> bool {
    code == ERROR_BROKEN_PIPE
}

/// Whether a read on a writing end fails with that because the other side has gone. That it cannot be read for
/// another reason says nothing of the other side, which may read all that is written.
pub(super) fn is_hangup(code: u32) -> bool {
    is_end(code) || matches!(code, ERROR_NO_DATA | ERROR_PIPE_NOT_CONNECTED)
}

/// Empties it, and has it hold `size` bytes, or few where there is no memory for them.
fn make_room(bytes: &mut Vec<u8>, size: usize) -> io::Result<()> {
    bytes.clear();
    bytes
        .try_reserve_exact(size)
        .or_else(|_| bytes.try_reserve_exact(LEAST.min(size)))
        .map_err(|_| io::ErrorKind::OutOfMemory.into())
}

fn clamp(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_read_where_there_is_less_memory() {
        let mut bytes = vec![1; 10];
        make_room(&mut bytes, usize::MAX).unwrap();
        assert!(bytes.is_empty());
        assert!(bytes.capacity() >= LEAST);
    }

    #[test]
    fn no_more_is_written_than_there_is_room_for() {
        let operation = OverlappedIo::new(Kind::Write);
        let slices = [io::IoSlice::new(b"abc"), io::IoSlice::new(b"defg")];
        // There is no such handle, so the bytes are still there.
        operation.write(std::ptr::null_mut(), &slices, 5).unwrap();
        assert_eq!(operation.lock().bytes, b"abcde");
        assert!(matches!(operation.take_written(), IoResult::Failed(_)));
    }
}
