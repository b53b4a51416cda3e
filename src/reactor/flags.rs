//! What threads tell each other with one flag.

#![cfg_attr(
    not(feature = "python"),
    allow(dead_code, reason = "without Python fewer threads help")
)]

use std::sync::atomic::Ordering;

use crate::sync::modelled::AtomicBool;
use crate::sys;

/// Ends the wait of another thread; if that does not wait yet, its next.
pub(crate) trait WakeThread: Send + Sync + 'static {
    fn notify(&self);
}

impl WakeThread for sys::Notifier {
    fn notify(&self) {
        sys::Notifier::notify(self, sys::WAKE_TOKEN);
    }
}

/// Tells a thread that waits to end.
pub(super) struct StopSignal<N> {
    stopped: AtomicBool,
    notifier: N,
}

impl<N: WakeThread> StopSignal<N> {
    pub(super) fn new(notifier: N) -> Self {
        StopSignal {
            stopped: AtomicBool::new(false),
            notifier,
        }
    }

    /// The flag first: the thread looks at it when its wait has ended.
    pub(super) fn raise(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.notifier.notify();
    }

    pub(super) fn is_raised(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Whether a loop was told of what was collected for it, and has not come yet.
pub(crate) struct Announced(AtomicBool);

impl Announced {
    pub(crate) fn new() -> Self {
        Announced(AtomicBool::new(false))
    }

    /// To be called after something was collected: whether the loop is to be told.
    pub(crate) fn is_due(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    /// The loop has come. To be called before it takes what was collected: what is collected after
    /// that then wakes it again, and what was before is taken.
    pub(crate) fn arrived(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
