//! A child between its clone and its exec.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::command::Command;
use crate::error::{SpawnError, reactor_ended};
use crate::process::guard::ChildGuard;
use crate::process::reaper::Reaper;
use crate::reactor::waiters::Key;
use crate::reactor::{Inner, Source};
use crate::stdio::{Stdio, Target};
use crate::stream::read_pipe::ReadPipe;
use crate::stream::write_pipe::WritePipe;
use crate::sync::lock;
use crate::sys::Readiness;
use crate::sys::{self, ExecReport, Interest, OwnedHandle, Plan, RawHandle, Watched};

/// The parent's ends of the standard streams that were asked to be pipes.
#[derive(Default)]
pub(crate) struct Pipes {
    pub stdin: Option<WritePipe>,
    pub stdout: Option<ReadPipe>,
    pub stderr: Option<ReadPipe>,
}

/// A child that was cloned and has not yet executed its program, or failed to.
///
/// Dropping it kills the child; what its memory needs stays in the reactor until it is dead.
pub(crate) struct PendingSpawn {
    guard: Option<ChildGuard>,
    exec: Arc<ExecSource>,
    pipes: Pipes,
    kill_on_drop: bool,
    failure: Option<SpawnError>,
    /// It may not be signalled: a set-user-ID program, which has become another user's process.
    out_of_reach: bool,
    key: Key,
}

impl PendingSpawn {
    /// [`plan`](PendingSpawn::plan), then [`start`](PendingSpawn::start).
    pub(crate) fn new(
        command: &Command,
        reactor: &Arc<Inner>,
        fork: Option<&mut dyn sys::Fork>,
    ) -> Result<Self, SpawnError> {
        PendingSpawn::start(command, PendingSpawn::plan(command)?, reactor, fork)
    }

    /// Checks what is wanted, and copies the environment.
    pub(crate) fn plan(command: &Command) -> Result<Plan, SpawnError> {
        Plan::new(&command.spec)
    }

    /// Makes everything that can fail, then the child. On error there is no child, and nothing of
    /// it is left.
    pub(crate) fn start(
        command: &Command,
        plan: Plan,
        reactor: &Arc<Inner>,
        fork: Option<&mut dyn sys::Fork>,
    ) -> Result<Self, SpawnError> {
        // Before there is a child: one that is killed afterwards may have begun its work.
        if reactor.is_closed() {
            return Err(SpawnError::setup(reactor_ended()));
        }
        for stdio in [&command.stdin, &command.stdout, &command.stderr] {
            if let Target::Raw(handle) = stdio.0 {
                sys::check_open(handle).map_err(SpawnError::setup)?;
            }
        }
        let passed = &command.spec.pass_fds;
        passed
            .iter()
            .try_for_each(|handle| sys::check_open(*handle))
            .map_err(SpawnError::setup)?;
        let (pipes, ends) = ChildEnds::new(command, reactor).map_err(SpawnError::setup)?;
        let handles = [&ends.stdin, &ends.stdout, &ends.stderr].map(ChildEnd::raw);
        let (process, mut report) = reactor.spawner.spawn(plan, handles, fork)?;
        drop(ends);
        // From here on there is a child, and whatever fails must take it along: until the exec is
        // known to have worked, to give up means to kill.
        let owned = command.spec.kill_group_on_drop;
        let guard = ChildGuard::watch(reactor, process, true, command.leads(), owned)
            .map_err(SpawnError::setup)?;
        // Declared before the guard, dropped after it: the memory in the report is freed when the
        // child is dead.
        let exec = ExecSource::new(reactor, &mut report)
            .inspect_err(|_| guard.end_now())
            .map_err(SpawnError::setup)?;
        let kill_on_drop = command.kill_on_drop;
        Ok(PendingSpawn {
            guard: Some(guard),
            exec,
            pipes,
            kill_on_drop,
            failure: None,
            out_of_reach: false,
            key: None,
        })
    }

    /// Waits until the program was executed; then the child and its pipes are the caller's. If it
    /// could not be executed, waits also until the child is gone and reaped.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ChildGuard, Pipes), SpawnError>> {
        if self.failure.is_none() {
            match self.poll_exec(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    self.failure = Some(error);
                    // What could not be executed ends by itself; what could not be heard of does not.
                    self.kill(Reaper::kill_unstarted);
                }
                Poll::Ready(Ok(())) => {
                    let Some(guard) = self.guard.take() else {
                        return Poll::Pending;
                    };
                    guard.forget(&mut self.key);
                    guard.set_kill_on_drop(self.kill_on_drop);
                    return Poll::Ready(Ok((guard, std::mem::take(&mut self.pipes))));
                }
            }
        }
        match self.poll_gone(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => match self.failure.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
        }
    }

    /// Waits for the report. The end of the child is news of it, too: a copy of this process that
    /// another thread has forked may hold the pipe of the report for as long as it lives.
    fn poll_exec(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SpawnError>> {
        if let Poll::Ready(result) = self.exec.poll(cx) {
            return Poll::Ready(result);
        }
        match &self.guard {
            Some(guard) if matches!(guard.poll_wait(&mut self.key, cx), Poll::Ready(Ok(_))) => {
                self.exec.conclude();
                self.exec.poll(cx)
            }
            _ => Poll::Pending,
        }
    }

    /// Takes a child that [`poll`](PendingSpawn::poll) had handed out, to be aborted.
    #[cfg(feature = "python")]
    pub(crate) fn take_back(&mut self, guard: ChildGuard) {
        self.guard = Some(guard);
    }

    /// Kills the child, to be followed by [`poll_gone`](PendingSpawn::poll_gone).
    #[cfg(feature = "python")]
    pub(crate) fn abort(&mut self) {
        self.pipes = Pipes::default();
        self.kill(Reaper::kill_with_group);
    }

    fn kill(&mut self, kill: fn(&Reaper) -> io::Result<()>) {
        if let Some(guard) = &self.guard {
            let _ = kill(guard);
            let refused = |error: io::Error| error.kind() != io::ErrorKind::NotFound;
            self.out_of_reach = guard.kill().is_err_and(refused);
        }
    }

    /// Waits until the child is gone, reaped, and no longer uses our memory. One that cannot be
    /// killed is not waited for: the reactor reaps it whenever it ends.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(guard) = &self.guard else {
            return Poll::Ready(());
        };
        if !self.out_of_reach {
            match guard.poll_wait(&mut self.key, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => self.exec.conclude(),
                // The reactor has ended, which has seen to the child.
                Poll::Ready(Err(_)) => {}
            }
        }
        guard.forget(&mut self.key);
        self.guard = None;
        self.pipes = Pipes::default();
        Poll::Ready(())
    }
}

/// Waits for the report of the child half. It owns the memory that the child half uses, and stays
/// in the reactor until that is over, even if the operation is given up meanwhile.
struct ExecSource {
    reactor: Arc<Inner>,
    token: usize,
    state: Mutex<ExecState>,
}

struct ExecState {
    report: Option<ExecReport>,
    result: Option<Result<(), SpawnError>>,
    waker: Option<Waker>,
}

impl ExecSource {
    /// Without a report to wait for, the program runs already. That is told in the next turn, so
    /// that a start can be cancelled on every system.
    ///
    /// # Errors
    /// When the report cannot be watched. It is then left where it is.
    fn new(reactor: &Arc<Inner>, report: &mut Option<ExecReport>) -> io::Result<Arc<Self>> {
        let mut made = None;
        let make = |token| {
            let state = ExecState {
                report: report.take(),
                result: None,
                waker: None,
            };
            let exec = Arc::new(ExecSource {
                reactor: reactor.clone(),
                token,
                state: Mutex::new(state),
            });
            made = Some(exec.clone());
            exec
        };
        let added = reactor.add(make, |exec, token| match &lock(&exec.state).report {
            Some(report) => report.watch(&*reactor.poller()?, token, Interest::Read),
            None => Ok(()),
        });
        match added {
            Ok(exec) => {
                let reports = lock(&exec.state)
                    .report
                    .as_ref()
                    .map(|report| exec.look_again_later(report))
                    .is_some();
                if !reports {
                    reactor.put_off(exec.token);
                    reactor.wake_host();
                }
                Ok(exec)
            }
            Err(error) => {
                *report = made.and_then(|exec| lock(&exec.state).report.take());
                Err(error)
            }
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), SpawnError>> {
        let _stale;
        let mut state = lock(&self.state);
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        if self.reactor.is_closed() {
            return Poll::Ready(Err(SpawnError::setup(reactor_ended())));
        }
        _stale = state.waker.replace(cx.waker().clone());
        Poll::Pending
    }

    /// The child has ended: what it has reported until now is all, and it no longer uses our memory.
    fn conclude(&self) {
        let state = lock(&self.state);
        if state.report.is_some() {
            self.finish(state, ExecReport::conclude);
        }
    }

    /// The report is over. Returns the waker of who waits for the result.
    fn finish(
        &self,
        mut state: MutexGuard<'_, ExecState>,
        result: impl FnOnce(&mut ExecReport) -> Result<(), SpawnError>,
    ) -> Option<Waker> {
        if let Some(mut report) = state.report.take() {
            self.unwatch(&report);
            let result = result(&mut report);
            // That it could not be read has been told.
            state.result.get_or_insert(result);
        }
        let waker = state.waker.take();
        drop(state);
        self.reactor.remove(self.token);
        waker
    }

    /// The end of the pipe is the news that we wait for, but it may not come: see
    /// [`PendingSpawn::poll_exec`]. So the report is looked at again.
    fn look_again_later(&self, report: &ExecReport) {
        if let Ok(poller) = self.reactor.poller() {
            report.remind(&poller, self.token);
        }
    }

    fn unwatch(&self, report: &ExecReport) {
        if let Ok(poller) = self.reactor.poller()
            && !self.reactor.in_forked_child()
        {
            report.unwatch(&poller);
        }
    }
}

impl Source for ExecSource {
    fn ready(&self, _readiness: Readiness, wakers: &mut Vec<Waker>) {
        let mut state = lock(&self.state);
        let Some(report) = &mut state.report else {
            return;
        };
        match report.try_get() {
            Ok(Some(result)) => wakers.extend(self.finish(state, |_| result)),
            Ok(None) => self.look_again_later(report),
            Err(error) => {
                // The child is to be killed. Its memory stays here until it is dead.
                self.unwatch(report);
                state.result = Some(Err(SpawnError::setup(error)));
                wakers.extend(state.waker.take());
                drop(state);
                self.reactor.remove(self.token);
            }
        }
    }

    fn resume(&self, wakers: &mut Vec<Waker>) {
        let mut state = lock(&self.state);
        state.result = Some(Ok(()));
        wakers.extend(state.waker.take());
        drop(state);
        self.reactor.remove(self.token);
    }

    fn shutdown(&self, wakers: &mut Vec<Waker>) {
        wakers.extend(lock(&self.state).waker.take());
    }
}

/// The child's ends of its standard streams, open until it has copies of its own.
struct ChildEnds {
    stdin: ChildEnd,
    stdout: ChildEnd,
    stderr: ChildEnd,
}

enum ChildEnd {
    Inherit,
    Raw(RawHandle),
    Owned(OwnedHandle),
    Shared(Arc<OwnedHandle>),
}

impl ChildEnd {
    fn raw(&self) -> Option<RawHandle> {
        match self {
            ChildEnd::Inherit => None,
            ChildEnd::Raw(handle) => Some(*handle),
            ChildEnd::Owned(handle) => Some(sys::raw(handle)),
            ChildEnd::Shared(handle) => Some(sys::raw(&**handle)),
        }
    }

    fn plain(stdio: &Stdio) -> io::Result<Option<ChildEnd>> {
        Ok(match &stdio.0 {
            Target::Inherit | Target::Unset => Some(ChildEnd::Inherit),
            Target::Null => Some(ChildEnd::Owned(sys::open_null()?)),
            Target::Owned(handle) => Some(ChildEnd::Shared(handle.clone())),
            Target::Raw(handle) => Some(ChildEnd::Raw(*handle)),
            Target::Pipe | Target::Stdout => None,
        })
    }
}

impl ChildEnds {
    fn new(command: &Command, reactor: &Arc<Inner>) -> io::Result<(Pipes, Self)> {
        let (limit, ahead, size) = (command.line_limit, command.read_limit, command.pipe_size);
        let output = |stdio: &Stdio| -> io::Result<(Option<ReadPipe>, ChildEnd)> {
            if let Some(end) = ChildEnd::plain(stdio)? {
                return Ok((None, end));
            }
            let (ours, theirs) = sys::pipe_from_child(size)?;
            Ok((
                Some(ReadPipe::new(reactor, ours, limit, ahead)?),
                ChildEnd::Owned(theirs),
            ))
        };
        let (stdin, stdin_end) = match (ChildEnd::plain(&command.stdin)?, &command.stdin.0) {
            (Some(end), _) => (None, end),
            (None, Target::Stdout) => return Err(only_for_stderr()),
            (None, _) => {
                let (ours, theirs) = sys::pipe_to_child(size)?;
                (
                    Some(WritePipe::new(reactor, ours)?),
                    ChildEnd::Owned(theirs),
                )
            }
        };
        if matches!(command.stdout.0, Target::Stdout) {
            return Err(only_for_stderr());
        }
        let (stdout, stdout_end) = output(&command.stdout)?;
        let (stderr, stderr_end) = match command.stderr.0 {
            Target::Stdout => (
                None,
                match stdout_end.raw().or_else(sys::own_stdout) {
                    Some(handle) => ChildEnd::Raw(handle),
                    None => ChildEnd::Owned(sys::unread_pipe()?),
                },
            ),
            _ => output(&command.stderr)?,
        };
        let ends = ChildEnds {
            stdin: stdin_end,
            stdout: stdout_end,
            stderr: stderr_end,
        };
        Ok((
            Pipes {
                stdin,
                stdout,
                stderr,
            },
            ends,
        ))
    }
}

fn only_for_stderr() -> io::Error {
    let text = "only standard error can be sent to standard output";
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
