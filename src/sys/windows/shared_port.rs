//! A poller that shares the host's completion port, which is that of asyncio's Proactor. The host
//! dequeues the packets, and knows an operation only by the address of its OVERLAPPED: before an
//! operation starts, the poller registers it with [`expect`](PacketSink::expect); for each dequeued
//! packet the host calls [`Packet::taken`]. When the host stops, it calls [`Packet::close`] for each.

#![cfg_attr(
    not(feature = "python"),
    expect(dead_code, reason = "only loops of Python take packets for us")
)]

use std::io;
use std::sync::{Arc, Mutex, Weak};

use super::super::Event;
use super::iocp::Port;
use super::overlapped::{Kind, OverlappedIo};
use crate::sync::lock;

/// The host, which takes the packets from the port.
pub(crate) trait PacketSink: Send + Sync {
    /// From now on packets with this address may come, any number of them.
    fn expect(&self, packet: Packet) -> io::Result<()>;
    /// Some packet [is over](Packet::is_over).
    fn forget(&self, address: usize);
}

/// What packets of one address are about.
pub(crate) struct Packet {
    operation: Arc<OverlappedIo>,
    port: Weak<Port>,
}

impl Packet {
    pub(crate) fn address(&self) -> usize {
        self.operation.address().addr()
    }

    /// One has been taken from the port. The next [`wait`](super::Poller::wait) gives the event.
    pub(crate) fn taken(&self) {
        if let Some(completed) = self.operation.take_back()
            && let Some(port) = self.port.upgrade()
            && let Some(shared) = port.shared()
            && !completed.orphan
        {
            shared.add(Event {
                token: completed.token,
                readiness: completed.readiness,
            });
        }
    }

    /// Whether none will come any more.
    pub(crate) fn is_over(&self) -> bool {
        self.operation.is_over() || self.port.strong_count() == 0
    }

    /// Has the host take one more packet, after which it asks for events.
    pub(crate) fn remind(&self) {
        if let Some(port) = self.port.upgrade() {
            port.remind();
        }
    }

    /// Whether the host has stopped.
    pub(crate) fn is_closed(&self) -> bool {
        self.port.upgrade().is_none_or(|port| port.has_ended())
    }

    /// None will be taken any more, but for one that is still to come if this returns `true`.
    pub(crate) fn close(&self) -> bool {
        if let Some(port) = self.port.upgrade() {
            port.end();
        }
        self.operation.close()
    }
}

/// What there is beside a port of one's own.
pub(super) struct SharedPort {
    sink: Box<dyn PacketSink>,
    events: Mutex<Vec<Event>>,
    wakeup: Arc<OverlappedIo>,
}

impl SharedPort {
    pub(super) fn new(sink: Box<dyn PacketSink>) -> Self {
        SharedPort {
            sink,
            events: Mutex::default(),
            wakeup: OverlappedIo::new(Kind::Wakeup),
        }
    }

    pub(super) fn wakeup(&self) -> &Arc<OverlappedIo> {
        &self.wakeup
    }

    pub(super) fn expect(&self, port: &Arc<Port>, operation: &Arc<OverlappedIo>) -> io::Result<()> {
        self.sink.expect(Packet {
            operation: operation.clone(),
            port: Arc::downgrade(port),
        })
    }

    pub(super) fn forget(&self, operation: &OverlappedIo) {
        self.sink.forget(operation.address().addr());
    }

    pub(super) fn add(&self, event: Event) {
        lock(&self.events).push(event);
    }

    pub(super) fn take(&self, events: &mut Vec<Event>) {
        events.append(&mut lock(&self.events));
    }
}

impl std::fmt::Debug for SharedPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedPort")
    }
}
