//! The parent's ends of pipes: overlapped named pipes, made to look as if they had readiness.
//!
//! - A reading end keeps one read in flight. Its completion is the event; [`PipeReader::try_read`]
//!   hands out what came, and has the next read in flight before it says `WouldBlock` or returns
//!   less than was asked for.
//! - A writing end has at most one write in flight, of a copy of the bytes.
//!   [`PipeWriter::try_write`] says `WouldBlock` for it, and says how much was written when it is
//!   asked again with the same bytes, so that what the caller has queued is what is not written.
//!   A read in flight beside it tells when the other side goes away.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, GENERIC_READ, GENERIC_WRITE, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, FILE_FLAGS_AND_ATTRIBUTES,
    FILE_READ_ATTRIBUTES, FILE_WRITE_ATTRIBUTES, OPEN_EXISTING, PIPE_ACCESS_DUPLEX,
    PIPE_ACCESS_INBOUND, SetFileCompletionNotificationModes,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, GetNamedPipeInfo, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS,
    PIPE_SERVER_END, PIPE_TYPE_BYTE, PIPE_WAIT,
};
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};

use super::handle::{check, own};
use super::iocp::{Poller, Port};
use super::overlapped::{IoResult, Kind, OverlappedIo, is_end, is_hangup};
use super::{Interest, Watched};
use crate::sys::Readiness;
use crate::sys::append;

/// What the system buffers of what we write, and what one read takes, in bytes.
const BUFFER: usize = 64 * 1024;
/// What one read or write moves when much has to be moved, and what the system buffers of what the
/// child writes: it takes the memory when bytes lie there, and cannot be asked for more later.
const LARGE: usize = 256 * 1024;
/// No read is smaller, whatever the system buffers.
const LEAST: usize = 512;

const HUNG_UP: Readiness = Readiness {
    writable: true,
    hangup: true,
};

/// A handle, and where its completions go.
#[derive(Debug)]
struct PipeEnd {
    handle: OwnedHandle,
    port: OnceLock<(Arc<Port>, usize)>,
}

impl PipeEnd {
    fn new(handle: OwnedHandle) -> io::Result<Self> {
        let modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
        // SAFETY: the handle is open.
        check(unsafe { SetFileCompletionNotificationModes(handle.as_raw_handle(), modes as u8) })?;
        Ok(PipeEnd {
            handle,
            port: OnceLock::new(),
        })
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// How many bytes the system buffers of what the other side writes. GetNamedPipeInfo.
    fn buffer(&self) -> io::Result<usize> {
        let (mut flags, mut out, mut inward) = (0, 0, 0);
        // SAFETY: the handle is open, and the pointers are to values of the right type, or null.
        check(unsafe {
            GetNamedPipeInfo(
                self.raw(),
                &raw mut flags,
                &raw mut out,
                &raw mut inward,
                ptr::null_mut(),
            )
        })?;
        // Both are named as the server sees them.
        let from_there = if flags & PIPE_SERVER_END == 0 {
            out
        } else {
            inward
        };
        Ok(from_there as usize)
    }

    fn watch(
        &self,
        poller: &Poller,
        token: usize,
        operations: &[&Arc<OverlappedIo>],
    ) -> io::Result<()> {
        poller.port().associate(self.handle.as_handle())?;
        // Before any of them is expected: if another cannot be, the drop withdraws them all.
        let _ = self.port.set((poller.port().clone(), token));
        for operation in operations {
            poller.port().expect(operation, token)?;
        }
        Ok(())
    }

    fn post(&self, readiness: Readiness) {
        if let Some((port, token)) = self.port.get() {
            port.post(*token, readiness);
        }
    }

    /// Gives an operation up. The handle stays open until the system was told.
    fn withdraw(&self, operation: &Arc<OverlappedIo>) {
        operation.cancel(self.raw());
        if let Some((port, _)) = self.port.get() {
            port.withdraw(operation);
        }
    }
}

/// The reading end of a pipe. Never blocks.
#[derive(Debug)]
pub(crate) struct PipeReader {
    end: PipeEnd,
    read: Arc<OverlappedIo>,
    size: usize,
    most: usize,
}

impl PipeReader {
    /// Moves into the spare capacity of `buffer` (which the caller reserved) what was read, and
    /// returns the number of bytes; 0 is the end. `WouldBlock` when there is nothing now.
    pub(crate) fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        append(buffer, usize::MAX, |room| self.try_read_into(room))
    }

    /// As [`try_read`](PipeReader::try_read), into `room`: returns the front part of it that was
    /// filled; empty is the end.
    pub(crate) fn try_read_into<'a>(
        &mut self,
        room: &'a mut [MaybeUninit<u8>],
    ) -> io::Result<&'a [u8]> {
        let count = self.fill(room)?;
        let filled = room.get(..count).unwrap_or_default();
        // SAFETY: `fill` has filled that number of bytes at the front.
        Ok(unsafe { std::slice::from_raw_parts(filled.as_ptr().cast(), filled.len()) })
    }

    fn fill(&mut self, room: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let mut count = 0;
        loop {
            let rest = room.get_mut(count..).unwrap_or_default();
            match self.read.take_read(rest) {
                // A child may write nothing, which is not the end: read on.
                IoResult::Idle => match self.read.read(self.end.raw(), self.size) {
                    Err(_) if count > 0 => {
                        // As below. There may be memory then.
                        self.end.post(Readiness::default());
                        return Ok(count);
                    }
                    started => started?,
                },
                IoResult::Moved(more) => {
                    count += more;
                    if count == room.len() {
                        return Ok(count);
                    }
                }
                IoResult::Pending if count == 0 => return Err(io::ErrorKind::WouldBlock.into()),
                IoResult::Pending => return Ok(count),
                IoResult::Failed(_) if count > 0 => {
                    // For the caller a short read means that an event will come: here it is.
                    self.end.post(HUNG_UP);
                    return Ok(count);
                }
                IoResult::Failed(code) if is_end(code) => return Ok(0),
                IoResult::Failed(code) => {
                    return Err(io::Error::from_raw_os_error(code.cast_signed()));
                }
            }
        }
    }

    pub(crate) fn holds_more(&self) -> bool {
        false
    }

    /// Makes reads larger. The system's buffer stays as it is.
    pub(crate) fn enlarge(&mut self, bytes: usize) {
        self.size = bytes.min(self.most);
    }
}

impl Watched for PipeReader {
    fn watch(&self, poller: &Poller, token: usize, _interest: Interest) -> io::Result<()> {
        self.end.watch(poller, token, &[&self.read])?;
        self.read.read(self.end.raw(), self.size)?;
        if self.read.is_done() {
            self.end.post(Readiness::default());
        }
        Ok(())
    }

    fn rewatch(&self, _poller: &Poller, _token: usize, _interest: Interest) -> io::Result<()> {
        Ok(())
    }

    fn unwatch(&self, _poller: &Poller) {}
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.end.withdraw(&self.read);
    }
}

impl AsHandle for PipeReader {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.end.handle.as_handle()
    }
}

/// The writing end of a pipe. Never blocks.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    end: PipeEnd,
    write: Arc<OverlappedIo>,
    hangup: Arc<OverlappedIo>,
    size: usize,
}

impl PipeWriter {
    /// Writes once, and returns how many bytes were taken. `WouldBlock` when none are yet: the
    /// bytes are on their way, and must be given again after the event.
    pub(crate) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(result) = self.written() {
            return result;
        }
        self.write.write(self.end.raw(), slices, self.size)?;
        self.written()
            .unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    fn written(&self) -> Option<io::Result<usize>> {
        match self.write.take_written() {
            IoResult::Idle => None,
            IoResult::Pending => Some(Err(io::ErrorKind::WouldBlock.into())),
            IoResult::Moved(count) => Some(Ok(count)),
            IoResult::Failed(code) => Some(Err(io::Error::from_raw_os_error(code.cast_signed()))),
        }
    }

    /// How many of the bytes that had to wait are written, if that was not told yet. The event of
    /// a hang-up may overtake that of a write: two threads collect events.
    pub(crate) fn written_since(&mut self) -> usize {
        match self.write.take_written() {
            IoResult::Moved(count) => count,
            _ => 0,
        }
    }

    /// Makes writes larger.
    pub(crate) fn enlarge(&mut self, bytes: usize) {
        self.size = bytes;
    }
}

impl Watched for PipeWriter {
    fn watch(&self, poller: &Poller, token: usize, _interest: Interest) -> io::Result<()> {
        self.end
            .watch(poller, token, &[&self.write, &self.hangup])?;
        self.hangup.read(self.end.raw(), 1)?;
        match self.hangup.failure() {
            Some(code) if is_hangup(code) => self.end.post(HUNG_UP),
            // As asyncio, which raises what its own read raises.
            Some(code) => return Err(io::Error::from_raw_os_error(code.cast_signed())),
            None => {}
        }
        Ok(())
    }

    fn rewatch(&self, _poller: &Poller, _token: usize, interest: Interest) -> io::Result<()> {
        // The completion of what is under way is the event.
        if interest == Interest::Write && !self.write.is_pending() {
            self.end.post(Readiness {
                writable: true,
                hangup: false,
            });
        }
        Ok(())
    }

    fn unwatch(&self, _poller: &Poller) {}
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.end.withdraw(&self.write);
        self.end.withdraw(&self.hangup);
    }
}

impl AsHandle for PipeWriter {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.end.handle.as_handle()
    }
}

/// Of a pipe that was opened for overlapped operations, and has no completion port yet.
impl TryFrom<OwnedHandle> for PipeReader {
    type Error = io::Error;

    fn try_from(handle: OwnedHandle) -> io::Result<Self> {
        let end = PipeEnd::new(handle)?;
        let most = most_of_a_read(end.buffer().unwrap_or(BUFFER));
        Ok(PipeReader {
            end,
            read: OverlappedIo::new(Kind::Read),
            size: BUFFER.min(most),
            most,
        })
    }
}

#[cfg(feature = "python")]
impl PipeReader {
    /// One that was made by other code; its first read says whether there is something to read.
    pub(crate) fn foreign(handle: OwnedHandle) -> io::Result<(Self, bool)> {
        Ok((handle.try_into()?, true))
    }
}

/// As for the reading end.
impl TryFrom<OwnedHandle> for PipeWriter {
    type Error = io::Error;

    fn try_from(handle: OwnedHandle) -> io::Result<Self> {
        Ok(PipeWriter {
            end: PipeEnd::new(handle)?,
            write: OverlappedIo::new(Kind::Write),
            hangup: OverlappedIo::new(Kind::Hangup),
            size: LARGE,
        })
    }
}

/// A pipe that the child writes and we read: `(ours, the child's)`. `size` in bytes is that of the
/// system's buffer.
pub(crate) fn pipe_from_child(size: Option<usize>) -> io::Result<(PipeReader, OwnedHandle)> {
    let child = GENERIC_WRITE | FILE_READ_ATTRIBUTES;
    let (ours, theirs) = pipe(PIPE_ACCESS_INBOUND, child, size.unwrap_or(LARGE))?;
    Ok((ours.try_into()?, theirs))
}

/// A pipe that we write and the child reads: `(ours, the child's)`. Ours can be read too, which is
/// how its end is learnt; the child's cannot be written.
pub(crate) fn pipe_to_child(size: Option<usize>) -> io::Result<(PipeWriter, OwnedHandle)> {
    let child = GENERIC_READ | FILE_WRITE_ATTRIBUTES;
    let (ours, theirs) = pipe(PIPE_ACCESS_DUPLEX, child, size.unwrap_or(BUFFER))?;
    Ok((ours.try_into()?, theirs))
}

/// How large a read may be. A pending read takes its size from what the other side is told there is room for
/// (FILE_PIPE_LOCAL_INFORMATION.WriteQuotaAvailable), and a program of Cygwin's or MSYS2's that finds none there waits
/// until there is some, or writes byte by byte.
fn most_of_a_read(buffer: usize) -> usize {
    (buffer / 2).clamp(LEAST, LARGE)
}

/// How many names of pipes are tried.
const TRIES: u32 = 16;

/// A named pipe with one instance, to which no other process can connect: it is connected at once, and
/// the name cannot be guessed before that.
fn pipe(
    access: FILE_FLAGS_AND_ATTRIBUTES,
    child: u32,
    size: usize,
) -> io::Result<(OwnedHandle, OwnedHandle)> {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let mut tries = 0;
    let (name, ours) = loop {
        let name = name();
        tries += 1;
        // SAFETY: the name ends with a null; the rest are numbers. The handle is new.
        let made = unsafe {
            own(CreateNamedPipeW(
                name.as_ptr(),
                access | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
                1,
                size,
                size,
                0,
                ptr::null(),
            ))
        };
        match made {
            // That name is taken; or every name is refused, in a sandbox.
            Err(error)
                if error.raw_os_error() == Some(ERROR_ACCESS_DENIED.cast_signed())
                    && tries < TRIES => {}
            made => break (name, made?),
        }
    };
    // SAFETY: as above.
    let theirs = unsafe {
        own(CreateFileW(
            name.as_ptr(),
            child,
            0,
            ptr::null(),
            OPEN_EXISTING,
            0,
            ptr::null_mut(),
        ))?
    };
    Ok((ours, theirs))
}

/// A name that is not taken and cannot be guessed, ending with a null.
fn name() -> Vec<u16> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = || RandomState::new().build_hasher().finish();
    let name = format!(
        r"\\.\pipe\procio-{}-{}-{:016x}{:016x}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed),
        random(),
        random(),
    );
    std::ffi::OsStr::new(&name)
        .encode_wide()
        .chain(Some(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_takes_half_of_what_the_system_buffers_at_most() {
        for (size, most) in [
            (None, LARGE / 2),
            (Some(64 * 1024), 32 * 1024),
            (Some(1), LEAST),
        ] {
            let (mut ours, theirs) = pipe_from_child(size).unwrap();
            ours.enlarge(usize::MAX);
            assert_eq!(ours.size, most);
            // Seen from the other end, it is the same.
            let (handle, port) = (theirs, OnceLock::new());
            let there = PipeEnd { handle, port }.buffer().unwrap();
            assert_eq!(most_of_a_read(there), most);
        }
    }
}
