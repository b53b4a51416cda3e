//! Linux: epoll, pidfds, and a clone that shares memory and does not wait.

pub(crate) mod cgroup;
mod clone;
mod clone3;
mod credentials;
mod enlarged;
mod epoll;
pub(crate) mod exit;
mod notifier;
pub(crate) mod raw;
mod setxid_barrier;
mod stack;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub(crate) use clone::{Cloner, SpawnStrategy};
pub(crate) use enlarged::Enlarged;
pub(crate) use epoll::Poller;
pub(crate) use notifier::Notifier;
#[cfg(feature = "python")]
pub(crate) use setxid_barrier::before_fork;
pub(crate) use stack::Stack as ChildMemory;

use super::{Interest, above_stdio, current_pid, switches};
use crate::sys::spec::Attributes;

/// pipe2(2).
pub(crate) fn pipe_cloexec() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// F_SETPIPE_SZ in fcntl(2).
pub(crate) fn set_pipe_size(fd: &impl AsFd, bytes: usize) -> io::Result<()> {
    rustix::pipe::fcntl_setpipe_size(fd, bytes)?;
    Ok(())
}

/// `rustix::param::page_size` reads a variable that is null under valgrind.
fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // SAFETY: takes and changes no memory.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).unwrap_or(4096)
    })
}

/// Whether `count` bytes, after which a read had room for more, may be one record of several. A writer
/// that has set O_DIRECT makes a record of each write of up to a page, and a read gives one record:
/// pipe2(2). The reading end is not told of that.
pub(crate) fn may_be_record(count: usize) -> bool {
    count <= page_size()
}

/// Whether a pipe holds anything. FIONREAD in pipe(7).
pub(crate) fn holds_more(fd: &impl AsFd) -> bool {
    rustix::io::ioctl_fionread(fd).is_ok_and(|bytes| bytes > 0)
}

/// Has the kernel make the pages that lie wholly in `pages`, all at once: a fault for each would
/// cost as much as filling it. MADV_POPULATE_WRITE of madvise(2), Linux 5.14; what it cannot do is
/// left to the faults.
pub(crate) fn prefault(pages: &mut [MaybeUninit<u8>]) {
    let page = page_size();
    let start = pages.as_mut_ptr();
    let skip = start.addr().next_multiple_of(page) - start.addr();
    let length = pages.len().saturating_sub(skip) / page * page;
    if length > 0 {
        // SAFETY: a range of whole pages, of which every byte is the caller's; the call changes none.
        unsafe {
            libc::madvise(
                start.byte_add(skip).cast(),
                length,
                libc::MADV_POPULATE_WRITE,
            )
        };
    }
}

/// Linux has all that a child can be told to make of itself.
pub(crate) fn check(_given: &Attributes) -> io::Result<()> {
    Ok(())
}

/// Whether the calling thread is the one that ends last. gettid(2).
pub(crate) fn in_main_thread() -> bool {
    u32::try_from(raw::thread()).is_ok_and(|thread| thread == current_pid())
}

/// Not needed here: without close_range(2) there is `/proc/self/fd`.
pub(crate) fn max_fd() -> i32 {
    i32::MAX
}

/// Whether a child of ours has executed a program: it is no longer "forked, but did not exec". That flag
/// falls when the kernel has let go of the old memory. proc(5), `/proc/PID/stat`.
///
/// A `/proc` of another pid namespace gives our numbers to other processes: it must know us by our own,
/// and the child as ours.
pub(crate) fn has_executed(pid: u32) -> bool {
    const FORKED_NO_EXEC: u32 = 0x40;
    let own = std::process::id();
    let known_as = std::fs::read_link("/proc/self");
    if known_as.is_ok_and(|name| name.as_os_str() != own.to_string().as_str()) {
        return false;
    }
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in brackets, may contain anything; after it come the state, the
    // parent, and five more numbers up to the flags.
    let after_name = stat.iter().rposition(|byte| *byte == b')');
    let words = after_name.and_then(|at| std::str::from_utf8(stat.get(at + 1..)?).ok());
    let mut words = words.into_iter().flat_map(str::split_ascii_whitespace);
    let parent = words.nth(1).and_then(|word| word.parse::<u32>().ok());
    let flags = words.nth(4).and_then(|word| word.parse::<u32>().ok());
    parent == Some(own) && flags.is_some_and(|flags| flags & FORKED_NO_EXEC == 0)
}

/// Reports a token to a poller after a while.
pub(crate) fn remind(poller: &Poller, token: usize) {
    poller.remind(token);
}

/// Watches for the end of a child through its pidfd. `false` when there is none.
pub(crate) fn watch_exit(
    _pid: i32,
    pidfd: Option<BorrowedFd<'_>>,
    poller: &Poller,
    token: usize,
) -> io::Result<bool> {
    let Some(pidfd) = pidfd else { return Ok(false) };
    match poller.add(pidfd, token, Interest::Read) {
        // Linux 5.2 makes pidfds, but they cannot be polled before 5.3.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        result => result.map(|()| true),
    }
}

pub(crate) fn unwatch_exit(_pid: i32, pidfd: Option<BorrowedFd<'_>>, poller: &Poller) {
    if let Some(pidfd) = pidfd {
        poller.remove(pidfd);
    }
}

/// Sends a signal to the group whose leader a pidfd names, or named: a pidfd keeps the number from
/// being given away. EINVAL before Linux 6.9. pidfd_send_signal(2).
pub(crate) fn signal_group(leader: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PROCESS_GROUP: libc::c_uint = 1 << 2;
    if !switches().group_signal {
        return Err(Errno::INVAL.into());
    }
    send(leader, signal, PROCESS_GROUP)
}

/// ESRCH when the child has been reaped, and its number may be another's.
pub(crate) fn check_not_reaped(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    send(pidfd, 0, 0)
}

fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    let (call, fd) = (libc::SYS_pidfd_send_signal, pidfd.as_raw_fd());
    // SAFETY: takes a descriptor that is borrowed for the call, and no memory.
    match unsafe { libc::syscall(call, fd, signal, info, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether children are to have pidfds. Not where kqueue watches over them, for whose sake this is built.
fn uses_pidfds() -> bool {
    switches().pidfd && !cfg!(procio_kqueue)
}

/// A pidfd for a child of ours that has not been reaped; `None` where the kernel has none.
/// pidfd_open(2).
pub(crate) fn open_pidfd(pid: i32) -> io::Result<Option<OwnedFd>> {
    if !uses_pidfds() {
        return Ok(None);
    }
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => above_stdio(fd).map(Some),
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
