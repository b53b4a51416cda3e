//! Descriptors: above 2, close-on-exec.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

#[cfg(feature = "python")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;

/// Moves a fresh descriptor out of 0, 1 and 2.
///
/// A parent that runs with one of these closed gets them from `pipe(2)`. In the child they would
/// be overwritten by the standard streams before they were used (CPython issue 12607).
pub(crate) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(fcntl_dupfd_cloexec(&fd, 3)?)
}

/// `/dev/null`, open in both directions.
pub(crate) fn open_null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    above_stdio(rustix::fs::open(c"/dev/null", flags, Mode::empty())?)
}

/// EBADF if `fd` is not open. Asked before any descriptor of ours is made, which might get the
/// number and be taken for the caller's. F_GETFD in fcntl(2).
pub(crate) fn check_open(fd: RawFd) -> io::Result<()> {
    if fd < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the number is only looked up; nothing is done with what it may refer to.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(fd)?;
    Ok(())
}

/// Another descriptor of the same open file. F_DUPFD_CLOEXEC in fcntl(2).
pub(crate) fn try_clone(fd: &impl AsFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(fd, 3)?)
}

/// A copy of a descriptor that other code owns. It stays what it is when theirs is closed and its number
/// goes to another file. F_DUPFD_CLOEXEC in fcntl(2).
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    check_open(fd)?;
    // SAFETY: it was open just now, and the kernel checks the number again.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(fcntl_dupfd_cloexec(fd, 3)?)
}

/// Whether a selector that other code owns would come back at once. It would if its number is
/// not open, too. poll(2).
#[cfg(feature = "python")]
pub(crate) fn has_events(selector: RawFd) -> bool {
    if selector < 0 {
        return true;
    }
    // SAFETY: the number is only looked at, and the kernel checks it.
    let selector = unsafe { BorrowedFd::borrow_raw(selector) };
    has_input(&selector)
}

/// Whether a read would find bytes, the end or an error. A read finds the end where there is none: in a FIFO that no
/// writer has opened yet, and in a terminal with VMIN and VTIME of 0 (termios(3)); and it stops a job in the background
/// (SIGTTIN). poll(2).
#[cfg(feature = "python")]
pub(super) fn has_input(fd: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())) != Ok(0)
}

/// Whether a poller refused a descriptor because there is nothing to wait for: `/dev/null`, which
/// is always ready. EPERM in epoll_ctl(2); EINVAL and ENODEV of the kqueues. A sandbox that refuses
/// the call as a whole says EPERM, too, but pipes and sockets can always be waited for. So can terminals, but for
/// macOS' `/dev/tty`, of which kevent(2) says EINVAL: taken for always ready, a read of it would block the loop
/// or wait for ever.
pub(crate) fn never_blocks(fd: &impl AsFd, error: &io::Error) -> bool {
    let refused = matches!(
        rustix::io::Errno::from_io_error(error),
        Some(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::NODEV)
    );
    refused
        && rustix::fs::fstat(fd).is_ok_and(|stat| {
            !matches!(
                FileType::from_raw_mode(stat.st_mode),
                FileType::Fifo | FileType::Socket
            )
        })
        && !fd.as_fd().is_terminal()
}

/// Makes reads and writes wait.
pub(crate) fn set_blocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK)?)
}

/// Makes reads and writes return `WouldBlock` instead of waiting.
pub(crate) fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    if !flags.contains(OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_can_be_waited_for_is_not_taken_for_always_ready() -> io::Result<()> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(c"/dev/ptmx", flags, Mode::empty())?;
        let (pipe, _writer) = rustix::pipe::pipe()?;
        let null = open_null()?;
        for errno in [Errno::PERM, Errno::INVAL, Errno::NODEV] {
            let error = io::Error::from(errno);
            assert!(never_blocks(&null, &error), "{error}");
            assert!(!never_blocks(&terminal, &error), "{error}");
            assert!(!never_blocks(&pipe, &error), "{error}");
        }
        assert!(!never_blocks(&null, &Errno::NOMEM.into()));
        Ok(())
    }
}
