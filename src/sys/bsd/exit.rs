//! How a child ended: wait4(2), and waitid(2) to look without reaping.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::status::{Exit, ExitStatus, Usage};
use crate::sys::WaitMode;

/// How often to look for the zombie of a child whose end was announced. It needs a moment of
/// another processor; each look gives ours away.
const LOOKS: usize = 64;

/// How often to look whether a child has ended that is traced by us and stands still, where that is reported.
const TRACED_INTERVAL: Duration = Duration::from_millis(20);

/// No child is reaped by the kernel here.
pub(crate) fn wait_autoreaped(_pidfd: BorrowedFd<'_>, _how: WaitMode) -> io::Result<Option<Exit>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Waits for a child. `None` if it has not ended, and after [`WaitMode::Block`]; ECHILD if other code
/// has reaped it. What a child that was only looked at consumed is known when it is reaped.
pub(crate) fn wait(
    pid: i32,
    _pidfd: Option<BorrowedFd<'_>>,
    how: WaitMode,
) -> io::Result<Option<Exit>> {
    loop {
        let result = match how {
            WaitMode::Reap => reap(pid),
            WaitMode::Look => look(pid, libc::WNOHANG).map(|info| info.map(|info| zombie(&info))),
            WaitMode::Block => match look(pid, 0) {
                Ok(None) => {
                    std::thread::sleep(TRACED_INTERVAL);
                    continue;
                }
                result => result.map(|_| None),
            },
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether a child whose end was announced can be reaped by now, or is gone.
///
/// The kernels announce the end before there is a zombie: macOS does so on purpose and says ESRCH
/// to a late watcher even earlier, while the process still closes its files. The distance is short
/// as a rule, so this looks a few times. It does not block: a debugger may hold on to the zombie
/// for as long as it likes, and the thread that asks is one that serves an event loop.
pub(super) fn can_be_reaped(pid: i32) -> bool {
    for _ in 0..LOOKS {
        match look(pid, libc::WNOHANG) {
            Ok(None) => std::thread::yield_now(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Some(_)) | Err(_) => return true,
        }
    }
    false
}

/// What it means that a signal to the group that a child leads was refused (EPERM).
///
/// macOS sends none to a zombie, nor to a process that is exiting, and says EPERM of a group without any
/// other member: that of a leader that is pinned until its group was killed, if it was alone. Linux
/// says that such a signal was sent. kill(2).
///
/// What is lost by that: a process of another user's that is left in the group of a leader which has ended is
/// refused in the same words, and that is not told. A leader that runs would have got the signal.
pub(crate) fn refused_group_signal(pid: i32, error: io::Error) -> io::Result<()> {
    if cfg!(target_vendor = "apple") {
        unless_ended(pid, error)
    } else {
        Err(error)
    }
}

/// The error, unless the child has ended, or is ending.
fn unless_ended(pid: i32, error: io::Error) -> io::Result<()> {
    if can_be_reaped(pid) {
        Ok(())
    } else {
        Err(error)
    }
}

/// Whether a child has ended; leaves it to be reaped. waitid(2).
fn look(pid: i32, options: libc::c_int) -> io::Result<Option<libc::siginfo_t>> {
    let options = libc::WEXITED | libc::WNOWAIT | options;
    // SAFETY: plain data, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    match unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, options) } {
        // With WNOHANG some kernels write zeros and some nothing when no child has ended. Some report a stop of a
        // child that is traced by us, which was not asked for.
        0 => Ok((info.si_signo != 0 && is_end(info.si_code)).then_some(info)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn is_end(code: libc::c_int) -> bool {
    matches!(code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED)
}

/// How a child ended that is still to be reaped.
fn zombie(info: &libc::siginfo_t) -> Exit {
    // SAFETY: waitid(2) filled this field of siginfo_t.
    let status = unsafe { info.si_status() };
    Exit {
        status: decode_look(info.si_code, status),
        usage: Usage::default(),
    }
}

/// macOS and FreeBSD give waitid(2) all that the child gave to exit(2): 16777215 and -1 for `exit(-1)`. The
/// status that wait4(2) tells, and every parent knows, is the lowest byte of it.
fn decode_look(code: libc::c_int, status: libc::c_int) -> ExitStatus {
    match code {
        libc::CLD_EXITED => ExitStatus::Exited((status & 0xff).unsigned_abs()),
        code => ExitStatus::Signaled {
            signal: status,
            core: code == libc::CLD_DUMPED,
        },
    }
}

/// Reaps a child if it has ended. wait4(2).
fn reap(pid: i32) -> io::Result<Option<Exit>> {
    let mut status = 0;
    // SAFETY: plain data, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    match unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        // A child that is traced by us is also reported when it stops.
        _ => Ok(decode(status).map(|status| Exit {
            status,
            usage: decode_usage(&usage),
        })),
    }
}

fn decode(status: libc::c_int) -> Option<ExitStatus> {
    if libc::WIFEXITED(status) {
        Some(ExitStatus::Exited(libc::WEXITSTATUS(status).unsigned_abs()))
    } else if libc::WIFSIGNALED(status) {
        let (signal, core) = (libc::WTERMSIG(status), libc::WCOREDUMP(status));
        Some(ExitStatus::Signaled { signal, core })
    } else {
        None
    }
}

/// getrusage(2): `ru_maxrss` is in bytes on macOS, and in kilobytes on the BSDs.
fn decode_usage(usage: &libc::rusage) -> Usage {
    let unit = if cfg!(target_vendor = "apple") {
        1
    } else {
        1024
    };
    Usage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        max_resident: Some(usage.ru_maxrss as u64 * unit),
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// The status of a child that other code reaped, or that the kernel reaped because SIGCHLD is
/// ignored: it is lost.
pub(crate) fn status_of_reaped(_pidfd: Option<BorrowedFd<'_>>) -> ExitStatus {
    ExitStatus::Lost
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_look_tells_the_status_that_a_reap_tells() {
        for (given, told) in [(7, 7), (-1, 255), (0xff_ffff, 255), (256, 0), (513, 1)] {
            let status = decode_look(libc::CLD_EXITED, given);
            assert_eq!(status, ExitStatus::Exited(told), "exit({given})");
        }
        for (code, core) in [(libc::CLD_KILLED, false), (libc::CLD_DUMPED, true)] {
            let status = decode_look(code, 9);
            assert_eq!(status, ExitStatus::Signaled { signal: 9, core });
        }
    }

    /// As macOS refuses it.
    #[test]
    fn a_signal_to_a_group_is_refused_only_while_its_leader_runs() -> io::Result<()> {
        let refused = || io::Error::from_raw_os_error(libc::EPERM);
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let error = unless_ended(pid, refused()).err();
        assert_eq!(
            error.and_then(|error| error.raw_os_error()),
            Some(libc::EPERM)
        );
        // The end of its input ends it.
        drop(child.stdin.take());
        wait(pid, None, WaitMode::Block)?;
        unless_ended(pid, refused())?;
        let told = refused_group_signal(pid, refused()).is_ok();
        assert_eq!(told, cfg!(target_vendor = "apple"));
        child.wait()?;
        Ok(())
    }
}
