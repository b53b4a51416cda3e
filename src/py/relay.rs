//! For loops that cannot watch a descriptor: one thread that waits for the reactor, and wakes the
//! loop once for each batch. It takes the interpreter lock for that one call only.

use std::io;
use std::sync::{Arc, Condvar, Mutex, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyWeakref, PyWeakrefMethods, PyWeakrefReference};

use super::errors::os_error;
use super::host::{Host, Turn};
use crate::reactor::{Reactor, lock};
use crate::sys::{self, AsHandle};

/// The thread's controls.
pub(super) struct Relay {
    control: Arc<Control>,
}

struct Control {
    state: Mutex<State>,
    changed: Condvar,
    notifier: sys::Notifier,
    /// What is waited for besides the reactor: readable when the thread is to stop.
    poller: sys::Poller,
}

#[derive(Default)]
struct State {
    /// The loop was woken and has not come yet: until it has, the reactor stays readable.
    waiting: bool,
    stopped: bool,
}

impl Relay {
    pub(super) fn start(
        running: &Bound<'_, PyAny>,
        host: &Arc<Host>,
        reactor: &Reactor,
    ) -> PyResult<Relay> {
        let py = running.py();
        let weak = PyWeakrefReference::new(running)?.unbind();
        Relay::start_thread(weak, host, reactor).map_err(|error| os_error(py, &error, None))
    }

    fn start_thread(
        running: Py<PyWeakrefReference>,
        host: &Arc<Host>,
        reactor: &Reactor,
    ) -> io::Result<Relay> {
        let poller = sys::Poller::new()?;
        let notifier = poller.notifier()?;
        let control = Arc::new(Control {
            state: Mutex::default(),
            changed: Condvar::new(),
            notifier,
            poller,
        });
        let reactor = sys::dup_handle(reactor.as_fd())?;
        let (thread_control, host) = (control.clone(), Arc::downgrade(host));
        let thread = std::thread::Builder::new().name("procio-relay".to_owned());
        thread.stack_size(256 * 1024).spawn(move || {
            while thread_control.wait(&reactor).is_ok_and(|go_on| go_on) {
                if !wake(&running, &host) {
                    break;
                }
            }
        })?;
        Ok(Relay { control })
    }

    /// The loop has come and done what was ready.
    pub(super) fn done(&self) {
        lock(&self.control.state).waiting = false;
        self.control.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        lock(&self.control.state).stopped = true;
        self.control.changed.notify_one();
        self.control.notifier.notify(0);
    }
}

impl Control {
    /// Waits until the reactor is readable (`true`) or the thread is to stop.
    fn wait(&self, reactor: &sys::OwnedHandle) -> io::Result<bool> {
        let mut state = lock(&self.state);
        while state.waiting && !state.stopped {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        drop(state);
        loop {
            let readable = sys::wait_any_readable(&[reactor.as_fd(), self.poller.as_fd()], None)?;
            let mut state = lock(&self.state);
            if state.stopped {
                return Ok(false);
            }
            if readable.first().is_some_and(|ready| *ready) {
                state.waiting = true;
                return Ok(true);
            }
        }
    }
}

/// `loop.call_soon_threadsafe`; `false` when there is no loop to wake any more.
fn wake(running: &Py<PyWeakrefReference>, host: &Weak<Host>) -> bool {
    let Some(host) = host.upgrade() else {
        return false;
    };
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
