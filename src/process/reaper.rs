//! A child's life: watched, signalled, reaped exactly once, and not left behind.

use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::detached_error;
use crate::error::reactor_ended;
use crate::reactor::waiters::{Key, Waiters};
use crate::reactor::{Inner, Source};
use crate::status::{Exit, ExitStatus, Usage};
use crate::sync::lock;
use crate::sys::Readiness;
use crate::sys::{self, CgroupKill, Group, Process};

/// How long the last one out waits for a killed child, before a thread takes over.
const REAP_TIMEOUT: Duration = Duration::from_millis(100);

/// A child's life as the reactor sees it.
pub(crate) struct Reaper {
    reactor: Arc<Inner>,
    pid: u32,
    token: usize,
    kill_on_drop: AtomicBool,
    /// Its group is killed with it, also after its own end.
    kill_group_on_drop: AtomicBool,
    /// It leads a process group that may be signalled after its own end.
    leads: bool,
    released: AtomicBool,
    /// It was sent the signal that cannot be caught.
    killed: AtomicBool,
    state: Mutex<ReaperState>,
}

/// Reaping and signalling happen under the lock of this state, and nowhere else: a signal can
/// therefore never reach a pid that was freed, even where there is only the number to go by.
#[derive(Default)]
struct ReaperState {
    /// Until it is reaped.
    process: Option<Process>,
    /// From its end on.
    exit: Option<Exit>,
    /// From the time it is reaped: its group, or the descriptor that was given to the user.
    group: Option<Group>,
    /// What kills all that is in its control group.
    cgroup: Option<CgroupKill>,
    /// How many need the number of its group: until they are done it is not reaped.
    pins: usize,
    /// The user has its descriptor, which stays open as long as there is a guard.
    #[cfg(feature = "python")]
    exposed: bool,
    waiters: Waiters,
    /// It is another reactor's now.
    detached: bool,
}

impl Reaper {
    /// Watches `process`. If it cannot be watched it is killed, reaped, and the error returned.
    pub(crate) fn watch(
        reactor: &Arc<Inner>,
        mut process: Process,
        kill_on_drop: bool,
        leads: bool,
        kill_group_on_drop: bool,
    ) -> io::Result<ChildGuard> {
        let pid = process.pid();
        let mut state = Some(ReaperState {
            cgroup: process.take_cgroup_kill(),
            process: Some(process),
            pins: usize::from(kill_group_on_drop),
            ..ReaperState::default()
        });
        let make = |token| {
            let state = state.take().unwrap_or_default();
            Arc::new(Reaper {
                reactor: reactor.clone(),
                pid,
                token,
                kill_on_drop: AtomicBool::new(kill_on_drop),
                kill_group_on_drop: AtomicBool::new(kill_group_on_drop),
                leads,
                released: AtomicBool::new(false),
                killed: AtomicBool::new(false),
                state: Mutex::new(state),
            })
        };
        let watch = |guard: &Reaper, token| {
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
        added.map(ChildGuard)
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
        lock(&self.state).exit
    }

    /// Reaps it if it has ended, and publishes how.
    pub(crate) fn try_wait(&self) -> Option<Exit> {
        let mut wakers = Vec::new();
        self.reap(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        self.exit()
    }

    /// A readable pidfd is not proof (a tracer may make it so): only what waitid says counts.
    fn reap(&self, wakers: &mut Vec<Waker>) {
        self.reap_by(Process::try_wait, wakers);
    }

    fn reap_by(
        &self,
        wait: impl FnOnce(&mut Process) -> io::Result<Option<Exit>>,
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
        let Ok(Some(exit)) = found else {
            return;
        };
        self.unwatch(process);
        state.exit = Some(exit);
        state.waiters.take(wakers);
        if !pinned {
            self.forget_process(&mut state);
            drop(state);
            self.reactor.remove(self.token);
        }
    }

    /// It has been reaped.
    fn forget_process(&self, state: &mut ReaperState) {
        let process = state.process.take();
        #[cfg(feature = "python")]
        let wanted = self.leads || state.exposed;
        #[cfg(not(feature = "python"))]
        let wanted = self.leads;
        if wanted {
            state.group = process.and_then(Process::into_group);
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
    fn reap_zombie(&self, mut state: MutexGuard<'_, ReaperState>) {
        if state.pins > 0 || state.exit.is_none() || self.reactor.in_forked_child() {
            return;
        }
        let Some(process) = &mut state.process else {
            return;
        };
        if let Ok(Some(exit)) = process.try_wait()
            && exit.status != ExitStatus::Lost
        {
            state.exit = Some(exit);
        }
        self.forget_process(&mut state);
        drop(state);
        self.reactor.remove(self.token);
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

    fn unwatch(&self, process: &mut Process) {
        if let Ok(poller) = self.reactor.poller() {
            process.unwatch(&poller);
        }
    }

    /// Waits for its end. Fails when the reactor has ended before.
    pub(crate) fn poll_wait(&self, key: &mut Key, cx: &mut Context<'_>) -> Poll<io::Result<Exit>> {
        let mut state = lock(&self.state);
        if let Some(exit) = state.exit {
            *key = None;
            return Poll::Ready(Ok(exit));
        }
        if state.detached {
            return Poll::Ready(Err(detached_error()));
        }
        // Looked at under the lock: the thread that closes the reactor takes the waiters after that.
        if self.reactor.is_closed() {
            drop(state);
            return Poll::Ready(self.try_wait().ok_or_else(reactor_ended));
        }
        state.waiters.register(key, cx);
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
    pub(crate) fn detach(&self) -> io::Result<(Option<Process>, Option<Group>, Option<Exit>)> {
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
        if state.process.as_ref().is_some_and(Process::is_tied) || state.cgroup.is_some() {
            let text = "a process that ends with this program or its control group stays here";
            return Err(io::Error::other(text));
        }
        let mut wakers = Vec::new();
        state.detached = true;
        state.waiters.take(&mut wakers);
        let (mut process, group) = (state.process.take(), state.group.take());
        let exit = state.exit;
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

    /// One whose end is known already.
    pub(crate) fn ended(
        reactor: &Arc<Inner>,
        pid: u32,
        group: Option<Group>,
        exit: Option<Exit>,
    ) -> ChildGuard {
        let exit = exit.unwrap_or(Exit {
            status: ExitStatus::Lost,
            usage: Usage::default(),
        });
        ChildGuard(Arc::new(Reaper {
            reactor: reactor.clone(),
            pid,
            token: sys::WAKE_TOKEN,
            kill_on_drop: AtomicBool::new(false),
            kill_group_on_drop: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            leads: group.is_some(),
            released: AtomicBool::new(false),
            state: Mutex::new(ReaperState {
                exit: Some(exit),
                group,
                ..ReaperState::default()
            }),
        }))
    }

    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    /// Gives up a wait.
    pub(crate) fn forget(&self, key: &mut Key) {
        lock(&self.state).waiters.forget(key);
    }

    /// Sends a signal: `NotFound` once its end has been published. A child that has ended but
    /// whose end is not known yet takes any signal, and nothing happens (CPython issue 88319).
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        self.reach(Process::is_deadly(signal), |process| process.signal(signal))
    }

    /// Ends it at once. As [`signal`](Reaper::signal).
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.reach(true, Process::kill)
    }

    /// Kills it and waits a moment for its end.
    pub(crate) fn end_now(&self) {
        let _ = self.kill();
        let mut wakers = Vec::new();
        self.reap_by(|process| process.wait_timeout(REAP_TIMEOUT), &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn reach(&self, deadly: bool, send: impl FnOnce(&Process) -> io::Result<()>) -> io::Result<()> {
        let state = lock(&self.state);
        let (Some(process), None) = (&state.process, &state.exit) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.reactor.in_forked_child() {
            return Err(io::ErrorKind::NotFound.into());
        }
        match send(process) {
            // Other code has reaped it.
            Err(error) if Process::is_gone(&error) => Ok(()),
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
            Err(error) if Process::is_gone(&error) => Err(io::ErrorKind::NotFound.into()),
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
        let group = self.reach_group(Process::kill_group, Group::kill);
        let refused = |result: &io::Result<()>| matches!(result, Err(error) if error.kind() != io::ErrorKind::NotFound);
        let own = self.kill();
        [own, group].into_iter().find(refused).unwrap_or(Ok(()))
    }

    /// Kills all that is in its control group, if that was asked for.
    fn kill_cgroup(&self) -> io::Result<()> {
        let state = lock(&self.state);
        match &state.cgroup {
            Some(cgroup) if !self.reactor.in_forked_child() => cgroup.kill(),
            _ => Ok(()),
        }
    }

    fn reach_group(
        &self,
        by_leader: impl FnOnce(&Process) -> io::Result<()>,
        by_group: impl FnOnce(&Group) -> io::Result<()>,
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
            Err(error) if Process::is_gone(&error) => Err(io::ErrorKind::NotFound.into()),
            result => result,
        }
    }

    pub(crate) fn kill_on_drop(&self) -> bool {
        self.kill_on_drop.load(Ordering::Relaxed)
    }

    pub(crate) fn set_kill_on_drop(&self, kill: bool) {
        self.kill_on_drop.store(kill, Ordering::Relaxed);
    }

    /// Its last guard has gone. If that is what was asked for, it is killed; the reactor reaps
    /// it, and if the reactor has ended, we do.
    fn release(&self) {
        self.released.store(true, Ordering::Release);
        if self.reactor.in_forked_child() {
            return;
        }
        if self.kill_group_on_drop() {
            self.kill_owned();
        } else if self.kill_on_drop() {
            // After its end, another child may have been started into the same control group.
            if self.kill().is_ok() {
                let _ = self.kill_cgroup();
            }
        } else {
            return;
        }
        if self.reactor.is_closed() {
            self.reap_orphan();
        }
    }

    /// Kills it with its group, for which it need not be kept any longer.
    fn kill_owned(&self) {
        let _ = self.kill_with_group();
        self.killed.store(true, Ordering::Relaxed);
        let mut state = lock(&self.state);
        state.pins = 0;
        self.reap_zombie(state);
    }

    /// Reaps a child that was killed without the reactor.
    fn reap_orphan(&self) {
        let process = lock(&self.state).process.take();
        if let Some(mut process) = process {
            self.unwatch(&mut process);
            reap_orphan(process);
        }
    }
}

/// Kills a child that no reactor has, and reaps it.
pub(crate) fn kill_orphan(process: Process) {
    let _ = process.kill();
    reap_orphan(process);
}

/// Reaps a child that was killed: here, if it dies soon, else in a thread that ends with it. A
/// process in an uninterruptible sleep takes its time, and so does one that has become another
/// user's, which we may not kill.
pub(crate) fn reap_orphan(mut process: Process) {
    if matches!(process.wait_timeout(REAP_TIMEOUT), Ok(None)) {
        let thread = std::thread::Builder::new().name(format!("procio-reap-{}", process.pid()));
        let _ = thread
            .stack_size(64 * 1024)
            .spawn(move || process.wait_blocking());
    }
}

impl Source for Reaper {
    fn ready(&self, _readiness: Readiness, wakers: &mut Vec<Waker>) {
        self.reap(wakers);
    }

    fn shutdown(&self, wakers: &mut Vec<Waker>) {
        // To be woken outside of the lock: they may hold the last handle on this very life.
        lock(&self.state).waiters.take(wakers);
        if self.kill_group_on_drop() && !self.reactor.in_forked_child() {
            // The block that owns it cannot go on: it ends here.
            self.kill_owned();
        }
        if self.killed.load(Ordering::Relaxed) {
            // Programs close the loop right after the kill, and keep the handle: nothing else
            // would reap it before that goes.
            self.reap_by(|process| process.wait_timeout(REAP_TIMEOUT), wakers);
        }
        if self.released.load(Ordering::Acquire)
            && self.kill_on_drop()
            && !self.reactor.in_forked_child()
        {
            self.reap_orphan();
        }
    }
}

/// A handle on a life. When the last one goes, the child is released.
pub(crate) struct ChildGuard(Arc<Reaper>);

impl Deref for ChildGuard {
    type Target = Reaper;

    fn deref(&self) -> &Reaper {
        &self.0
    }
}

impl std::fmt::Debug for ChildGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        self.0.release();
    }
}
