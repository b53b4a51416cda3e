//! The poller: one kqueue descriptor, everything in it edge-triggered. kqueue(2).
//!
//! # Edges
//! Each filter is registered with EV_CLEAR: an event is collected once, and comes again only when
//! something happens again. A pipe that we write has no filter for "the reader is gone" that all
//! these systems share, so [`Interest::Hangup`] is EVFILT_WRITE as well; of its events only those
//! with EV_EOF are passed on. The others, one when it is registered and one whenever the child has
//! read, are collected for nothing.
//!
//! # Nesting
//! A kqueue can be watched for reading by another kqueue, poll(2) or select(2): it is readable
//! while it holds events. It cannot be watched for writing (EINVAL). It may be readable and then
//! turn out to hold nothing, when what had happened is over by the time it is collected. There are
//! reports that macOS says "readable" once when a kqueue is put into another, and that it has
//! missed a wake-up in such a pair; a host should try it with a [`Notifier`] before it relies on
//! it, and have a thread watch the reactor where that fails.
//!
//! # Fork
//! A child of fork(2) does not inherit a kqueue: the number is free there, or is already some other
//! file. So the descriptor is used and closed only in the process that made it.

use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::without_provenance_mut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::io::{Errno, FdFlags};
use rustix::process::Pid;

use super::api::{self as kqueue, EventFilter, EventFlags, ProcessEvents};
use super::exit;
use super::wake::Wake;
use super::{Interest, above_stdio, current_pid};
use crate::sys::Event;
use crate::sys::Readiness;
use crate::sys::WaitMode;

const BATCH: usize = 256;
/// The mark of the notifier's events, which no registration has.
pub(super) const NOTIFIED: usize = usize::MAX;
/// When to look again for a zombie that does not come.
const AGAIN: Duration = Duration::from_millis(2);

const READABLE: Readiness = Readiness {
    writable: false,
    hangup: false,
};
const GONE: Readiness = Readiness {
    writable: true,
    hangup: true,
};

/// A kqueue descriptor. It can itself be watched: it is readable while it holds events.
#[derive(Debug)]
pub(crate) struct Poller(Arc<Queue>);

/// Reports a token to a poller, from any thread. One that outlives its poller does nothing.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Weak<Queue>);

#[derive(Debug)]
struct Queue {
    /// Dropped by hand: see the head of this module.
    kqueue: ManuallyDrop<OwnedFd>,
    owner: u32,
    wake: Wake,
    /// Events of our own making. Those that tell of a descriptor name it, to be taken back with it.
    reported: Mutex<Vec<(Option<RawFd>, Event)>>,
}

impl Notifier {
    pub(crate) fn notify(&self, token: usize) {
        if let Some(queue) = self.0.upgrade() {
            queue.report(
                None,
                Event {
                    token,
                    readiness: READABLE,
                },
            );
        }
    }
}

impl Queue {
    /// The descriptor, in the process that made it; elsewhere EBADF.
    fn kqueue(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        if self.owner == current_pid() {
            Ok(self.kqueue.as_fd())
        } else {
            Err(Errno::BADF)
        }
    }

    fn change(
        &self,
        filter: EventFilter,
        flags: EventFlags,
        mark: usize,
    ) -> rustix::io::Result<()> {
        let event = kqueue::Event::new(filter, flags, without_provenance_mut(mark));
        change(self.kqueue()?, event)
    }

    fn reported(&self) -> MutexGuard<'_, Vec<(Option<RawFd>, Event)>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, fd: Option<RawFd>, event: Event) {
        self.reported().push((fd, event));
        if let Ok(kqueue) = self.kqueue() {
            self.wake.raise(kqueue);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.owner == current_pid() {
            // SAFETY: it is not used after this, and this is the one place that drops it.
            unsafe { ManuallyDrop::drop(&mut self.kqueue) };
        }
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let kqueue = kqueue::kqueue()?;
        rustix::io::fcntl_setfd(&kqueue, FdFlags::CLOEXEC)?;
        let kqueue = above_stdio(kqueue)?;
        let wake = Wake::new(kqueue.as_fd())?;
        let kqueue = ManuallyDrop::new(kqueue);
        let (owner, reported) = (current_pid(), Mutex::default());
        Ok(Poller(Arc::new(Queue {
            kqueue,
            owner,
            wake,
            reported,
        })))
    }

    /// Registers a descriptor under a token.
    pub(crate) fn add(
        &self,
        fd: BorrowedFd<'_>,
        token: usize,
        interest: Interest,
    ) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let filter = match interest {
            Interest::Read => EventFilter::Read(fd),
            Interest::Hangup | Interest::Write => EventFilter::Write(fd),
        };
        let flags = EventFlags::ADD | EventFlags::CLEAR;
        match self.0.change(filter, flags, mark(token, interest)) {
            // The BSDs do not watch a pipe for writing whose reader is gone. NetBSD says EBADF,
            // which cannot mean the descriptor: it is borrowed.
            Err(Errno::PIPE | Errno::BADF) if interest != Interest::Read => {
                self.0.report(
                    Some(fd),
                    Event {
                        token,
                        readiness: GONE,
                    },
                );
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Changes what a writing end is watched for. If that holds already, an event comes: EV_ADD of
    /// what is there already changes its mark and looks anew.
    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        token: usize,
        interest: Interest,
    ) -> io::Result<()> {
        self.add(fd, token, interest)
    }

    /// Forgets a descriptor. Must come before it is closed.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let fd = fd.as_raw_fd();
        let deleted = |filter| self.0.change(filter, EventFlags::DELETE, 0).is_ok();
        let _ = deleted(EventFilter::Read(fd)) || deleted(EventFilter::Write(fd));
        self.0.reported().retain(|(of, _)| *of != Some(fd));
    }

    /// Reports the token when the child ends. ESRCH if that is too late.
    pub(super) fn add_exit(&self, pid: i32, token: usize) -> rustix::io::Result<()> {
        let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        let filter = EventFilter::Proc {
            pid,
            flags: ProcessEvents::EXIT,
        };
        self.0.change(
            filter,
            EventFlags::ADD | EventFlags::ONESHOT,
            mark(token, Interest::Read),
        )
    }

    /// Forgets a child: libkqueue cannot collect the event of one that was reaped.
    #[cfg(procio_kqueue)]
    pub(super) fn remove_exit(&self, pid: i32) {
        if let Some(pid) = Pid::from_raw(pid) {
            let flags = ProcessEvents::EXIT;
            let filter = EventFilter::Proc { pid, flags };
            let _ = self.0.change(filter, EventFlags::DELETE, 0);
        }
    }

    pub(crate) fn notifier(&self) -> io::Result<Notifier> {
        Ok(Notifier(Arc::downgrade(&self.0)))
    }

    /// Appends what is ready to `events`; waits for it, at most `timeout`, if there is nothing.
    /// kevent(2).
    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
        mut timeout: Option<Duration>,
    ) -> io::Result<()> {
        let kqueue = self.0.kqueue()?;
        loop {
            let mut batch = [const { MaybeUninit::uninit() }; BATCH];
            // SAFETY: nothing is registered here; what was is removed before it is closed.
            let ready = match unsafe { kqueue::kevent(kqueue, &[], &mut batch, timeout) } {
                Ok((ready, _)) => ready,
                Err(Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let full = ready.len() == BATCH;
            for event in ready.iter() {
                self.translate(event, events);
            }
            if !full {
                return Ok(());
            }
            timeout = Some(Duration::ZERO);
        }
    }

    fn translate(&self, event: &kqueue::Event, events: &mut Vec<Event>) {
        let mark = event.udata().addr();
        if mark == NOTIFIED {
            self.0.wake.clear();
            let reported = std::mem::take(&mut *self.0.reported());
            events.extend(reported.into_iter().map(|(_, event)| event));
            return;
        }
        let (token, wants_write) = (mark >> 1, mark & 1 == 1);
        let hangup = event.flags().contains(EventFlags::EOF);
        match event.filter() {
            EventFilter::Proc { pid, .. } => self.ended(Pid::as_raw(Some(pid)), token, events),
            EventFilter::Timer { ident, .. } => self.ended(ident as i32, token, events),
            EventFilter::Write(_) if hangup => events.push(Event {
                token,
                readiness: GONE,
            }),
            EventFilter::Write(_) if wants_write => {
                let readiness = Readiness {
                    writable: true,
                    hangup,
                };
                events.push(Event { token, readiness });
            }
            EventFilter::Write(_) => {}
            _ => events.push(Event {
                token,
                readiness: Readiness { hangup, ..READABLE },
            }),
        }
    }

    /// The end of a child was announced. It is passed on when the child can be reaped, so that
    /// the next look finds it; until then a timer brings us back. That keeps both promises:
    /// to look never blocks, and no event is lost. A look that is too early (a kernel that has still
    /// to make the zombie, a debugger that keeps it, an event left by the former bearer of the
    /// number) costs a look every now and then.
    fn ended(&self, pid: i32, token: usize, events: &mut Vec<Event>) {
        if !exit::can_be_reaped(pid) {
            let timer = EventFilter::Timer {
                ident: pid as isize,
                timer: Some(AGAIN),
            };
            let flags = EventFlags::ADD | EventFlags::ONESHOT;
            if self
                .0
                .change(timer, flags, mark(token, Interest::Read))
                .is_ok()
            {
                return;
            }
            // The kernel has no memory for a timer. There will be no other event.
            let _ = exit::wait(pid, None, WaitMode::Block);
        }
        events.push(Event {
            token,
            readiness: READABLE,
        });
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.kqueue.as_fd()
    }
}

/// What a registration carries: the token, and whether "writable" is to be reported.
fn mark(token: usize, interest: Interest) -> usize {
    token << 1 | usize::from(interest == Interest::Write)
}

/// Makes one change, and collects no events. kevent(2).
pub(super) fn change(kqueue: BorrowedFd<'_>, event: kqueue::Event) -> rustix::io::Result<()> {
    let mut none: [MaybeUninit<kqueue::Event>; 0] = [];
    // SAFETY: descriptors are removed before they are closed; and if one were not, its end is also
    // the end of its registration.
    match unsafe { kqueue::kevent(kqueue, &[event], &mut none, None) } {
        // An interrupted call has made its changes.
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
