//! A timer of the event loop's that an operation waits for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use pyo3::prelude::*;

use super::errors::in_drop;
use super::event_loop::{LoopBinding, running_loop};
use crate::sync::lock;

/// Above this many seconds, some thirty years, a timer is none: loops compute with floating-point
/// numbers and milliseconds, and must not overflow.
const NEVER: f64 = 1e9;

/// A timer that was started. Dropping it cancels it.
pub(super) struct Timer {
    state: Arc<TimerState>,
    handle: Option<Py<PyAny>>,
}

#[derive(Default)]
struct TimerState {
    due: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Timer {
    /// Has the running loop wake the operation after `seconds`, which may be 0, negative (due at
    /// once) or infinite.
    pub(super) fn start(
        py: Python<'_>,
        binding: &Arc<LoopBinding>,
        seconds: f64,
    ) -> PyResult<Timer> {
        if seconds <= 0.0 {
            return Ok(Timer::due());
        }
        let state = Arc::new(TimerState::default());
        let mut handle = None;
        if seconds < NEVER {
            let callback = TimerCallback {
                state: state.clone(),
                binding: binding.clone(),
            };
            let call_later = pyo3::intern!(py, "call_later");
            let callback = Bound::new(py, callback)?;
            let made = running_loop(py)?.call_method1(call_later, (seconds, callback))?;
            handle = Some(made.unbind());
        }
        Ok(Timer { state, handle })
    }

    /// One whose time has come.
    pub(super) fn due() -> Timer {
        let state = TimerState {
            due: AtomicBool::new(true),
            waker: Mutex::default(),
        };
        Timer {
            state: Arc::new(state),
            handle: None,
        }
    }

    /// Whether its time has come; if not, the operation is woken when it has.
    pub(super) fn is_due(&self, cx: &Context<'_>) -> bool {
        if self.state.due.load(Ordering::Acquire) {
            return true;
        }
        *lock(&self.state.waker) = Some(cx.waker().clone());
        // The callback may have come between the two.
        self.state.due.load(Ordering::Acquire)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        drop(lock(&self.state.waker).take());
        if let Some(handle) = self.handle.take()
            && !self.state.due.load(Ordering::Acquire)
        {
            in_drop(|py| {
                if let Err(error) = handle.call_method0(py, pyo3::intern!(py, "cancel")) {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

/// What the loop calls.
#[pyclass(frozen, module = "procio._core")]
struct TimerCallback {
    state: Arc<TimerState>,
    binding: Arc<LoopBinding>,
}

#[pymethods]
impl TimerCallback {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.state.due.store(true, Ordering::Release);
        let waker = lock(&self.state.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
        self.binding.run_completions(py)
    }
}
