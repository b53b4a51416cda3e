//! The reactor: one descriptor, which the host's event loop watches.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

mod deferred;
pub(crate) mod flags;
mod inner;
mod leader;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(any(feature = "python", feature = "tokio"))]
pub(crate) mod poll_thread;
mod registered;
pub(crate) mod waiters;

pub(crate) use inner::{Inner, Source};
pub(crate) use registered::Registered;

use crate::sys;

/// Owns one pollable descriptor in which everything about children is registered: the pipes, the
/// ends of the processes, the outcomes of their execs.
///
/// That descriptor can be watched by any event loop; when it is readable, [`dispatch`] does all
/// the input and output that is ready in one go and wakes the operations that are done. Without a
/// loop, [`run_until`] drives it.
///
/// A reactor belongs to one loop. Any number of them can live in any number of threads: they share no
/// child and no lock of a stream. What the process shares is the budget of enlarged pipes, on Linux the
/// thread that has a change of identity wait, and on Windows the lock around inherited handles.
///
/// A loop of one's own does three things: it calls [`dispatch`] whenever the descriptor is readable,
/// it calls it again in its next turn when it has returned `true`, and it does so too when the waker
/// that it gave to [`set_waker`] is woken.
///
/// ```
/// # #[cfg(unix)] {
/// use std::os::fd::{AsFd, AsRawFd};
/// let reactor = procio::Reactor::new()?;
/// // What the loop is to watch:
/// assert!(reactor.as_fd().as_raw_fd() > 2);
/// // What it is to call:
/// assert_eq!(reactor.dispatch()?, false);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`dispatch`]: Reactor::dispatch
/// [`run_until`]: Reactor::run_until
/// [`set_waker`]: Reactor::set_waker
pub struct Reactor {
    poller: Arc<sys::Poller>,
    handle: Handle,
    /// To drop it is not the end: it was suspended.
    retired: AtomicBool,
}

/// A handle to a [`Reactor`], cheap to clone, with which any thread can start children. It does not
/// keep the reactor alive: once the reactor was dropped, every start fails.
///
/// ```
/// use procio::{Command, Handle, Reactor};
///
/// async fn run(handle: Handle) -> Result<bool, Box<dyn std::error::Error>> {
///     let child = Command::new("true").spawn(&handle).await?;
///     Ok(child.wait().await?.success())
/// }
///
/// let reactor = Reactor::new()?;
/// assert!(reactor.run_until(run(reactor.handle()))??);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Inner>);

impl Reactor {
    /// A reactor with nothing in it.
    ///
    /// ```
    /// let reactor = procio::Reactor::new()?;
    /// assert!(!reactor.dispatch()?); // there is nothing to do
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the system gives no descriptor (EMFILE, ENFILE, ENOMEM).
    pub fn new() -> io::Result<Self> {
        Ok(Reactor::with(sys::Poller::new()?))
    }

    pub(crate) fn with(poller: sys::Poller) -> Self {
        let poller = Arc::new(poller);
        let inner = Inner::new(&poller);
        Reactor {
            poller,
            handle: Handle(Arc::new(inner)),
            retired: AtomicBool::new(false),
        }
    }

    /// A handle with which children can be started from anywhere.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let handle = reactor.handle();
    /// let start = std::thread::spawn(move || Command::new("true").spawn(&handle)).join();
    /// let child = reactor.run_until(start.map_err(|_| "panicked")?)??;
    /// assert!(reactor.run_until(child.wait())??.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The waker to be woken when [`dispatch`](Reactor::dispatch) has to be called although the
    /// descriptor may not become readable: an operation has used up the turn's budget and waits for
    /// the next turn. There is one; the next call replaces it. It may call [`dispatch`](Reactor::dispatch) by itself.
    ///
    /// ```
    /// let reactor = procio::Reactor::new()?;
    /// reactor.set_waker(std::task::Waker::noop());
    /// assert!(!reactor.dispatch()?); // nothing waits for the next turn
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_waker(&self, waker: &Waker) {
        self.inner().set_host(waker);
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.handle.0
    }

    /// Does everything that is ready, without waiting, and wakes the operations that are done.
    /// To be called whenever the descriptor is readable.
    ///
    /// Returns whether there is more to do although nothing new may become ready: the caller then
    /// lets its other tasks run and calls again. That is how a turn's budget is kept.
    ///
    /// ```
    /// let reactor = procio::Reactor::new()?;
    /// assert!(!reactor.dispatch()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the system's poll call reports; none is expected.
    pub fn dispatch(&self) -> io::Result<bool> {
        self.inner().dispatch()
    }

    /// Drives the reactor on this thread until `future` ends, and returns what it gives. The future
    /// may wait for other things than children, too, if they wake it. Several threads may do so at once: one of
    /// them waits for the events of all.
    ///
    /// ```
    /// let reactor = procio::Reactor::new()?;
    /// assert_eq!(reactor.run_until(async { 3 })?, 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the system's poll call reports; none is expected. In a forked copy of the process that made the reactor, that
    /// it has ended: to wait on it there would take events from the parent.
    pub fn run_until<F: Future>(&self, future: F) -> io::Result<F::Output> {
        let thread_waker = self.inner().thread_waker(self.poller.notifier()?);
        let waker = Waker::from(thread_waker.clone());
        let _driving = Driving(self.inner(), &waker);
        let mut future = pin!(future);
        loop {
            if thread_waker.take()
                && let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return Ok(value);
            }
            let idle = !self.inner().wants_turn() && !thread_waker.is_notified();
            let sleeper = idle.then_some((&*thread_waker, &waker));
            self.inner().turn(sleeper)?;
        }
    }

    pub(crate) fn poller(&self) -> &sys::Poller {
        &self.poller
    }

    /// Ends the reactor: nothing becomes ready any more. Children without a guard
    /// are reaped. Called by `drop`.
    pub(crate) fn close(&self) {
        self.inner().close();
    }
}

/// A thread drives the reactor until this is dropped, and is told meanwhile of what was put off.
struct Driving<'a>(&'a Inner, &'a Waker);

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.0.forget_sleeper(self.1);
    }
}

// Only Python asks for this.
#[cfg(feature = "python")]
impl Reactor {
    /// The descriptor is to be closed when this is dropped, without an end to what it belongs to:
    /// nothing is in it, and [`resumed`](Reactor::resumed) goes on with another.
    pub(crate) fn retire(&self) {
        self.inner().suspend();
        self.retired.store(true, Ordering::Release);
    }

    /// Whether it was suspended.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Goes on with what was suspended, by a new descriptor.
    ///
    /// # Errors
    /// As [`new`](Reactor::new); it then stays suspended.
    pub(crate) fn resumed(inner: &Arc<Inner>) -> io::Result<Self> {
        let poller = Arc::new(sys::Poller::new()?);
        inner.resume(&poller);
        Ok(Reactor {
            poller,
            handle: Handle(inner.clone()),
            retired: AtomicBool::new(false),
        })
    }
}

/// What children can be started on: a [`Reactor`], a [`Handle`], a `tokio::Driver`, and a
/// reference or an [`Arc`] to one of them. Other crates cannot implement it.
///
/// ```
/// use std::sync::Arc;
/// use procio::{Command, Reactor};
///
/// let reactor = Arc::new(Reactor::new()?);
/// let child = reactor.run_until(Command::new("true").spawn(&reactor))??;
/// assert!(reactor.run_until(child.wait())??.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AsReactor: sealed::AsReactor {}

impl<T: sealed::AsReactor + ?Sized> AsReactor for T {}

pub(crate) mod sealed {
    use super::{Arc, Handle, Reactor};

    pub trait AsReactor {
        fn reactor_handle(&self) -> &Handle;
    }

    impl AsReactor for Reactor {
        fn reactor_handle(&self) -> &Handle {
            &self.handle
        }
    }

    impl AsReactor for Handle {
        fn reactor_handle(&self) -> &Handle {
            self
        }
    }

    impl<T: AsReactor + ?Sized> AsReactor for &T {
        fn reactor_handle(&self) -> &Handle {
            (**self).reactor_handle()
        }
    }

    impl<T: AsReactor + ?Sized> AsReactor for Arc<T> {
        fn reactor_handle(&self) -> &Handle {
            (**self).reactor_handle()
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if !self.retired.load(Ordering::Acquire) {
            self.close();
        }
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor")
            .field("sources", &self.inner().len())
            .finish_non_exhaustive()
    }
}
