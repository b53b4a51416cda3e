//! One reactor for each event loop, watched by it.
//!
//! # How a loop and its reactor end together
//! The only thing that the loop is given is a [`ReaderCallback`], as the callback of `add_reader` (or of a
//! far timer, where the poll thread or a proactor does the watching). When the loop is closed it drops its callbacks,
//! and with the `ReaderCallback` the reactor ends: its descriptor is closed at once, children without
//! a guard are reaped, and operations that will never go on let go of what they hold. No method of
//! any loop is patched for that, and nothing waits for a garbage collection.
//!
//! # A loop that has nothing to be told
//! When the last child and the last pipe of a loop have gone, and no operation waits, the loop lets go of the
//! reactor's descriptor, so that it has those that it had before; the next start makes another. A program that
//! starts one child after the other would do that for each, so the loop first turns a few times: who has waited for the end
//! of one child has then started the next. While there is no descriptor the loop has nothing of ours whose end
//! could tell of its own, so its address is no proof any more: the weak reference is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use pyo3::IntoPyObjectExt;
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyAttributeError, PyNotImplementedError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakref, PyWeakrefMethods, PyWeakrefReference};
use slab::Slab;

use super::busy_poll::BusyPoll;
use super::completion::Completion;
use super::errors::os_error;
use super::poll_thread::{LoopPollThread, Stopper};
use super::popen;
use crate::reactor::{Inner, Reactor};
use crate::sync::lock;
use crate::sys;

thread_local! {
    /// The reactors of the loops that have run in this thread: nearly always one.
    static BINDINGS: RefCell<Vec<Arc<LoopBinding>>> = const { RefCell::new(Vec::new()) };
}

/// Turns of an idle loop before it lets go of the descriptor. A task that awaits the end of a child comes back
/// in the next.
const IDLE_TURNS: u8 = 2;

/// A number that no two threads have at the same time: the address of a variable of its own.
fn thread_key() -> usize {
    BINDINGS.with(|bindings| std::ptr::from_ref(bindings) as usize)
}

/// A reactor and the loop that drives it.
pub(super) struct LoopBinding {
    pub(super) reactor: Arc<Inner>,
    /// The address of the loop object. It is not kept alive; while the reactor has not ended, the
    /// loop has not been closed, so its address belongs to no other.
    loop_id: usize,
    /// The loop itself, for turns that are due while it stands still; None if it takes no weak
    /// references.
    owner: Option<Py<PyWeakrefReference>>,
    /// The thread that the loop ran in when it was last heard of. Only there are its futures completed:
    /// elsewhere that would put callbacks into the queue of a loop that sleeps, or that takes them out.
    thread: AtomicUsize,
    /// Taken out one by one: what is handled may run the loop again, which must find the rest.
    ready: Mutex<VecDeque<Arc<dyn Completion>>>,
    has_ready: AtomicBool,
    /// The operations that wait. Their futures lead, through tasks and coroutines,
    /// back to them, by ways that the garbage collector does not see: when the loop ends they are
    /// let go here.
    waiting: Mutex<Slab<Weak<dyn Completion>>>,
    /// A turn is due by `call_soon`.
    scheduled: AtomicBool,
    dispatching: AtomicBool,
    poll_thread: Mutex<Option<Stopper>>,
    /// Where the loop takes our packets with its own.
    shared_port: OnceLock<popen::ProactorPort>,
    /// None where the loop watches none, or has let go of it.
    watched: Mutex<Option<WatchedDescriptor>>,
    /// The loop is turning, to let go of it.
    letting_go: AtomicBool,
    pub(super) busy_poll: BusyPoll,
    /// Whether coroutines know where they were created (asyncio's debug mode). Asked for with each start
    /// of a child, since to ask for each awaitable would cost as much as to make it.
    tracks_origins: AtomicBool,
}

/// The descriptor, and what keeps it open: the loop's callback.
type WatchedDescriptor = (std::ffi::c_int, Weak<Reactor>);

/// `asyncio.get_running_loop()`.
pub(super) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET.import(py, "asyncio", "get_running_loop")?.call0()
}

impl LoopBinding {
    /// The reactor of the running loop, made when the loop has none.
    pub(super) fn current(py: Python<'_>) -> PyResult<Arc<LoopBinding>> {
        let binding = LoopBinding::of_running_loop(py)?;
        static DEPTH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let depth = DEPTH.import(py, "sys", "get_coroutine_origin_tracking_depth")?;
        let tracks = depth.call0()?.is_truthy()?;
        binding.tracks_origins.store(tracks, Ordering::Relaxed);
        Ok(binding)
    }

    pub(super) fn tracks_origins(&self) -> bool {
        self.tracks_origins.load(Ordering::Relaxed)
    }

    fn of_running_loop(py: Python<'_>) -> PyResult<Arc<LoopBinding>> {
        let running = running_loop(py)?;
        let id = running.as_ptr() as usize;
        let usable = |binding: &Arc<LoopBinding>| {
            !binding.reactor.is_closed()
                && !binding.reactor.in_forked_child()
                && (!binding.reactor.is_suspended() || binding.owner(py).is_some())
        };
        let known = BINDINGS.with_borrow(|bindings| {
            bindings
                .iter()
                .find(|binding| binding.loop_id == id && usable(binding))
                .cloned()
        });
        if let Some(binding) = known {
            if binding.reactor.is_suspended() {
                binding.resume(&running)?;
            }
            return Ok(binding);
        }
        let binding = LoopBinding::new(&running)?;
        // Dropped outside of the borrow: what a binding holds may run any code.
        let stale = BINDINGS.with_borrow_mut(|bindings| {
            let stale: Vec<_> = bindings
                .extract_if(.., |binding| !usable(binding))
                .collect();
            bindings.push(binding.clone());
            stale
        });
        drop(stale);
        Ok(binding)
    }

    fn new(running: &Bound<'_, PyAny>) -> PyResult<Arc<LoopBinding>> {
        let (reactor, shared_port) = popen::reactor(running)?;
        let binding = Arc::new(LoopBinding {
            reactor: reactor.inner().clone(),
            loop_id: running.as_ptr() as usize,
            owner: PyWeakrefReference::new(running).ok().map(Bound::unbind),
            thread: AtomicUsize::new(thread_key()),
            ready: Mutex::default(),
            has_ready: AtomicBool::new(false),
            waiting: Mutex::default(),
            scheduled: AtomicBool::new(false),
            dispatching: AtomicBool::new(false),
            poll_thread: Mutex::default(),
            shared_port: OnceLock::new(),
            watched: Mutex::default(),
            letting_go: AtomicBool::new(false),
            busy_poll: BusyPoll::new(),
            tracks_origins: AtomicBool::new(false),
        });
        let reactor = Arc::new(reactor);
        let watchable = sys::watchable(reactor.poller());
        let watch = ReaderCallback::new(running.py(), &binding, &reactor)?;
        if let Some(fd) = watchable {
            match in_empty_context(running, "add_reader", fd, &watch) {
                Ok(()) => {
                    *lock(&binding.watched) = Some((fd, Arc::downgrade(&reactor)));
                    return Ok(binding);
                }
                Err(error) if cannot_watch(running.py(), &error) => {}
                Err(error) => {
                    let _ = remove_reader(running, fd);
                    return Err(error);
                }
            }
        }
        // Who tells the loop of an event needs the lock that we would hold meanwhile.
        binding.busy_poll.forbid();
        match shared_port {
            Some(shared_port) => binding
                .shared_port
                .get_or_init(|| shared_port)
                .serve(&binding),
            None => *lock(&binding.poll_thread) = Some(binding.start_poll_thread(running)?),
        }
        const YEAR: u32 = 365 * 24 * 3600;
        in_empty_context(running, "call_later", YEAR, &watch)?;
        Ok(binding)
    }

    fn start_poll_thread(self: &Arc<Self>, running: &Bound<'_, PyAny>) -> PyResult<Stopper> {
        let weak = Arc::downgrade(self);
        let turn = move |py: Python<'_>| {
            let turn = weak.upgrade()?.turn_callback(py);
            Some(turn.map(Bound::unbind))
        };
        LoopPollThread::start(running, &self.reactor, turn)
    }

    /// Has the loop watch a new descriptor.
    fn resume(self: &Arc<Self>, running: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = running.py();
        let made = Reactor::resumed(&self.reactor).map_err(|error| os_error(py, &error, None))?;
        let reactor = Arc::new(made);
        let watch = ReaderCallback::new(py, self, &reactor)?;
        let fd = sys::watchable(reactor.poller());
        let added = match fd {
            Some(fd) => in_empty_context(running, "add_reader", fd, &watch),
            None => Ok(()),
        };
        if added.is_err() {
            reactor.retire();
            let _ = fd.map(|fd| remove_reader(running, fd));
            return added;
        }
        *lock(&self.watched) = fd.map(|fd| (fd, Arc::downgrade(&reactor)));
        Ok(())
    }

    /// Has the loop let go of the descriptor, if nothing is left of which it could tell, and nothing comes
    /// in the next few turns.
    #[inline]
    pub(super) fn suspend_if_idle(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        // Another thread leaves it to the loop's.
        if self.reactor.was_emptied() && self.thread.load(Ordering::Relaxed) == thread_key() {
            self.suspend_in(py, IDLE_TURNS)
        } else {
            Ok(())
        }
    }

    fn suspend_in(self: &Arc<Self>, py: Python<'_>, turns: u8) -> PyResult<()> {
        if lock(&self.watched).is_none() || self.letting_go.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let binding = Arc::downgrade(self);
        let look = Bound::new(py, IdleCallback { binding, turns });
        let scheduled = look.and_then(|look| self.schedule_call(py, look.into_any()));
        if scheduled.is_err() {
            self.letting_go.store(false, Ordering::Relaxed);
        }
        scheduled
    }

    fn is_idle(&self) -> bool {
        // Collected, since to drop the last handle of one takes the lock.
        let operations: Vec<_> = {
            let waiting = lock(&self.waiting);
            let waiting = waiting.iter();
            waiting.filter_map(|(_, weak)| weak.upgrade()).collect()
        };
        let waits = operations.iter().any(|operation| operation.waits());
        let gone = self.reactor.is_closed() || self.reactor.in_forked_child();
        !waits && self.reactor.is_empty() && !gone
    }

    fn suspend(&self, py: Python<'_>) -> PyResult<()> {
        // Only of a loop that takes weak references it can be told later whether it is there.
        let (Some(owner), Some((fd, reactor))) = (self.owner(py), lock(&self.watched).take())
        else {
            return Ok(());
        };
        // Kept meanwhile, so that nothing else can have its number.
        let reactor = reactor.upgrade();
        if let Some(reactor) = &reactor {
            reactor.retire();
        }
        // The handler of a signal may have raised before that was done, or after.
        remove_reader(&owner, fd).inspect_err(|_| drop(remove_reader(&owner, fd)))
    }

    /// Something whose waker was called.
    pub(super) fn push_ready(&self, ready: Arc<dyn Completion>) {
        // The loop has let go and will not run it; the entry would keep us alive.
        if self.reactor.is_closed() {
            return;
        }
        lock(&self.ready).push_back(ready);
        self.has_ready.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.reactor.is_closed()
    }

    /// A future belongs to the loop that runs now: it must be the one that drives us. Returns it.
    pub(super) fn check_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let running = running_loop(py)?;
        let known = !self.reactor.is_suspended() || self.owner(py).is_some();
        if running.as_ptr() as usize == self.loop_id && known && !self.reactor.is_closed() {
            return Ok(running);
        }
        Err(PyRuntimeError::new_err(
            "this process or stream belongs to a different event loop",
        ))
    }

    /// Does all that is ready, then completes futures.
    pub(super) fn dispatch(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        self.thread.store(thread_key(), Ordering::Relaxed);
        self.scheduled.store(false, Ordering::Relaxed);
        self.dispatching.store(true, Ordering::Relaxed);
        if let Some(poll_thread) = &*lock(&self.poll_thread) {
            poll_thread.arrived();
        }
        let result = self.reactor.dispatch();
        let ran = self.run_ready(py);
        self.dispatching.store(false, Ordering::Relaxed);
        // Whatever was raised: what was put off has no other turn.
        let scheduled = self.schedule(py);
        result.map_err(|error| os_error(py, &error, None))?;
        ran?;
        scheduled?;
        self.suspend_if_idle(py)
    }

    /// Completes what is ready. An exception ends that: it is raised, as the loop's own callbacks would
    /// raise it, and the rest is done in a turn of its own.
    fn run_ready(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        while let Some(ready) = self.next_ready() {
            let Err(error) = ready.clone().advance(py) else {
                continue;
            };
            if ready.is_unfinished() && !self.reactor.is_closed() {
                lock(&self.ready).push_front(ready);
            }
            if !lock(&self.ready).is_empty() {
                self.has_ready.store(true, Ordering::Release);
                // If that fails too, the next event takes it up.
                let _ = self.call_soon(py);
            }
            return Err(error);
        }
        Ok(())
    }

    fn next_ready(&self) -> Option<Arc<dyn Completion>> {
        let mut ready = lock(&self.ready);
        let next = ready.pop_front();
        self.has_ready.store(!ready.is_empty(), Ordering::Release);
        next
    }

    /// Before an operation waits: the loop must be able to tell of events.
    pub(super) fn prepare_wait(&self, py: Python<'_>) -> PyResult<()> {
        self.shared_port.get().map_or(Ok(()), |port| port.check(py))
    }

    /// Keeps an operation that is going to wait, made with the key by which it is to be forgotten.
    pub(super) fn add_waiting<C>(&self, make: impl FnOnce(usize) -> Arc<C>) -> Arc<C>
    where
        C: Completion + 'static,
    {
        let mut waiting = lock(&self.waiting);
        let entry = waiting.vacant_entry();
        let operation = make(entry.key());
        let weak: Weak<C> = Arc::downgrade(&operation);
        entry.insert(weak);
        operation
    }

    pub(super) fn forget_waiting<C: Completion>(&self, key: usize, operation: &C) {
        let mut waiting = lock(&self.waiting);
        // After the end of the loop the list is another, in which the key may be another operation's.
        let is_known = |known: &Weak<_>| std::ptr::addr_eq(Weak::as_ptr(known), operation);
        if waiting.get(key).is_some_and(is_known) {
            waiting.remove(key);
        }
    }

    /// After anything that was done outside of a dispatch: completes the futures of operations
    /// that it woke, and has the loop call us if work was put off to the next turn. In another thread
    /// than the loop's it only has the loop called.
    #[inline]
    pub(super) fn run_completions(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let has_ready = self.has_ready.load(Ordering::Acquire);
        if has_ready || self.reactor.wants_turn() {
            self.complete(py, has_ready)
        } else {
            self.suspend_if_idle(py)
        }
    }

    /// Whether [`run_completions`](Self::run_completions) would do nothing. A turn that is scheduled takes up what
    /// is put off to it: both sides take the lock of what was put off, the turn after it has cleared the mark.
    #[inline]
    pub(super) fn has_no_completions(&self) -> bool {
        !self.has_ready.load(Ordering::Acquire)
            && (!self.reactor.wants_turn() || self.scheduled.load(Ordering::Relaxed))
            && !self.reactor.is_emptied()
    }

    fn complete(self: &Arc<Self>, py: Python<'_>, has_ready: bool) -> PyResult<()> {
        if self.thread.load(Ordering::Relaxed) != thread_key() {
            return self.call_from_another_thread(py);
        }
        if has_ready {
            if self.dispatching.load(Ordering::Relaxed) {
                // The dispatch goes on with it; or it stands still, because a callback runs the loop.
                self.call_soon(py)?;
            } else {
                self.run_ready(py)?;
            }
        }
        self.schedule(py)?;
        self.suspend_if_idle(py)
    }

    /// The loop that drives the reactor; it need not be running.
    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.owner(py).map_or_else(|| running_loop(py), Ok)
    }

    /// The loop, if it takes weak references and is still there.
    fn owner<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let owner = self.owner.as_ref()?.bind(py);
        owner.cast::<PyWeakref>().ok()?.upgrade()
    }

    fn schedule(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if self.reactor.wants_turn() {
            self.call_soon(py)
        } else {
            Ok(())
        }
    }

    /// Has the loop call us in its next turn.
    pub(super) fn call_soon(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if self.scheduled.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let turn = self.turn_callback(py);
        let scheduled = turn.and_then(|turn| self.schedule_call(py, turn));
        if scheduled.is_err() {
            self.scheduled.store(false, Ordering::Relaxed);
        }
        scheduled
    }

    /// Has the loop, which another thread runs, call us in its next turn. `scheduled` is left to that thread.
    fn call_from_another_thread(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        // A loop that is gone, or that cannot be referred to: its next event takes up what there is.
        let Some(owner) = self.owner(py) else {
            return Ok(());
        };
        self.schedule_by(&owner, "call_soon_threadsafe", self.turn_callback(py)?)
    }

    fn turn_callback<'py>(self: &Arc<Self>, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let binding = self.clone();
        Ok(Bound::new(py, TurnCallback { binding })?.into_any())
    }

    /// Has the loop call `function` in its next turn. Once it is closed there is none, which is no error.
    pub(super) fn schedule_call(&self, py: Python<'_>, function: Bound<'_, PyAny>) -> PyResult<()> {
        let owner = match self.event_loop(py) {
            Ok(owner) => owner,
            // The loop is gone.
            Err(error) if error.is_instance_of::<PyRuntimeError>(py) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.schedule_by(&owner, "call_soon", function)
    }

    fn schedule_by<'py>(
        &self,
        owner: &Bound<'py, PyAny>,
        method: &str,
        function: Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = owner.py();
        let Err(error) = owner.call_method1(method, (function,)) else {
            return Ok(());
        };
        let closed = error.is_instance_of::<PyRuntimeError>(py)
            && owner
                .call_method0(pyo3::intern!(py, "is_closed"))?
                .is_truthy()?;
        if closed { Ok(()) } else { Err(error) }
    }

    /// The loop has let go of us, and the reactor is about to end.
    fn end(&self) {
        let poll_thread = lock(&self.poll_thread).take();
        if let Some(poll_thread) = poll_thread {
            poll_thread.stop();
        }
        let ready = std::mem::take(&mut *lock(&self.ready));
        drop(ready);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let waiting = waiting.into_iter();
        for operation in waiting.filter_map(|(_, waiting)| waiting.upgrade()) {
            operation.abandon();
        }
    }
}

/// Calls `method` of the loop with `when` and `callback`, in an empty context. The loop's handles keep the
/// context in which they are made; ours live as long as the loop, and would keep alive what the first caller
/// has in its context variables.
fn in_empty_context<'py, C: PyTypeInfo>(
    running: &Bound<'py, PyAny>,
    method: &str,
    when: impl IntoPyObjectExt<'py>,
    callback: &Bound<'py, C>,
) -> PyResult<()> {
    let py = running.py();
    let context = py.import("contextvars")?.call_method0("Context")?;
    let args = (running.getattr(method)?, when.into_py_any(py)?, callback);
    context.call_method1("run", args).map(drop)
}

/// No error if there is none.
fn remove_reader(running: &Bound<'_, PyAny>, fd: std::ffi::c_int) -> PyResult<()> {
    let method = pyo3::intern!(running.py(), "remove_reader");
    running.call_method1(method, (fd,)).map(drop)
}

/// Windows' Proactor loop raises NotImplementedError; a loop need not have the method at all.
fn cannot_watch(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyNotImplementedError>(py)
        || error.is_instance_of::<PyAttributeError>(py)
}

/// The loop's callback; its end is the reactor's.
#[pyclass(frozen, module = "procio._core")]
struct ReaderCallback {
    binding: Arc<LoopBinding>,
    reactor: Arc<Reactor>,
}

impl ReaderCallback {
    fn new<'py>(
        py: Python<'py>,
        binding: &Arc<LoopBinding>,
        reactor: &Arc<Reactor>,
    ) -> PyResult<Bound<'py, Self>> {
        let (binding, reactor) = (binding.clone(), reactor.clone());
        Bound::new(py, ReaderCallback { binding, reactor })
    }
}

#[pymethods]
impl ReaderCallback {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.binding.dispatch(py)
    }
}

impl Drop for ReaderCallback {
    fn drop(&mut self) {
        if !self.reactor.is_retired() {
            self.binding.end();
        }
    }
}

/// A look in a later turn whether the descriptor is still needed.
#[pyclass(frozen, module = "procio._core")]
struct IdleCallback {
    binding: Weak<LoopBinding>,
    turns: u8,
}

#[pymethods]
impl IdleCallback {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let Some(binding) = self.binding.upgrade() else {
            return Ok(());
        };
        binding.letting_go.store(false, Ordering::Relaxed);
        match self.turns {
            _ if !binding.is_idle() => Ok(()),
            0 => binding.suspend(py),
            turns => binding.suspend_in(py, turns - 1),
        }
    }
}

/// One turn, by `call_soon`.
#[pyclass(frozen, module = "procio._core")]
struct TurnCallback {
    binding: Arc<LoopBinding>,
}

#[pymethods]
impl TurnCallback {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        if self.binding.reactor.is_closed() {
            return Ok(());
        }
        self.binding.dispatch(py)
    }
}
