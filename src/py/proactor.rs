//! asyncio's Proactor loop has a completion port of its own. Where that can be shared, no thread is
//! needed: the loop takes our packets with its own, and hands them to us.
//!
//! # What is relied on
//! `IocpProactor` keeps a dictionary `_cache` from the address of each OVERLAPPED to
//! `(future, overlapped, object, callback)`. `_poll` takes the entry of a packet's address out and,
//! unless the future is done, calls `callback(transferred, key, overlapped)`. `close` cancels each
//! future, and goes on polling until there are no entries. So it is, word for word, in 3.11 to 3.15.
//! These names are private, so a newer version, and a proactor that is not as it was written, are
//! left to the poll thread. Nor is a version taken at its word: before the first loop is shared, a
//! proactor that no loop has is [tried](keeps_the_contract).
//!
//! # An exception between `_poll` and the callback
//! A signal handler may raise after `_poll` has taken an entry out and before it calls the callback. What
//! asyncio waits for is then lost, and the entry of the wake-up would be lost for good: every later packet
//! would be a stranger's. So an entry that goes without having been called is [put back](Expected::restore) when
//! the exception and with it the frame of `_poll` has gone. As long as the exception is handled it is kept; so each
//! operation that begins to wait looks whether the wake-up has its entry.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyWeakref, PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};

use super::errors::in_drop;
use super::event_loop::LoopBinding;
use crate::reactor::Reactor;
use crate::sync::lock;
use crate::sys;

/// A loop that takes our packets.
pub(super) struct ProactorPort(Arc<Proactor>);

struct Proactor {
    /// The loop may be dropped without being closed, so nothing here keeps it.
    proactor: Py<PyWeakrefReference>,
    binding: OnceLock<Weak<LoopBinding>>,
    /// What is expected first of all, as a weak reference.
    wakeup: OnceLock<Py<PyWeakrefReference>>,
    /// Addresses of which no packet comes any more, to be taken out when the lock is held.
    forgotten: Mutex<Vec<usize>>,
}

/// A reactor on the loop's own port; `None` if that cannot be. What a signal handler raises meanwhile is raised.
pub(super) fn reactor(running: &Bound<'_, PyAny>) -> PyResult<Option<(Reactor, ProactorPort)>> {
    let shared = || -> PyResult<Option<(Reactor, ProactorPort)>> {
        let Some(proactor) = known(running)? else {
            return Ok(None);
        };
        let (poller, shared_port) = share(&proactor)?;
        Ok(Some((Reactor::with(poller), shared_port)))
    };
    match shared() {
        Err(error) if error.is_instance_of::<PyException>(running.py()) => Ok(None),
        shared => shared,
    }
}

fn share(proactor: &Bound<'_, PyAny>) -> PyResult<(sys::Poller, ProactorPort)> {
    let port = proactor.getattr("_iocp")?.extract()?;
    let proactor = Arc::new(Proactor {
        proactor: PyWeakrefReference::new(proactor)?.unbind(),
        binding: OnceLock::new(),
        wakeup: OnceLock::new(),
        forgotten: Mutex::default(),
    });
    let sink = Box::new(EntrySink(proactor.clone()));
    Ok((sys::Poller::shared(port, sink)?, ProactorPort(proactor)))
}

/// The newest version of Python whose proactor was read.
const NEWEST: (u8, u8) = (3, 15);

/// The methods of a proactor that do what is relied on.
const METHODS: [&str; 2] = ["_poll", "close"];

/// Who takes the packets from the loop's completion port, if it is as it should be.
fn known<'py>(running: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let events = running.py().import("asyncio.windows_events")?;
    let class = events.getattr("IocpProactor")?;
    let proactor = running.getattr("_proactor")?;
    let version = running.py().version_info();
    let is_known = (version.major, version.minor) <= NEWEST
        && proactor.is(&running.getattr("_selector")?)
        && proactor.is_instance(&class)?;
    if !is_known {
        return Ok(None);
    }
    for method in METHODS {
        let function = proactor.getattr(method)?.getattr("__func__")?;
        if !function.is(&class.getattr(method)?) {
            return Ok(None);
        }
    }
    cache(&proactor)?;
    Ok(was_tried(&class)?.then_some(proactor))
}

/// Whether the class keeps the contract. It is tried once, unless its methods become others.
fn was_tried(class: &Bound<'_, PyAny>) -> PyResult<bool> {
    static TRIED: PyOnceLock<([Py<PyAny>; 2], bool)> = PyOnceLock::new();
    let py = class.py();
    let [poll, close] = METHODS;
    let methods = [class.getattr(poll)?, class.getattr(close)?];
    if let Some((known, kept)) = TRIED.get(py)
        && known.iter().zip(&methods).all(|(one, other)| one.is(other))
    {
        return Ok(*kept);
    }
    let kept = match keeps_the_contract(class) {
        Err(error) if error.is_instance_of::<PyException>(py) => false,
        kept => kept?,
    };
    let _ = TRIED.set(py, (methods.map(Bound::unbind), kept));
    Ok(kept)
}

/// Tries a proactor that no loop has: does it take an entry of ours out for a packet, call it, and
/// cancel it when it is closed?
fn keeps_the_contract(class: &Bound<'_, PyAny>) -> PyResult<bool> {
    let proactor = class.call0()?;
    let cache = cache(&proactor)?;
    let kept = trial(&proactor, &cache);
    // It closes itself when it goes, and would wait for what is left.
    cache.clear();
    kept
}

fn trial(proactor: &Bound<'_, PyAny>, cache: &Bound<'_, PyDict>) -> PyResult<bool> {
    let py = proactor.py();
    let (poller, _shared_port) = share(proactor)?;
    let sentinel = Bound::new(py, Sentinel::default())?;
    let (address, port) = (sentinel.as_ptr() as usize, proactor.getattr("_iocp")?);
    let overlapped = py.import("_overlapped")?;
    let send = || -> PyResult<()> {
        let none = py.None().into_bound(py);
        let entry = [sentinel.as_any(), &none, &none, sentinel.as_any()];
        cache.set_item(address, PyTuple::new(py, entry)?)?;
        overlapped.call_method1("PostQueuedCompletionStatus", (&port, 0, 0, address))?;
        Ok(())
    };
    send()?;
    poller.notifier()?.notify(0);
    proactor.call_method1("_poll", (0,))?;
    let mut events = Vec::new();
    poller.wait(&mut events, None)?;
    // The entry of the wake-up puts itself back, the sentinel's does not.
    if sentinel.get().count() != [1, 1, 0] || cache.len() != 1 || events.len() != 1 {
        return Ok(false);
    }
    // A packet, lest it waits for ever for what it does not cancel.
    send()?;
    proactor.call_method0("close")?;
    Ok(sentinel.get().count() == [2, 2, 1] && cache.is_empty())
}

/// The future and the callback of an entry, which counts what is done with it.
#[pyclass(frozen, module = "procio._core")]
#[derive(Default)]
struct Sentinel {
    called: AtomicU32,
    result: AtomicU32,
    cancelled: AtomicU32,
}

impl Sentinel {
    /// How often it was called, given a result, and cancelled.
    fn count(&self) -> [u32; 3] {
        [&self.called, &self.result, &self.cancelled].map(|count| count.load(Ordering::Relaxed))
    }
}

#[pymethods]
impl Sentinel {
    fn __call__(
        &self,
        _transferred: &Bound<'_, PyAny>,
        _key: &Bound<'_, PyAny>,
        _overlapped: &Bound<'_, PyAny>,
    ) {
        self.called.fetch_add(1, Ordering::Relaxed);
    }

    fn done(&self) -> bool {
        false
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn cancel(&self) -> bool {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn set_result(&self, _result: &Bound<'_, PyAny>) {
        self.result.fetch_add(1, Ordering::Relaxed);
    }

    fn set_exception(&self, _exception: &Bound<'_, PyAny>) {}
}

/// What it expects from its port.
fn cache<'py>(proactor: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let cache = proactor.getattr("_cache")?;
    Ok(cache.cast_into_exact::<PyDict>()?)
}

impl ProactorPort {
    /// Has the packets seen to from now on.
    pub(super) fn serve(&self, binding: &Arc<LoopBinding>) {
        let _ = self.0.binding.set(Arc::downgrade(binding));
    }

    /// Puts the entry of the wake-up back, if an exception that is still handled has taken it.
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        let wakeup = self.0.wakeup.get().and_then(|weak| upgrade(weak.bind(py)));
        match wakeup {
            Some(wakeup) => Expected::restore(wakeup.cast::<Expected>()?),
            None => Ok(()),
        }
    }
}

struct EntrySink(Arc<Proactor>);

impl sys::PacketSink for EntrySink {
    fn expect(&self, packet: sys::Packet) -> io::Result<()> {
        let put = |py: Python<'_>| -> PyResult<()> {
            let gone = || PyRuntimeError::new_err("the loop is gone");
            let proactor = upgrade(self.0.proactor.bind(py)).ok_or_else(gone)?;
            let cache = cache(&proactor)?;
            self.0.purge(&cache)?;
            let expected = Expected {
                packet,
                cache: cache.unbind(),
                proactor: self.0.clone(),
            };
            let expected = Bound::new(py, expected)?;
            // The wake-up comes first.
            if self.0.wakeup.get().is_none() {
                let _ = self
                    .0
                    .wakeup
                    .set(PyWeakrefReference::new(&expected)?.unbind());
            }
            Expected::put(&expected)
        };
        match Python::try_attach(put) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(io::Error::other(error.to_string())),
            None => Err(io::Error::other("the interpreter shuts down")),
        }
    }

    fn forget(&self, address: usize) {
        lock(&self.0.forgotten).push(address);
    }
}

impl Proactor {
    /// Takes out the entries of what is over. Their addresses may have become those of others.
    fn purge(&self, cache: &Bound<'_, PyDict>) -> PyResult<()> {
        let forgotten = std::mem::take(&mut *lock(&self.forgotten));
        for address in forgotten {
            if let Some(entry) = cache.get_item(address)?
                && let Ok(first) = entry.get_item(0)
                && let Ok(expected) = first.cast_exact::<Expected>()
                && expected.get().packet.is_over()
            {
                cache.del_item(address)?;
            }
        }
        Ok(())
    }
}

fn upgrade<'py>(weak: &Bound<'py, PyWeakrefReference>) -> Option<Bound<'py, PyAny>> {
    weak.cast::<PyWeakref>().ok()?.upgrade()
}

/// Lives as long as an entry, of which it is the overlapped: not for long after the entry was taken out, but
/// beyond the call that the proactor makes then.
#[pyclass(frozen, module = "procio._core")]
struct Entry {
    expected: Py<Expected>,
    /// There is another entry, or none is needed.
    replaced: AtomicBool,
}

#[pymethods]
impl Entry {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.expected)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !*self.replaced.get_mut() {
            in_drop(|py| {
                if let Err(error) = Expected::restore(self.expected.bind(py)) {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

/// The future and the callback of an entry: what asyncio asks of them, and no more.
#[pyclass(frozen, weakref, module = "procio._core")]
struct Expected {
    packet: sys::Packet,
    /// In which the entry is; of each its own, for the garbage collector.
    cache: Py<PyDict>,
    proactor: Arc<Proactor>,
}

impl Expected {
    /// Makes the entry.
    fn put(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let (address, none) = (slf.get().packet.address(), py.None());
        let entry = Entry {
            expected: slf.clone().unbind(),
            replaced: AtomicBool::new(false),
        };
        let overlapped = Bound::new(py, entry)?;
        let entry = PyTuple::new(
            py,
            [
                slf.as_any(),
                overlapped.as_any(),
                none.bind(py),
                slf.as_any(),
            ],
        )?;
        slf.get().cache.bind(py).set_item(address, entry)
    }

    /// Puts the entry back that has gone without a call, unless it is there or nothing is expected any more.
    /// Its packet may have come, so this looks, and has the loop look.
    fn restore(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (packet, cache) = (&this.packet, this.cache.bind(py));
        // The garbage collector clears the weak reference before it clears the entries.
        let gone = upgrade(this.proactor.proactor.bind(py)).is_none();
        if gone || packet.is_over() || cache.contains(packet.address())? {
            return Ok(());
        }
        packet.taken();
        if packet.is_over() || (packet.is_closed() && !packet.close()) {
            return Ok(());
        }
        Expected::put(slf)?;
        packet.remind();
        Ok(())
    }

    /// One packet was taken: has the loop look for what it says.
    fn take(slf: &Bound<'_, Self>, entry: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.packet.taken();
        if !this.packet.is_over() {
            Expected::put(slf)?;
        }
        if let Ok(entry) = entry.cast_exact::<Entry>() {
            entry.get().replaced.store(true, Ordering::Relaxed);
        }
        this.proactor.purge(this.cache.bind(py))?;
        let binding = this.proactor.binding.get().and_then(Weak::upgrade);
        binding.map_or(Ok(()), |binding| binding.call_soon(py))
    }
}

#[pymethods]
impl Expected {
    /// A packet was taken, and the entry with it: there may be others. What an exception keeps from being done is
    /// done with the next packet, so there is one.
    fn __call__(
        slf: &Bound<'_, Self>,
        _transferred: &Bound<'_, PyAny>,
        _key: &Bound<'_, PyAny>,
        overlapped: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let taken = Expected::take(slf, overlapped);
        if taken.is_err() {
            slf.get().packet.remind();
        }
        taken
    }

    fn done(&self) -> bool {
        false
    }

    fn cancelled(&self) -> bool {
        false
    }

    /// The proactor is being closed. An entry that stays is waited for.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        let cache = this.cache.bind(py);
        if !this.packet.close() && cache.contains(this.packet.address())? {
            cache.del_item(this.packet.address())?;
        }
        Ok(true)
    }

    fn set_result(&self, _result: &Bound<'_, PyAny>) {}

    fn set_exception(&self, _exception: &Bound<'_, PyAny>) {}

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.cache)
    }
}
