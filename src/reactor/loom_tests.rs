//! The reactor's hand-overs between threads under loom, which runs each with the orders of their steps
//! that the memory model allows: `RUSTFLAGS="--cfg loom" cargo test --no-default-features --lib loom_tests`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Wake, Waker};

use loom::sync::atomic::AtomicBool;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::deferred::{Deferred, DeferredQueue};
use super::flags::{Announced, StopSignal, WakeThread};
use super::leader::{Leadership, ThreadWaker};
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

    /// Takes what there is.
    fn look(&self) {
        *self.0.0.lock().unwrap() = false;
    }
}

/// As `Inner::wait`, with a queue for what is put off.
fn sleep(thread: &Arc<ThreadWaker<FakePoller>>, leadership: &Leadership, queue: &DeferredQueue) {
    if let Some(_leading) = leadership.take(Some(&**thread)) {
        queue.set_sleeper(&Waker::from(thread.clone()));
        if !queue.is_pending() {
            thread.notifier().wait();
        }
    }
}

impl WakeThread for FakePoller {
    fn notify(&self) {
        let (raised, changed) = &*self.0;
        *raised.lock().unwrap() = true;
        changed.notify_one();
    }
}

/// As a source that looks again in the next turn.
fn push_and_wake(queue: &DeferredQueue) {
    assert!(queue.push(Deferred::Resume(1)));
    queue.wake_host();
}

#[test]
fn what_is_put_off_is_taken_by_a_driver_that_sleeps() {
    check(|| {
        let (queue, leadership) = (Arc::new(DeferredQueue::new()), Arc::new(Leadership::new()));
        let thread_waker = Arc::new(ThreadWaker::new(&leadership, FakePoller::default()));
        let pushed = queue.clone();
        let pusher = thread::spawn(move || {
            push_and_wake(&pushed);
            push_and_wake(&pushed);
        });
        // As `Reactor::run_until`.
        let mut taken = 0;
        while taken < 2 {
            thread_waker.take();
            let idle = !queue.is_pending() && !thread_waker.is_notified();
            taken += queue.take().len();
            if idle && taken < 2 {
                sleep(&thread_waker, &leadership, &queue);
            }
        }
        pusher.join().unwrap();
        assert!(!queue.is_pending() && queue.take().is_empty());
    });
}

#[test]
fn what_was_put_off_before_there_was_a_host_is_seen() {
    check(|| {
        let (queue, leadership) = (Arc::new(DeferredQueue::new()), Arc::new(Leadership::new()));
        let thread_waker = Arc::new(ThreadWaker::new(&leadership, FakePoller::default()));
        thread_waker.take();
        let pushed = queue.clone();
        let pusher = thread::spawn(move || push_and_wake(&pushed));
        sleep(&thread_waker, &leadership, &queue);
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
        let (queue, leadership) = (DeferredQueue::new(), Arc::new(Leadership::new()));
        let thread_waker = Arc::new(ThreadWaker::new(&leadership, FakePoller::default()));
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
            sleep(&thread_waker, &leadership, &queue);
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

/// Two threads that drive one reactor, each until it is done. The second is so after an event, whichever of
/// them gets that.
struct Pair {
    leadership: Arc<Leadership>,
    poller: FakePoller,
    threads: [Arc<ThreadWaker<FakePoller>>; 2],
    done: [AtomicBool; 2],
    event: AtomicBool,
}

impl Pair {
    fn new() -> Arc<Self> {
        let (leadership, poller) = (Arc::new(Leadership::new()), FakePoller::default());
        Arc::new(Pair {
            threads: [(); 2].map(|()| Arc::new(ThreadWaker::new(&leadership, poller.clone()))),
            done: [(); 2].map(|()| AtomicBool::new(false)),
            event: AtomicBool::new(false),
            leadership,
            poller,
        })
    }

    fn end(&self, at: usize) {
        self.done[at].store(true, Relaxed);
        self.threads[at].clone().wake();
    }

    fn happen(&self) {
        self.event.store(true, Relaxed);
        self.poller.notify();
    }

    /// As `Reactor::run_until`.
    fn drive(&self, at: usize) {
        let thread = &*self.threads[at];
        while !(thread.take() && self.done[at].load(Relaxed)) {
            let sleeps = !thread.is_notified();
            let Some(leading) = self.leadership.take(sleeps.then_some(thread)) else {
                continue;
            };
            if sleeps {
                self.poller.wait();
            } else {
                self.poller.look();
            }
            drop(leading);
            if self.event.swap(false, Relaxed) {
                self.end(1);
            }
        }
    }
}

#[test]
fn an_event_that_comes_to_one_driver_wakes_another() {
    check(|| {
        let pair = Pair::new();
        pair.happen();
        let other = pair.clone();
        let thread = thread::spawn(move || {
            other.drive(1);
            other.end(0);
        });
        pair.drive(0);
        thread.join().unwrap();
    });
}

#[test]
fn a_driver_is_woken_while_another_sleeps_in_the_poller() {
    check(|| {
        let pair = Pair::new();
        let (first, second) = (pair.clone(), pair.clone());
        let first = thread::spawn(move || first.drive(0));
        let second = thread::spawn(move || {
            second.drive(1);
            second.end(0);
        });
        pair.end(1);
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn a_driver_that_leaves_is_succeeded() {
    check(|| {
        let pair = Pair::new();
        let (first, second) = (pair.clone(), pair.clone());
        let first = thread::spawn(move || {
            first.drive(0);
            first.happen();
        });
        let second = thread::spawn(move || second.drive(1));
        pair.end(0);
        first.join().unwrap();
        second.join().unwrap();
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
