//! What a reactor and everything in it share: the table of sources, the turn and its budget.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::error::reactor_ended;
use crate::reactor::deferred::{Deferred, DeferredQueue};
use crate::reactor::leader::{Leadership, ThreadWaker};
use crate::sync::lock;
use crate::sys::{self, Event, Readiness};

/// Bytes that may be moved in one turn of the host's loop before the rest must wait for the next,
/// so that a child that floods cannot starve the other tasks. About a millisecond's work.
const BYTES_PER_TURN: isize = 1024 * 1024;
/// What a system call costs of it at least, and what an operation does that finds its answer in a
/// buffer: four thousand short lines are a turn.
const CALL_COST: usize = 512;
const OPERATION_COST: usize = 256;

/// A thread that is to sleep until something is ready or it is woken.
pub(super) type Sleeper<'a> = (&'a ThreadWaker<sys::Notifier>, &'a Waker);

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

/// What the reactor and everything in it know of. Only the [`Reactor`](crate::Reactor) keeps the descriptor open:
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
    deferred: DeferredQueue,
    leadership: Arc<Leadership>,
    /// Events that the poll thread or the shared completion port has collected.
    collected: Mutex<Vec<Event>>,
    budget: AtomicIsize,
    closed: AtomicBool,
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

impl Inner {
    pub(super) fn new(poller: &Arc<sys::Poller>) -> Self {
        Inner {
            poller: Mutex::new(Arc::downgrade(poller)),
            suspended: AtomicBool::new(false),
            emptied: AtomicBool::new(true),
            spawner: sys::Spawner::new(),
            sources: Mutex::default(),
            next_token: AtomicUsize::new(0),
            deferred: DeferredQueue::new(),
            leadership: Arc::new(Leadership::new()),
            collected: Mutex::default(),
            budget: AtomicIsize::new(BYTES_PER_TURN),
            closed: AtomicBool::new(false),
            #[cfg(feature = "tokio")]
            runtime: Mutex::default(),
            released: AtomicBool::new(false),
            owner: sys::current_pid(),
        }
    }

    /// As [`Reactor::set_waker`](crate::Reactor::set_waker).
    pub(super) fn set_host(&self, waker: &Waker) {
        self.deferred.set_host(waker);
    }

    /// The number of sources.
    pub(crate) fn len(&self) -> usize {
        lock(&self.sources).len()
    }

    /// As [`Reactor::dispatch`](crate::Reactor::dispatch).
    pub(crate) fn dispatch(&self) -> io::Result<bool> {
        self.turn(None)?;
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

    pub(super) fn thread_waker(&self, notifier: sys::Notifier) -> Arc<ThreadWaker<sys::Notifier>> {
        Arc::new(ThreadWaker::new(&self.leadership, notifier))
    }

    /// Does what is ready, and with a `sleeper` waits until something is.
    pub(super) fn turn(&self, sleeper: Option<Sleeper<'_>>) -> io::Result<()> {
        self.budget.store(BYTES_PER_TURN, Ordering::Relaxed);
        let mut wakers = Vec::new();
        // Taken first: a guard in the head of the loop would live as long as the loop, and what is
        // resumed may be deferred again.
        let deferred = self.deferred.take();
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
        let sleeper = sleeper.filter(|_| wakers.is_empty());
        let mut events = std::mem::take(&mut *lock(&self.collected));
        // If that fails, what was collected and resumed goes on all the same: no other turn will do it.
        let waited = if self.is_suspended() {
            Ok(())
        } else {
            self.wait(&mut events, sleeper)
        };
        for event in events {
            // The clone keeps the source alive while it is at work, even if it ends itself.
            if let Some(source) = self.source(event.token) {
                source.ready(event.readiness, &mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        waited
    }

    /// Takes what is ready out of the poller. Another thread that does so sees to it by itself.
    fn wait(&self, events: &mut Vec<Event>, sleeper: Option<Sleeper<'_>>) -> io::Result<()> {
        let Some(_leading) = self.leadership.take(sleeper.map(|(thread, _)| thread)) else {
            return Ok(());
        };
        let mut timeout = Some(Duration::ZERO);
        if let Some((_, waker)) = sleeper {
            // The events of a poller that a forked copy shares come once: its parent would wait for ever.
            if self.in_forked_child() {
                return Err(reactor_ended());
            }
            // Who sleeps is told of work that is put off. What was put off before, and told to another, is seen.
            self.deferred.set_sleeper(waker);
            timeout = timeout.filter(|_| self.wants_turn());
        }
        self.poller()?.wait(events, timeout)
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
        self.deferred.is_pending()
    }

    /// Puts an operation off to the next turn, or to the end of the reactor. `false` if that has come, perhaps
    /// since the operation looked: it will not be woken, and goes on as on any reactor that has ended. The
    /// [host is woken](Inner::wake_host) by the caller, when it has let go of its locks.
    #[must_use]
    pub(crate) fn put_off_wake(&self, waker: &Waker) -> bool {
        self.deferred.push(Deferred::Wake(waker.clone()))
    }

    /// Has the source's [`resume`](Source::resume) called in the next turn, for which the
    /// [host is woken](Inner::wake_host) by the caller, when it has let go of its locks.
    pub(crate) fn put_off(&self, token: usize) {
        // Of a reactor that has ended nothing goes on.
        let _ = self.deferred.push(Deferred::Resume(token));
    }

    /// The thread that was woken by `waker` does not drive the reactor any more.
    pub(super) fn forget_sleeper(&self, waker: &Waker) {
        self.deferred.forget_sleeper(waker);
    }

    /// Has the host begin a turn. Without a lock of the reactor's or of what is in it: a host may dispatch at once.
    pub(crate) fn wake_host(&self) {
        self.deferred.wake_host();
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
        {
            // Looked at under the lock: another thread that closes the reactor takes all sources after that.
            // One that came later would stay for ever, and with it the reactor that it refers to.
            let mut sources = lock(&self.sources);
            if !self.is_closed() {
                sources.insert(token, source.clone());
            }
        }
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

    /// Whether there is a runtime that watches pipes.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_watching_host(&self) -> bool {
        sys::host_watches_pipes() && lock(&self.runtime).is_some()
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

    pub(super) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // Nothing but the queue may know of an operation that waits for the next turn.
        let waits = |deferred| match deferred {
            Deferred::Wake(waker) => Some(waker),
            Deferred::Resume(_) => None,
        };
        let deferred = self.deferred.end().into_iter();
        let mut wakers: Vec<Waker> = deferred.filter_map(waits).collect();
        let mut sources = std::mem::take(&mut *lock(&self.sources));
        for (_, source) in sources.drain() {
            source.shutdown(&mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
        self.deferred.forget_host();
        #[cfg(feature = "tokio")]
        drop(lock(&self.runtime).take());
    }
}

// Only Python asks for this.
#[cfg(feature = "python")]
impl Inner {
    /// Lets go of the poller, without an end: nothing is left in it.
    pub(super) fn suspend(&self) {
        self.suspended.store(true, Ordering::Release);
        *lock(&self.poller) = Weak::new();
    }

    /// Goes on with another poller.
    pub(super) fn resume(&self, poller: &Arc<sys::Poller>) {
        *lock(&self.poller) = Arc::downgrade(poller);
        self.suspended.store(false, Ordering::Release);
        self.emptied.store(true, Ordering::Relaxed);
    }

    /// What [`was_emptied`](Self::was_emptied) would say.
    pub(crate) fn is_emptied(&self) -> bool {
        self.emptied.load(Ordering::Relaxed)
    }

    /// Whether the last source has gone since this was last asked.
    pub(crate) fn was_emptied(&self) -> bool {
        self.is_emptied() && self.emptied.swap(false, Ordering::Relaxed)
    }

    /// Whether nothing is in it, and no work was put off.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.sources).is_empty() && !self.wants_turn() && lock(&self.collected).is_empty()
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Reactor;

    struct Nothing;

    impl Source for Nothing {
        fn ready(&self, _readiness: Readiness, _wakers: &mut Vec<Waker>) {}
    }

    #[test]
    fn what_is_added_while_the_reactor_is_closed_does_not_stay() {
        let reactor = Reactor::new().unwrap();
        let closed_by_another_thread = |_| {
            reactor.close();
            Arc::new(Nothing)
        };
        let added = reactor.inner().add(closed_by_another_thread, |_, _| Ok(()));
        assert_eq!(Arc::strong_count(&added.unwrap()), 1);
        assert_eq!(reactor.inner().len(), 0);
    }
}
