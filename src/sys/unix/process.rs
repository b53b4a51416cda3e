//! One child: watching for its end, reaping it once, signalling it safely.
//!
//! # Why a signal cannot hit a stranger
//! A pid is free for reuse as soon as the child has been reaped. With a pidfd there is nothing to
//! fear: it names the process, not the number. Without one, `kill(2)` takes the number; so the
//! caller holds one lock round `signal` and round `try_wait`, and never signals after `try_wait`
//! has returned an exit. Nothing in this crate reaps in any other place. (CPython issues 127049,
//! 86724, 84259, 82811.)

#[cfg(feature = "python")]
use super::RawHandle;
use std::io;
#[cfg(feature = "python")]
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::process::pidfd_send_signal;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use super::WaitMode;
use super::end_seen::{EndSeen, WaitFound};
use super::os::cgroup::CgroupKill;
use super::os::exit;
use super::os::{self, Poller};
use crate::status::{Exit, ExitStatus, Usage};

/// How often to try whether a child has ended, where the system refuses to tell without reaping it.
const BLIND_INTERVAL: Duration = Duration::from_millis(20);
/// How often to try again when every way to reap a child was refused. What is refused for good leaves a zombie,
/// as it does to every program that has to live with that.
const REFUSALS: usize = 50;

/// A child that has not been reaped.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    pidfd: Option<OwnedFd>,
    /// Its end was seen here.
    ended: EndSeen,
    /// The same with the thread that waits for it, where one does.
    shared_end: Option<Arc<EndSeen>>,
    /// How it ended, if a look at it before a signal has found that. Where the system refuses to look, that has reaped it.
    found_ended: OnceLock<Exit>,
    /// The kernel reaps it, and kills it when the pidfd is closed.
    pub(super) autokill: bool,
    /// What kills all that is in its control group.
    pub(super) cgroup_kill: Option<CgroupKill>,
}

impl Process {
    pub(crate) fn new(pid: i32, pidfd: Option<OwnedFd>) -> Self {
        Process {
            pid,
            pidfd,
            ended: EndSeen::default(),
            shared_end: None,
            found_ended: OnceLock::new(),
            autokill: false,
            cgroup_kill: None,
        }
    }

    /// A child that has been reaped: its number may be another's.
    pub(super) fn gone(pid: i32) -> Self {
        let process = Process::new(pid, None);
        process.ended.tell();
        process
    }

    /// A child of this process's, known to another reactor before.
    #[cfg(feature = "python")]
    pub(crate) fn from_detached(pid: u32, pidfd: Option<OwnedFd>) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Process::new(pid, pidfd))
    }

    /// The descriptor by which another reactor can know it, if it needs one.
    #[cfg(feature = "python")]
    pub(crate) fn handle(&self) -> io::Result<Option<RawHandle>> {
        Ok(self.pidfd.as_ref().map(AsRawFd::as_raw_fd))
    }

    /// Whether it leads a process group. getpgid(2).
    #[cfg(feature = "python")]
    pub(crate) fn leads_group(&self) -> bool {
        let pid = Pid::from_raw(self.pid);
        pid.is_some() && rustix::process::getpgid(pid).ok() == pid
    }

    fn ended(&self) -> &EndSeen {
        self.shared_end.as_deref().unwrap_or(&self.ended)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Reports `token` to the poller when the child ends: by its pidfd, by what else the system
    /// has, or else by a thread that waits for it.
    pub(crate) fn watch(&mut self, poller: &Poller, token: usize) -> io::Result<()> {
        if os::watch_exit(self.pid, self.pidfd(), poller, token)? {
            return Ok(());
        }
        let notifier = poller.notifier()?;
        let ended = Arc::new(std::mem::take(&mut self.ended));
        self.shared_end = Some(ended.clone());
        let pid = self.pid;
        let name = format!("procio-wait-{pid}");
        // WNOWAIT: the thread only looks; reaping stays with the holder of the lock. Should
        // other code reap the child, it ends with ECHILD, which is also news.
        std::thread::Builder::new()
            .name(name)
            .stack_size(64 * 1024)
            .spawn(move || {
                match exit::wait(pid, None, WaitMode::Block) {
                    Err(error) if error.raw_os_error() != Some(libc::ECHILD) => {
                        // The system does not let us look. The reactor reaps, so it has to try, until
                        // the child is no longer its own.
                        while Arc::strong_count(&ended) > 1 {
                            std::thread::sleep(BLIND_INTERVAL);
                            notifier.notify(token);
                        }
                    }
                    _ => {
                        ended.tell();
                        notifier.notify(token);
                    }
                }
            })?;
        Ok(())
    }

    pub(crate) fn unwatch(&self, poller: &Poller) {
        os::unwatch_exit(self.pid, self.pidfd(), poller);
    }

    /// Reaps the child if it has ended. An end whose status other code took is an end too.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.wait(WaitMode::Reap)
    }

    /// The same, but leaves the child to be reaped: until then its number, and that of the group
    /// that it leads, are not given to another.
    pub(crate) fn try_look(&mut self) -> io::Result<Option<Exit>> {
        self.wait(WaitMode::Look)
    }

    fn wait(&self, how: WaitMode) -> io::Result<Option<Exit>> {
        let found = self.ended().judge(|| match self.pidfd() {
            Some(pidfd) if self.autokill => exit::wait_autoreaped(pidfd, how),
            pidfd => exit::wait(self.pid, pidfd, how),
        });
        match found {
            Ok(WaitFound::Running) => Ok(None),
            Ok(WaitFound::Ended(exit)) => Ok(Some(exit)),
            Ok(WaitFound::Taken) => Ok(Some(lost(ExitStatus::Lost))),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                let found = self.found_ended.get().copied();
                Ok(Some(found.unwrap_or_else(|| {
                    lost(exit::status_of_reaped(self.pidfd()))
                })))
            }
            Err(error) => Err(error),
        }
    }

    /// Looks at it by its number: whether it runs. ESRCH if other code has reaped it, and the number may be a stranger's.
    fn runs(&self) -> io::Result<bool> {
        match exit::wait(self.pid, None, WaitMode::Look) {
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                let found = self.found_ended.get();
                found.map_or(Err(io::Error::from_raw_os_error(libc::ESRCH)), |_| {
                    Ok(false)
                })
            }
            Ok(Some(exit)) => {
                let _ = self.found_ended.set(exit);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// Sends a signal. Signal 0 only asks. pidfd_send_signal(2), kill(2).
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        if signal == 0 {
            return Ok(());
        }
        let signal = signal_from(signal).ok_or(io::Error::from_raw_os_error(libc::EINVAL))?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(pidfd) = &self.pidfd {
            match pidfd_send_signal(pidfd, signal) {
                // The call is refused, in whatever words: the signal and the flags are valid. A child
                // that cannot be killed would outlive its guard.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {}
                result => return Ok(result?),
            }
        }
        if self.ended().is_told() {
            return Ok(());
        }
        // Other code may have reaped it before its end was told here; then the number may be a stranger's.
        // Until it is reaped it is its own, and procio reaps under the lock that the caller holds. What is left
        // is a number that was given to another child of this process in between.
        if !self.runs()? {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(kill_process(pid, signal)?)
    }

    /// Sends a signal to the process group that it leads; ESRCH if it leads none. As long as it has
    /// not been reaped no other group has its number.
    pub(crate) fn signal_group(&self, signal: i32) -> io::Result<()> {
        let checked = signal_from(signal);
        if signal != 0 && checked.is_none() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        if let Some(pidfd) = &self.pidfd {
            match os::signal_group(pidfd.as_fd(), signal) {
                Err(error) if lacks_group_signal(&error) => self.check_not_reaped(pidfd)?,
                result => return result,
            }
        }
        // It has ended; only if it is still to be reaped the number is its own.
        if self.ended().is_told() && !matches!(self.runs(), Ok(false)) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        let pid = Pid::from_raw(self.pid).ok_or(io::ErrorKind::InvalidInput)?;
        let sent = match checked {
            Some(signal) => kill_process_group(pid, signal),
            // Signal 0 only asks.
            None => test_kill_process_group(pid),
        };
        match sent {
            Err(Errno::PERM) => exit::refused_group_signal(self.pid, Errno::PERM.into()),
            sent => Ok(sent?),
        }
    }

    /// ESRCH when it has been reaped, and its number may be another's.
    fn check_not_reaped(&self, pidfd: &OwnedFd) -> io::Result<()> {
        match os::check_not_reaped(pidfd.as_fd()) {
            // It has another identity than we.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => self.runs().map(drop),
            result => result,
        }
    }

    /// Sends SIGKILL to the process group that it leads. As [`signal_group`](Process::signal_group).
    pub(crate) fn kill_group(&self) -> io::Result<()> {
        self.signal_group(libc::SIGKILL)
    }

    /// Asks it to end, or its group. Always possible here: `true`.
    pub(crate) fn ask(&self, signal: i32, group: bool) -> io::Result<bool> {
        let asked = if group {
            self.signal_group(signal)
        } else {
            self.signal(signal)
        };
        asked.map(|()| true)
    }

    /// What can still signal the group when its leader has been reaped, where the system has that.
    pub(crate) fn into_group(mut self) -> Option<Group> {
        self.pidfd.take().map(Group)
    }

    /// What can still kill its control group.
    pub(crate) fn take_cgroup_kill(&mut self) -> Option<CgroupKill> {
        self.cgroup_kill.take()
    }

    /// Whether the kernel ends it with this program: another would not know how to wait for it.
    pub(crate) fn is_tied(&self) -> bool {
        self.autokill
    }

    /// Whether no process survives that signal.
    pub(crate) fn is_deadly(signal: i32) -> bool {
        signal == libc::SIGKILL
    }

    /// Sends SIGKILL, which cannot be caught.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Whether an error of [`signal`](Process::signal) says that other code reaped the child.
    pub(crate) fn is_gone(error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::ESRCH)
    }

    /// Blocks until the child has ended, or for `timeout`; then reaps it if it has.
    pub(crate) fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<Exit>> {
        match &self.pidfd {
            Some(fd) => {
                let mut polled = [PollFd::new(fd, PollFlags::IN)];
                let timeout = Timespec::try_from(timeout).unwrap_or_default();
                let _ = poll(&mut polled, Some(&timeout));
            }
            None => {
                let end = std::time::Instant::now() + timeout;
                while std::time::Instant::now() < end {
                    if let Some(exit) = self.try_wait()? {
                        return Ok(Some(exit));
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
        self.try_wait()
    }

    /// Blocks until the child has ended and reaps it.
    pub(crate) fn wait_blocking(&mut self) -> ExitStatus {
        let _ = self.wait(WaitMode::Block);
        let mut refused = 0;
        loop {
            match self.try_wait() {
                Ok(Some(exit)) => return exit.status,
                // The system does not let us block, or has told of a stop of a child that we trace.
                Ok(None) => {}
                Err(_) if refused < REFUSALS => refused += 1,
                _ => return ExitStatus::Lost,
            }
            std::thread::sleep(BLIND_INTERVAL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What was not to be killed lives on until the program ends, and so does its pidfd.
        if self.autokill && !self.ended().is_told() {
            std::mem::forget(self.pidfd.take());
        }
    }
}

/// The process group of a leader that may have been reaped.
#[derive(Debug)]
pub(crate) struct Group(OwnedFd);

impl Group {
    /// One that another reactor knew.
    #[cfg(feature = "python")]
    pub(crate) fn from_detached(leader: OwnedFd) -> io::Result<Self> {
        Ok(Group(leader))
    }

    /// The descriptor that names the leader, or named it.
    #[cfg(feature = "python")]
    pub(crate) fn handle(&self) -> io::Result<RawHandle> {
        Ok(self.0.as_raw_fd())
    }

    /// Sends a signal. ESRCH when it has no members any more, or this cannot be known.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match os::signal_group(self.0.as_fd(), signal) {
            Err(error) if lacks_group_signal(&error) => {
                Err(io::Error::from_raw_os_error(libc::ESRCH))
            }
            result => result,
        }
    }

    /// Sends SIGKILL. As [`signal`](Group::signal).
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }
}

/// Whether the system has no signals by a pidfd to a group, or refuses the call as a whole.
fn lacks_group_signal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM)
    )
}

fn lost(status: ExitStatus) -> Exit {
    Exit {
        status,
        usage: Usage::default(),
    }
}

/// Above every signal that the system has, those for real time among them: they end at 64 on Linux, at 126 on FreeBSD.
const LAST_SIGNAL: i32 = if cfg!(any(target_os = "freebsd", target_os = "dragonfly")) {
    128
} else {
    64
};

fn signal_from(number: i32) -> Option<Signal> {
    // SAFETY: only hands the number to the kernel, which checks it.
    (1..=LAST_SIGNAL)
        .contains(&number)
        .then(|| unsafe { Signal::from_raw_unchecked(number) })
}
