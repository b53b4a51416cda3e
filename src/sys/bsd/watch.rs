//! The watch over the end of a child: EVFILT_PROC in kqueue(2), and what it means that there is none.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::{Poller, exit, switches};

/// Watches for the end of a child. `false` when the kernel will not tell: the caller then has a
/// thread wait for it. EVFILT_PROC in kqueue(2).
pub(crate) fn watch_exit(
    pid: i32,
    _pidfd: Option<BorrowedFd<'_>>,
    poller: &Poller,
    token: usize,
) -> io::Result<bool> {
    if !switches().pidfd {
        return Ok(false);
    }
    match poller.add_exit(pid, token) {
        Ok(()) => Ok(true),
        // It has ended. Or it is ending, and not to be found any more but not to be reaped yet
        // either; or it became another user's, of whom we may not know. In these cases no event
        // would ever come.
        Err(Errno::SRCH | Errno::ACCESS | Errno::PERM) => {
            let ended = exit::can_be_reaped(pid);
            if ended {
                poller.notifier()?.notify(token);
            }
            Ok(ended)
        }
        Err(error) => Err(error.into()),
    }
}
