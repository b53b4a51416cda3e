//! What the lock of a reading end is for: the reader, and which operation reads from it.

use std::io;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Waker};

use crate::reactor::waiters::{Stale, renew};
use crate::reactor::{Inner, Registered};
use crate::stream::io::ReadIo;
use crate::stream::reader::Reader;
use crate::sync::lock;
use crate::sys::{self, Interest, PipeReader};

pub(super) type ReadEnd = Registered<PipeReader>;

impl ReadIo for ReadEnd {
    fn try_read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.get_mut().try_read(buffer)
    }

    fn try_read_into<'a>(&mut self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        self.get_mut().try_read_into(room)
    }

    fn may_be_record(&self, count: usize) -> bool {
        sys::may_be_record(count)
    }

    fn holds_more(&self) -> bool {
        self.get().holds_more()
    }

    fn enlarge(&mut self, bytes: usize) {
        self.get_mut().enlarge(bytes);
    }
}

/// A reader, and which operation reads from it: what the lock of a pipe is for.
pub(crate) struct ReadState {
    pub(super) reader: Reader<ReadEnd>,
    /// One operation waits at a time.
    pub(super) waker: Option<Waker>,
    /// An operation is under way, and owns what is read.
    pub(super) claimed: bool,
    /// The sweep was put off to the next turn; and whether an operation has read since.
    pub(super) sweep: Option<bool>,
}

impl ReadState {
    pub(super) fn new(reader: Reader<ReadEnd>) -> Mutex<Self> {
        Mutex::new(ReadState {
            reader,
            waker: None,
            claimed: false,
            sweep: None,
        })
    }

    /// Has the poller watch the pipe.
    pub(super) fn register(&mut self) -> io::Result<()> {
        let Some(io) = self.reader.io() else {
            return Ok(());
        };
        match io.register(Interest::Read) {
            Err(error) if sys::never_blocks(io.get(), &error) => self.reader.mark_ready(true),
            result => return result,
        }
        Ok(())
    }
}

/// The lock of a pipe, and what is to be done when it has been let go of: both call what is not ours.
pub(crate) struct ReadGuard<'a> {
    // First: the fields are dropped in this order.
    pub(super) state: MutexGuard<'a, ReadState>,
    after: AfterLock<'a>,
}

struct AfterLock<'a> {
    reactor: &'a Inner,
    wakes_host: bool,
    stale: Stale,
}

impl Drop for AfterLock<'_> {
    fn drop(&mut self) {
        if self.wakes_host {
            self.reactor.wake_host();
        }
    }
}

impl<'a> ReadGuard<'a> {
    pub(super) fn new(state: &'a Mutex<ReadState>, reactor: &'a Inner) -> Self {
        ReadGuard {
            state: lock(state),
            after: AfterLock {
                reactor,
                wakes_host: false,
                stale: Stale::default(),
            },
        }
    }

    /// Has the operation that waits woken by `cx`.
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.state.waker {
            Some(waker) => self.after.stale = renew(waker, cx),
            waker => *waker = Some(cx.waker().clone()),
        }
    }

    /// No operation waits any more.
    pub(super) fn forget_waker(&mut self) {
        if let Some(waker) = self.state.waker.take() {
            self.after.stale = Stale(Some(waker));
        }
    }

    /// Has the source look again in the next turn.
    pub(super) fn put_off(&mut self, token: usize) {
        self.after.reactor.put_off(token);
        self.after.wakes_host = true;
    }

    /// Puts an operation off to the next turn, if this one's budget is spent and there will be another.
    pub(super) fn puts_off(&mut self, cx: &Context<'_>) -> bool {
        let reactor = self.after.reactor;
        let puts_off = reactor.budget_exhausted() && reactor.put_off_wake(cx.waker());
        self.after.wakes_host |= puts_off;
        puts_off
    }
}

impl Deref for ReadGuard<'_> {
    type Target = ReadState;

    fn deref(&self) -> &Self::Target {
        &self.state
    }
}

impl DerefMut for ReadGuard<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.state
    }
}

// Only Python asks for this.
#[cfg(feature = "python")]
impl ReadState {
    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed
    }

    /// Gives what is read to one operation, until [`release`](ReadState::release); `false` if another has it.
    pub(crate) fn claim(&mut self) -> bool {
        !std::mem::replace(&mut self.claimed, true)
    }

    /// The operation is over. Returns its waker, which is dropped without the lock.
    pub(crate) fn release(&mut self) -> Option<Waker> {
        self.claimed = false;
        self.waker.take()
    }

    /// Forgets the operation that waits.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

impl Deref for ReadState {
    type Target = Reader<ReadEnd>;

    fn deref(&self) -> &Self::Target {
        &self.reader
    }
}

impl DerefMut for ReadState {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.reader
    }
}
