//! For loops that cannot watch a descriptor: one thread that waits for events, collects them, and
//! wakes the loop once for each batch. It takes the interpreter lock for that one call only.
//!
//! # How the thread ends
//! A thread that takes the interpreter lock while the interpreter is being finalized is ended by
//! force, in the middle of its frames. So the thread is joined before that can happen: when its
//! loop lets go of the reactor, or else by `atexit`, whichever comes first.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyWeakref, PyWeakrefMethods, PyWeakrefReference};

use super::errors::{in_drop, os_error};
use crate::reactor::Inner;
use crate::reactor::flags::Announced;
use crate::reactor::poll_thread::{Delivered, PollThread};

/// The thread, and what it and the loop tell each other.
pub(super) struct LoopPollThread {
    thread: PollThread,
    /// The loop was woken and has not come yet: what is collected meanwhile needs no other call.
    woken: Arc<Announced>,
}

impl LoopPollThread {
    /// Starts the thread, and gives what ends it. `turn` gives what the loop is to call, while there is
    /// something that it drives.
    pub(super) fn start(
        running: &Bound<'_, PyAny>,
        reactor: &Arc<Inner>,
        turn: impl Fn(Python<'_>) -> Option<PyResult<Py<PyAny>>> + Send + 'static,
    ) -> PyResult<Stopper> {
        let py = running.py();
        let running = PyWeakrefReference::new(running)?.unbind();
        let woken = Arc::new(Announced::new());
        let (flag, weak) = (woken.clone(), Arc::downgrade(reactor));
        let deliver = move |events| {
            let Some(reactor) = Weak::upgrade(&weak) else {
                return Delivered::Ended;
            };
            reactor.collect(events);
            let delivered = if flag.is_due() {
                wake(&running, &turn)
            } else {
                Delivered::Told
            };
            if matches!(delivered, Delivered::Again) {
                flag.arrived();
            }
            delivered
        };
        let thread = PollThread::start(reactor, deliver);
        let thread = thread.map_err(|error| os_error(py, &error, None))?;
        let poll_thread = Arc::new(LoopPollThread { thread, woken });
        match AtExit::register(py, &poll_thread) {
            Ok(at_exit) => Ok(Stopper {
                poll_thread,
                at_exit,
            }),
            // Such as what the handler of a signal has raised. The thread would wait for ever.
            Err(error) => {
                poll_thread.stop(py);
                Err(error)
            }
        }
    }

    /// The loop has come. As [`Announced::arrived`].
    fn arrived(&self) {
        self.woken.arrived();
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
    poll_thread: Arc<LoopPollThread>,
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
struct AtExit(Arc<LoopPollThread>);

impl AtExit {
    fn register(py: Python<'_>, poll_thread: &Arc<LoopPollThread>) -> PyResult<Py<Self>> {
        let at_exit = Bound::new(py, AtExit(poll_thread.clone()))?;
        py.import("atexit")?.call_method1("register", (&at_exit,))?;
        Ok(at_exit.unbind())
    }
}

#[pymethods]
impl AtExit {
    fn __call__(&self, py: Python<'_>) {
        self.0.stop(py);
    }
}

/// `loop.call_soon_threadsafe`. Anything may be raised out of it; only a loop that is closed has ended.
fn wake(
    running: &Py<PyWeakrefReference>,
    turn: impl Fn(Python<'_>) -> Option<PyResult<Py<PyAny>>>,
) -> Delivered {
    let tell = |py: Python<'_>| {
        let running = running.bind(py).cast::<PyWeakref>().ok()?.upgrade()?;
        let turn = turn(py)?;
        let called = turn.and_then(|turn| running.call_method1("call_soon_threadsafe", (turn,)));
        if called.is_ok() {
            return Some(Delivered::Told);
        }
        let closed = running.call_method0("is_closed");
        let closed = closed.and_then(|closed| closed.is_truthy());
        (!closed.unwrap_or(false)).then_some(Delivered::Again)
    };
    // While the interpreter shuts down no thread can attach to it.
    let told = Python::try_attach(tell);
    told.flatten().unwrap_or(Delivered::Ended)
}
