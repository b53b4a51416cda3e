//! A child between its clone and its exec.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::command::Command;
use crate::error::{SpawnError, Stage};
use crate::process::reaper::{Held, Life};
use crate::reactor::waiters::Key;
use crate::reactor::{Readiness, Shared, Source, ended};
use crate::stdio::{Stdio, Target};
use crate::stream::pipe::{ReadPipe, WritePipe};
use crate::sync::lock;
use crate::sys::{self, Interest, Outcome, OwnedHandle, Plan, RawHandle, Watched};

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
pub(crate) struct Starting {
    life: Option<Arc<Held>>,
    exec: Arc<Exec>,
    pipes: Pipes,
    kill_on_drop: bool,
    failure: Option<SpawnError>,
    key: Key,
}

impl Starting {
    /// Makes everything that can fail, then the child. On error there is no child, and nothing of
    /// it is left.
    pub(crate) fn new(
        command: &Command,
        shared: &Arc<Shared>,
        fork: Option<&mut dyn sys::Fork>,
    ) -> Result<Self, SpawnError> {
        let plan = Plan::new(command)?;
        for stdio in [&command.stdin, &command.stdout, &command.stderr] {
            if let Target::Raw(handle) = stdio.0 {
                sys::check_open(handle)?;
            }
        }
        command
            .pass_fds
            .iter()
            .try_for_each(|handle| sys::check_open(*handle))?;
        let (pipes, ends) = Ends::new(command, shared)?;
        let handles = [&ends.stdin, &ends.stdout, &ends.stderr].map(End::raw);
        let (process, outcome) = shared.spawner.spawn(plan, handles, fork)?;
        drop(ends);
        // From here on there is a child, and whatever fails must take it along: until the exec is
        // known to have worked, to give up means to kill.
        let life = Life::watch(shared, process, true, command.leads())?;
        let exec = Exec::new(shared, outcome)?;
        let kill_on_drop = command.kill_on_drop;
        Ok(Starting {
            life: Some(Arc::new(life)),
            exec,
            pipes,
            kill_on_drop,
            failure: None,
            key: None,
        })
    }

    /// Waits until the program was executed; then the child and its pipes are the caller's. If it
    /// could not be executed, waits also until the child is gone and reaped.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Arc<Held>, Pipes), SpawnError>> {
        if self.failure.is_none() {
            match self.exec.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => self.failure = Some(error),
                Poll::Ready(Ok(())) => {
                    let Some(life) = self.life.take() else {
                        return Poll::Pending;
                    };
                    life.set_kill_on_drop(self.kill_on_drop);
                    return Poll::Ready(Ok((life, std::mem::take(&mut self.pipes))));
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

    /// Takes a child that [`poll`](Starting::poll) had handed out, to be aborted.
    #[cfg(feature = "python")]
    pub(crate) fn take_back(&mut self, life: Arc<Held>) {
        self.life = Some(life);
    }

    /// Kills the child, to be followed by [`poll_gone`](Starting::poll_gone).
    #[cfg(feature = "python")]
    pub(crate) fn abort(&mut self) {
        self.pipes = Pipes::default();
        if let Some(life) = &self.life {
            let _ = life.kill();
        }
    }

    /// Waits until the child is gone, reaped, and no longer uses our memory.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(life) = &self.life else {
            return Poll::Ready(());
        };
        if life.poll_wait(&mut self.key, cx).is_pending() || self.exec.poll_end(cx).is_pending() {
            return Poll::Pending;
        }
        self.life = None;
        self.pipes = Pipes::default();
        Poll::Ready(())
    }
}

/// Waits for the report of the child half. It owns the memory that the child half uses, and stays
/// in the reactor until that is over, whoever gives up meanwhile.
struct Exec {
    shared: Arc<Shared>,
    token: usize,
    state: Mutex<ExecState>,
}

struct ExecState {
    outcome: Option<Outcome>,
    result: Option<Result<(), SpawnError>>,
    waker: Option<Waker>,
}

impl Exec {
    /// Without an outcome to wait for, the program runs already. That is told in the next turn, so
    /// that a start can be cancelled on every system.
    fn new(shared: &Arc<Shared>, outcome: Option<Outcome>) -> io::Result<Arc<Self>> {
        let known = outcome.is_none();
        let make = |token| {
            let state = ExecState {
                outcome,
                result: None,
                waker: None,
            };
            Arc::new(Exec {
                shared: shared.clone(),
                token,
                state: Mutex::new(state),
            })
        };
        let exec = shared.add(make, |exec, token| match &lock(&exec.state).outcome {
            Some(outcome) => outcome.watch(&*shared.poller()?, token, Interest::Read),
            None => Ok(()),
        })?;
        if known {
            shared.defer(exec.token);
        }
        Ok(exec)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), SpawnError>> {
        let mut state = lock(&self.state);
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        if self.shared.is_closed() {
            return Poll::Ready(Err(ended().into()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.outcome.is_none() || self.shared.is_closed() {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Source for Exec {
    fn ready(&self, _readiness: Readiness, wakers: &mut Vec<Waker>) {
        let mut state = lock(&self.state);
        let Some(outcome) = &mut state.outcome else {
            return;
        };
        let Some(result) = outcome.try_get() else {
            return;
        };
        if let Ok(poller) = self.shared.poller()
            && !self.shared.is_foreign()
        {
            outcome.unwatch(&poller);
        }
        state.outcome = None;
        state.result = Some(result);
        wakers.extend(state.waker.take());
        drop(state);
        self.shared.remove(self.token);
    }

    fn resume(&self, wakers: &mut Vec<Waker>) {
        let mut state = lock(&self.state);
        state.result = Some(Ok(()));
        wakers.extend(state.waker.take());
        drop(state);
        self.shared.remove(self.token);
    }

    fn abandon(&self, wakers: &mut Vec<Waker>) {
        wakers.extend(lock(&self.state).waker.take());
    }
}

/// The child's ends of its standard streams, open until it has copies of its own.
struct Ends {
    stdin: End,
    stdout: End,
    stderr: End,
}

enum End {
    Inherit,
    Raw(RawHandle),
    Owned(OwnedHandle),
    Shared(Arc<OwnedHandle>),
}

impl End {
    fn raw(&self) -> Option<RawHandle> {
        match self {
            End::Inherit => None,
            End::Raw(handle) => Some(*handle),
            End::Owned(handle) => Some(sys::raw(handle)),
            End::Shared(handle) => Some(sys::raw(&**handle)),
        }
    }

    fn plain(stdio: &Stdio) -> Result<Option<End>, SpawnError> {
        Ok(match &stdio.0 {
            Target::Inherit => Some(End::Inherit),
            Target::Null => Some(End::Owned(sys::open_null()?)),
            Target::Owned(handle) => Some(End::Shared(handle.clone())),
            Target::Raw(handle) => Some(End::Raw(*handle)),
            Target::Pipe | Target::Stdout => None,
        })
    }
}

impl Ends {
    fn new(command: &Command, shared: &Arc<Shared>) -> Result<(Pipes, Self), SpawnError> {
        let (limit, ahead, size) = (command.line_limit, command.read_limit, command.pipe_size);
        let output = |stdio: &Stdio| -> Result<(Option<ReadPipe>, End), SpawnError> {
            if let Some(end) = End::plain(stdio)? {
                return Ok((None, end));
            }
            let (ours, theirs) = sys::pipe_from_child(size)?;
            Ok((
                Some(ReadPipe::new(shared, ours, limit, ahead)?),
                End::Owned(theirs),
            ))
        };
        let (stdin, stdin_end) = match (End::plain(&command.stdin)?, &command.stdin.0) {
            (Some(end), _) => (None, end),
            (None, Target::Stdout) => return Err(only_for_stderr()),
            (None, _) => {
                let (ours, theirs) = sys::pipe_to_child(size)?;
                (Some(WritePipe::new(shared, ours)?), End::Owned(theirs))
            }
        };
        if matches!(command.stdout.0, Target::Stdout) {
            return Err(only_for_stderr());
        }
        let (stdout, stdout_end) = output(&command.stdout)?;
        let (stderr, stderr_end) = match command.stderr.0 {
            Target::Stdout => (
                None,
                End::Raw(stdout_end.raw().unwrap_or_else(sys::own_stdout)),
            ),
            _ => output(&command.stderr)?,
        };
        let ends = Ends {
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

fn only_for_stderr() -> SpawnError {
    let text = "only standard error can be sent to standard output";
    SpawnError::new(
        Stage::Setup,
        io::Error::new(io::ErrorKind::InvalidInput, text),
    )
}
