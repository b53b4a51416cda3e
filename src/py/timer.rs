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

/// A timer. Dropping it cancels it.
pub(super) struct Timer(Arc<TimerState>);

struct TimerState {
    due: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// The loop's.
    handle: Mutex<Option<Py<PyAny>>>,
    dropped: AtomicBool,
}

impl Timer {
    /// A timer that wakes the operation `seconds` after [`start`](Timer::start). They may be 0,
    /// negative (it is due from now on) or infinite.
    pub(super) fn new(seconds: f64) -> Timer {
        Timer(Arc::new(TimerState {
            due: AtomicBool::new(seconds <= 0.0),
            waker: Mutex::default(),
            handle: Mutex::default(),
            dropped: AtomicBool::new(false),
        }))
    }

    /// What has the running loop start it. If that fails, the timer is due.
    pub(super) fn start(
        &self,
        binding: &Arc<LoopBinding>,
        seconds: f64,
    ) -> impl FnOnce(Python<'_>) -> PyResult<()> + Send + Sync + use<> {
        let (state, binding) = (self.0.clone(), binding.clone());
        move |py| {
            if state.is_over() || seconds >= NEVER {
                return Ok(());
            }
            let callback = TimerCallback {
                state: state.clone(),
                binding,
            };
            let call_later = pyo3::intern!(py, "call_later");
            let started = Bound::new(py, callback).and_then(|callback| {
                running_loop(py)?.call_method1(call_later, (seconds, callback))
            });
            match started {
                Ok(handle) => {
                    *lock(&state.handle) = Some(handle.unbind());
                    if state.dropped.load(Ordering::Acquire) {
                        state.cancel(py);
                    }
                    Ok(())
                }
                Err(error) => {
                    state.expire();
                    Err(error)
                }
            }
        }
    }

    /// Whether its time has come; if not, the operation is woken when it has.
    pub(super) fn is_due(&self, cx: &Context<'_>) -> bool {
        if self.0.due.load(Ordering::Acquire) {
            return true;
        }
        let stale = lock(&self.0.waker).replace(cx.waker().clone());
        drop(stale);
        // The callback may have come between the two.
        self.0.due.load(Ordering::Acquire)
    }
}

impl TimerState {
    fn is_over(&self) -> bool {
        self.due.load(Ordering::Acquire) || self.dropped.load(Ordering::Acquire)
    }

    fn expire(&self) {
        self.due.store(true, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn cancel(&self, py: Python<'_>) {
        let handle = lock(&self.handle).take();
        if let Some(handle) = handle
            && let Err(error) = handle.call_method0(py, pyo3::intern!(py, "cancel"))
        {
            error.write_unraisable(py, None);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::Release);
        let waker = lock(&self.0.waker).take();
        drop(waker);
        if lock(&self.0.handle).is_some() && !self.0.due.load(Ordering::Acquire) {
            in_drop(|py| self.0.cancel(py));
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
        self.state.expire();
        self.binding.run_completions(py)
    }
}
