//! What wakes a poller from any thread: a queue of tokens, and an eventfd that says that there are some. eventfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::sync::modelled::{Mutex, lock};
use crate::sys::{above_stdio, current_pid};

/// Says to a poller that there is something.
pub(crate) trait Bell {
    fn ring(&self);
    /// Lets it be rung again.
    fn silence(&self);
}

/// The descriptor that the poller watches.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(super) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(EventFd(above_stdio(fd)?))
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Bell for EventFd {
    fn ring(&self) {
        // Fails only when the counter is full, and then it is readable anyhow.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    fn silence(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

/// Reports a token to a poller, from any thread. One that outlives its poller does nothing, and keeps no
/// descriptor: a thread may wait for a child long after the child's loop has gone.
#[derive(Debug)]
pub(crate) struct Notifier<B = EventFd>(Arc<Reports<B>>);

#[derive(Debug)]
struct Reports<B> {
    /// Until the poller goes.
    open: Mutex<Option<(B, Vec<usize>)>>,
    owner: u32,
}

impl<B> Clone for Notifier<B> {
    fn clone(&self) -> Self {
        Notifier(self.0.clone())
    }
}

impl<B: Bell> Notifier<B> {
    pub(super) fn new(bell: B) -> Self {
        Notifier(Arc::new(Reports {
            open: Mutex::new(Some((bell, Vec::new()))),
            owner: current_pid(),
        }))
    }

    /// Under the lock throughout: when the poller has gone the descriptor is closed, and its number another's.
    pub(crate) fn notify(&self, token: usize) {
        if let Some((bell, tokens)) = &mut *lock(&self.0.open) {
            tokens.push(token);
            bell.ring();
        }
    }

    /// What was reported since this was last called.
    pub(super) fn take(&self) -> Vec<usize> {
        match &mut *lock(&self.0.open) {
            Some((bell, tokens)) => {
                bell.silence();
                std::mem::take(tokens)
            }
            None => Vec::new(),
        }
    }

    /// The poller goes: when this returns the descriptor is closed. In a forked copy of the process the lock may
    /// be that of a thread which is not there.
    pub(super) fn close(&self) {
        if self.0.owner != current_pid() {
            return;
        }
        let closed = lock(&self.0.open).take();
        drop(closed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::atomic::Ordering::SeqCst;

    use loom::sync::Condvar;
    use loom::thread;

    use super::*;
    use crate::sync::modelled::{AtomicBool, check};

    /// An eventfd in an epoll that waits for edges: an event is there when it is rung, and is gone when it was
    /// waited for, whether or not the counter was read.
    #[derive(Clone, Default)]
    struct FakeBell(Arc<(Mutex<bool>, Condvar)>, Arc<AtomicBool>);

    impl FakeBell {
        fn wait(&self) {
            let (rung, changed) = &*self.0;
            let mut rung = rung.lock().unwrap();
            while !*rung {
                rung = changed.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    impl Bell for FakeBell {
        fn ring(&self) {
            assert!(!self.1.load(SeqCst), "rung when it was closed");
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_one();
        }

        fn silence(&self) {}
    }

    /// What the poller owns.
    struct Owned(FakeBell);

    impl Bell for Owned {
        fn ring(&self) {
            self.0.ring();
        }

        fn silence(&self) {
            self.0.silence();
        }
    }

    impl Drop for Owned {
        fn drop(&mut self) {
            self.0.1.store(true, SeqCst);
        }
    }

    #[test]
    fn each_token_reaches_a_poller_that_sleeps() {
        check(|| {
            let bell = FakeBell::default();
            let notifier = Notifier::new(Owned(bell.clone()));
            let threads = [1, 2].map(|token| {
                let notifier = notifier.clone();
                thread::spawn(move || notifier.notify(token))
            });
            let mut taken = Vec::new();
            while taken.len() < 2 {
                bell.wait();
                taken.extend(notifier.take());
            }
            taken.sort_unstable();
            assert_eq!(taken, [1, 2]);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn a_thread_that_comes_late_keeps_nothing_open() {
        check(|| {
            let bell = FakeBell::default();
            let notifier = Notifier::new(Owned(bell.clone()));
            let late = notifier.clone();
            let thread = thread::spawn(move || late.notify(1));
            notifier.close();
            assert!(bell.1.load(SeqCst), "closed when the poller has gone");
            thread.join().unwrap();
        });
    }
}
