//! asyncio's Proactor loop has a completion port of its own. Where that can be shared, no thread is
//! needed: the loop takes our packets with its own, and hands them to us.
//!
//! # What is relied on
//! `IocpProactor` keeps a dictionary `_cache` from the address of each OVERLAPPED to
//! `(future, overlapped, object, callback)`. `_poll` takes the entry of a packet's address out and,
//! unless the future is done, calls `callback(transferred, key, overlapped)`. `close` cancels each
//! future, and goes on polling until there are no entries. So it is, word for word, in 3.11 to 3.15.
//! These names are private, so a newer version, and a proactor that is not as it was written, are
//! left to the poll thread.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakref, PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};

use super::event_loop::LoopBinding;
use crate::reactor::Reactor;
use crate::sync::lock;
use crate::sys;

/// A loop that takes our packets.
pub(super) struct SharedPort(Arc<Proactor>);

struct Proactor {
    /// The loop may be dropped without being closed, so nothing here keeps it.
    proactor: Py<PyWeakrefReference>,
    binding: OnceLock<Weak<LoopBinding>>,
    /// Addresses of which no packet comes any more, to be taken out when the lock is held.
    forgotten: Mutex<Vec<usize>>,
}

/// A reactor on the loop's own port; `None` if that cannot be.
pub(super) fn reactor(running: &Bound<'_, PyAny>) -> Option<(Reactor, SharedPort)> {
    let (port, proactor) = port(running).ok().flatten()?;
    let proactor = Arc::new(Proactor {
        proactor: PyWeakrefReference::new(&proactor).ok()?.unbind(),
        binding: OnceLock::new(),
        forgotten: Mutex::default(),
    });
    let sink = Box::new(EntrySink(proactor.clone()));
    let poller = sys::Poller::shared(port, sink).ok()?;
    Some((Reactor::with(poller), SharedPort(proactor)))
}

/// The newest version of Python whose proactor was read.
const NEWEST: (u8, u8) = (3, 15);

/// The loop's completion port and who takes the packets, if they are what they should be.
fn port<'py>(running: &Bound<'py, PyAny>) -> PyResult<Option<(sys::RawHandle, Bound<'py, PyAny>)>> {
    let events = running.py().import("asyncio.windows_events")?;
    let class = events.getattr("IocpProactor")?;
    let proactor = running.getattr("_proactor")?;
    let polls = proactor.get_type().getattr("_poll")?;
    let version = running.py().version_info();
    let is_known = (version.major, version.minor) <= NEWEST
        && proactor.is(&running.getattr("_selector")?)
        && proactor.is_instance(&class)?
        && polls.is(&class.getattr("_poll")?);
    if !is_known {
        return Ok(None);
    }
    cache(&proactor)?;
    Ok(Some((proactor.getattr("_iocp")?.extract()?, proactor)))
}

/// What it expects from its port.
fn cache<'py>(proactor: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let cache = proactor.getattr("_cache")?;
    Ok(cache.cast_into_exact::<PyDict>()?)
}

impl SharedPort {
    /// Has the packets seen to from now on.
    pub(super) fn serve(self, binding: &Arc<LoopBinding>) {
        let _ = self.0.binding.set(Arc::downgrade(binding));
    }
}

struct EntrySink(Arc<Proactor>);

impl sys::PacketSink for EntrySink {
    fn expect(&self, packet: sys::Packet) -> io::Result<()> {
        let put = |py: Python<'_>| -> PyResult<()> {
            let proactor = self.0.proactor.bind(py).cast::<PyWeakref>()?.upgrade();
            let gone = || PyRuntimeError::new_err("the loop is gone");
            let cache = cache(&proactor.ok_or_else(gone)?)?;
            self.0.purge(&cache)?;
            let expected = Expected {
                packet,
                cache: cache.unbind(),
                proactor: self.0.clone(),
            };
            Expected::put(&Bound::new(py, expected)?)
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

/// The future and the callback of an entry: what asyncio asks of them, and no more.
#[pyclass(frozen, module = "procio._core")]
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
        let entry = PyTuple::new(
            py,
            [slf.as_any(), none.bind(py), none.bind(py), slf.as_any()],
        )?;
        slf.get().cache.bind(py).set_item(address, entry)
    }
}

#[pymethods]
impl Expected {
    /// A packet was taken, and the entry with it: there may be others.
    fn __call__(
        slf: &Bound<'_, Self>,
        _transferred: &Bound<'_, PyAny>,
        _key: &Bound<'_, PyAny>,
        _overlapped: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.packet.taken();
        if !this.packet.is_over() {
            Expected::put(slf)?;
        }
        this.proactor.purge(this.cache.bind(py))?;
        let binding = this.proactor.binding.get().and_then(Weak::upgrade);
        binding.map_or(Ok(()), |binding| binding.call_soon(py))
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
