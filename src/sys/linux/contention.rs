//! Whether a child has to compete with its parent for a processor, and how the parent gives way.
//!
//! A parent that goes on after the clone keeps its processor until the kernel takes it away, and the child waits for its
//! turn behind all others that want to run. Where `vfork` puts the parent to sleep, the child runs at once.
//! A sleep that ends with the child's report, or after a while, has the same effect and a bound.

use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sys::switches;

/// The longest that a parent gives way: the turns of a few other processes. A child that has not executed its
/// program by then may wait for something else than a processor, such as a disk.
const GIVES_WAY_FOR: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 30_000_000,
};

/// For how many starts a thread that has lost its processor assumes that it is still so.
const REMEMBERED_FOR: u8 = 8;

/// How often the kernel had taken the processor from the thread that made the last child, and for how many
/// more starts that counts.
#[derive(Default)]
pub(crate) struct Contention {
    preempted: AtomicI64,
    remembered: AtomicU8,
}

impl Contention {
    /// Whether the calling thread has lost its processor to another in the time of the last starts: more wants
    /// to run than there are processors. A reactor that is used from several threads may take one's number for
    /// another's, and then a start gives way that need not. getrusage(2).
    pub(crate) fn is_felt(&self) -> bool {
        if let Some(forced) = switches().give_way {
            return forced;
        }
        // SAFETY: plain data, for which zeros are valid.
        let mut usage: libc::rusage = unsafe { mem::zeroed() };
        // SAFETY: the pointer is to a live value of the right type.
        let known = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } == 0;
        #[allow(clippy::useless_conversion, reason = "c_long is narrower on 32 bits")]
        let now = i64::from(usage.ru_nivcsw);
        if known && self.preempted.swap(now, Ordering::Relaxed) != now {
            self.remembered.store(REMEMBERED_FOR, Ordering::Relaxed);
            return true;
        }
        let one_less = |left: u8| left.checked_sub(1);
        self.remembered
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_ok()
    }
}

/// Gives the processor to a child until its report is over, or for a while. A signal ends it, too. poll(2).
pub(crate) fn give_way(report: BorrowedFd<'_>) {
    let mut polled = [PollFd::new(&report, PollFlags::IN)];
    // How the child does is looked at later.
    let _ = poll(&mut polled, Some(&GIVES_WAY_FOR));
}
