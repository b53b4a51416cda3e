//! System calls for the child half, by the C library.
//!
//! # Safety
//! The child has a copy of its parent's memory and one thread, while any lock of the C library may
//! be held for ever by a thread that was not copied. So only functions that POSIX lists as safe in
//! a signal handler are called, and such as are bare system calls on these systems (setgroups,
//! setreuid, setregid, closefrom, close_range). `errno` is the child's own. Each wrapper passes
//! pointers to memory that is valid for the call, with its true length; that is what the SAFETY
//! lines below rely on.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::mem;
use std::ptr;

use crate::sys::RawHandle;
use crate::sys::spec::Limit;

/// An error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub c_int);

/// The C library's signal set.
pub(crate) type SigSet = libc::sigset_t;

/// At least the highest signal. sigaction(2) refuses what is too high.
const LAST_SIGNAL: c_int = if cfg!(target_os = "freebsd") { 128 } else { 64 };

/// The error of the call that failed last. Allocates nothing.
fn errno() -> Errno {
    Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result == -1 {
        Err(errno())
    } else {
        Ok(result)
    }
}

/// execve(2); returns only when it failed.
///
/// # Safety
/// `argv` and `envp` are null-terminated arrays of C strings.
pub(crate) unsafe fn execve(
    file: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    // SAFETY: the caller's, and see the head of this module.
    unsafe { libc::execve(file.as_ptr(), argv, envp) };
    errno()
}

/// write(2), once; an error cannot be reported.
pub(crate) fn write(fd: RawHandle, bytes: &[u8]) {
    // SAFETY: see the head of this module.
    let _ = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

/// Ends the process at once. _exit(2).
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: runs no handlers and flushes nothing.
    unsafe { libc::_exit(code) }
}

/// chdir(2).
pub(crate) fn chdir(dir: &CStr) -> Result<(), Errno> {
    // SAFETY: see the head of this module.
    check(unsafe { libc::chdir(dir.as_ptr()) }).map(drop)
}

/// fchdir(2).
pub(crate) fn fchdir(dir: RawHandle) -> Result<(), Errno> {
    // SAFETY: only numbers.
    check(unsafe { libc::fchdir(dir) }).map(drop)
}

/// setrlimit(2). A bare system call on these systems.
pub(crate) fn set_limit(limit: &Limit) -> Result<(), Errno> {
    let number = |value: u64| match value {
        u64::MAX => libc::RLIM_INFINITY,
        value => value as libc::rlim_t,
    };
    let new = libc::rlimit {
        rlim_cur: number(limit.soft),
        rlim_max: number(limit.hard),
    };
    // SAFETY: see the head of this module.
    check(unsafe { libc::setrlimit(limit.resource as c_int, &raw const new) }).map(drop)
}

/// setpriority(2) of the caller. A bare system call on these systems.
pub(crate) fn set_nice(nice: c_int) -> Result<(), Errno> {
    // SAFETY: only numbers.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS as c_int, 0, nice) }).map(drop)
}

/// Not to be had here.
pub(crate) fn enter_cgroup(_dir: RawHandle) -> Result<(), Errno> {
    Err(Errno(libc::ENOSYS))
}

/// Not to be had here.
pub(crate) fn set_affinity(_processors: &[usize]) -> Result<(), Errno> {
    Err(Errno(libc::ENOSYS))
}

/// Not to be had here.
pub(crate) fn forgo_new_privileges() -> Result<(), Errno> {
    Err(Errno(libc::ENOSYS))
}

/// Not to be had here.
pub(crate) fn die_with_parent() -> Result<(), Errno> {
    Err(Errno(libc::ENOSYS))
}

/// getppid(2).
pub(crate) fn parent() -> i32 {
    // SAFETY: no arguments, and it cannot fail.
    unsafe { libc::getppid() }
}

/// umask(2).
pub(crate) fn umask(mask: u32) {
    // SAFETY: only numbers, and it cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// setsid(2).
pub(crate) fn setsid() -> Result<(), Errno> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() }).map(drop)
}

/// setpgid(2) of the caller.
pub(crate) fn setpgid(group: i32) -> Result<(), Errno> {
    // SAFETY: only numbers.
    check(unsafe { libc::setpgid(0, group) }).map(drop)
}

/// setgroups(2).
pub(crate) fn setgroups(groups: &[u32]) -> Result<(), Errno> {
    let count = c_int::try_from(groups.len()).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: see the head of this module.
    check(unsafe { libc::setgroups(count, groups.as_ptr()) }).map(drop)
}

/// setregid(2): real and effective.
pub(crate) fn setregid(group: u32) -> Result<(), Errno> {
    // SAFETY: only numbers.
    check(unsafe { libc::setregid(group, group) }).map(drop)
}

/// setreuid(2): real and effective.
pub(crate) fn setreuid(user: u32) -> Result<(), Errno> {
    // SAFETY: only numbers.
    check(unsafe { libc::setreuid(user, user) }).map(drop)
}

/// Lets `fd` survive exec. F_SETFD in fcntl(2).
pub(crate) fn clear_cloexec(fd: RawHandle) -> Result<(), Errno> {
    // SAFETY: only numbers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }).map(drop)
}

/// A copy of `fd` above 2 that ends at exec. F_DUPFD_CLOEXEC in fcntl(2).
pub(crate) fn dup_above_2(fd: RawHandle) -> Result<RawHandle, Errno> {
    // SAFETY: only numbers.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })
}

/// dup2(2) of two different descriptors: `target` survives exec.
pub(crate) fn dup_to(fd: RawHandle, target: RawHandle) -> Result<(), Errno> {
    // SAFETY: what `target` was is the child's to close.
    check(unsafe { libc::dup2(fd, target) }).map(drop)
}

/// close(2), whether it is open or not.
fn close(fd: RawHandle) {
    // SAFETY: the child owns whatever it has, and uses none of it.
    let _ = unsafe { libc::close(fd) };
}

/// Closes `first` to `last`, both included. close_range(2).
#[cfg(target_os = "freebsd")]
pub(crate) fn close_range(first: RawHandle, last: RawHandle) -> Result<(), Errno> {
    let (first, last) = (first.unsigned_abs(), last.unsigned_abs());
    // SAFETY: the child owns whatever it has, and uses none of it.
    check(unsafe { libc::close_range(first, last, 0) }).map(drop)
}

/// Closes `first` to `last`, both included. closefrom(2) does it for the range without an end; the
/// others lie between descriptors that are kept, and so are short.
#[cfg(any(target_os = "netbsd", target_os = "openbsd", target_os = "dragonfly"))]
pub(crate) fn close_range(first: RawHandle, last: RawHandle) -> Result<(), Errno> {
    if last == RawHandle::MAX {
        // SAFETY: the child owns whatever it has, and uses none of it. It fails when there is
        // nothing to close.
        let _ = unsafe { libc::closefrom(first) };
    } else {
        (first..=last).for_each(close);
    }
    Ok(())
}

/// macOS has no such call.
#[cfg(target_vendor = "apple")]
pub(crate) fn close_range(_first: RawHandle, _last: RawHandle) -> Result<(), Errno> {
    Err(Errno(libc::ENOSYS))
}

/// Closes what is above 2, below `max_fd` and not kept, one number after the other.
pub(crate) fn close_each_from_3(max_fd: RawHandle, keep: impl Fn(RawHandle) -> bool) {
    (3..max_fd).filter(|fd| !keep(*fd)).for_each(close);
}

/// Gives `signal` its default action. sigaction(2).
pub(crate) fn default_action(signal: c_int) {
    // SAFETY: plain data; zeros are the default action, no flags and an empty mask.
    let action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: see the head of this module.
    let _ = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

/// Gives every caught signal its default action, unless `mask` keeps it blocked until exec, which
/// does the same.
pub(crate) fn reset_caught_signals(mask: &SigSet) {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: see the head of this module.
        if unsafe { libc::sigismember(mask, signal) } == 1 {
            continue;
        }
        // SAFETY: plain data, for which zeros are valid.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: see the head of this module.
        let known = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) } == 0;
        let handler = action.sa_sigaction;
        if known && handler != libc::SIG_DFL && handler != libc::SIG_IGN {
            default_action(signal);
        }
    }
}

/// Every signal there is. sigfillset(3).
pub(crate) fn all_signals() -> SigSet {
    // SAFETY: plain data, for which zeros are valid.
    let mut all: SigSet = unsafe { mem::zeroed() };
    // SAFETY: see the head of this module.
    unsafe { libc::sigfillset(&raw mut all) };
    all
}

/// Sets the calling thread's signal mask and returns the one before. pthread_sigmask(3).
pub(crate) fn set_signal_mask(mask: &SigSet) -> SigSet {
    // SAFETY: plain data, for which zeros are valid.
    let mut old: SigSet = unsafe { mem::zeroed() };
    // SAFETY: see the head of this module.
    let _ = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, &raw mut old) };
    old
}

/// Whether no signal can interrupt the calling thread but those that cannot be blocked.
pub(crate) fn blocks_all_signals() -> bool {
    let mask = signal_mask();
    (1..=31)
        .filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal))
        // SAFETY: see the head of this module.
        .all(|signal| unsafe { libc::sigismember(&raw const mask, signal) } == 1)
}

/// The calling thread's signal mask. pthread_sigmask(3).
pub(crate) fn signal_mask() -> SigSet {
    // SAFETY: plain data, for which zeros are valid.
    let mut mask: SigSet = unsafe { mem::zeroed() };
    // SAFETY: see the head of this module.
    let _ = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), &raw mut mask) };
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_minus_one() {
        assert_eq!(check(0), Ok(0));
        assert_eq!(chdir(c"/nonexistent/procio"), Err(Errno(libc::ENOENT)));
    }
}
