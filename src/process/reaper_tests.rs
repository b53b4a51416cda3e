//! The reaper against scripts instead of processes, in a real reactor.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Barrier, mpsc};
use std::task::Wake;
use std::time::Duration;

use super::*;
use crate::process::guard::ChildGuard;
use crate::process::seams::{Kill, Notify, Wait};
use crate::reactor::{Reactor, Source};
use crate::sys::{Poller, Readiness};

#[path = "refused_wait_tests.rs"]
mod refused_wait;

const ENDED: Exit = Exit {
    status: ExitStatus::Exited(7),
    usage: Usage {
        user: Duration::ZERO,
        system: Duration::ZERO,
        max_resident: None,
    },
};
const PID: u32 = 4711;
const TERMINATE: i32 = 15;
const KILL: i32 = 9;

/// What was done to the child, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Unwatched,
    Signal(i32),
    SignalGroup(i32),
    Reaped,
    Seen,
    /// A thread of its own waits.
    Blocked,
}

/// The system's side of a child: what it answers, and what it was asked.
#[derive(Default)]
struct System {
    calls: Vec<Call>,
    /// It has ended, and is a zombie until it is reaped.
    ended: bool,
    reaped: bool,
    /// A killed child is a zombie at once.
    dies: bool,
    /// The errors of the next attempts to wait.
    refused: VecDeque<i32>,
    unwatchable: Option<i32>,
    unkillable: Option<i32>,
    token: usize,
    done: Option<mpsc::Sender<()>>,
}

impl System {
    fn wait(&mut self, leave: bool) -> io::Result<Option<Exit>> {
        assert!(!self.reaped, "waited for after it was reaped");
        if let Some(errno) = self.refused.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if !self.ended {
            return Ok(None);
        }
        self.reaped = !leave;
        self.calls
            .push(if leave { Call::Seen } else { Call::Reaped });
        Ok(Some(ENDED))
    }

    fn signal(&mut self, call: Call, deadly: bool) -> io::Result<()> {
        assert!(!self.reaped, "{call:?} may have hit another process");
        self.calls.push(call);
        if let Some(errno) = self.unkillable {
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.ended |= deadly && self.dies;
        Ok(())
    }
}

/// A child that does what its [`System`] says.
#[derive(Clone, Default)]
struct FakeProcess(Arc<Mutex<System>>);

impl FakeProcess {
    fn that_dies() -> Self {
        let script = FakeProcess::default();
        script.system().dies = true;
        script
    }

    fn system(&self) -> MutexGuard<'_, System> {
        lock(&self.0)
    }

    fn calls(&self) -> Vec<Call> {
        self.system().calls.clone()
    }

    fn count(&self, call: Call) -> usize {
        self.calls().into_iter().filter(|it| *it == call).count()
    }

    fn end(&self) {
        self.system().ended = true;
    }
}

impl Notify for FakeProcess {
    fn watch(&mut self, _poller: &Poller, token: usize) -> io::Result<()> {
        let mut system = self.system();
        system.token = token;
        match system.unwatchable {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    fn unwatch(&mut self, _poller: &Poller) {
        self.system().calls.push(Call::Unwatched);
    }
}

impl Wait for FakeProcess {
    fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.system().wait(false)
    }

    fn try_look(&mut self) -> io::Result<Option<Exit>> {
        self.system().wait(true)
    }

    fn wait_timeout(&mut self, _timeout: Duration) -> io::Result<Option<Exit>> {
        self.try_wait()
    }

    fn wait_blocking(&mut self) -> ExitStatus {
        let mut system = self.system();
        system.calls.push(Call::Blocked);
        if let Some(done) = system.done.take() {
            let _ = done.send(());
        }
        ENDED.status
    }
}

impl Kill for FakeProcess {
    fn is_deadly(signal: i32) -> bool {
        signal == KILL
    }

    fn is_gone(error: &io::Error) -> bool {
        error.raw_os_error() == Some(3)
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        let call = Call::Signal(signal);
        self.system().signal(call, FakeProcess::is_deadly(signal))
    }

    fn kill(&self) -> io::Result<()> {
        Kill::signal(self, KILL)
    }

    fn signal_group(&self, signal: i32) -> io::Result<()> {
        let call = Call::SignalGroup(signal);
        self.system().signal(call, FakeProcess::is_deadly(signal))
    }

    fn kill_group(&self) -> io::Result<()> {
        self.signal_group(KILL)
    }

    fn ask(&self, signal: i32, group: bool) -> io::Result<bool> {
        let asked = if group {
            self.signal_group(signal)
        } else {
            Kill::signal(self, signal)
        };
        asked.map(|()| true)
    }
}

/// A group that was left behind, which has no member any more.
struct Left(FakeProcess);

impl KillGroup for Left {
    fn signal(&self, _signal: i32) -> io::Result<()> {
        assert!(self.0.system().reaped);
        Err(io::Error::from_raw_os_error(3))
    }

    fn kill(&self) -> io::Result<()> {
        KillGroup::signal(self, KILL)
    }
}

impl ChildProcess for FakeProcess {
    type Group = Left;

    fn pid(&self) -> u32 {
        PID
    }

    fn into_group(self) -> Option<Left> {
        Some(Left(self))
    }

    fn take_cgroup_kill(&mut self) -> Option<CgroupKill> {
        None
    }

    fn is_tied(&self) -> bool {
        false
    }
}

/// A reactor and a child in it.
struct Scene {
    reactor: Reactor,
    script: FakeProcess,
}

impl Scene {
    fn new(script: FakeProcess) -> Self {
        let reactor = Reactor::new().unwrap();
        Scene { reactor, script }
    }

    fn watch(&self, kill_on_drop: bool) -> ChildGuard<FakeProcess> {
        let inner = self.reactor.inner();
        ChildGuard::watch(inner, self.script.clone(), kill_on_drop, false, false).unwrap()
    }

    /// A leader whose group is killed with it.
    fn watch_owned(&self) -> ChildGuard<FakeProcess> {
        let inner = self.reactor.inner();
        ChildGuard::watch(inner, self.script.clone(), true, true, true).unwrap()
    }

    /// Has the event of its end delivered, whether or not that has come.
    fn notify(&self) {
        let token = self.script.system().token;
        self.reactor.poller().notifier().unwrap().notify(token);
        self.reactor.dispatch().unwrap();
    }

    fn is_empty(&self) -> bool {
        self.reactor.inner().len() == 0
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One who waits for the end.
#[derive(Default)]
struct Waiter(Arc<Count>, Key);

impl Waiter {
    fn poll(&mut self, guard: &Reaper<FakeProcess>) -> Poll<io::Result<Exit>> {
        let waker = Waker::from(self.0.clone());
        guard.poll_wait(&mut self.1, &mut Context::from_waker(&waker))
    }

    fn woken(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
}

fn is_not_found(result: io::Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[test]
fn an_end_before_the_drop_is_not_followed_by_a_kill() {
    let scene = Scene::new(FakeProcess::default());
    let guard = scene.watch(true);
    scene.script.end();
    scene.notify();
    assert_eq!(guard.exit().map(|exit| exit.status), Some(ENDED.status));
    drop(guard);
    assert_eq!(scene.script.calls(), [Call::Reaped, Call::Unwatched]);
    assert!(scene.is_empty());
}

#[test]
fn an_end_that_is_not_known_yet_takes_the_kill_of_the_drop() {
    let scene = Scene::new(FakeProcess::default());
    let guard = scene.watch(true);
    scene.script.end();
    drop(guard);
    scene.notify();
    let expected = [Call::Signal(KILL), Call::Reaped, Call::Unwatched];
    assert_eq!(scene.script.calls(), expected);
    assert!(scene.is_empty());
}

#[test]
fn the_reactor_reaps_what_was_killed_by_its_drop() {
    let scene = Scene::new(FakeProcess::that_dies());
    drop(scene.watch(true));
    assert_eq!(scene.script.calls(), [Call::Signal(KILL)]);
    scene.notify();
    scene.notify();
    assert_eq!(scene.script.count(Call::Reaped), 1);
    assert!(scene.is_empty());
}

#[test]
fn what_is_not_killed_by_its_drop_is_reaped_whenever_it_ends() {
    let scene = Scene::new(FakeProcess::default());
    drop(scene.watch(false));
    scene.notify();
    assert_eq!(scene.script.calls(), []);
    scene.script.end();
    scene.notify();
    assert_eq!(scene.script.calls(), [Call::Reaped, Call::Unwatched]);
    assert!(scene.is_empty());
}

#[test]
fn a_drop_after_the_reactor_kills_and_reaps_by_itself() {
    let Scene { reactor, script } = Scene::new(FakeProcess::that_dies());
    let inner = reactor.inner().clone();
    let guard = ChildGuard::watch(&inner, script.clone(), true, false, false).unwrap();
    drop(reactor);
    assert_eq!(script.calls(), []);
    drop(guard);
    assert_eq!(script.calls(), [Call::Signal(KILL), Call::Reaped]);
}

#[test]
fn an_end_of_the_reactor_reaps_what_was_killed() {
    let Scene { reactor, script } = Scene::new(FakeProcess::that_dies());
    let guard = ChildGuard::watch(reactor.inner(), script.clone(), false, false, false).unwrap();
    let mut waiter = Waiter::default();
    assert!(waiter.poll(&guard).is_pending());
    guard.kill().unwrap();
    drop(reactor);
    assert_eq!(waiter.woken(), 1);
    assert!(matches!(waiter.poll(&guard), Poll::Ready(Ok(_))));
    assert_eq!(script.count(Call::Reaped), 1);
}

#[test]
fn an_end_of_the_reactor_fails_the_wait_for_what_runs_on() {
    let Scene { reactor, script } = Scene::new(FakeProcess::default());
    let guard = ChildGuard::watch(reactor.inner(), script.clone(), false, false, false).unwrap();
    let mut waiter = Waiter::default();
    assert!(waiter.poll(&guard).is_pending());
    drop(reactor);
    assert_eq!(waiter.woken(), 1);
    assert!(matches!(waiter.poll(&guard), Poll::Ready(Err(_))));
    drop(guard);
    assert_eq!(script.calls(), []);
}

#[test]
fn one_that_cannot_be_watched_is_killed_and_reaped() {
    // EPERM, ENOMEM, ENOSPC: what epoll_ctl(2) and kevent(2) give.
    for errno in [1, 12, 28] {
        let scene = Scene::new(FakeProcess::that_dies());
        scene.script.system().unwatchable = Some(errno);
        let inner = scene.reactor.inner();
        let error =
            ChildGuard::watch(inner, scene.script.clone(), false, false, false).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno));
        assert_eq!(scene.script.calls(), [Call::Signal(KILL), Call::Reaped]);
        assert!(scene.is_empty());
    }
}

#[test]
fn one_for_which_the_reactor_came_to_its_end_is_killed_and_reaped() {
    let Scene { reactor, script } = Scene::new(FakeProcess::that_dies());
    let inner = reactor.inner().clone();
    drop(reactor);
    assert!(ChildGuard::watch(&inner, script.clone(), false, false, false).is_err());
    assert_eq!(script.calls(), [Call::Signal(KILL), Call::Reaped]);
}

#[test]
fn one_that_takes_its_time_to_die_is_reaped_by_a_thread() {
    let scene = Scene::new(FakeProcess::default());
    let (sender, done) = mpsc::channel();
    scene.script.system().done = Some(sender);
    scene.script.system().unwatchable = Some(12);
    let inner = scene.reactor.inner();
    assert!(ChildGuard::watch(inner, scene.script.clone(), false, false, false).is_err());
    done.recv().unwrap();
    assert_eq!(scene.script.calls(), [Call::Signal(KILL), Call::Blocked]);
}

#[test]
fn no_signal_after_the_end_was_published() {
    let scene = Scene::new(FakeProcess::default());
    let guard = scene.watch(true);
    scene.script.end();
    assert!(guard.signal(TERMINATE).is_ok());
    scene.notify();
    assert!(is_not_found(guard.signal(TERMINATE)));
    assert!(is_not_found(guard.kill()));
    assert!(is_not_found(guard.signal_group(TERMINATE)));
    assert!(guard.kill_with_group().is_ok());
    guard.end_now();
    assert_eq!(scene.script.count(Call::Signal(TERMINATE)), 1);
    assert_eq!(scene.script.count(Call::Signal(KILL)), 0);
}

/// Signals and the reap from two threads: the script panics at a signal to a number that was freed.
#[test]
fn a_kill_that_races_with_the_end_hits_no_stranger() {
    for _ in 0..100 {
        let scene = Scene::new(FakeProcess::that_dies());
        let (guard, start) = (scene.watch(false), Barrier::new(3));
        std::thread::scope(|scope| {
            for deadly in [true, false] {
                let (guard, start) = (&guard, &start);
                scope.spawn(move || {
                    start.wait();
                    let sent = std::iter::repeat_with(|| {
                        guard.signal(if deadly { KILL } else { TERMINATE })
                    });
                    let refused = sent.take(1_000_000).find_map(Result::err);
                    assert_eq!(refused.unwrap().kind(), io::ErrorKind::NotFound);
                });
            }
            start.wait();
            while guard.exit().is_none() {
                guard.ready(Readiness::default(), &mut Vec::new());
            }
        });
        assert_eq!(scene.script.count(Call::Reaped), 1);
    }
}

#[test]
fn one_that_other_code_has_reaped_takes_any_signal() {
    let scene = Scene::new(FakeProcess::default());
    let guard = scene.watch(false);
    scene.script.system().unkillable = Some(3);
    assert!(guard.signal(TERMINATE).is_ok());
    scene.script.system().unkillable = Some(1);
    let refused = guard.signal(TERMINATE).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(1));
}

#[test]
fn all_who_wait_are_woken_and_each_once() {
    let scene = Scene::new(FakeProcess::default());
    let guard = scene.watch(false);
    let mut waiters = [Waiter::default(), Waiter::default(), Waiter::default()];
    for waiter in &mut waiters {
        assert!(waiter.poll(&guard).is_pending());
        assert!(waiter.poll(&guard).is_pending());
    }
    guard.forget(&mut waiters[1].1);
    // An event that says nothing.
    scene.notify();
    assert_eq!(waiters.each_ref().map(Waiter::woken), [0, 0, 0]);
    scene.script.end();
    scene.notify();
    scene.notify();
    assert!(guard.try_wait().is_some());
    assert_eq!(waiters.each_ref().map(Waiter::woken), [1, 0, 1]);
    for waiter in &mut waiters {
        assert!(matches!(waiter.poll(&guard), Poll::Ready(Ok(_))));
    }
    assert_eq!(scene.script.calls(), [Call::Reaped, Call::Unwatched]);
}

#[test]
fn a_pinned_leader_stays_a_zombie_and_its_group_can_be_signalled() {
    let scene = Scene::new(FakeProcess::default());
    let inner = scene.reactor.inner();
    let guard = ChildGuard::watch(inner, scene.script.clone(), false, true, false).unwrap();
    guard.pin();
    scene.script.end();
    scene.notify();
    assert!(guard.exit().is_some());
    assert!(is_not_found(guard.signal(TERMINATE)));
    guard.signal_group(TERMINATE).unwrap();
    guard.unpin();
    assert!(is_not_found(guard.signal_group(TERMINATE)));
    let expected = [
        Call::Seen,
        Call::Unwatched,
        Call::SignalGroup(TERMINATE),
        Call::Reaped,
    ];
    assert_eq!(scene.script.calls(), expected);
    assert!(scene.is_empty());
}

#[test]
fn an_owned_group_is_killed_before_its_leader_is_reaped() {
    for ends_first in [true, false] {
        let scene = Scene::new(FakeProcess::that_dies());
        let guard = scene.watch_owned();
        if ends_first {
            scene.script.end();
            scene.notify();
        }
        drop(guard);
        scene.notify();
        let calls = scene.script.calls();
        let killed = calls.iter().position(|it| *it == Call::SignalGroup(KILL));
        let reaped = calls.iter().position(|it| *it == Call::Reaped);
        assert!(killed.is_some() && killed < reaped, "{calls:?}");
        assert_eq!(scene.script.count(Call::Reaped), 1);
        assert!(scene.is_empty());
    }
}

#[test]
fn only_the_last_guard_lets_go() {
    let scene = Scene::new(FakeProcess::that_dies());
    let first = scene.watch(true);
    let second = first.clone();
    drop(first);
    let third = second.clone();
    drop(third);
    assert_eq!(scene.script.calls(), []);
    drop(second);
    assert_eq!(scene.script.calls(), [Call::Signal(KILL)]);
}
