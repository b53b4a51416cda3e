//! The poller: one epoll descriptor, everything in it edge-triggered.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};

use crate::sys::Readiness;
use crate::sys::{Event, Interest, above_stdio};

const BATCH: usize = 256;
/// The token of the notifier's eventfd, which no source has.
const NOTIFIED: usize = usize::MAX;

/// An epoll descriptor. It can itself be watched: it is readable while it holds events.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    notifier: Mutex<Option<Notifier>>,
}

/// Reports a token to a poller, from any thread. An eventfd and a queue.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Arc<(OwnedFd, Mutex<VecDeque<usize>>)>);

impl Notifier {
    pub(crate) fn notify(&self, token: usize) {
        self.0
            .1
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(token);
        // Fails only when the counter is full, and then it is readable anyhow.
        let _ = rustix::io::write(&self.0.0, &1u64.to_ne_bytes());
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = above_stdio(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        Ok(Poller {
            epoll,
            notifier: Mutex::default(),
        })
    }

    /// Registers a descriptor under a token. EEXIST if it is registered already.
    pub(crate) fn add(
        &self,
        fd: BorrowedFd<'_>,
        token: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(token as u64),
            flags(interest),
        )?)
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
        let mut notifier = self.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notifier) = &*notifier {
            return Ok(notifier.clone());
        }
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let fd = above_stdio(fd)?;
        self.add(fd.as_fd(), NOTIFIED, Interest::Read)?;
        Ok(notifier
            .insert(Notifier(Arc::new((fd, Mutex::default()))))
            .clone())
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
            let mut batch = [const { std::mem::MaybeUninit::uninit() }; BATCH];
            let ready = match epoll::wait(&self.epoll, &mut batch, timeout.as_ref()) {
                Ok((ready, _)) => ready,
                Err(rustix::io::Errno::INTR) => return Ok(()),
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
        let notifier = self.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Notifier(shared)) = &*notifier else {
            return;
        };
        let _ = rustix::io::read(&shared.0, &mut [0u8; 8]);
        let tokens = std::mem::take(&mut *shared.1.lock().unwrap_or_else(PoisonError::into_inner));
        let readiness = Readiness::default();
        events.extend(tokens.into_iter().map(|token| Event { token, readiness }));
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
