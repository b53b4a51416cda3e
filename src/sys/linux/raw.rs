//! System calls for the child half, and for what blocks the C library's own signals: nothing of the C library runs in them.
//!
//! # Safety
//! The child of an asynchronous clone shares its parent's thread-local storage, so even storing
//! `errno` would race with the parent. On the architectures listed here the calls are made by hand;
//! on others libc's `syscall` is used, and [`LEAVES_ERRNO_ALONE`] rules out the
//! asynchronous strategy. rustix makes its calls without `errno`, too, but not for sure: any crate of the
//! graph can switch it to the C library (its feature `use-libc`), and nothing here would notice.
//! Each wrapper passes pointers to memory that is valid for the call, with its
//! true length; that is what the SAFETY lines below rely on.

use std::ffi::{CStr, c_char, c_int, c_long};
use std::time::Duration;

use crate::sys::spec::Limit;
use crate::sys::{RawHandle, current_pid};

/// An error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub c_int);

/// The kernel's signal set: one bit for each of the 64 signals, also those the C library keeps.
pub(crate) type SigSet = u64;

/// Whether [`call`] is free of the C library.
pub(crate) const LEAVES_ERRNO_ALONE: bool =
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// # Safety
/// As the system call `number` with these arguments.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn call(number: c_long, a: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the kernel's calling convention; it changes rax, rcx and r11 only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    check(result)
}

/// # Safety
/// As the system call `number` with these arguments.
#[cfg(target_arch = "aarch64")]
#[inline]
unsafe fn call(number: c_long, a: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the kernel's calling convention; it changes x0 only.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a[0] => result,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    check(result)
}

/// # Safety
/// As the system call `number` with these arguments.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call(number: c_long, a: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: the caller's.
    let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result == -1 {
        // SAFETY: the thread's own errno.
        return Err(Errno(unsafe { *libc::__errno_location() }));
    }
    check(result as isize)
}

/// What a system call has returned.
pub(super) fn check(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) {
        Err(Errno(-result as c_int))
    } else {
        Ok(result as usize)
    }
}

/// A call whose arguments are numbers and pointers that the wrapper vouches for.
macro_rules! call {
    ($number:expr $(, $arg:expr)*) => {{
        let given = [$($arg as usize),*];
        let mut args = [0; 6];
        let mut i = 0;
        while i < given.len() {
            args[i] = given[i];
            i += 1;
        }
        // SAFETY: see the head of this module.
        unsafe { call($number, args) }
    }};
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
    match call!(libc::SYS_execve, file.as_ptr(), argv, envp) {
        Err(errno) => errno,
        Ok(_) => Errno(0),
    }
}

/// write(2), once; an error cannot be reported.
pub(crate) fn write(fd: RawHandle, bytes: &[u8]) {
    let _ = call!(libc::SYS_write, fd, bytes.as_ptr(), bytes.len());
}

/// Ends the process at once. exit_group(2).
pub(crate) fn exit(code: c_int) -> ! {
    loop {
        let _ = call!(libc::SYS_exit_group, code);
    }
}

/// chdir(2).
pub(crate) fn chdir(dir: &CStr) -> Result<(), Errno> {
    call!(libc::SYS_chdir, dir.as_ptr()).map(drop)
}

/// fchdir(2).
pub(crate) fn fchdir(dir: RawHandle) -> Result<(), Errno> {
    call!(libc::SYS_fchdir, dir).map(drop)
}

/// Puts the caller into the control group of that directory: the process 0 is who writes. cgroups(7).
pub(crate) fn enter_cgroup(dir: RawHandle) -> Result<(), Errno> {
    const FLAGS: c_int = libc::O_WRONLY | libc::O_CLOEXEC;
    let (name, this) = (c"cgroup.procs", b"0");
    let procs = call!(libc::SYS_openat, dir, name.as_ptr(), FLAGS, 0)?;
    let written = call!(libc::SYS_write, procs, this.as_ptr(), this.len());
    let _ = call!(libc::SYS_close, procs);
    written.map(drop)
}

/// prlimit(2) of the caller.
pub(crate) fn set_limit(limit: &Limit) -> Result<(), Errno> {
    let new = [limit.soft, limit.hard];
    let (this, none) = (0, 0);
    call!(
        libc::SYS_prlimit64,
        this,
        limit.resource,
        new.as_ptr(),
        none
    )
    .map(drop)
}

/// setpriority(2) of the caller.
pub(crate) fn set_nice(nice: c_int) -> Result<(), Errno> {
    let this = 0;
    call!(libc::SYS_setpriority, libc::PRIO_PROCESS, this, nice).map(drop)
}

/// sched_setaffinity(2) of the caller: a bit for each processor.
pub(crate) fn set_affinity(processors: &[usize]) -> Result<(), Errno> {
    let this = 0;
    call!(
        libc::SYS_sched_setaffinity,
        this,
        size_of_val(processors),
        processors.as_ptr()
    )
    .map(drop)
}

/// PR_SET_NO_NEW_PRIVS of prctl(2).
pub(crate) fn forgo_new_privileges() -> Result<(), Errno> {
    call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).map(drop)
}

/// Has the kernel kill the caller when the thread that made it ends. PR_SET_PDEATHSIG of prctl(2).
pub(crate) fn die_with_parent() -> Result<(), Errno> {
    call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL).map(drop)
}

/// The number of the calling thread: in the main thread that of the process. gettid(2).
pub(crate) fn thread() -> i32 {
    call!(libc::SYS_gettid).map_or(0, |tid| tid as i32)
}

/// getppid(2): 0 if the parent is in another pid namespace.
pub(crate) fn parent() -> i32 {
    call!(libc::SYS_getppid).map_or(0, |pid| pid as i32)
}

/// umask(2).
pub(crate) fn umask(mask: u32) {
    let _ = call!(libc::SYS_umask, mask);
}

/// setsid(2).
pub(crate) fn setsid() -> Result<(), Errno> {
    call!(libc::SYS_setsid).map(drop)
}

/// setpgid(2) of the caller.
pub(crate) fn setpgid(group: i32) -> Result<(), Errno> {
    call!(libc::SYS_setpgid, 0, group).map(drop)
}

// Where the first calls of these names took ids of 16 bits, those of 32 have names of their own.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{
    SYS_setgroups as SYS_setgroups32, SYS_setregid as SYS_setregid32,
    SYS_setreuid as SYS_setreuid32,
};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{SYS_setgroups32, SYS_setregid32, SYS_setreuid32};

/// setgroups(2), of this process alone: there are no threads to tell.
pub(crate) fn setgroups(groups: &[u32]) -> Result<(), Errno> {
    call!(SYS_setgroups32, groups.len(), groups.as_ptr()).map(drop)
}

/// setregid(2): real and effective.
pub(crate) fn setregid(group: u32) -> Result<(), Errno> {
    call!(SYS_setregid32, group, group).map(drop)
}

/// setreuid(2): real and effective.
pub(crate) fn setreuid(user: u32) -> Result<(), Errno> {
    call!(SYS_setreuid32, user, user).map(drop)
}

/// Lets `fd` survive exec. F_SETFD in fcntl(2).
pub(crate) fn clear_cloexec(fd: RawHandle) -> Result<(), Errno> {
    call!(libc::SYS_fcntl, fd, libc::F_SETFD, 0).map(drop)
}

/// A copy of `fd` above 2 that ends at exec. F_DUPFD_CLOEXEC in fcntl(2).
pub(crate) fn dup_above_2(fd: RawHandle) -> Result<RawHandle, Errno> {
    call!(libc::SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, 3).map(|copy| copy as RawHandle)
}

/// dup3(2) without flags: `target` survives exec.
pub(crate) fn dup_to(fd: RawHandle, target: RawHandle) -> Result<(), Errno> {
    call!(libc::SYS_dup3, fd, target, 0).map(drop)
}

/// Closes `first` to `last`, both included. close_range(2).
pub(crate) fn close_range(first: RawHandle, last: RawHandle) -> Result<(), Errno> {
    call!(libc::SYS_close_range, first, last, 0).map(drop)
}

/// Closes what is above 2 and not kept, by the list in `/proc/self/fd`; without it, one number
/// after the other.
pub(crate) fn close_each_from_3(_max_fd: RawHandle, keep: impl Fn(RawHandle) -> bool) {
    const FLAGS: c_int = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let path = c"/proc/self/fd";
    let Ok(dir) = call!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), FLAGS, 0) else {
        let _ = (3..65536)
            .filter(|fd| !keep(*fd))
            .map(|fd| call!(libc::SYS_close, fd))
            .count();
        return;
    };
    let dir = dir as RawHandle;
    let mut entries = Entries([0; 2048]);
    loop {
        let buffer = entries.0.as_mut_ptr();
        let length = call!(libc::SYS_getdents64, dir, buffer, size_of::<Entries>());
        let Ok(length @ 1..) = length else { break };
        let mut rest = entries.0.get(..length).unwrap_or_default();
        // struct linux_dirent64: inode 8, offset 8, length of the record 2, type 1, name.
        while let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            low,
            high,
            _,
            name @ ..,
        ] = rest
        {
            if let Some(fd) = number(name)
                && fd > 2
                && fd != dir
                && !keep(fd)
            {
                let _ = call!(libc::SYS_close, fd);
            }
            let record = usize::from(u16::from_ne_bytes([*low, *high]));
            rest = rest.get(record.max(1)..).unwrap_or_default();
        }
    }
    let _ = call!(libc::SYS_close, dir);
}

#[repr(align(8))]
struct Entries([u8; 2048]);

/// The decimal number before the NUL, if that is what `name` is.
fn number(name: &[u8]) -> Option<RawHandle> {
    let mut value: RawHandle = 0;
    for (i, byte) in name.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(i32::from(byte - b'0'))?,
            0 if i > 0 => return Some(value),
            _ => return None,
        }
    }
    None
}

/// The kernel's `struct sigaction`, of which only the first word, the handler, is looked at. All
/// zeros are the default action on every architecture.
#[repr(C, align(8))]
struct SigAction([usize; 8]);

/// Gives `signal` its default action. rt_sigaction(2).
pub(crate) fn default_action(signal: c_int) {
    let action = SigAction([0; 8]);
    let none = 0;
    let _ = call!(
        libc::SYS_rt_sigaction,
        signal,
        &raw const action,
        none,
        size_of::<SigSet>()
    );
}

/// Gives every caught signal its default action, unless `mask` keeps it blocked until exec, which
/// does the same.
pub(crate) fn reset_caught_signals(mask: &SigSet) {
    for signal in 1..=64 {
        if mask & (1 << (signal - 1)) != 0 {
            continue;
        }
        let mut action = SigAction([0; 8]);
        let (new, old) = (0, &raw mut action);
        let known = call!(
            libc::SYS_rt_sigaction,
            signal,
            new,
            old,
            size_of::<SigSet>()
        );
        let caught = action.0[0] != libc::SIG_DFL && action.0[0] != libc::SIG_IGN;
        if known.is_ok() && caught {
            default_action(signal);
        }
    }
}

/// Sets the calling thread's signal mask and returns the one before. rt_sigprocmask(2).
pub(crate) fn set_signal_mask(mask: &SigSet) -> SigSet {
    let mut old: SigSet = 0;
    let (how, size) = (libc::SIG_SETMASK, size_of::<SigSet>());
    let mask: *const SigSet = mask;
    let _ = call!(libc::SYS_rt_sigprocmask, how, mask, &raw mut old, size);
    old
}

/// Whether no signal can interrupt the calling thread but those that cannot be blocked.
pub(crate) fn blocks_all_signals() -> bool {
    let never: SigSet = (1 << (libc::SIGKILL - 1)) | (1 << (libc::SIGSTOP - 1));
    signal_mask() | never == !0
}

/// The set that has this signal alone.
pub(crate) fn signal_bit(signal: c_int) -> SigSet {
    1 << (signal - 1)
}

/// A span of time as the calls of this module take it.
fn timespec(time: Duration) -> [c_long; 2] {
    let seconds = c_long::try_from(time.as_secs()).unwrap_or(c_long::MAX);
    [seconds, time.subsec_nanos() as c_long]
}

/// Waits for one of these signals, which the calling thread blocks, and takes it. EAGAIN when the time is over.
/// rt_sigtimedwait(2).
pub(crate) fn take_signal(signals: SigSet, time: Duration) -> Result<(), Errno> {
    let (time, none) = (timespec(time), 0);
    call!(
        libc::SYS_rt_sigtimedwait,
        &raw const signals,
        none,
        time.as_ptr(),
        size_of::<SigSet>()
    )
    .map(drop)
}

/// Names the calling thread. PR_SET_NAME of prctl(2).
pub(crate) fn name_thread(name: &CStr) {
    let _ = call!(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr());
}

/// Whether this process has a thread of that number. The kernel ceases to know one where it ceases to count it. tgkill(2).
#[cfg(feature = "python")]
pub(crate) fn is_thread(number: i32) -> bool {
    call!(libc::SYS_tgkill, current_pid(), number, 0).is_ok()
}

/// Sends the calling thread a signal. tgkill(2).
pub(crate) fn send_to_this_thread(signal: c_int) {
    let _ = call!(libc::SYS_tgkill, current_pid(), thread(), signal);
}

/// Waits until a word is changed by the kernel, which has it wake others than this process's threads, too;
/// or for that time. FUTEX_WAIT in futex(2).
pub(crate) fn wait_while(word: *const u32, value: u32, time: Duration) {
    let time = timespec(time);
    let _ = call!(
        libc::SYS_futex,
        word,
        libc::FUTEX_WAIT,
        value,
        time.as_ptr()
    );
}

/// Wakes all threads that wait for that word. FUTEX_WAKE in futex(2).
pub(crate) fn wake_all(word: *const u32) {
    let _ = call!(libc::SYS_futex, word, libc::FUTEX_WAKE, c_int::MAX);
}

/// What the calling thread may do beyond other users, a bit for each capability. capget(2).
pub(crate) fn permitted_capabilities() -> Option<u64> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // Effective, permitted and inheritable, the lower 32 of each and then the upper.
    let mut data = [0_u32; 6];
    call!(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()).ok()?;
    let [_, low, _, _, high, _] = data;
    Some(u64::from(high) << 32 | u64::from(low))
}

/// The calling thread's signal mask. rt_sigprocmask(2).
pub(crate) fn signal_mask() -> SigSet {
    let mut mask: SigSet = 0;
    let (how, none, size) = (libc::SIG_SETMASK, 0, size_of::<SigSet>());
    let _ = call!(libc::SYS_rt_sigprocmask, how, none, &raw mut mask, size);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_self_fd() {
        assert_eq!(number(b"120\0x"), Some(120));
        assert_eq!(number(b"..\0"), None);
        assert_eq!(number(b"\0"), None);
        assert_eq!(number(b"99999999999\0"), None);
    }

    #[test]
    fn an_error_is_a_small_negative_number() {
        assert_eq!(check(-2), Err(Errno(libc::ENOENT)));
        assert_eq!(check(-4096), Ok(usize::MAX - 4095));
        assert_eq!(chdir(c"/nonexistent/procio"), Err(Errno(libc::ENOENT)));
    }
}
