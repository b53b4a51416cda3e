//! For loops that cannot watch a descriptor: one thread that waits for events, collects them, and
//! wakes the loop once for each batch. It takes the interpreter lock for that one call only.
//!
//! # How the thread ends
//! A thread that takes the interpreter lock while the interpreter is being finalized is ended by
//! force, in the middle of its frames. So the thread is joined before that can happen: when its
//! loop lets go of the reactor, or else by `atexit`, whichever comes first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyWeakref, PyWeakrefMethods, PyWeakrefReference};

use super::errors::{in_drop, os_error};
use super::event_loop::{LoopBinding, TurnCallback};
use crate::reactor::poll_thread::PollThread as Thread;

/// The thread, and what it and the loop tell each other.
pub(super) struct PollThread {
    thread: Thread,
    /// The loop was woken and has not come yet: what is collected meanwhile needs no other call.
    woken: Arc<AtomicBool>,
}

impl PollThread {
    /// Starts the thread, and gives what ends it: at the latest when it is dropped.
    pub(super) fn start(
        running: &Bound<'_, PyAny>,
        binding: &Arc<LoopBinding>,
    ) -> PyResult<Stopper> {
        let py = running.py();
        let running = PyWeakrefReference::new(running)?.unbind();
        let woken = Arc::<AtomicBool>::default();
        let (flag, weak) = (woken.clone(), Arc::downgrade(binding));
        let deliver = move |events| {
            let Some(binding) = Weak::upgrade(&weak) else {
                return false;
            };
            binding.reactor.collect(events);
            flag.swap(true, Ordering::SeqCst) || wake(&running, binding)
        };
        let thread = Thread::start(&binding.reactor, deliver);
        let thread = thread.map_err(|error| os_error(py, &error, None))?;
        let poll_thread = Arc::new(PollThread { thread, woken });
        let at_exit = Bound::new(py, AtExit(poll_thread.clone()))?.unbind();
        py.import("atexit")?.call_method1("register", (&at_exit,))?;
        Ok(Stopper {
            poll_thread,
            at_exit,
        })
    }

    /// The loop has come. To be called before it takes what was collected: what is collected after
    /// that then wakes it again, and what was before is taken.
    fn arrived(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }

    /// Ends the thread, and waits for that with the interpreter lock released: the thread may want
    /// it for its last call. The thread itself may drop the last reference to the loop, and so come
    /// here.
    fn stop(&self, py: Python<'_>) {
        if let Some(thread) = self.thread.stop() {
            let _ = py.detach(|| thread.join());
        }
    }
}

/// Ends the thread when the loop lets go.
pub(super) struct Stopper {
    poll_thread: Arc<PollThread>,
    at_exit: Py<AtExit>,
}

impl Stopper {
    pub(super) fn arrived(&self) {
        self.poll_thread.arrived();
    }

    pub(super) fn stop(self) {
        in_drop(|py| {
            self.poll_thread.stop(py);
            let atexit = py.import("atexit");
            let _ = atexit.and_then(|m| m.call_method1("unregister", (&self.at_exit,)));
        });
    }
}

#[pyclass(frozen, module = "procio._core")]
struct AtExit(Arc<PollThread>);

#[pymethods]
impl AtExit {
    fn __call__(&self, py: Python<'_>) {
        self.0.stop(py);
    }
}

/// `loop.call_soon_threadsafe`; `false` when there is no loop to wake any more.
fn wake(running: &Py<PyWeakrefReference>, binding: Arc<LoopBinding>) -> bool {
    // While the interpreter shuts down no thread can attach to it.
    let woken = Python::try_attach(|py| {
        let running = running.bind(py).cast::<PyWeakref>().ok()?.upgrade()?;
        let turn = Bound::new(py, TurnCallback { binding }).ok()?;
        running
            .call_method1("call_soon_threadsafe", (turn,))
            .ok()
            .map(drop)
    });
    woken.flatten().is_some()
}
