//! How a child ended: waitid(2), what takes its place, and what the kernel still knows of a child
//! that other code reaped.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::status::{Exit, ExitStatus, Usage};
use crate::sys::WaitMode;

/// How often to look whether a child has ended that is traced by us and stands still.
const TRACED_INTERVAL: Duration = Duration::from_millis(20);

/// Waits for a child. `None` if it has not ended; ECHILD if other code has reaped it. waitid(2).
///
/// Where that is refused, as by sandboxes, wait4(2) takes its place. It cannot look: a child that has
/// ended is reaped by [`WaitMode::Look`], too. To block takes the pidfd; without one the error is returned.
pub(crate) fn wait(
    pid: i32,
    pidfd: Option<BorrowedFd<'_>>,
    how: WaitMode,
) -> io::Result<Option<Exit>> {
    let by_number = || waitid(libc::P_PID, pid, how);
    let result = match pidfd.map(|fd| waitid(libc::P_PIDFD, fd.as_raw_fd(), how)) {
        // P_PIDFD is from Linux 5.4, pidfds are from 5.3.
        Some(Err(error)) if error.raw_os_error() == Some(libc::EINVAL) => by_number(),
        Some(result) => result,
        None => by_number(),
    };
    match result {
        Err(error) if error.raw_os_error() != Some(libc::ECHILD) => match (how, pidfd) {
            (WaitMode::Block, None) => Err(error),
            (WaitMode::Block, Some(pidfd)) => has_ended(pidfd, None).map(|_| None),
            (WaitMode::Reap | WaitMode::Look, _) => reap_by_number(pid, pidfd),
        },
        result => result,
    }
}

/// What it means that a signal to the group that a child leads was refused (EPERM): what it says. A group
/// of zombies takes any signal here.
pub(crate) fn refused_group_signal(_pid: i32, error: io::Error) -> io::Result<()> {
    Err(error)
}

/// The end of a child that the kernel reaps: waitid(2) knows nothing of it. Its pidfd becomes readable with
/// its end, and has hung up when it was reaped; from then on it tells how it ended.
pub(crate) fn wait_autoreaped(pidfd: BorrowedFd<'_>, how: WaitMode) -> io::Result<Option<Exit>> {
    let at_once = Timespec::default();
    let timeout = (how != WaitMode::Block).then_some(&at_once);
    if !has_ended(pidfd, timeout)? || how == WaitMode::Block {
        return Ok(None);
    }
    until_reaped(pidfd)?;
    Ok(Some(Exit {
        status: status_of_reaped(Some(pidfd)),
        usage: Usage::default(),
    }))
}

/// Waits until a child is reaped that is being reaped: then its pidfd has hung up.
fn until_reaped(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    /// What reaps it goes from one line of the kernel to another.
    const WITHIN: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    let mut polled = [PollFd::new(&pidfd, PollFlags::empty())];
    retry_on_intr(|| poll(&mut polled, Some(&WITHIN)))?;
    Ok(())
}

fn waitid(kind: libc::idtype_t, id: i32, how: WaitMode) -> io::Result<Option<Exit>> {
    let options = libc::WEXITED
        | match how {
            WaitMode::Reap => libc::WNOHANG,
            WaitMode::Look => libc::WNOHANG | libc::WNOWAIT,
            WaitMode::Block => libc::WNOWAIT,
        };
    loop {
        // SAFETY: both are plain data, for which zeros are valid.
        let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { mem::zeroed() };
        // SAFETY: the raw call, which unlike libc's waitid(3) has a fifth argument: the resource
        // usage. Both pointers are to live values of the right type.
        let result = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                kind,
                id,
                &raw mut info,
                options,
                &raw mut usage,
            )
        };
        if result == 0 {
            // SAFETY: waitid(2) fills these fields of siginfo_t; si_pid stays 0 if nothing ended.
            let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
            let ended = matches!(
                info.si_code,
                libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED
            );
            if pid == 0 || ended {
                return Ok(ended.then(|| exit(info.si_code, status, &usage)));
            }
            // A child that is traced by us is also reported when it stops, and then for as long as it stands.
            if how != WaitMode::Block {
                return Ok(None);
            }
            std::thread::sleep(TRACED_INTERVAL);
            continue;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether the process of a pidfd has ended, after at most `timeout`. poll(2).
fn has_ended(pidfd: BorrowedFd<'_>, timeout: Option<&Timespec>) -> io::Result<bool> {
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    Ok(retry_on_intr(|| poll(&mut polled, timeout))? > 0)
}

/// Reaps a child that has ended. wait4(2) has only the number, which the pidfd proves to be its own.
/// A child that has ended and cannot be reaped at all is lost, and stays a zombie.
fn reap_by_number(pid: i32, pidfd: Option<BorrowedFd<'_>>) -> io::Result<Option<Exit>> {
    if let Some(pidfd) = pidfd {
        if !has_ended(pidfd, Some(&Timespec::default()))? {
            return Ok(None);
        }
        if let Err(error) = super::check_not_reaped(pidfd)
            && error.raw_os_error() == Some(libc::ESRCH)
        {
            return Err(io::Error::from_raw_os_error(libc::ECHILD));
        }
    }
    let mut status = 0;
    // SAFETY: plain data, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    let result = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match result {
        0 => Ok(None),
        // A child that is traced by us is also reported when it stops.
        1.. if libc::WIFSTOPPED(status) => Ok(None),
        1.. => Ok(Some(Exit {
            status: decode(status),
            usage: decode_usage(&usage),
        })),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) || pidfd.is_none() => Err(error),
            _ => Ok(Some(Exit {
                status: ExitStatus::Lost,
                usage: Usage::default(),
            })),
        },
    }
}

fn exit(code: i32, status: i32, usage: &libc::rusage) -> Exit {
    let status = match code {
        libc::CLD_EXITED => ExitStatus::Exited(status.unsigned_abs()),
        _ => ExitStatus::Signaled {
            signal: status,
            core: code == libc::CLD_DUMPED,
        },
    };
    Exit {
        status,
        usage: decode_usage(usage),
    }
}

fn decode_usage(usage: &libc::rusage) -> Usage {
    Usage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        max_resident: own_peak(usage),
    }
}

/// The child's peak, in bytes, if it can be told from ours. At exec the kernel folds the high-water mark
/// of the old memory, which was ours or a copy of it, into the child's: a figure that is not above our
/// own peak, which that mark cannot exceed, says nothing of the child. getrusage(2).
fn own_peak(usage: &libc::rusage) -> Option<u64> {
    // SAFETY: plain data, for which zeros are valid.
    let mut ours: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    let known = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut ours) } == 0;
    if known && usage.ru_maxrss > ours.ru_maxrss {
        u64::try_from(usage.ru_maxrss).ok().map(|kib| kib * 1024)
    } else {
        None
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// The status of a child that other code reaped, or that the kernel reaped because SIGCHLD is
/// ignored. PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15; [`ExitStatus::Lost`] before.
pub(crate) fn status_of_reaped(pidfd: Option<BorrowedFd<'_>>) -> ExitStatus {
    let Some(pidfd) = pidfd else {
        return ExitStatus::Lost;
    };
    // waitid(2) ceases to know a child a moment before the kernel keeps its status for us.
    let known = match info_of_reaped(pidfd) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => None,
        Ok(Some(status)) => Some(status),
        _ => until_reaped(pidfd)
            .and_then(|()| info_of_reaped(pidfd))
            .ok()
            .flatten(),
    };
    known.map_or(ExitStatus::Lost, decode)
}

/// The status as wait4(2) gives it, if the kernel has kept it. ESRCH when it is not kept, or not yet; ENOTTY where there is
/// no such call.
fn info_of_reaped(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // SAFETY: plain data, for which zeros are valid.
    let mut info: libc::pidfd_info = unsafe { mem::zeroed() };
    info.mask = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: the ioctl writes at most the size that its number carries, that of this struct.
    match unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) } {
        0 => {
            let is_kept = info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0;
            Ok(is_kept.then_some(info.exit_code))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// A status as wait4(2) gives it, of a child that has ended.
fn decode(status: i32) -> ExitStatus {
    if libc::WIFEXITED(status) {
        ExitStatus::Exited(libc::WEXITSTATUS(status).unsigned_abs())
    } else {
        ExitStatus::Signaled {
            signal: libc::WTERMSIG(status),
            core: libc::WCOREDUMP(status),
        }
    }
}
