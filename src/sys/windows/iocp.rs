//! The poller: one I/O completion port.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;

use super::Event;
#[cfg(any(feature = "python", test))]
use super::handle::duplicate;
use super::handle::{check, own};
use super::overlapped::OverlappedIo;
#[cfg(any(feature = "python", test))]
use super::shared_port::PacketSink;
use super::shared_port::SharedPort;
use crate::sys::Readiness;

const BATCH: usize = 64;
/// How often, and for how many milliseconds, a packet that has not come is waited for at the end.
const EMPTY_WAITS: u32 = 100;
const EMPTY_WAIT: u32 = 10;
/// How often, and after how long each time, a packet is posted again for which there was no memory.
const POSTS: u32 = 100;
const POST_AGAIN: Duration = Duration::from_millis(10);
/// What a packet without an operation says, in place of the number of bytes.
const WRITABLE: u32 = 1;
const HANGUP: u32 = 2;

/// A completion port, and what has to be done before its last poller goes.
#[derive(Debug)]
pub(super) struct Port {
    handle: OwnedHandle,
    leaving: Mutex<Leaving>,
    /// The host takes the packets.
    shared: Option<SharedPort>,
    /// A thread waits, and will get what comes: no other caller need look.
    awaited: AtomicBool,
}

/// Pipe ends that are gone while the system still works for them.
#[derive(Debug, Default)]
struct Leaving {
    /// The poller has ended: only they themselves will collect their completions.
    ended: bool,
    /// How many operations the poller is to collect before it may end.
    orphans: usize,
}

impl Port {
    fn new() -> io::Result<Self> {
        // SAFETY: makes a new port, associated with nothing.
        let handle = unsafe {
            own(CreateIoCompletionPort(
                INVALID_HANDLE_VALUE,
                ptr::null_mut(),
                0,
                0,
            ))?
        };
        Ok(Port {
            handle,
            leaving: Mutex::default(),
            shared: None,
            awaited: AtomicBool::new(false),
        })
    }

    pub(super) fn shared(&self) -> Option<&SharedPort> {
        self.shared.as_ref()
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// Has the completions of a handle's operations come here. CreateIoCompletionPort.
    pub(super) fn associate(&self, handle: BorrowedHandle<'_>) -> io::Result<()> {
        // SAFETY: both handles are open for the time of the call.
        let port = unsafe { CreateIoCompletionPort(handle.as_raw_handle(), self.raw(), 0, 0) };
        if port.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Has the completions of an operation reported under a token, until it is [withdrawn](Port::withdraw).
    pub(super) fn expect(
        self: &Arc<Self>,
        operation: &Arc<OverlappedIo>,
        token: usize,
    ) -> io::Result<()> {
        operation.set_token(token);
        match &self.shared {
            Some(shared) => shared.expect(self, operation),
            None => Ok(()),
        }
    }

    /// Reports a token, from any thread.
    pub(super) fn post(self: &Arc<Self>, token: usize, readiness: Readiness) {
        if let Some(shared) = &self.shared {
            shared.add(Event { token, readiness });
            return self.remind();
        }
        let bits = if readiness.writable { WRITABLE } else { 0 }
            | if readiness.hangup { HANGUP } else { 0 };
        self.queue(move |port| {
            // SAFETY: the port is open, and a packet without an operation owns nothing.
            check(unsafe { PostQueuedCompletionStatus(port.raw(), bits, token, ptr::null()) })
        });
    }

    /// Has the host take a packet, which says nothing but that there are events.
    pub(super) fn remind(self: &Arc<Self>) {
        if self.shared.is_none() {
            return;
        }
        self.queue(|port| {
            let wakeup = port.shared.as_ref().map(|shared| shared.wakeup().address());
            let wakeup = wakeup.unwrap_or(ptr::null_mut());
            // SAFETY: as above. The address is only an address to the host, which takes the packet.
            check(unsafe { PostQueuedCompletionStatus(port.raw(), 0, 0, wakeup) })
        });
    }

    /// Posts a packet. That fails when the system has no memory for it; then a thread tries again, since
    /// what waits for the packet would wait for ever.
    fn queue(self: &Arc<Self>, post: impl Fn(&Port) -> io::Result<()> + Copy + Send + 'static) {
        if post(self).is_ok() {
            return;
        }
        let weak = Arc::downgrade(self);
        let again = move || {
            for _ in 0..POSTS {
                thread::sleep(POST_AGAIN);
                match weak.upgrade() {
                    Some(port) if !port.has_ended() && post(&port).is_err() => {}
                    _ => break,
                }
            }
        };
        let made = thread::Builder::new()
            .name("procio-post".to_owned())
            .stack_size(64 * 1024)
            .spawn(again.clone());
        if made.is_err() {
            again();
        }
    }

    /// Collects packets; `false` when the time is over and there was none.
    fn collect(&self, events: &mut Vec<Event>, milliseconds: u32) -> io::Result<bool> {
        let mut batch = [OVERLAPPED_ENTRY::default(); BATCH];
        let mut count = 0;
        // SAFETY: the port is open, and the array has as many elements as the call is told.
        let collected = check(unsafe {
            GetQueuedCompletionStatusEx(
                self.raw(),
                batch.as_mut_ptr(),
                BATCH as u32,
                &raw mut count,
                milliseconds,
                0,
            )
        });
        match collected {
            Err(error) if error.raw_os_error() == Some(WAIT_TIMEOUT.cast_signed()) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => {
                let entries = batch.get(..count as usize).unwrap_or_default();
                events.extend(entries.iter().map(|entry| self.event(entry)));
                Ok(true)
            }
        }
    }

    fn event(&self, entry: &OVERLAPPED_ENTRY) -> Event {
        if entry.lpOverlapped.is_null() {
            let bits = entry.dwNumberOfBytesTransferred;
            let readiness = Readiness {
                writable: bits & WRITABLE != 0,
                hangup: bits & HANGUP != 0,
            };
            let token = entry.lpCompletionKey;
            return Event { token, readiness };
        }
        // SAFETY: only operations are started on handles that are associated with this port, and
        // the system queues one packet for each that was pending. A shared port does not come here.
        let completed = unsafe { OverlappedIo::completed(entry.lpOverlapped) };
        if completed.orphan {
            lock(&self.leaving).orphans -= 1;
        }
        Event {
            token: completed.token,
            readiness: completed.readiness,
        }
    }

    /// The owner of `operation`, which is pending and was cancelled, goes away. The next wait on
    /// the port collects the completion; after the last wait, that is done here.
    pub(super) fn withdraw(&self, operation: &Arc<OverlappedIo>) {
        if let Some(shared) = &self.shared {
            return self.withdraw_shared(shared, operation);
        }
        let mut leaving = lock(&self.leaving);
        if !operation.shutdown() {
            return;
        }
        leaving.orphans += 1;
        let ended = leaving.ended;
        drop(leaving);
        if ended {
            self.drain(|| !operation.is_pending());
        }
    }

    /// The same on the host's port: the host takes the packet. Once it has stopped, it does so only for what it
    /// still knows of, and the memory of the rest may be left to the port for good.
    fn withdraw_shared(&self, shared: &SharedPort, operation: &Arc<OverlappedIo>) {
        if !operation.shutdown() {
            shared.forget(operation);
            return;
        }
        // The system says in the OVERLAPPED that it is done, at the latest when the packet is taken: that may be
        // never. The memory is the port's as long as the reference is not taken back.
        if self.has_ended() {
            operation.take_back();
        }
    }

    /// No packet is taken any more.
    pub(super) fn end(&self) {
        lock(&self.leaving).ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.leaving).ended
    }

    /// Collects until `done`. Another thread that does the same may take the packet that is waited
    /// for, so waits are short. A driver that does not heed the cancelling keeps the memory, not us.
    fn drain(&self, done: impl Fn() -> bool) {
        let (mut events, mut empty) = (Vec::new(), 0);
        while !done() && empty < EMPTY_WAITS {
            match self.collect(&mut events, EMPTY_WAIT) {
                Ok(true) => {}
                Ok(false) => empty += 1,
                // It was not waited.
                Err(_) => {
                    empty += 1;
                    thread::sleep(Duration::from_millis(EMPTY_WAIT.into()));
                }
            }
            events.clear();
        }
    }
}

/// A completion port.
#[derive(Debug)]
pub(crate) struct Poller(Arc<Port>);

/// Reports a token to a poller, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Arc<Port>);

impl Notifier {
    pub(crate) fn notify(&self, token: usize) {
        self.0.post(token, Readiness::default());
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Poller(Arc::new(Port::new()?)))
    }

    /// One on the host's port; the host takes the packets: [`wait`](Poller::wait) does not wait.
    #[cfg(any(feature = "python", test))]
    pub(crate) fn shared(port: super::RawHandle, sink: Box<dyn PacketSink>) -> io::Result<Self> {
        let port = Arc::new(Port {
            handle: duplicate(port)?,
            leaving: Mutex::default(),
            shared: Some(SharedPort::new(sink)),
            awaited: AtomicBool::new(false),
        });
        if let Some(shared) = &port.shared {
            shared.expect(&port, shared.wakeup())?;
        }
        Ok(Poller(port))
    }

    pub(super) fn port(&self) -> &Arc<Port> {
        &self.0
    }

    pub(crate) fn notifier(&self) -> io::Result<Notifier> {
        Ok(Notifier(self.0.clone()))
    }

    /// Appends what is ready to `events`; waits for it, at most `timeout`, if there is nothing.
    /// GetQueuedCompletionStatusEx.
    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if let Some(shared) = &self.0.shared {
            shared.take(events);
            return Ok(());
        }
        match timeout {
            None => {
                self.0.awaited.store(true, Ordering::SeqCst);
                let result = self.collect(events, timeout);
                self.0.awaited.store(false, Ordering::SeqCst);
                result
            }
            // One call of the system less, in each turn of a loop that has the poll thread.
            Some(Duration::ZERO) if self.0.awaited.load(Ordering::SeqCst) => Ok(()),
            Some(_) => self.collect(events, timeout),
        }
    }

    fn collect(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let mut milliseconds = timeout.map_or(INFINITE, |timeout| {
            u32::try_from(timeout.as_millis()).unwrap_or(INFINITE - 1)
        });
        loop {
            let before = events.len();
            self.0.collect(events, milliseconds)?;
            if events.len() - before < BATCH {
                return Ok(());
            }
            milliseconds = 0;
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // What the system may still write to must be collected. Ends of pipes that go from now
        // on do it themselves; those that went before have cancelled, so it cannot take long.
        self.0.end();
        self.0.drain(|| lock(&self.0.leaving).orphans == 0);
    }
}

impl AsHandle for Poller {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.handle.as_handle()
    }
}

fn lock(leaving: &Mutex<Leaving>) -> MutexGuard<'_, Leaving> {
    leaving.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::overlapped::Kind;
    use super::super::shared_port::Packet;
    use super::super::{Interest, Watched, pipe_from_child, pipe_to_child, raw};
    use super::*;

    /// A host that remembers what it is to expect, and takes packets when it is told to. It has room for three.
    #[derive(Clone, Default)]
    struct Host(Arc<Mutex<Vec<Packet>>>, Arc<Mutex<Vec<usize>>>);

    impl PacketSink for Host {
        fn expect(&self, packet: Packet) -> io::Result<()> {
            let mut packets = self.0.lock().unwrap();
            if packets.len() == 3 {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            packets.push(packet);
            Ok(())
        }

        fn forget(&self, address: usize) {
            self.1.lock().unwrap().push(address);
        }
    }

    fn shared_port() -> (Poller, Port, Host) {
        let (hosts, host) = (Port::new().unwrap(), Host::default());
        let poller = Poller::shared(raw(&hosts.handle), Box::new(host.clone())).unwrap();
        (poller, hosts, host)
    }

    /// Runs `withdraw` in a thread of its own, which must come back.
    fn withdraw(port: &Arc<Port>, operation: &Arc<OverlappedIo>) {
        let (port, operation) = (port.clone(), operation.clone());
        let (told, ended) = mpsc::channel();
        thread::spawn(move || {
            port.withdraw(&operation);
            drop(operation);
            told.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn an_operation_that_the_system_does_not_let_go_of_is_left_to_it() {
        let (poller, _hosts, host) = shared_port();
        let operation = OverlappedIo::new(Kind::Read);
        poller
            .port()
            .shared()
            .unwrap()
            .expect(poller.port(), &operation)
            .unwrap();
        operation.start_and_never_end();
        poller.port().end();
        withdraw(poller.port(), &operation);
        assert!(operation.is_pending());
        // The host, an owner here, and the system.
        assert_eq!(Arc::strong_count(&operation), 3);
        // The packet comes after all.
        operation.end_now();
        host.0.lock().unwrap().last().unwrap().taken();
        host.0.lock().unwrap().clear();
        assert!(!operation.is_pending());
        assert_eq!(Arc::strong_count(&operation), 1);
    }

    #[test]
    fn a_host_that_takes_one_of_two_operations_is_to_forget_it() {
        let (poller, _hosts, host) = shared_port();
        let (reader, _childs) = pipe_from_child(None).unwrap();
        reader.watch(&poller, 1, Interest::Read).unwrap();
        let (writer, _childs) = pipe_to_child(None).unwrap();
        let refused = writer.watch(&poller, 2, Interest::Write).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::OutOfMemory);
        drop(writer);
        let address = host.0.lock().unwrap().last().unwrap().address();
        assert!(host.1.lock().unwrap().contains(&address));
        assert!(host.0.lock().unwrap().last().unwrap().is_over());
        drop(reader);
        poller.port().end();
    }

    #[test]
    fn a_poller_waits_for_what_is_left_but_not_for_ever() {
        let poller = Poller::new().unwrap();
        let operation = OverlappedIo::new(Kind::Read);
        operation.start_and_never_end();
        withdraw(poller.port(), &operation);
        let (told, ended) = mpsc::channel();
        thread::spawn(move || {
            drop(poller);
            told.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(Arc::strong_count(&operation), 2);
    }
}
