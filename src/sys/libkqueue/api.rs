//! kqueue(2) and kevent(2) of libkqueue, in the shape of `rustix::event::kqueue`, which has them only where
//! the kernel has.
//!
//! Where libkqueue and the kernels differ in what the backend relies on, the difference is made up for
//! here, so that the backend needs to know of one behaviour only:
//!
//! - EV_ADD of a filter that is there already does not look anew: it is deleted before.
//! - A child that has ended can be watched: it is refused with ESRCH, as by macOS, which does not find it.
//! - The end of a child that was reaped before the event was collected is tried for ever, and takes with it
//!   the events that were to come after it in the same call: those are collected one by one, and for such
//!   a child there is an event of our making.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint, c_void};
use std::mem::{self, MaybeUninit};
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::time::Duration;

use rustix::io::{Errno, Result};
use rustix::process::Pid;

use crate::sync::lock;

const READ: i16 = -1;
const WRITE: i16 = -2;
const PROC: i16 = -5;
const TIMER: i16 = -7;
const USER: i16 = -11;
const LIBRARY: i16 = -12;
const NOTE_FORK_CLEANUP: c_uint = 4;
const NOTE_NSECONDS: c_uint = 4;

/// The children that are watched for: the number of the kqueue, that of the child, and the mark.
static WATCHED: Mutex<BTreeMap<(RawFd, usize), usize>> = Mutex::new(BTreeMap::new());

mod library {
    use super::{Event, c_int};

    // Built with: RUSTFLAGS="--cfg procio_kqueue -L DIRECTORY".
    #[link(name = "kqueue")]
    unsafe extern "C" {
        pub(super) fn kqueue() -> c_int;
        pub(super) fn kevent(
            kqueue: c_int,
            changes: *const Event,
            change_count: c_int,
            events: *mut Event,
            event_count: c_int,
            timeout: *const libc::timespec,
        ) -> c_int;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventFlags(u16);

impl EventFlags {
    pub(super) const ADD: Self = EventFlags(0x0001);
    pub(super) const DELETE: Self = EventFlags(0x0002);
    pub(super) const ONESHOT: Self = EventFlags(0x0010);
    pub(super) const CLEAR: Self = EventFlags(0x0020);
    pub(super) const EOF: Self = EventFlags(0x8000);

    pub(super) const fn empty() -> Self {
        EventFlags(0)
    }

    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for EventFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        EventFlags(self.0 | other.0)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessEvents(c_uint);

impl ProcessEvents {
    pub(super) const EXIT: Self = ProcessEvents(0x8000_0000);
}

#[derive(Clone, Copy, Debug)]
pub(super) struct UserFlags(c_uint);

impl UserFlags {
    pub(super) const TRIGGER: Self = UserFlags(0x0100_0000);

    pub(super) const fn empty() -> Self {
        UserFlags(0)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct UserDefinedFlags(c_uint);

impl UserDefinedFlags {
    pub(super) fn new(flags: c_uint) -> Self {
        UserDefinedFlags(flags)
    }
}

pub(super) enum EventFilter {
    Read(RawFd),
    Write(RawFd),
    Proc {
        pid: Pid,
        flags: ProcessEvents,
    },
    Timer {
        ident: isize,
        timer: Option<Duration>,
    },
    User {
        ident: isize,
        flags: UserFlags,
        user_flags: UserDefinedFlags,
    },
    Unknown,
}

/// `struct kevent` of libkqueue's `sys/event.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Event {
    ident: usize,
    filter: i16,
    flags: u16,
    filter_flags: c_uint,
    data: isize,
    udata: *mut c_void,
}

impl Event {
    pub(super) fn new(filter: EventFilter, flags: EventFlags, udata: *mut c_void) -> Self {
        let (ident, filter, filter_flags, data) = match filter {
            EventFilter::Read(fd) => (fd as usize, READ, 0, 0),
            EventFilter::Write(fd) => (fd as usize, WRITE, 0, 0),
            EventFilter::Proc { pid, flags } => (Pid::as_raw(Some(pid)) as usize, PROC, flags.0, 0),
            EventFilter::Timer { ident, timer } => {
                let nanoseconds = timer.map_or(0, |time| time.as_nanos());
                (ident as usize, TIMER, NOTE_NSECONDS, nanoseconds as isize)
            }
            EventFilter::User {
                ident,
                flags,
                user_flags,
            } => (ident as usize, USER, flags.0 | user_flags.0, 0),
            EventFilter::Unknown => (0, 0, 0, 0),
        };
        Event {
            ident,
            filter,
            flags: flags.0,
            filter_flags,
            data,
            udata,
        }
    }

    pub(super) fn flags(&self) -> EventFlags {
        EventFlags(self.flags)
    }

    pub(super) fn udata(&self) -> *mut c_void {
        self.udata
    }

    pub(super) fn filter(&self) -> EventFilter {
        let ident = self.ident as isize;
        match self.filter {
            READ => EventFilter::Read(ident as RawFd),
            WRITE => EventFilter::Write(ident as RawFd),
            PROC => match Pid::from_raw(ident as i32) {
                Some(pid) => EventFilter::Proc {
                    pid,
                    flags: ProcessEvents(self.filter_flags),
                },
                None => EventFilter::Unknown,
            },
            TIMER => EventFilter::Timer { ident, timer: None },
            USER => EventFilter::User {
                ident,
                flags: UserFlags::empty(),
                user_flags: UserDefinedFlags(self.filter_flags),
            },
            _ => EventFilter::Unknown,
        }
    }

    fn with(self, flags: EventFlags) -> Self {
        Event {
            flags: flags.0,
            ..self
        }
    }

    /// Whether it asks for the end of a child that has ended.
    fn is_too_late(&self) -> bool {
        self.filter == PROC
            && self.flags().contains(EventFlags::ADD)
            && look(self.ident) == Ok(true)
    }
}

/// Whether a child has ended; ECHILD when it was reaped. A child that stands still for us, who trace it, is reported,
/// too, on Linux. waitid(2).
fn look(pid: usize) -> Result<bool> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: plain data, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    match unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, options) } {
        0 => Ok(info.si_signo != 0 && info.si_code != libc::CLD_TRAPPED),
        _ => Err(last_error()),
    }
}

/// The event of a child that was reaped before libkqueue could collect it.
fn take_reaped(kqueue: RawFd) -> Option<Event> {
    let mut watched = lock(&WATCHED);
    let mut ours = watched.range((kqueue, 0)..=(kqueue, usize::MAX));
    let (&(_, ident), &mark) = ours.find(|((_, pid), _)| look(*pid) == Err(Errno::CHILD))?;
    watched.remove(&(kqueue, ident));
    drop(watched);
    let event = Event {
        ident,
        filter: PROC,
        flags: EventFlags::ONESHOT.0,
        filter_flags: ProcessEvents::EXIT.0,
        data: 0,
        udata: std::ptr::without_provenance_mut(mark),
    };
    let _ = call(kqueue, &[event.with(EventFlags::DELETE)], None, None);
    Some(event)
}

/// A kqueue above the standard streams: libkqueue knows it by its number, of which no copy can be made.
pub(super) fn kqueue() -> Result<OwnedFd> {
    let mut low = Vec::new();
    loop {
        // SAFETY: takes no arguments.
        let fd = unsafe { library::kqueue() };
        if fd == -1 {
            return Err(last_error());
        }
        // SAFETY: it was made for us, and is closed by this value alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if fd.as_raw_fd() > 2 {
            leave_forks_alone(fd.as_raw_fd());
            lock(&WATCHED).retain(|(kqueue, _), _| *kqueue != fd.as_raw_fd());
            return Ok(fd);
        }
        low.push(fd);
    }
}

/// In the child of a fork libkqueue closes the descriptors of each kqueue in its list, in which one stays for a while
/// that was closed: its number may be that of our report by then. The crate's own forks execute a program and need
/// none of that. A forked copy of a Python program does.
fn leave_forks_alone(kqueue: RawFd) {
    if cfg!(feature = "python") {
        return;
    }
    let setting = Event {
        ident: 0,
        filter: LIBRARY,
        flags: EventFlags::ADD.0,
        filter_flags: NOTE_FORK_CLEANUP,
        data: 0,
        udata: std::ptr::null_mut(),
    };
    let set = call(kqueue, &[setting], None, None);
    debug_assert_eq!(set, Ok(0));
}

/// Makes changes, and collects events.
///
/// # Safety
/// The descriptors that are registered are open.
pub(super) unsafe fn kevent<'a>(
    kqueue: impl AsFd,
    changes: &[Event],
    events: &'a mut [MaybeUninit<Event>],
    timeout: Option<Duration>,
) -> Result<(&'a mut [Event], ())> {
    let kqueue = kqueue.as_fd().as_raw_fd();
    for change in changes {
        if change.is_too_late() {
            return Err(Errno::SRCH);
        }
        let watches = change.filter == READ || change.filter == WRITE;
        if watches && change.flags().contains(EventFlags::ADD) {
            let _ = call(kqueue, &[change.with(EventFlags::DELETE)], None, None);
        }
        call(kqueue, &[*change], None, None)?;
        if change.filter == PROC && change.flags().contains(EventFlags::ADD) {
            lock(&WATCHED).insert((kqueue, change.ident), change.udata.addr());
        } else if change.filter == PROC {
            lock(&WATCHED).remove(&(kqueue, change.ident));
        }
    }
    let mut timeout = timeout.map(|time| libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    });
    let mut count = 0;
    for slot in events.iter_mut() {
        match call(kqueue, &[], Some(slot), timeout.as_ref()) {
            Ok(0) => match take_reaped(kqueue) {
                Some(event) => {
                    slot.write(event);
                    count += 1;
                }
                None => break,
            },
            Ok(_) => {
                // SAFETY: libkqueue has filled it.
                let event = unsafe { slot.assume_init_ref() };
                if event.filter == PROC {
                    lock(&WATCHED).remove(&(kqueue, event.ident));
                }
                count += 1;
            }
            Err(_) if count > 0 => break,
            Err(error) => return Err(error),
        }
        timeout = Some(libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        });
    }
    let filled = &mut events[..count];
    // SAFETY: these have been filled, one by one.
    Ok((
        unsafe { &mut *(std::ptr::from_mut(filled) as *mut [Event]) },
        (),
    ))
}

fn call(
    kqueue: RawFd,
    changes: &[Event],
    event: Option<&mut MaybeUninit<Event>>,
    timeout: Option<&libc::timespec>,
) -> Result<c_int> {
    let (events, room) = match event {
        Some(event) => (event.as_mut_ptr(), 1),
        None => (std::ptr::null_mut(), 0),
    };
    let timeout = timeout.map_or(std::ptr::null(), std::ptr::from_ref);
    let count = changes.len() as c_int;
    // SAFETY: the pointers are to that many values of the library's own shape, or null.
    match unsafe { library::kevent(kqueue, changes.as_ptr(), count, events, room, timeout) } {
        -1 => Err(last_error()),
        count => Ok(count),
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
