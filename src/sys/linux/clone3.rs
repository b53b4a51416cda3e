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

/// CLONE_CLEAR_SIGHAND, which not all of the C libraries have.
const CLEAR_SIGHAND: u64 = 1 << 32;

/// The kernel's `struct clone_args` as Linux 5.3 had it; what was added later is not needed.
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
}

/// Starts `entry(job)` on `stack` in a new process, which has `flags` in common with us and none of
/// our signal handlers. Returns its pid. The pidfd is stored in `pidfd`, if `flags` ask for it.
///
/// # Safety
/// `entry` does not return, and may run with `job` in such a process. No other code uses `stack`
/// until the child has executed a program or ended.
pub(super) unsafe fn clone3(
    flags: c_int,
    pidfd: &mut c_int,
    stack: &Stack,
    entry: extern "C" fn(*mut c_void) -> c_int,
    job: *mut c_void,
) -> Result<i32, Errno> {
    let (stack, stack_size) = stack.area();
    let args = Args {
        flags: flags as u64 | CLEAR_SIGHAND,
        pidfd: (&raw mut *pidfd).expose_provenance() as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.expose_provenance() as u64,
        stack_size: stack_size as u64,
        ..Args::default()
    };
    // SAFETY: `args` is what the kernel expects, and the rest is the caller's promise.
    unsafe { call(&args, entry, job) }.map(|pid| pid as i32)
}

/// # Safety
/// As [`clone3`], with the stack and flags in `args`.
unsafe fn call(
    args: &Args,
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
            in("rdi") &raw const *args, in("rsi") size_of::<Args>(),
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
            in("x1") size_of::<Args>(),
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
        let _ = (args, entry, job);
        result = -(libc::ENOSYS as isize);
    }
    raw::check(result)
}
