//! The reactor's hand-overs between threads under loom, which runs each with the orders of their steps
//! that the memory model allows: `RUSTFLAGS="--cfg loom" cargo test --no-default-features --lib loom_tests`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use loom::sync::atomic::AtomicBool;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::deferred::{Deferred, DeferredQueue};
use super::flags::{Announced, StopSignal, ThreadWaker, WakeThread};
use crate::sync::modelled::check;

/// As the notifier of a poller: a wake-up stays until it is waited for.
#[derive(Clone, Default)]
struct FakePoller(Arc<(Mutex<bool>, Condvar)>);

impl FakePoller {
    /// Blocks; when this cannot end, loom says that there is a deadlock.
    fn wait(&self) {
        let (raised, changed) = &*self.0;
        let mut raised = raised.lock().unwrap();
        while !*raised {
            raised = changed.wait(raised).unwrap();
        }
        *raised = false;
    }
}

impl WakeThread for FakePoller {
    fn notify(&self) {
        let (raised, changed) = &*self.0;
        *raised.lock().unwrap() = true;
        changed.notify_one();
    }
}

#[test]
fn what_is_put_off_is_taken_by_a_driver_that_sleeps() {
    check(|| {
        let (queue, poller) = (Arc::new(DeferredQueue::new()), FakePoller::default());
        let thread_waker = Arc::new(ThreadWaker::new(poller.clone()));
        queue.set_host(&Waker::from(thread_waker.clone()));
        let pushed = queue.clone();
        let pusher = thread::spawn(move || {
            pushed.push(Deferred::Resume(1));
            pushed.push(Deferred::Resume(2));
        });
        // As `Reactor::run_until`.
        let mut taken = 0;
        while taken < 2 {
            thread_waker.take();
            let idle = !queue.is_pending() && !thread_waker.is_notified();
            taken += queue.take().len();
            if idle {
                poller.wait();
            }
        }
        pusher.join().unwrap();
        assert!(!queue.is_pending() && queue.take().is_empty());
    });
}

#[test]
fn what_was_put_off_before_there_was_a_host_is_seen() {
    check(|| {
        let (queue, poller) = (Arc::new(DeferredQueue::new()), FakePoller::default());
        let thread_waker = Arc::new(ThreadWaker::new(poller.clone()));
        thread_waker.take();
        let pushed = queue.clone();
        let pusher = thread::spawn(move || pushed.push(Deferred::Resume(1)));
        queue.set_host(&Waker::from(thread_waker));
        if !queue.is_pending() {
            poller.wait();
        }
        assert_eq!(queue.take().len(), 1);
        pusher.join().unwrap();
    });
}

#[test]
fn what_waits_for_a_turn_is_told_of_the_end() {
    check(|| {
        let queue = Arc::new(DeferredQueue::new());
        let pushed = queue.clone();
        let pusher = thread::spawn(move || pushed.push(Deferred::Wake(Waker::noop().clone())));
        // As `Inner::turn`, then `Inner::close`.
        let taken = queue.take().len() + queue.end().len();
        let added = pusher.join().unwrap();
        assert_eq!(taken, usize::from(added), "woken, or told at once");
        assert!(queue.take().is_empty());
    });
}

#[test]
fn what_came_before_a_wake_is_seen_by_the_poll_after_it() {
    check(|| {
        let poller = FakePoller::default();
        let thread_waker = Arc::new(ThreadWaker::new(poller.clone()));
        let done = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let threads = [0, 1].map(|at| {
            let (done, waker) = (done.clone(), Waker::from(thread_waker.clone()));
            thread::spawn(move || {
                done[at].store(true, Relaxed);
                waker.wake();
            })
        });
        loop {
            if thread_waker.take() && done.iter().all(|done| done.load(Relaxed)) {
                break;
            }
            if !thread_waker.is_notified() {
                poller.wait();
            }
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_thread_that_is_told_to_stop_ends() {
    check(|| {
        let poller = FakePoller::default();
        let stop = Arc::new(StopSignal::new(poller.clone()));
        let seen = stop.clone();
        let waiting = poller.clone();
        // As the poll thread: an event of its own comes meanwhile.
        let thread = thread::spawn(move || {
            loop {
                waiting.wait();
                if seen.is_raised() {
                    break;
                }
            }
        });
        poller.notify();
        stop.raise();
        thread.join().unwrap();
    });
}

#[test]
fn what_the_helper_thread_collects_reaches_the_loop() {
    check(|| {
        let event_loop = FakePoller::default();
        let announced = Arc::new(Announced::new());
        let collected = Arc::new(Mutex::new(0));
        let (told, into, woken) = (announced.clone(), collected.clone(), event_loop.clone());
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                *into.lock().unwrap() += 1;
                if told.is_due() {
                    woken.notify();
                }
            }
        });
        let mut taken = 0;
        while taken < 2 {
            event_loop.wait();
            announced.arrived();
            taken += std::mem::take(&mut *collected.lock().unwrap());
        }
        thread.join().unwrap();
    });
}
