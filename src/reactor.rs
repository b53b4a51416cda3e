//! The reactor: one descriptor, which the host's event loop watches.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[cfg(any(feature = "python", feature = "tokio"))]
pub(crate) mod poll_thread;
pub(crate) mod waiters;

use crate::error::reactor_ended;
use crate::sync::lock;
use crate::sys::{self, Event, Interest, Readiness, Watched};

/// Bytes that may be moved in one turn of the host's loop before the rest must wait for the next,
/// so that a child that floods cannot starve the other tasks. About a millisecond's work.
const BYTES_PER_TURN: isize = 1024 * 1024;
/// What a system call costs of it at least, and what an operation does that finds its answer in a
/// buffer: four thousand short lines are a turn.
const CALL_COST: usize = 512;
const OPERATION_COST: usize = 256;

/// Something registered in the reactor.
pub(crate) trait Source: Send + Sync {
    /// It has become ready. Appends the wakers of the operations that can go on.
    fn ready(&self, readiness: Readiness, wakers: &mut Vec<Waker>);
    /// A new turn has begun, in which it may do what it [deferred](Inner::defer).
    fn resume(&self, _wakers: &mut Vec<Waker>) {}
    /// The reactor ends: nothing will become ready any more. Appends the wakers of all operations,
    /// which fail when they are tried again.
    fn shutdown(&self, _wakers: &mut Vec<Waker>) {}
}

/// Owns one pollable descriptor in which everything about children is registered: the pipes, the
/// ends of the processes, the outcomes of their execs.
///
/// That descriptor can be watched by any event loop; when it is readable, [`dispatch`] does all
/// the input and output that is ready in one go and wakes the operations that are done. Without a
/// loop, [`run_until`] drives it.
///
/// A reactor belongs to one loop. There is no state outside of it, so any number of them can live
/// in any number of threads and never meet.
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

/// What the reactor and everything in it know of. Only the [`Reactor`] keeps the descriptor open:
/// handles on children outlive it, and would otherwise hold the descriptor of a loop long gone.
pub(crate) struct Inner {
    poller: Mutex<Weak<sys::Poller>>,
    /// It has no poller: nothing is left in it, and its host has let go of the descriptor for now.
    suspended: AtomicBool,
    /// The last source was removed since this was last asked.
    emptied: AtomicBool,
    pub spawner: sys::Spawner,
    sources: Mutex<HashMap<usize, Arc<dyn Source>, BuildHasherDefault<TokenHasher>>>,
    /// Tokens are not used again: an event that was collected for a source, and is seen to after
    /// the source has gone, must not be taken for one of its successor.
    next_token: AtomicUsize,
    deferred: Mutex<Vec<Deferred>>,
    /// Events that the poll thread or the shared completion port has collected.
    collected: Mutex<Vec<Event>>,
    has_deferred: AtomicBool,
    budget: AtomicIsize,
    closed: AtomicBool,
    /// The waker of the host, which drives the reactor: woken when a turn is due.
    host: Mutex<Option<Waker>>,
    /// The runtime that drives it, and watches pipes itself.
    #[cfg(feature = "tokio")]
    runtime: Mutex<Option<sys::HostRuntime>>,
    /// The host stops when no source is left.
    released: AtomicBool,
    owner: u32,
}

/// A hasher for tokens, which count up and which no peer can choose.
#[derive(Default)]
struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        // An odd constant near 2^64 divided by the golden ratio: it spreads into the upper bits,
        // which a table looks at first, what differs in the lower ones.
        self.0 = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

enum Deferred {
    Wake(Waker),
    Resume(usize),
}

impl Reactor {
    /// A reactor with nothing in it.
    ///
    /// ```
    /// let reactor = procio::Reactor::new()?;
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
        let inner = Inner {
            poller: Mutex::new(Arc::downgrade(&poller)),
            suspended: AtomicBool::new(false),
            emptied: AtomicBool::new(true),
            spawner: sys::Spawner::new(),
            sources: Mutex::default(),
            next_token: AtomicUsize::new(0),
            deferred: Mutex::default(),
            collected: Mutex::default(),
            has_deferred: AtomicBool::new(false),
            budget: AtomicIsize::new(BYTES_PER_TURN),
            closed: AtomicBool::new(false),
            host: Mutex::default(),
            #[cfg(feature = "tokio")]
            runtime: Mutex::default(),
            released: AtomicBool::new(false),
            owner: sys::current_pid(),
        };
        Reactor {
            poller,
            handle: Handle(Arc::new(inner)),
            retired: AtomicBool::new(false),
        }
    }

    /// The descriptor is to be closed when this is dropped, without an end to what it belongs to:
    /// nothing is in it, and [`resumed`](Reactor::resumed) goes on with another.
    #[cfg(feature = "python")]
    pub(crate) fn retire(&self) {
        self.inner().suspended.store(true, Ordering::Release);
        *lock(&self.inner().poller) = Weak::new();
        self.retired.store(true, Ordering::Release);
    }

    /// Whether it was suspended.
    #[cfg(feature = "python")]
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Goes on with what was suspended, by a new descriptor.
    ///
    /// # Errors
    /// As [`new`](Reactor::new); it then stays suspended.
    #[cfg(feature = "python")]
    pub(crate) fn resumed(inner: &Arc<Inner>) -> io::Result<Self> {
        let poller = Arc::new(sys::Poller::new()?);
        *lock(&inner.poller) = Arc::downgrade(&poller);
        inner.suspended.store(false, Ordering::Release);
        inner.emptied.store(true, Ordering::Relaxed);
        Ok(Reactor {
            poller,
            handle: Handle(inner.clone()),
            retired: AtomicBool::new(false),
        })
    }

    /// A handle with which children can be started from anywhere.
    ///
    /// ```
    /// let reactor = procio::Reactor::new()?;
    /// let handle = reactor.handle();
    /// std::thread::spawn(move || drop(handle));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The waker to be woken when [`dispatch`](Reactor::dispatch) has to be called although the
    /// descriptor may not become readable: an operation has used up the turn's budget and waits for
    /// the next turn. There is one; the next call replaces it.
    ///
    /// ```
    /// let reactor = procio::Reactor::new()?;
    /// reactor.set_waker(std::task::Waker::noop());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_waker(&self, waker: &Waker) {
        let mut host = lock(&self.inner().host);
        let known = host.as_ref().is_some_and(|host| host.will_wake(waker));
        let stale = (!known).then(|| host.replace(waker.clone()));
        drop(host);
        drop(stale);
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
    /// may wait for other things than children, too, if they wake it.
    ///
    /// ```
    /// let reactor = procio::Reactor::new()?;
    /// assert_eq!(reactor.run_until(async { 3 })?, 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the system's poll call reports; none is expected.
    pub fn run_until<F: Future>(&self, future: F) -> io::Result<F::Output> {
        let thread_waker = Arc::new(ThreadWaker {
            notified: AtomicBool::new(true),
            notifier: self.poller.notifier()?,
        });
        let waker = Waker::from(thread_waker.clone());
        self.set_waker(&waker);
        let mut future = pin!(future);
        loop {
            if thread_waker.notified.swap(false, Ordering::AcqRel)
                && let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return Ok(value);
            }
            let idle = !self.inner().wants_turn() && !thread_waker.notified.load(Ordering::Acquire);
            self.inner()
                .turn(if idle { None } else { Some(Duration::ZERO) })?;
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

impl AsRef<Handle> for Reactor {
    fn as_ref(&self) -> &Handle {
        &self.handle
    }
}

impl AsRef<Handle> for Handle {
    fn as_ref(&self) -> &Handle {
        self
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
            .field("sources", &lock(&self.inner().sources).len())
            .finish_non_exhaustive()
    }
}

struct ThreadWaker {
    notified: AtomicBool,
    notifier: sys::Notifier,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        if !self.notified.swap(true, Ordering::AcqRel) {
            self.notifier.notify(sys::WAKE_TOKEN);
        }
    }
}

impl Inner {
    /// As [`Reactor::dispatch`].
    pub(crate) fn dispatch(&self) -> io::Result<bool> {
        self.turn(Some(Duration::ZERO))?;
        Ok(self.wants_turn())
    }

    /// The poller, until the reactor has ended.
    pub(crate) fn poller(&self) -> io::Result<Arc<sys::Poller>> {
        lock(&self.poller).upgrade().ok_or_else(reactor_ended)
    }

    /// Whether it goes without a descriptor for the time being.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Whether the last source has gone since this was last asked.
    #[cfg(feature = "python")]
    pub(crate) fn was_emptied(&self) -> bool {
        self.emptied.load(Ordering::Relaxed) && self.emptied.swap(false, Ordering::Relaxed)
    }

    /// Whether nothing is in it, and no work was put off.
    #[cfg(feature = "python")]
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.sources).is_empty() && !self.wants_turn() && lock(&self.collected).is_empty()
    }

    fn turn(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.budget.store(BYTES_PER_TURN, Ordering::Relaxed);
        let mut wakers = Vec::new();
        // Taken first: a guard in the head of the loop would live as long as the loop, and what is
        // resumed may be deferred again.
        let deferred = self.take_deferred();
        for deferred in deferred {
            match deferred {
                Deferred::Wake(waker) => wakers.push(waker),
                Deferred::Resume(token) => {
                    if let Some(source) = self.source(token) {
                        source.resume(&mut wakers);
                    }
                }
            }
        }
        let timeout = if wakers.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let mut events = std::mem::take(&mut *lock(&self.collected));
        if !self.is_suspended() {
            self.poller()?.wait(&mut events, timeout)?;
        }
        for event in events {
            // The clone keeps the source alive while it is at work, even if it ends itself.
            if let Some(source) = self.source(event.token) {
                source.ready(event.readiness, &mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Takes events that another thread has waited for, to be seen to in the next turn.
    #[cfg(any(feature = "python", feature = "tokio"))]
    pub(crate) fn collect(&self, events: Vec<Event>) {
        lock(&self.collected).extend(events);
    }

    fn source(&self, token: usize) -> Option<Arc<dyn Source>> {
        lock(&self.sources).get(&token).cloned()
    }

    /// Whether work was put off to the next turn.
    pub(crate) fn wants_turn(&self) -> bool {
        self.has_deferred.load(Ordering::Acquire)
    }

    /// Puts an operation off to the next turn.
    pub(crate) fn defer_wake(&self, waker: &Waker) {
        self.push_deferred(Deferred::Wake(waker.clone()));
    }

    /// Has the source's [`resume`](Source::resume) called in the next turn.
    pub(crate) fn defer(&self, token: usize) {
        self.push_deferred(Deferred::Resume(token));
    }

    fn push_deferred(&self, what: Deferred) {
        let mut deferred = lock(&self.deferred);
        deferred.push(what);
        self.has_deferred.store(true, Ordering::Release);
        drop(deferred);
        self.wake_host();
    }

    pub(crate) fn wake_host(&self) {
        let host = lock(&self.host).clone();
        if let Some(waker) = host {
            waker.wake();
        }
    }

    fn take_deferred(&self) -> Vec<Deferred> {
        let mut deferred = lock(&self.deferred);
        self.has_deferred.store(false, Ordering::Release);
        std::mem::take(&mut *deferred)
    }

    /// Takes bytes out of this turn's budget.
    pub(crate) fn consume_budget(&self, bytes: usize) {
        self.take(bytes.max(CALL_COST) as isize);
    }

    /// Takes one operation out of this turn's budget.
    pub(crate) fn consume_operation(&self) {
        self.take(OPERATION_COST as isize);
    }

    /// A reactor is driven by one thread. Should another take at the same moment, the turn becomes
    /// a little longer; a count that allows for that costs more than what it counts.
    fn take(&self, amount: isize) {
        let budget = self.budget.load(Ordering::Relaxed);
        self.budget.store(budget - amount, Ordering::Relaxed);
    }

    /// Whether operations have to wait for the next turn, if there will be one.
    pub(crate) fn budget_exhausted(&self) -> bool {
        self.budget.load(Ordering::Relaxed) <= 0 && !self.is_closed()
    }

    /// Adds a source made from its token, and registers what it watches.
    ///
    /// # Errors
    /// What `register` returns; the source is then not kept.
    pub(crate) fn add<S: Source + 'static>(
        &self,
        make: impl FnOnce(usize) -> Arc<S>,
        register: impl FnOnce(&S, usize) -> io::Result<()>,
    ) -> io::Result<Arc<S>> {
        if self.is_closed() {
            return Err(reactor_ended());
        }
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let source = make(token);
        lock(&self.sources).insert(token, source.clone());
        match register(&source, token) {
            Ok(()) => Ok(source),
            Err(error) => {
                self.remove(token);
                Err(error)
            }
        }
    }

    /// Forgets a source. What it had registered must be removed from the poller by it.
    pub(crate) fn remove(&self, token: usize) {
        let mut sources = lock(&self.sources);
        let removed = sources.remove(&token);
        let last = sources.is_empty();
        drop(sources);
        drop(removed);
        if last {
            self.emptied.store(true, Ordering::Relaxed);
        }
        if last && self.released.load(Ordering::SeqCst) {
            self.wake_host();
        }
    }

    /// Has pipes that are added from now on watched by the runtime that drives the reactor.
    #[cfg(feature = "tokio")]
    pub(crate) fn set_runtime(&self, runtime: sys::HostRuntime) {
        *lock(&self.runtime) = Some(runtime);
    }

    /// Has the runtime watch a pipe, if there is one and it can.
    #[cfg(feature = "tokio")]
    pub(crate) fn watch_by_host(&self, io: &mut sys::PipeReader) -> bool {
        let runtime = lock(&self.runtime).clone();
        runtime.is_some_and(|runtime| io.watch_by_host(&runtime))
    }

    /// No handle is left that could start a child: the reactor can end when its last source has gone.
    #[cfg(feature = "tokio")]
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
        self.wake_host();
    }

    /// Whether it was released and nothing is left in it.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_over(&self) -> bool {
        self.released.load(Ordering::SeqCst) && lock(&self.sources).is_empty()
    }

    /// Whether we run in a forked copy of the process that made this reactor. The copy shares the
    /// open epoll file with its parent: to remove a descriptor there would remove it from the
    /// parent's, and the children are the parent's. So it only closes its descriptors.
    pub(crate) fn in_forked_child(&self) -> bool {
        self.owner != sys::current_pid()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        drop(self.take_deferred());
        let mut sources = std::mem::take(&mut *lock(&self.sources));
        let mut wakers = Vec::new();
        for (_, source) in sources.drain() {
            source.shutdown(&mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
        let host = lock(&self.host).take();
        drop(host);
        #[cfg(feature = "tokio")]
        drop(lock(&self.runtime).take());
    }
}

/// A descriptor's registration with its owner: removed before it is closed, because a copy of it
/// that lives on in some other process would keep an epoll registration alive.
#[derive(Debug)]
pub(crate) struct Registered<T: Watched> {
    io: T,
    inner: Arc<Inner>,
    token: usize,
}

impl<T: Watched> Registered<T> {
    pub(crate) fn new(io: T, inner: Arc<Inner>, token: usize) -> Self {
        Registered { io, inner, token }
    }

    pub(crate) fn register(&self, interest: Interest) -> io::Result<()> {
        let poller = self.inner.poller()?;
        self.io.watch(&poller, self.token, interest)
    }

    pub(crate) fn modify(&self, interest: Interest) -> io::Result<()> {
        let poller = self.inner.poller()?;
        self.io.rewatch(&poller, self.token, interest)
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    pub(crate) fn get(&self) -> &T {
        &self.io
    }
}

impl<T: Watched> Drop for Registered<T> {
    fn drop(&mut self) {
        if let Ok(poller) = self.inner.poller()
            && !self.inner.in_forked_child()
        {
            self.io.unwatch(&poller);
        }
        self.inner.remove(self.token);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}
