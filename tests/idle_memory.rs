//! What an idle child keeps of the heap, beside one of `tokio::process`: an allocator counts.

// Elsewhere tokio's records are smaller, or it keeps others.
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use procio::tokio::Driver;

/// Bytes that are in use.
static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: hands on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CHILDREN: usize = 64;

/// By how much the heap grows for each child that `start` starts.
async fn grown<C>(start: impl AsyncFn() -> C) -> usize {
    drop(start().await); // what is kept for the next one
    let before = LIVE.load(Ordering::Relaxed);
    let mut kept = Vec::with_capacity(CHILDREN);
    for _ in 0..CHILDREN {
        kept.push(start().await);
    }
    let grown = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    drop(kept);
    grown / CHILDREN
}

#[tokio::test]
async fn an_idle_child_takes_no_more_memory_than_with_tokio() {
    let driver = Driver::new().unwrap();
    let ours = grown(async || {
        let mut command = procio::Command::new("cat");
        let command = command.kill_on_drop(true);
        command.stdin(procio::Stdio::piped());
        command.stdout(procio::Stdio::piped());
        command.spawn(&driver).await.unwrap()
    });
    let ours = ours.await;
    let theirs = grown(async || {
        let mut command = tokio::process::Command::new("cat");
        let command = command.kill_on_drop(true);
        command.stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped());
        command.spawn().unwrap()
    });
    let theirs = theirs.await;
    assert!(ours <= theirs, "{ours} bytes, and {theirs} with tokio");
}
