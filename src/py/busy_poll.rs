//! A moment of looking before the loop goes to sleep.
//!
//! A child that answers at once does so after some ten microseconds. A loop that has nothing else
//! to do sleeps meanwhile, and a processor that sleeps needs longer than that to be woken. So
//! whoever is about to wait for a child's output looks, for a moment, whether anything comes for
//! the loop. It takes nothing and completes nothing: the loop finds the event where it would have
//! found it, in the same order, only without having slept.
//!
//! No callback is kept waiting by that. It is done only while none is ready to run, and ends with
//! whatever comes for the loop: a socket, a signal, and on an interpreter without the lock another
//! thread's `call_soon_threadsafe`. With the lock, which is kept, such a thread is later by the same
//! moment; were the lock let go, whoever waits for it would get it twice for one wait, for five
//! milliseconds each time. A timer may be late by the same moment; asyncio rounds those up to a
//! millisecond. When nothing came in time the next waits go without, three of them, then fifteen, at
//! last 255: a child that takes its time costs next to no processor time.
//!
//! Whether a callback is ready only asyncio's own loops let themselves be asked, by two attributes
//! that are private to them. On any other loop, and on a single processor, where the child could
//! not run meanwhile, there is no such moment.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::sys;

/// About twice what a child takes that only has to be woken.
const SPIN: Duration = Duration::from_micros(30);
/// At worst one wait of that many is preceded by such a moment.
const MAX_INTERVAL: u32 = 256;

/// How it went on one loop so far.
pub(super) struct BusyPoll {
    possible: AtomicBool,
    /// One of so many waits. Four times as many after a look in vain, half as many after another.
    interval: AtomicU32,
    /// So many go without before the next.
    skip: AtomicU32,
}

impl BusyPoll {
    pub(super) fn new() -> Self {
        BusyPoll {
            possible: AtomicBool::new(sys::busy_polls()),
            interval: AtomicU32::new(1),
            skip: AtomicU32::new(0),
        }
    }

    /// Nothing would come: the loop does not see our events itself.
    pub(super) fn forbid(&self) {
        self.possible.store(false, Ordering::Relaxed);
    }

    /// Called when an operation is about to wait in the loop `running`.
    pub(super) fn before_sleep(&self, running: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.possible.load(Ordering::Relaxed) {
            return Ok(());
        }
        let skip = self.skip.load(Ordering::Relaxed);
        if skip > 0 {
            self.skip.store(skip - 1, Ordering::Relaxed);
            return Ok(());
        }
        match idle_selector(running) {
            Ok(Some(selector)) => self.look(selector),
            Ok(None) => {}
            Err(error) if error.is_instance_of::<PyException>(running.py()) => self.forbid(),
            Err(interrupt) => return Err(interrupt),
        }
        Ok(())
    }

    fn look(&self, selector: sys::RawHandle) {
        let came = comes_soon(selector);
        let interval = self.interval.load(Ordering::Relaxed);
        let interval = if came {
            (interval / 2).max(1)
        } else {
            (interval * 4).min(MAX_INTERVAL)
        };
        self.interval.store(interval, Ordering::Relaxed);
        self.skip.store(interval - 1, Ordering::Relaxed);
    }
}

fn comes_soon(selector: sys::RawHandle) -> bool {
    let begin = Instant::now();
    while !sys::has_events(selector) {
        if begin.elapsed() >= SPIN {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

/// The descriptor of what the loop is going to wait for; None if it has callbacks to run first.
/// Raises what attributes raise that are not there.
fn idle_selector(running: &Bound<'_, PyAny>) -> PyResult<Option<sys::RawHandle>> {
    let py = running.py();
    if running.getattr(pyo3::intern!(py, "_ready"))?.len()? > 0 {
        return Ok(None);
    }
    let selector = running.getattr(pyo3::intern!(py, "_selector"))?;
    let descriptor = selector.call_method0(pyo3::intern!(py, "fileno"))?;
    descriptor.extract().map(Some)
}
