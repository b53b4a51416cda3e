//! Pipes with a large buffer, as many as leave the user's other programs theirs.
//!
//! The kernel counts the pages of all pipes of a user. Above a soft limit each new pipe gets 8 KiB, on
//! which programs are known to hang: pipe(7).

use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{page_size, set_pipe_size};

/// This part of the limit is used at most, by all reactors of the process.
const PART: usize = 8;
/// The kernel's own limit, in pages.
const DEFAULT_PAGES: usize = 16384;

/// Bytes that are taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// A part of what may be taken. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Enlarged(NonZeroU32);

impl Enlarged {
    /// Gives a pipe a buffer of `bytes`, if it has less and there is so much left. Best effort.
    pub(crate) fn new(fd: &impl AsFd, bytes: usize) -> Option<Self> {
        let size = rustix::pipe::fcntl_getpipe_size(fd).ok()?;
        if size >= bytes {
            return None;
        }
        let part = NonZeroU32::new(u32::try_from(bytes).ok()?)?;
        let take = |taken: usize| {
            let taken = taken.checked_add(bytes)?;
            (taken <= limit()).then_some(taken)
        };
        let order = Ordering::Relaxed;
        TAKEN.fetch_update(order, order, take).ok()?;
        let part = Enlarged(part);
        set_pipe_size(fd, bytes).ok()?;
        Some(part)
    }
}

impl Drop for Enlarged {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0.get() as usize, Ordering::Relaxed);
    }
}

/// How many bytes may be taken.
fn limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft");
        let pages = text.ok().and_then(|text| text.trim().parse().ok());
        match pages.unwrap_or(DEFAULT_PAGES) {
            0 => usize::MAX,
            pages => pages.saturating_mul(page_size()) / PART,
        }
    })
}
