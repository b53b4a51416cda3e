//! For loops that cannot watch a descriptor: one thread that waits for events, collects them, and
//! wakes the loop once for each batch. It takes the interpreter lock for that one call only.
//!
//! # How the thread ends
//! A thread that takes the interpreter lock while the interpreter is being finalized is ended by
//! force, in the middle of its frames. So the thread is joined before that can happen: when its
//! loop lets go of the reactor, or else by `atexit`, whichever comes first.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};

use pyo3::prelude::*;
use pyo3::types::{PyWeakref, PyWeakrefMethods, PyWeakrefReference};

use super::errors::{in_drop, os_error};
use super::host::{Host, Turn};
use crate::reactor::lock;
use crate::sys;

/// The thread's controls.
pub(super) struct Relay {
    flags: Arc<Flags>,
    notifier: sys::Notifier,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// A forked copy of the process has the handle, but not the thread.
    owner: u32,
}

#[derive(Default)]
struct Flags {
    /// The loop was woken and has not come yet: what is collected meanwhile needs no other call.
    woken: AtomicBool,
    stopped: AtomicBool,
}

impl Relay {
    /// Starts the thread, and gives what ends it: at the latest when it is dropped.
    pub(super) fn start(running: &Bound<'_, PyAny>, host: &Arc<Host>) -> PyResult<Stopper> {
        let py = running.py();
        let weak = PyWeakrefReference::new(running)?.unbind();
        let relay = Relay::start_thread(weak, host).map_err(|error| os_error(py, &error, None))?;
        let relay = Arc::new(relay);
        let at_exit = Bound::new(py, AtExit(relay.clone()))?.unbind();
        py.import("atexit")?.call_method1("register", (&at_exit,))?;
        Ok(Stopper { relay, at_exit })
    }

    fn start_thread(running: Py<PyWeakrefReference>, host: &Arc<Host>) -> io::Result<Relay> {
        let poller = host.shared.poller()?;
        let notifier = poller.notifier()?;
        let flags = Arc::<Flags>::default();
        let (thread_flags, host) = (flags.clone(), Arc::downgrade(host));
        let thread = std::thread::Builder::new().name("procio-relay".to_owned());
        let thread = thread
            .stack_size(256 * 1024)
            .spawn(move || while relay(&running, &host, &poller, &thread_flags) {})?;
        Ok(Relay {
            flags,
            notifier,
            thread: Mutex::new(Some(thread)),
            owner: sys::current_pid(),
        })
    }

    /// The loop has come. To be called before it takes what was collected: what is collected after
    /// that then wakes it again, and what was before is taken.
    fn arrived(&self) {
        self.flags.woken.store(false, Ordering::SeqCst);
    }

    /// Ends the thread, and waits for that with the interpreter lock released: the thread may want
    /// it for its last call.
    fn stop(&self, py: Python<'_>) {
        let thread = lock(&self.thread).take();
        let Some(thread) = thread.filter(|_| self.owner == sys::current_pid()) else {
            return;
        };
        self.flags.stopped.store(true, Ordering::SeqCst);
        self.notifier.notify(sys::NOBODY);
        // The thread itself may drop the last reference to the loop, and so come here.
        if thread.thread().id() != thread::current().id() {
            let _ = py.detach(|| thread.join());
        }
    }
}

/// Ends the thread when the loop lets go.
pub(super) struct Stopper {
    relay: Arc<Relay>,
    at_exit: Py<AtExit>,
}

impl Stopper {
    pub(super) fn arrived(&self) {
        self.relay.arrived();
    }

    pub(super) fn stop(self) {
        in_drop(|py| {
            self.relay.stop(py);
            let atexit = py.import("atexit");
            let _ = atexit.and_then(|m| m.call_method1("unregister", (&self.at_exit,)));
        });
    }
}

#[pyclass(frozen, module = "procio._core")]
struct AtExit(Arc<Relay>);

#[pymethods]
impl AtExit {
    fn __call__(&self, py: Python<'_>) {
        self.0.stop(py);
    }
}

/// Collects one batch; `false` when there is nobody to collect for any more.
fn relay(
    running: &Py<PyWeakrefReference>,
    host: &Weak<Host>,
    poller: &sys::Poller,
    flags: &Flags,
) -> bool {
    let mut events = Vec::new();
    if poller.wait(&mut events, None).is_err() || flags.stopped.load(Ordering::SeqCst) {
        return false;
    }
    let Some(host) = host.upgrade() else {
        return false;
    };
    host.shared.collect(events);
    flags.woken.swap(true, Ordering::SeqCst) || wake(running, host)
}

/// `loop.call_soon_threadsafe`; `false` when there is no loop to wake any more.
fn wake(running: &Py<PyWeakrefReference>, host: Arc<Host>) -> bool {
    // While the interpreter shuts down there is nobody to attach to.
    let woken = Python::try_attach(|py| {
        let running = running.bind(py).cast::<PyWeakref>().ok()?.upgrade()?;
        let turn = Bound::new(py, Turn { host }).ok()?;
        running
            .call_method1("call_soon_threadsafe", (turn,))
            .ok()
            .map(drop)
    });
    woken.flatten().is_some()
}
