//! The poller: one epoll descriptor, everything in it edge-triggered.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::notifier::{EventFd, Notifier};
use crate::sync::lock;
use crate::sys::{Event, Interest, Readiness, above_stdio};

const BATCH: usize = 256;
/// The tokens of the notifier's eventfd and of the timer, which no source has.
const NOTIFIED: usize = usize::MAX;
const TIMER: usize = usize::MAX - 1;
/// After how long, at least, a poller reminds of a token.
const REMINDER: Duration = Duration::from_millis(25);

/// An epoll descriptor. It can itself be watched: it is readable while it holds events.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    notifier: Mutex<Option<Notifier>>,
    reminders: Mutex<Reminders>,
}

/// Tokens to be reported after a while. The timer is there while there are any.
#[derive(Debug, Default)]
struct Reminders {
    timer: Option<OwnedFd>,
    tokens: VecDeque<(Instant, usize)>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = above_stdio(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        Ok(Poller {
            epoll,
            notifier: Mutex::default(),
            reminders: Mutex::default(),
        })
    }

    /// Registers a descriptor under a token. A registration that could not be removed is taken over.
    pub(crate) fn add(
        &self,
        fd: BorrowedFd<'_>,
        token: usize,
        interest: Interest,
    ) -> io::Result<()> {
        let data = EventData::new_u64(token as u64);
        match epoll::add(&self.epoll, fd, data, flags(interest)) {
            Err(Errno::EXIST) => self.modify(fd, token, interest),
            result => Ok(result?),
        }
    }

    /// Changes what a registered descriptor is watched for. If that holds already, an event comes.
    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        token: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(token as u64),
            flags(interest),
        )?)
    }

    /// Forgets a descriptor. Must come before it is closed: while a copy of it lives in another
    /// process, epoll would go on reporting it.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    pub(crate) fn notifier(&self) -> io::Result<Notifier> {
        let mut notifier = lock(&self.notifier);
        if let Some(notifier) = &*notifier {
            return Ok(notifier.clone());
        }
        let fd = EventFd::new()?;
        self.add(fd.as_fd(), NOTIFIED, Interest::Read)?;
        Ok(notifier.insert(Notifier::new(fd)).clone())
    }

    /// Reports a token after 25 to 50 milliseconds. Many are reported by few wake-ups. Where the system
    /// gives no timer, nothing is reported. timerfd_create(2).
    pub(crate) fn remind(&self, token: usize) {
        let mut reminders = lock(&self.reminders);
        if reminders.timer.is_none() {
            reminders.timer = self.timer().ok();
        }
        if reminders.timer.is_some() {
            reminders
                .tokens
                .push_back((Instant::now() + REMINDER, token));
        }
    }

    fn timer(&self) -> io::Result<OwnedFd> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = above_stdio(timerfd_create(TimerfdClockId::Monotonic, flags)?)?;
        start_timer(&timer)?;
        self.add(timer.as_fd(), TIMER, Interest::Read)?;
        Ok(timer)
    }

    /// The timer has expired.
    fn take_reminders(&self, events: &mut Vec<Event>) {
        let mut reminders = lock(&self.reminders);
        let now = Instant::now();
        let due = reminders.tokens.partition_point(|(time, _)| *time <= now);
        let readiness = Readiness::default();
        let tokens = reminders.tokens.drain(..due);
        events.extend(tokens.map(|(_, token)| Event { token, readiness }));
        if !reminders.tokens.is_empty()
            && let Some(timer) = &reminders.timer
            && start_timer(timer).is_ok()
        {
            return;
        }
        if let Some(timer) = std::mem::take(&mut *reminders).timer {
            self.remove(timer.as_fd());
        }
    }

    /// Appends what is ready to `events`; waits for it, at most `timeout`, if there is nothing.
    /// epoll_wait(2).
    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let mut timeout = timeout.map(|t| Timespec::try_from(t).unwrap_or_default());
        loop {
            let mut batch = [const { MaybeUninit::uninit() }; BATCH];
            let ready = match epoll::wait(&self.epoll, &mut batch, timeout.as_ref()) {
                Ok((ready, _)) => ready,
                Err(Errno::INTR) => return Ok(()),
                Err(Errno::PERM | Errno::NOSYS | Errno::ACCESS) => {
                    match wait_otherwise(&self.epoll, &mut batch, timeout.as_ref()) {
                        Err(Errno::INTR) => return Ok(()),
                        result => result?,
                    }
                }
                Err(error) => return Err(error.into()),
            };
            let full = ready.len() == BATCH;
            for event in ready.iter() {
                self.translate(*event, events);
            }
            if !full {
                return Ok(());
            }
            timeout = Some(Timespec::default());
        }
    }

    fn translate(&self, event: epoll::Event, events: &mut Vec<Event>) {
        let token = event.data.u64() as usize;
        if token == TIMER {
            return self.take_reminders(events);
        }
        if token != NOTIFIED {
            let flags = event.flags;
            events.push(Event {
                token,
                readiness: Readiness {
                    writable: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
                    hangup: flags.intersects(EventFlags::HUP | EventFlags::ERR),
                },
            });
            return;
        }
        let Some(notifier) = lock(&self.notifier).clone() else {
            return;
        };
        let tokens = notifier.take();
        let readiness = Readiness::default();
        events.extend(tokens.into_iter().map(|token| Event { token, readiness }));
    }
}

/// epoll_wait(2) by the C library, which sandboxes know better than the call that came after it. A
/// host's loop, which watches our descriptor, waits by it itself.
fn wait_otherwise<'a>(
    epoll: &OwnedFd,
    batch: &'a mut [MaybeUninit<epoll::Event>; BATCH],
    timeout: Option<&Timespec>,
) -> Result<&'a mut [epoll::Event], Errno> {
    const { assert!(size_of::<epoll::Event>() == size_of::<libc::epoll_event>()) };
    let milliseconds = timeout.map_or(-1, |time| {
        let milliseconds =
            (time.tv_sec * 1000).saturating_add((time.tv_nsec + 999_999) / 1_000_000);
        i32::try_from(milliseconds).unwrap_or(i32::MAX)
    });
    let (events, room) = (batch.as_mut_ptr().cast(), BATCH as i32);
    // SAFETY: `events` has room for that many of the kernel's events, of which Event is another
    // declaration.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events, room, milliseconds) };
    let Ok(count) = usize::try_from(count) else {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
    };
    let filled = batch.get_mut(..count).unwrap_or_default();
    // SAFETY: the kernel has filled these.
    Ok(unsafe { std::slice::from_raw_parts_mut(filled.as_mut_ptr().cast(), filled.len()) })
}

fn start_timer(timer: &OwnedFd) -> io::Result<()> {
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec::try_from(REMINDER).unwrap_or_default(),
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

impl Drop for Poller {
    fn drop(&mut self) {
        let notifier = self.notifier.get_mut();
        if let Some(notifier) = notifier.unwrap_or_else(PoisonError::into_inner) {
            notifier.close();
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn flags(interest: Interest) -> EventFlags {
    EventFlags::ET
        | match interest {
            Interest::Read => EventFlags::IN,
            Interest::Hangup => EventFlags::empty(),
            Interest::Write => EventFlags::OUT,
        }
}
