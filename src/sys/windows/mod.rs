//! Windows: one I/O completion port for each poller, overlapped named pipes, `CreateProcessW`.
//!
//! A completion port tells what *has been done*, and the contract asks what *can be done*. So each
//! pipe end of ours keeps an operation in flight, and its completion is the event: see `named_pipe.rs`.

pub(crate) mod command_line;
mod handle;
mod iocp;
mod job;
mod named_pipe;
mod overlapped;
mod plan;
mod platform_options;
mod process;
mod shared_port;
mod spawn;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "python")]
pub(crate) use handle::duplicate;
pub(crate) use handle::{
    check_open, never_blocks, open_null, own_stdout, raw, try_clone, unread_pipe,
};
pub(crate) use iocp::{Notifier, Poller};
pub(crate) use named_pipe::{PipeReader, PipeWriter, pipe_from_child, pipe_to_child};
pub(crate) use plan::{Plan, VariableName};
pub(crate) use platform_options::PlatformOptions;
#[cfg(feature = "python")]
pub(crate) use process::SIGNALS;
pub(crate) use process::{CgroupKill, Group, Process};
#[cfg(feature = "python")]
pub(crate) use shared_port::{Packet, PacketSink};
pub(crate) use spawn::{ExecReport, Fork, PreExec, Spawner};
#[cfg(feature = "tokio")]
pub(crate) use tokio::{HostFd, HostRuntime, host_watches_pipes};

use std::mem::MaybeUninit;
#[cfg(feature = "python")]
use std::{ffi::OsString, io};

use super::{Event, Interest, Watched};

/// A handle that other code owns, as a number.
pub type RawHandle = isize;
/// A handle that is owned.
pub type OwnedHandle = std::os::windows::io::OwnedHandle;

/// `CreateProcessW` returns when the program has been loaded: milliseconds.
#[cfg(feature = "python")]
pub(crate) fn spawn_blocks() -> bool {
    true
}

/// What comes after a read is told by a packet of its own.
pub(crate) fn may_be_record(_count: usize) -> bool {
    false
}

/// A child that owns what it starts is in a job, and so leads a group in the sense of the contract.
pub(crate) const JOBS: bool = true;

/// A pipe stays with the completion port that it was first given to.
pub(crate) const HANDOVER: bool = false;

/// `PROCIO_POLL_THREAD=1`: wake the host by a thread even where it could take the packets itself. Read
/// once, because a process must not change its mind half-way.
#[cfg(feature = "python")]
pub(crate) fn poll_thread_forced() -> bool {
    static FORCED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *FORCED.get_or_init(|| std::env::var_os("PROCIO_POLL_THREAD").is_some_and(|value| value == "1"))
}

/// No loop of Python watches a completion port. One shares its own, and otherwise the poll thread waits.
#[cfg(feature = "python")]
pub(crate) fn watchable(_poller: &Poller) -> Option<i32> {
    None
}

/// No loop waits for a descriptor that could be looked at before.
#[cfg(feature = "python")]
pub(crate) fn busy_polls() -> bool {
    false
}

/// Whether a selector would come back at once: there is none of which that can be asked.
#[cfg(feature = "python")]
pub(crate) fn has_events(_selector: RawHandle) -> bool {
    true
}

/// How Windows words an error, without the full stop.
#[cfg(feature = "python")]
pub(crate) fn error_text(code: i32) -> Option<String> {
    let text = io::Error::from_raw_os_error(code).to_string();
    let text = text.strip_suffix(&format!(" (os error {code})"));
    text.map(|text| text.trim_end().trim_end_matches('.').to_owned())
}

/// A child is asked by one event, whatever the signal.
pub(crate) fn is_signal(_signal: i32) -> bool {
    true
}

/// The heap copies what has to grow.
#[cfg(feature = "python")]
pub(crate) const GROWS_IN_PLACE: bool = false;

/// Not to be had here.
pub(crate) fn prefault(_pages: &mut [MaybeUninit<u8>]) {}

/// The system's string of these bytes, if they are UTF-8.
#[cfg(feature = "python")]
pub(crate) fn os_string_from_bytes(bytes: &[u8]) -> Option<OsString> {
    String::from_utf8(bytes.to_vec()).ok().map(OsString::from)
}
