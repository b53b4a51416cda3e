//! Stacks for children that share our memory.

use std::io;
use std::ptr::{self, NonNull};

/// Bytes a child half may use. It needs about three kilobytes; a preloaded `execve` has buffers for paths.
/// Pages that are not touched cost nothing.
const SIZE: usize = 256 * 1024;
/// Below the stack, never accessible, so that an overflow is a fault and not a corruption.
const GUARD: usize = 64 * 1024;

/// A private stack with a guard below it.
pub(crate) struct Stack {
    base: NonNull<u8>,
}

// SAFETY: the mapping belongs to this value alone.
unsafe impl Send for Stack {}

impl Stack {
    /// mmap(2), mprotect(2).
    pub(crate) fn new() -> io::Result<Self> {
        const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                GUARD + SIZE,
                libc::PROT_NONE,
                PRIVATE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Stack {
            base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the upper part of the mapping that was just made.
        match unsafe { libc::mprotect(base.add(GUARD), SIZE, access) } {
            0 => Ok(stack),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its lowest byte, and its length.
    pub(crate) fn area(&self) -> (*mut u8, usize) {
        // SAFETY: inside of the mapping.
        (unsafe { self.base.as_ptr().add(GUARD) }, SIZE)
    }

    /// The end, from which it grows down.
    pub(crate) fn top(&self) -> *mut u8 {
        // SAFETY: one past the end of the mapping, on a page boundary.
        unsafe { self.base.as_ptr().add(GUARD + SIZE) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which is no longer in use: its owner is the child that runs on it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), GUARD + SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen from outside only by an overflow, which would write into a stranger's memory.
    #[test]
    fn what_lies_below_a_stack_cannot_be_touched() {
        let stack = Stack::new().unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (bottom, size) = stack.area();
        let access = |address: usize| {
            maps.lines().find_map(|line| {
                let (range, rest) = line.split_once(' ')?;
                let (from, to) = range.split_once('-')?;
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                (number(from)..number(to))
                    .contains(&address)
                    .then(|| rest[..4].to_owned())
            })
        };
        assert_eq!(access(bottom.addr()).unwrap(), "rw-p");
        assert_eq!(access(bottom.addr() + size - 1).unwrap(), "rw-p");
        for below in [1, 4096, GUARD] {
            assert_eq!(access(bottom.addr() - below).unwrap(), "---p");
        }
    }
}
