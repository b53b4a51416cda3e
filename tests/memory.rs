//! Memory that runs out at the worst moment: an allocator that refuses the k-th large allocation, for
//! every k. Nothing may abort, and nothing that was read may be lost.

#![allow(clippy::unwrap_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::ptr;
use std::task::Poll;

use procio::{Child, Command, Handle, Reactor, Stdio};

/// Allocations from this size on are counted: what a child or a caller decides the size of.
const LARGE: usize = 16 * 1024;

thread_local! {
    /// How many large allocations are still granted; `None` for all.
    static GRANTED: Cell<Option<usize>> = const { Cell::new(None) };
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

struct Refusing;

impl Refusing {
    fn refuses(size: usize) -> bool {
        if size < LARGE {
            return false;
        }
        match GRANTED.get() {
            None => false,
            Some(0) => {
                REFUSED.set(true);
                GRANTED.set(None);
                true
            }
            Some(left) => {
                GRANTED.set(Some(left - 1));
                false
            }
        }
    }
}

// SAFETY: hands on to the system's allocator, or returns null as an allocator may.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::refuses(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if Self::refuses(size) {
            return ptr::null_mut();
        }
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

const LINE: usize = 300_000;
const LINES: usize = 3;

/// Long lines, and a part of one.
fn expected() -> Vec<u8> {
    let line = [vec![b'x'; LINE], vec![b'\n']].concat();
    [line.repeat(LINES), b"end".to_vec()].concat()
}

async fn start(handle: &Handle) -> Child {
    let mut command = Command::new("sh");
    let line = format!("head -c {LINE} /dev/zero | tr '\\0' x; echo");
    command.args(["-c", &format!("{line}; {line}; {line}; printf end")]);
    command.stdout(Stdio::piped());
    command.spawn(handle).await.unwrap()
}

/// Runs a future that is granted a number of large allocations, and one that is refused.
async fn granted<F: Future>(mut count: Option<usize>, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        GRANTED.set(count);
        let polled = future.as_mut().poll(cx);
        count = GRANTED.take();
        polled
    })
    .await
}

/// Runs `operation` with the k-th large allocation refused, for every k. It adds what it reads to the
/// vector that it is given. The rest can be read afterwards.
fn for_every_allocation<F>(operation: F)
where
    F: AsyncFn(&mut Child, &mut Vec<u8>) -> io::Result<()>,
{
    for count in 0.. {
        REFUSED.set(false);
        let reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let run = async {
            let mut child = start(&handle).await;
            let mut read = Vec::new();
            let result = granted(Some(count), operation(&mut child, &mut read)).await;
            assert_eq!(result.is_err(), REFUSED.get(), "{count}: {result:?}");
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            }
            let rest = child.communicate(None).await.unwrap();
            read.extend(rest.stdout);
            assert!(read == expected(), "{count}: {} bytes", read.len());
        };
        reactor.run_until(run).unwrap();
        if !REFUSED.get() {
            assert!(count > 0, "there was no large allocation");
            return;
        }
    }
}

#[test]
fn communicate() {
    for_every_allocation(async |child, read| {
        *read = child.communicate(None).await?.stdout;
        Ok(())
    });
}

#[test]
fn read_to_end() {
    for_every_allocation(async |child, read| {
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_to_end(read).await.map(drop)
    });
}

#[test]
fn read_until() {
    for_every_allocation(async |child, read| {
        let stdout = child.stdout.as_mut().unwrap();
        for _ in 0..LINES {
            stdout.read_until(b'\n', read).await?;
        }
        Ok(())
    });
}

#[test]
fn read_line() {
    for_every_allocation(async |child, read| {
        let stdout = child.stdout.as_mut().unwrap();
        let mut text = String::new();
        let mut result = Ok(0);
        for _ in 0..LINES {
            result = stdout.read_line(&mut text).await;
            if result.is_err() {
                break;
            }
        }
        *read = text.into_bytes();
        result.map(drop)
    });
}

/// A child is handed over with what is still to be written to it, or stays where it is and is ended.
#[test]
fn hand_over_with_input() {
    const INPUT: usize = 1 << 20;
    for count in 0.. {
        REFUSED.set(false);
        let (from, to) = (Reactor::new().unwrap(), Reactor::new().unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", "read line && cat | wc -c"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = from.run_until(async {
            let mut child = command.kill_on_drop(true).spawn(&from).await.unwrap();
            // Given up when the pipe is full: what it had to write goes on being written.
            let input = [vec![b'x'; INPUT], b"\n".to_vec()].concat();
            let mut communicate = Box::pin(child.communicate(Some(input)));
            let polled =
                std::future::poll_fn(|cx| Poll::Ready(communicate.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            drop(communicate);
            child
        });
        let child = child.unwrap();
        GRANTED.set(Some(count));
        let moved = child.move_to(&to);
        GRANTED.set(None);
        assert_eq!(moved.is_err(), REFUSED.get());
        match moved {
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory),
            Ok(mut child) => {
                let output = to.run_until(child.communicate(None)).unwrap().unwrap();
                assert_eq!(output.stdout, b"0\n");
                assert!(count > 0, "there was no large allocation");
                return;
            }
        }
    }
}
