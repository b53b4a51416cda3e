//! For hosts that cannot watch a descriptor: one thread that waits for events and collects them.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::reactor::Inner;
use crate::reactor::flags::StopSignal;
use crate::sync::lock;
use crate::sys::{self, Event};

/// What the thread is to do when it has delivered events.
#[cfg_attr(
    not(feature = "python"),
    allow(dead_code, reason = "tokio can always be told")
)]
pub(crate) enum Delivered {
    /// To wait for the next ones.
    Told,
    /// The host could not be told, but may be later: to deliver once more.
    Again,
    /// There is no host any more.
    Ended,
}

/// After how long it is tried once more to tell the host.
const AGAIN: Duration = Duration::from_millis(10);

/// The thread's controls.
pub(crate) struct PollThread {
    stop: Arc<StopSignal<sys::Notifier>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// A forked copy of the process has the handle, but not the thread.
    owner: u32,
}

impl PollThread {
    /// Starts the thread. It gives each batch of events to `deliver`, until that says that there is no host.
    pub(crate) fn start(
        reactor: &Inner,
        mut deliver: impl FnMut(Vec<Event>) -> Delivered + Send + 'static,
    ) -> io::Result<Self> {
        let poller = reactor.poller()?;
        let stop = Arc::new(StopSignal::new(poller.notifier()?));
        let seen = stop.clone();
        let mut timeout = None;
        let turn = move || {
            let mut events = Vec::new();
            let waited = poller.wait(&mut events, timeout);
            if seen.is_raised() {
                return false;
            }
            if waited.is_err() {
                // The host looks itself, and is told the error if that comes again.
                thread::sleep(AGAIN);
            } else if events.is_empty() && timeout.is_none() {
                // There is no news: a wait that a signal has cut short, or a kqueue's event of a writing end that is
                // watched for its hang-up only, which comes with each write and each read of the other side. What was
                // collected before was told, or a timeout would be set.
                return true;
            }
            let delivered = deliver(events);
            timeout = matches!(delivered, Delivered::Again).then_some(AGAIN);
            !matches!(delivered, Delivered::Ended)
        };
        let thread = thread::Builder::new().name("procio-poll".to_owned());
        // If there can be no thread, std lets go of what it was to run, and asks for the error after that:
        // so it is not the last to have it.
        let turn = Arc::new(Mutex::new(turn));
        let runs = turn.clone();
        let thread = thread.stack_size(256 * 1024).spawn(move || {
            let mut turn = lock(&runs);
            while turn() {}
        })?;
        Ok(PollThread {
            stop,
            thread: Mutex::new(Some(thread)),
            owner: sys::current_pid(),
        })
    }

    /// Tells the thread to end, and gives what waits for that, unless there is nothing to wait for:
    /// in a forked copy, and in that thread itself.
    pub(crate) fn stop(&self) -> Option<JoinHandle<()>> {
        let thread = lock(&self.thread).take();
        let thread = thread.filter(|_| self.owner == sys::current_pid())?;
        self.stop.raise();
        (thread.thread().id() != thread::current().id()).then_some(thread)
    }
}
