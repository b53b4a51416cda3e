//! A child's life: watched, signalled, reaped exactly once. What happens when it is let go is in
//! [`guard`](crate::process::guard).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::error::{detached_error, reactor_ended};
use crate::process::orphan::{REAP_TIMEOUT, kill_orphan, reap_in_thread};
use crate::process::seams::{ChildProcess, KillGroup};
use crate::reactor::Inner;
use crate::reactor::waiters::{Key, Waiters};
use crate::status::{Exit, ExitStatus, Usage};
use crate::sync::lock;
use crate::sys::{self, CgroupKill, Process};

/// What is left of a child: the process, or its group and how it ended.
type Remains<P> = (Option<P>, Option<<P as ChildProcess>::Group>, Option<Exit>);

/// An error that can be given to each who asks.
#[derive(Clone, Copy)]
struct Refusal(io::ErrorKind, Option<i32>);

impl From<&io::Error> for Refusal {
    fn from(error: &io::Error) -> Self {
        Refusal(error.kind(), error.raw_os_error())
    }
}

impl From<Refusal> for io::Error {
    fn from(Refusal(kind, code): Refusal) -> Self {
        code.map_or_else(|| kind.into(), io::Error::from_raw_os_error)
    }
}

/// A child's life as the reactor sees it.
pub(crate) struct Reaper<P: ChildProcess = Process> {
    pub(super) reactor: Arc<Inner>,
    pid: u32,
    token: usize,
    /// How many guards there are.
    pub(super) guards: AtomicU32,
    pub(super) kill_on_drop: AtomicBool,
    /// Its group is killed with it, also after its own end.
    pub(super) kill_group_on_drop: AtomicBool,
    /// It leads a process group that may be signalled after its own end.
    leads: bool,
    pub(super) released: AtomicBool,
    /// It was sent the signal that cannot be caught.
    pub(super) killed: AtomicBool,
    pub(super) state: Mutex<ReaperState<P>>,
}

/// Reaping and signalling happen under the lock of this state, and nowhere else: a signal can
/// therefore never reach a pid that was freed, even where there is only the number to go by.
pub(super) struct ReaperState<P: ChildProcess> {
    /// Until it is reaped.
    pub(super) process: Option<P>,
    /// From its end on.
    exit: Option<Box<Exit>>,
    /// What the last attempt to learn of its end came to, if the system refused it.
    refusal: Option<Box<Refusal>>,
    /// Nothing will ask for its end any more.
    pub(super) abandoned: bool,
    /// From the time it is reaped: its group, or the descriptor that was given to the user.
    group: Option<P::Group>,
    /// What kills all that is in its control group.
    cgroup: Option<CgroupKill>,
    /// How many need the number of its group: until they are done it is not reaped.
    pub(super) pins: u32,
    /// The user has its descriptor, which stays open as long as there is a guard.
    #[cfg(feature = "python")]
    exposed: bool,
    pub(super) waiters: Waiters,
    /// It is another reactor's now.
    detached: bool,
}

impl<P: ChildProcess> Default for ReaperState<P> {
    fn default() -> Self {
        ReaperState {
            process: None,
            exit: None,
            refusal: None,
            abandoned: false,
            group: None,
            cgroup: None,
            pins: 0,
            #[cfg(feature = "python")]
            exposed: false,
            waiters: Waiters::default(),
            detached: false,
        }
    }
}

impl<P: ChildProcess> Reaper<P> {
    /// Watches `process`, for one guard. If it cannot be watched it is killed, reaped, and the error returned.
    pub(crate) fn watch(
        reactor: &Arc<Inner>,
        mut process: P,
        kill_on_drop: bool,
        leads: bool,
        kill_group_on_drop: bool,
    ) -> io::Result<Arc<Self>> {
        let pid = process.pid();
        let mut state = Some(ReaperState {
            cgroup: process.take_cgroup_kill(),
            process: Some(process),
            pins: u32::from(kill_group_on_drop),
            ..ReaperState::default()
        });
        let make = |token| {
            let state = state.take().unwrap_or_default();
            Arc::new(Reaper {
                reactor: reactor.clone(),
                pid,
                token,
                guards: AtomicU32::new(1),
                kill_on_drop: AtomicBool::new(kill_on_drop),
                kill_group_on_drop: AtomicBool::new(kill_group_on_drop),
                leads,
                released: AtomicBool::new(false),
                killed: AtomicBool::new(false),
                state: Mutex::new(state),
            })
        };
        let watch = |guard: &Reaper<P>, token| {
            let mut state = lock(&guard.state);
            let Some(mut process) = state.process.take() else {
                return Ok(());
            };
            let watched = reactor
                .poller()
                .and_then(|poller| process.watch(&poller, token));
            match &watched {
                Ok(()) => state.process = Some(process),
                Err(_) => kill_orphan(process),
            }
            watched
        };
        let added = reactor.add(make, watch);
        if let Some(ReaperState {
            process: Some(process),
            ..
        }) = state
        {
            // The reactor has ended: `make` was not even called.
            kill_orphan(process);
        }
        added
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether its end is not yet known, and it was not killed by us.
    #[cfg(feature = "python")]
    pub(crate) fn is_unattended(&self) -> bool {
        let state = lock(&self.state);
        let runs = state.process.is_some() && state.exit.is_none();
        runs && !self.reactor.in_forked_child() && !self.killed.load(Ordering::Relaxed)
    }

    /// How it ended, once that has been published.
    pub(crate) fn exit(&self) -> Option<Exit> {
        lock(&self.state).exit.as_deref().copied()
    }

    /// Reaps it if it has ended, and publishes how.
    pub(crate) fn try_wait(&self) -> Option<Exit> {
        let mut wakers = Vec::new();
        self.reap(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        self.exit()
    }

    /// A readable pidfd is not proof (a tracer may make it so): only what waitid says counts.
    pub(super) fn reap(&self, wakers: &mut Vec<Waker>) {
        self.reap_by(P::try_wait, wakers);
    }

    pub(super) fn reap_by(
        &self,
        wait: impl FnOnce(&mut P) -> io::Result<Option<Exit>>,
        wakers: &mut Vec<Waker>,
    ) {
        if self.reactor.in_forked_child() {
            return;
        }
        let mut state = lock(&self.state);
        if state.exit.is_some() {
            return;
        }
        let pinned = state.pins > 0;
        let Some(process) = &mut state.process else {
            return;
        };
        let found = if pinned {
            process.try_look()
        } else {
            wait(process)
        };
        let exit = match found {
            Ok(Some(exit)) => exit,
            Ok(None) => {
                state.refusal = None;
                return;
            }
            Err(error) => {
                // The event of its end may have been this one, and does not come twice: those who
                // wait learn of the error, or they would wait for ever.
                state.refusal = Some(Box::new(Refusal::from(&error)));
                state.waiters.take(wakers);
                return self.leave_if_refused(state);
            }
        };
        self.unwatch(process);
        state.refusal = None;
        state.exit = Some(Box::new(exit));
        state.waiters.take(wakers);
        if !pinned {
            self.forget_process(&mut state);
            drop(state);
            self.reactor.remove(self.token);
        }
    }

    /// It has been reaped.
    fn forget_process(&self, state: &mut ReaperState<P>) {
        let process = state.process.take();
        #[cfg(feature = "python")]
        let wanted = self.leads || state.exposed;
        #[cfg(not(feature = "python"))]
        let wanted = self.leads;
        if wanted {
            state.group = process.and_then(P::into_group);
        }
    }

    /// From now on its end is only looked at: it stays a zombie, which keeps the number of its
    /// group from being given to another, until [`unpin`](Reaper::unpin). Its end is published as
    /// always. If it has been reaped already, nothing is kept.
    pub(crate) fn pin(&self) {
        lock(&self.state).pins += 1;
    }

    /// Ends that, and reaps it if it has ended.
    pub(crate) fn unpin(&self) {
        let mut state = lock(&self.state);
        state.pins = state.pins.saturating_sub(1);
        self.reap_zombie(state);
    }

    /// Whether it is not to be reaped, because its group is still to be signalled.
    #[cfg(feature = "python")]
    pub(crate) fn is_pinned(&self) -> bool {
        lock(&self.state).pins > 0
    }

    /// Reaps it if nothing but a pin has prevented that.
    pub(super) fn reap_zombie(&self, mut state: MutexGuard<'_, ReaperState<P>>) {
        if state.pins > 0 || state.exit.is_none() || self.reactor.in_forked_child() {
            return;
        }
        let Some(process) = &mut state.process else {
            return;
        };
        match process.try_wait() {
            Ok(Some(exit)) if exit.status != ExitStatus::Lost => {
                state.exit = Some(Box::new(exit));
            }
            Err(error) => {
                state.refusal = Some(Box::new(Refusal::from(&error)));
                return self.leave_if_refused(state);
            }
            Ok(_) => {}
        }
        self.forget_process(&mut state);
        drop(state);
        self.reactor.remove(self.token);
    }

    /// A thread tries again to reap it, if the system has refused that and nothing else will try.
    pub(super) fn leave_if_refused(&self, mut state: MutexGuard<'_, ReaperState<P>>) {
        if !state.abandoned || state.refusal.is_none() {
            return;
        }
        let process = state.process.take();
        drop(state);
        if let Some(mut process) = process {
            self.unwatch(&mut process);
            self.reactor.remove(self.token);
            reap_in_thread(process);
        }
    }

    /// Its group is no longer killed when the last guard goes, and the zombie that was kept for that
    /// is reaped.
    pub(crate) fn let_group_go(&self) {
        if self.kill_group_on_drop.swap(false, Ordering::AcqRel) {
            self.unpin();
        }
    }

    /// Whether its group is killed with it.
    pub(crate) fn kill_group_on_drop(&self) -> bool {
        self.kill_group_on_drop.load(Ordering::Acquire)
    }

    pub(super) fn unwatch(&self, process: &mut P) {
        if let Ok(poller) = self.reactor.poller() {
            process.unwatch(&poller);
        }
    }

    /// The error of the last attempt to learn of its end, if the system refused it.
    #[cfg(feature = "python")]
    pub(crate) fn refusal(&self) -> Option<io::Error> {
        lock(&self.state)
            .refusal
            .as_deref()
            .copied()
            .map(io::Error::from)
    }

    /// Waits for its end. Fails when the reactor has ended before, and when the system does not tell
    /// of it.
    pub(crate) fn poll_wait(&self, key: &mut Key, cx: &mut Context<'_>) -> Poll<io::Result<Exit>> {
        let _stale;
        let mut state = lock(&self.state);
        if state.refusal.is_some() {
            drop(state);
            self.try_wait();
            state = lock(&self.state);
        }
        if let Some(exit) = state.exit.as_deref().copied() {
            *key = None;
            return Poll::Ready(Ok(exit));
        }
        if let Some(refusal) = state.refusal.as_deref().copied() {
            return Poll::Ready(Err(refusal.into()));
        }
        if state.detached {
            return Poll::Ready(Err(detached_error()));
        }
        // Looked at under the lock: the thread that closes the reactor takes the waiters after that.
        if self.reactor.is_closed() {
            drop(state);
            return Poll::Ready(self.try_wait().ok_or_else(reactor_ended));
        }
        _stale = state.waiters.register(key, cx);
        Poll::Pending
    }

    /// Whether it is another reactor's now.
    #[cfg(feature = "python")]
    pub(crate) fn is_detached(&self) -> bool {
        lock(&self.state).detached
    }

    /// Whether an operation waits for its end.
    #[cfg(feature = "python")]
    pub(crate) fn is_awaited(&self) -> bool {
        !lock(&self.state).waiters.is_empty()
    }

    /// Takes it out of its reactor: the process, or how it ended.
    pub(crate) fn detach(&self) -> io::Result<Remains<P>> {
        if self.reactor.in_forked_child() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut state = lock(&self.state);
        if state.detached {
            return Err(detached_error());
        }
        if state.pins > 0 {
            let text = "the process is owned by a block, or is being stopped";
            return Err(io::Error::other(text));
        }
        if state.process.as_ref().is_some_and(P::is_tied) || state.cgroup.is_some() {
            let text = "a process that ends with this program or its control group stays here";
            return Err(io::Error::other(text));
        }
        let mut wakers = Vec::new();
        state.detached = true;
        state.waiters.take(&mut wakers);
        let (mut process, group) = (state.process.take(), state.group.take());
        let exit = state.exit.as_deref().copied();
        if let Some(process) = &mut process {
            self.unwatch(process);
        }
        drop(state);
        self.reactor.remove(self.token);
        wakers.into_iter().for_each(Waker::wake);
        Ok((process, group, exit))
    }

    /// Its owner has been told of its end, and may forget it now: what is left of its group will
    /// not be signalled any more, and needs no descriptor.
    #[cfg(feature = "python")]
    pub(crate) fn forget_group(&self) {
        let mut state = lock(&self.state);
        let group = if state.exposed {
            None
        } else {
            state.group.take()
        };
        let cgroup = state.cgroup.take();
        drop(state);
        drop((group, cgroup));
    }

    /// One whose end is known already, for one guard.
    pub(crate) fn ended(
        reactor: &Arc<Inner>,
        pid: u32,
        group: Option<P::Group>,
        exit: Option<Exit>,
    ) -> Arc<Self> {
        let exit = exit.unwrap_or(Exit {
            status: ExitStatus::Lost,
            usage: Usage::default(),
        });
        Arc::new(Reaper {
            reactor: reactor.clone(),
            pid,
            token: sys::WAKE_TOKEN,
            guards: AtomicU32::new(1),
            kill_on_drop: AtomicBool::new(false),
            kill_group_on_drop: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            leads: group.is_some(),
            released: AtomicBool::new(false),
            state: Mutex::new(ReaperState {
                exit: Some(Box::new(exit)),
                group,
                ..ReaperState::default()
            }),
        })
    }

    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    /// Gives up a wait.
    pub(crate) fn forget(&self, key: &mut Key) {
        let _stale = lock(&self.state).waiters.forget(key);
    }

    /// Sends a signal: `NotFound` once its end has been published. A child that has ended but
    /// whose end is not known yet takes any signal, and nothing happens (CPython issue 88319).
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        self.reach(P::is_deadly(signal), |process| process.signal(signal))
    }

    /// Ends it at once. As [`signal`](Reaper::signal).
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.reach(true, P::kill)
    }

    /// Kills it and waits a moment for its end.
    pub(crate) fn end_now(&self) {
        let _ = self.kill();
        let mut wakers = Vec::new();
        self.reap_by(|process| process.wait_timeout(REAP_TIMEOUT), &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn reach(&self, deadly: bool, send: impl FnOnce(&P) -> io::Result<()>) -> io::Result<()> {
        let state = lock(&self.state);
        let (Some(process), None) = (&state.process, &state.exit) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.reactor.in_forked_child() {
            return Err(io::ErrorKind::NotFound.into());
        }
        match send(process) {
            // Other code has reaped it.
            Err(error) if P::is_gone(&error) => Ok(()),
            Ok(()) if deadly => {
                self.killed.store(true, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    /// Sends a signal to the process group that it leads: `NotFound` when there is none, or it can
    /// no longer be told from another.
    pub(crate) fn signal_group(&self, signal: i32) -> io::Result<()> {
        self.reach_group(|it| it.signal_group(signal), |it| it.signal(signal))
    }

    /// Asks it to end, with the group that it leads if it leads one. `false` where the system has no way
    /// to ask; `NotFound` when there is nothing left to be asked.
    pub(crate) fn ask(&self, signal: i32) -> io::Result<bool> {
        let state = lock(&self.state);
        let asked = match (&state.process, &state.group) {
            _ if self.reactor.in_forked_child() => Err(io::ErrorKind::NotFound.into()),
            (Some(process), _) if self.leads || state.exit.is_none() => {
                process.ask(signal, self.leads)
            }
            (None, Some(group)) if self.leads => group.signal(signal).map(|()| true),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        match asked {
            Err(error) if P::is_gone(&error) => Err(io::ErrorKind::NotFound.into()),
            asked => asked,
        }
    }

    /// Kills the group that it leads, if it leads one, its control group, if that was asked for, and
    /// itself if it has not ended. The error is that of the kill that was refused: another user's
    /// process.
    pub(crate) fn kill_with_group(&self) -> io::Result<()> {
        let killed = self.kill_unstarted();
        let cgroup = self.kill_cgroup();
        if killed.is_err() { killed } else { cgroup }
    }

    /// The same for one that has not executed its program: what is in its control group is not its own.
    pub(crate) fn kill_unstarted(&self) -> io::Result<()> {
        let group = self.reach_group(P::kill_group, P::Group::kill);
        let refused = |result: &io::Result<()>| matches!(result, Err(error) if error.kind() != io::ErrorKind::NotFound);
        let own = self.kill();
        [own, group].into_iter().find(refused).unwrap_or(Ok(()))
    }

    /// Kills all that is in its control group, if that was asked for.
    pub(super) fn kill_cgroup(&self) -> io::Result<()> {
        let state = lock(&self.state);
        match &state.cgroup {
            Some(cgroup) if !self.reactor.in_forked_child() => cgroup.kill(),
            _ => Ok(()),
        }
    }

    fn reach_group(
        &self,
        by_leader: impl FnOnce(&P) -> io::Result<()>,
        by_group: impl FnOnce(&P::Group) -> io::Result<()>,
    ) -> io::Result<()> {
        let state = lock(&self.state);
        let result = match (&state.process, &state.group) {
            _ if self.reactor.in_forked_child() || !self.leads => {
                Err(io::ErrorKind::NotFound.into())
            }
            (Some(process), _) => by_leader(process),
            (None, Some(group)) => by_group(group),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        };
        match result {
            Err(error) if P::is_gone(&error) => Err(io::ErrorKind::NotFound.into()),
            result => result,
        }
    }
}

impl Reaper {
    /// The descriptor that names it, for the user to wait for; it stays open as long as there is a
    /// guard. `NotFound` when it has been reaped already, `Unsupported` where the system has none.
    #[cfg(feature = "python")]
    pub(crate) fn expose(&self) -> io::Result<sys::RawHandle> {
        let mut state = lock(&self.state);
        let handle = match (&state.process, &state.group) {
            (Some(process), _) => process.handle()?.ok_or(io::ErrorKind::Unsupported)?,
            (None, Some(group)) => group.handle()?,
            (None, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        state.exposed = true;
        Ok(handle)
    }

    /// A descriptor of the caller's own that names it. `NotFound` when it has been reaped already,
    /// `Unsupported` where the system has none.
    #[cfg(unix)]
    pub(crate) fn pidfd(&self) -> io::Result<sys::OwnedHandle> {
        let state = lock(&self.state);
        let process = state.process.as_ref().ok_or(io::ErrorKind::NotFound)?;
        sys::try_clone(&process.pidfd().ok_or(io::ErrorKind::Unsupported)?)
    }
}

#[cfg(test)]
#[path = "reaper_tests.rs"]
mod tests;
