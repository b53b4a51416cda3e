//! Adaptive busy polling, before the loop goes to sleep.
//!
//! A child that answers at once does so after some ten microseconds. A loop that has nothing else
//! to do sleeps meanwhile, and an idle processor needs longer than that to wake. So an operation
//! that is about to wait for a child's output polls the loop's selector for up to [`SPIN`]. It
//! consumes no event: the loop finds the event where it would have found it, in the same order, only
//! without having slept.
//!
//! No callback is kept waiting by that. Polling happens only while none is ready to run, and ends
//! with whatever event comes for the loop: a socket, a signal, and on an interpreter without the
//! lock another thread's `call_soon_threadsafe`. The interpreter lock is kept: releasing it would
//! hand it to a waiting thread, and we would wait a switch interval (5 ms) to get it back. Such a
//! thread, and a timer, may be late by [`SPIN`]; asyncio rounds timers up to a millisecond. A poll in
//! vain quadruples the interval between polls, at most to one wait in [`MAX_INTERVAL`], and a hit
//! halves it: a child that takes its time costs next to no processor time.
//!
//! Only asyncio's own loops can be asked whether a callback is ready, by two attributes that are
//! private to them. On any other loop there is no busy polling, nor on a single processor, where the
//! child could not run meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::sys;

/// How long a poll lasts: about twice what a child takes that only has to be woken.
const SPIN: Duration = Duration::from_micros(30);
/// At worst one wait of that many is preceded by a poll.
const MAX_INTERVAL: u32 = 256;

/// How it went on one loop so far.
pub(super) struct BusyPoll {
    possible: AtomicBool,
    /// One wait of this number polls. Four times as large after a poll in vain, half after a hit.
    interval: AtomicU32,
    /// The number of waits without a poll before the next poll.
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
