//! For hosts that cannot watch a descriptor: one thread that waits for events and collects them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::reactor::Inner;
use crate::sync::lock;
use crate::sys::{self, Event};

/// The thread's controls.
pub(crate) struct PollThread {
    stopped: Arc<AtomicBool>,
    notifier: sys::Notifier,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// A forked copy of the process has the handle, but not the thread.
    owner: u32,
}

impl PollThread {
    /// Starts the thread. It gives each batch of events to `deliver`, until that returns `false`.
    pub(crate) fn start(
        reactor: &Inner,
        mut deliver: impl FnMut(Vec<Event>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let poller = reactor.poller()?;
        let notifier = poller.notifier()?;
        let stopped = Arc::<AtomicBool>::default();
        let seen = stopped.clone();
        let mut turn = move || {
            let mut events = Vec::new();
            poller.wait(&mut events, None).is_ok()
                && !seen.load(Ordering::SeqCst)
                && deliver(events)
        };
        let thread = thread::Builder::new().name("procio-poll".to_owned());
        let thread = thread
            .stack_size(256 * 1024)
            .spawn(move || while turn() {})?;
        Ok(PollThread {
            stopped,
            notifier,
            thread: Mutex::new(Some(thread)),
            owner: sys::current_pid(),
        })
    }

    /// Tells the thread to end, and gives what waits for that, unless there is nothing to wait for:
    /// in a forked copy, and in that thread itself.
    pub(crate) fn stop(&self) -> Option<JoinHandle<()>> {
        let thread = lock(&self.thread).take();
        let thread = thread.filter(|_| self.owner == sys::current_pid())?;
        self.stopped.store(true, Ordering::SeqCst);
        self.notifier.notify(sys::WAKE_TOKEN);
        (thread.thread().id() != thread::current().id()).then_some(thread)
    }
}
