//! clone3(2) with CLONE_CLEAR_SIGHAND: a child that starts without its parent's signal handlers.
//!
//! In such a child the kernel has given every signal that was caught its default action, and has
//! left those that were ignored alone, as exec does; clone(2), Linux 5.5. The C libraries have no
//! function for the call, and it returns twice, the second time on a new stack, where no Rust frame
//! can go on. So the child must go into `entry` before anything else, and that takes assembly. All
//! that it needs there is in registers that the system call keeps.
//!
//! On 32-bit systems the kernel used to lose the flag without a word, so this is for 64 bits only.

use std::ffi::{c_int, c_void};

use super::raw::{self, Errno};
use super::stack::Stack;
use crate::sys::RawHandle;

/// The flags that only clone3 has, which not all of the C libraries know: `linux/sched.h`.
const CLEAR_SIGHAND: u64 = 1 << 32;
const INTO_CGROUP: u64 = 1 << 33;
const AUTOREAP: u64 = 1 << 34;
const NNP: u64 = 1 << 35;
const PIDFD_AUTOKILL: u64 = 1 << 36;

/// What a child is to be.
pub(super) struct CloneRequest {
    /// What clone(2) has, too.
    pub flags: c_int,
    /// The directory of the control group that it is born in. CLONE_INTO_CGROUP, Linux 5.7.
    pub cgroup: Option<RawHandle>,
    /// It is killed when its pidfd is closed: CLONE_PIDFD_AUTOKILL, Linux 7.1, commit c8134b5f13ae. That
    /// takes CLONE_AUTOREAP (merge a2900f5aa4e7): the child leaves no zombie and sends no signal, and
    /// its pidfd tells how it ended.
    pub autokill: bool,
    /// CLONE_NNP, Linux 7.1, commit 24baca56fafc. Without it, to be killed takes CAP_SYS_ADMIN, since
    /// a program that gains privileges would be killed, too.
    pub no_new_privs: bool,
    /// What the kernel clears once the child has let go of our memory: CLONE_CHILD_CLEARTID.
    pub cleared: *const u32,
}

impl CloneRequest {
    fn flags(&self) -> u64 {
        let cgroup = self.cgroup.map_or(0, |_| INTO_CGROUP);
        let autokill = match (self.autokill, self.no_new_privs) {
            (false, _) => 0,
            (true, false) => AUTOREAP | PIDFD_AUTOKILL,
            (true, true) => AUTOREAP | PIDFD_AUTOKILL | NNP,
        };
        self.flags as u64 | CLEAR_SIGHAND | cgroup | autokill
    }

    fn exit_signal(&self) -> u64 {
        if self.autokill {
            0
        } else {
            libc::SIGCHLD as u64
        }
    }

    /// How many bytes of [`Args`] are needed: an old kernel does not know more.
    fn size(&self) -> usize {
        if self.cgroup.is_some() {
            size_of::<Args>()
        } else {
            std::mem::offset_of!(Args, set_tid)
        }
    }
}

/// The kernel's `struct clone_args` as Linux 5.7 has it.
#[repr(C, align(8))]
#[derive(Default)]
struct Args {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Starts `entry(job)` on `stack` in a new process, which is as requested and has none of our signal
/// handlers. Returns its pid. The pidfd is stored in `pidfd`, if the flags ask for it.
///
/// # Safety
/// `entry` does not return, and may run with `job` in such a process. No other code uses `stack`
/// until the child has executed a program or ended.
pub(super) unsafe fn clone3(
    request: &CloneRequest,
    pidfd: &mut c_int,
    stack: &Stack,
    entry: extern "C" fn(*mut c_void) -> c_int,
    job: *mut c_void,
) -> Result<i32, Errno> {
    let (stack, stack_size) = stack.area();
    let args = Args {
        flags: request.flags(),
        pidfd: (&raw mut *pidfd).expose_provenance() as u64,
        child_tid: request.cleared.expose_provenance() as u64,
        exit_signal: request.exit_signal(),
        stack: stack.expose_provenance() as u64,
        stack_size: stack_size as u64,
        cgroup: request.cgroup.map_or(0, |fd| fd as u64),
        ..Args::default()
    };
    // SAFETY: `args` is what the kernel expects, and the rest is the caller's promise.
    unsafe { call(&args, request.size(), entry, job) }.map(|pid| pid as i32)
}

/// # Safety
/// As [`clone3`], with the stack and flags in `args`.
unsafe fn call(
    args: &Args,
    size: usize,
    entry: extern "C" fn(*mut c_void) -> c_int,
    job: *mut c_void,
) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the kernel's calling convention; it changes rax, rcx and r11 only. The parent jumps
    // over the rest. The child is on its own stack, whose end is a multiple of 16, and stays there.
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") &raw const *args, in("rsi") size,
            in("r8") entry, in("r9") job,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: likewise; it changes x0 only.
    #[cfg(all(target_arch = "aarch64", target_pointer_width = "64"))]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x3",
            "blr x2",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") &raw const *args => result,
            in("x1") size,
            in("x2") entry, in("x3") job,
            options(nostack),
        );
    }
    // Elsewhere it is as on a kernel that does not know the call.
    #[cfg(not(all(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        target_pointer_width = "64"
    )))]
    {
        let _ = (args, size, entry, job);
        result = -(libc::ENOSYS as isize);
    }
    raw::check(result)
}
