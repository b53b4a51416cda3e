//! What ends a wait in kevent(2) from any thread. kqueue(2).

use std::io;
use std::os::fd::BorrowedFd;

use super::api::{Event, EventFilter, EventFlags};
use super::kqueue::{NOTIFIED, change};

pub(super) use implementation::Wake;

/// EVFILT_USER: an event without a source.
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    procio_kqueue
))]
mod implementation {
    use super::super::api::{UserDefinedFlags, UserFlags};
    use super::*;

    #[derive(Debug)]
    pub(in super::super) struct Wake;

    impl Wake {
        /// Makes it report [`NOTIFIED`].
        pub(in super::super) fn new(kqueue: BorrowedFd<'_>) -> io::Result<Self> {
            let once = EventFlags::ADD | EventFlags::CLEAR;
            change(kqueue, user(UserFlags::empty(), once))?;
            Ok(Wake)
        }

        pub(in super::super) fn raise(&self, kqueue: BorrowedFd<'_>) {
            let _ = change(kqueue, user(UserFlags::TRIGGER, EventFlags::empty()));
        }

        /// EV_CLEAR has done it.
        pub(in super::super) fn clear(&self) {}
    }

    fn user(action: UserFlags, flags: EventFlags) -> Event {
        let user_flags = UserDefinedFlags::new(0);
        let filter = EventFilter::User {
            ident: 0,
            flags: action,
            user_flags,
        };
        // A change without EV_ADD sets the token too.
        Event::new(filter, flags, std::ptr::without_provenance_mut(NOTIFIED))
    }
}

/// NetBSD has that filter since version 10 and OpenBSD has not: a pipe to ourselves.
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
mod implementation {
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;
    use crate::sys::above_stdio;

    #[derive(Debug)]
    pub(in super::super) struct Wake {
        reader: OwnedFd,
        writer: OwnedFd,
    }

    impl Wake {
        /// Makes it report [`NOTIFIED`].
        pub(in super::super) fn new(kqueue: BorrowedFd<'_>) -> io::Result<Self> {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            let (reader, writer) = (above_stdio(reader)?, above_stdio(writer)?);
            let filter = EventFilter::Read(reader.as_raw_fd());
            let flags = EventFlags::ADD | EventFlags::CLEAR;
            change(
                kqueue,
                Event::new(filter, flags, std::ptr::without_provenance_mut(NOTIFIED)),
            )?;
            Ok(Wake { reader, writer })
        }

        pub(in super::super) fn raise(&self, _kqueue: BorrowedFd<'_>) {
            // Fails only when the pipe is full, and then an event is on its way anyhow.
            let _ = rustix::io::write(&self.writer, &[0]);
        }

        /// Empties the pipe. To be called before what was announced is looked at.
        pub(in super::super) fn clear(&self) {
            let mut bytes = [0u8; 256];
            while matches!(rustix::io::read(&self.reader, &mut bytes), Ok(count) if count > 0) {}
        }
    }
}
