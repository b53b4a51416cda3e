//! A process from its start to its end as one operation: start it, feed it, collect what it writes,
//! and leave nothing of it.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::SpawnError;
use crate::process::communicate::{Collect, Communicate};
use crate::process::reaper::ChildGuard;
use crate::process::spawn::{PendingSpawn, Pipes};
use crate::process::teardown::Teardown;
use crate::stream::buffer::{OutOfMemory, Sink};
use crate::stream::pipe::{ReadPipe, WritePipe};

/// What a period of time is running for. The timers are the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Period {
    /// The process may run.
    Run,
    /// It was asked to end.
    Grace,
    /// It has ended; a process that has left its group may still hold the pipes.
    Drain,
}

/// Why it came to no result.
pub(crate) enum Failure {
    Spawn(SpawnError),
    /// Writing its input failed, or there was no memory for its output.
    Communicate(io::Error),
}

enum Stage<K: Sink> {
    Spawning(PendingSpawn),
    /// The start was interrupted.
    Aborting(PendingSpawn),
    Running(Communicate<K>),
    Ending(Teardown, Outputs<K>),
    Draining(Outputs<K>),
    Over(Outputs<K>),
}

type Outputs<K> = [Option<Collect<K>>; 2];

/// Runs a process. Dropped half-way, it kills the group of the process at once; the reactor reaps it.
pub(crate) struct Run<K: Sink> {
    stage: Stage<K>,
    sink: fn(&Limits) -> K,
    limits: Limits,
    /// What is to be done with its standard input, once it has one.
    feed: Option<Feed>,
    stdin: Option<Arc<WritePipe>>,
    guard: Option<Arc<ChildGuard>>,
    failure: Option<Failure>,
    signal: i32,
    refused: bool,
    /// Whether what it has written is wanted although it was interrupted.
    wanted: bool,
}

/// How much of each output is kept: the first and the last bytes, or all.
pub(crate) type Limits = Option<(usize, usize)>;
pub(crate) type Feed = Box<dyn FnOnce(&WritePipe) -> Result<(), OutOfMemory> + Send>;

impl<K: Sink> Run<K> {
    /// `sink` makes what collects an output. `signal` is what asks the process to end.
    pub(crate) fn new(
        pending: PendingSpawn,
        sink: fn(&Limits) -> K,
        limits: Limits,
        feed: Option<Feed>,
        signal: i32,
    ) -> Self {
        Run {
            stage: Stage::Spawning(pending),
            sink,
            limits,
            feed,
            stdin: None,
            guard: None,
            failure: None,
            signal,
            refused: false,
            wanted: true,
        }
    }

    /// What the caller's timer is to be set for; None if for nothing.
    pub(crate) fn period(&self) -> Option<Period> {
        match &self.stage {
            Stage::Spawning(_) | Stage::Running(_) => Some(Period::Run),
            Stage::Ending(teardown, _) => teardown.has_grace().then_some(Period::Grace),
            Stage::Draining(_) => Some(Period::Drain),
            Stage::Aborting(_) | Stage::Over(_) => None,
        }
    }

    /// The period is over.
    pub(crate) fn time_is_up(&mut self) {
        match &mut self.stage {
            Stage::Spawning(_) | Stage::Running(_) => self.interrupt(),
            Stage::Ending(teardown, _) => teardown.end_grace(),
            Stage::Draining(outputs) => self.stage = Stage::Over(std::mem::take(outputs)),
            Stage::Aborting(_) | Stage::Over(_) => {}
        }
    }

    /// The result is not wanted any more. The first time the process is asked to end, the second time
    /// it is killed.
    pub(crate) fn cancel(&mut self) {
        self.wanted = false;
        self.time_is_up();
    }

    /// Ends the process before its time.
    fn interrupt(&mut self) {
        self.replace(|stage, signal| match stage {
            Stage::Spawning(mut pending) => {
                pending.abort();
                Stage::Aborting(pending)
            }
            Stage::Running(mut communicate) => {
                let outputs = [communicate.stdout.take(), communicate.stderr.take()];
                Stage::Ending(Teardown::new(communicate.guard().clone(), signal), outputs)
            }
            stage => stage,
        });
    }

    fn replace(&mut self, change: impl FnOnce(Stage<K>, i32) -> Stage<K>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over([None, None]));
        self.stage = change(stage, self.signal);
    }

    /// Whether, since the last call, the system refused a signal.
    pub(crate) fn take_refusal(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// The process, once it was started.
    pub(crate) fn guard(&self) -> Option<&Arc<ChildGuard>> {
        self.guard.as_ref()
    }

    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// What was collected from standard output and standard error.
    pub(crate) fn outputs(&mut self) -> Outputs<K> {
        match &mut self.stage {
            Stage::Over(outputs) => std::mem::take(outputs),
            _ => [None, None],
        }
    }

    /// Goes on as far as it can.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.stage {
                Stage::Spawning(pending) => match std::task::ready!(pending.poll(cx)) {
                    Ok((guard, pipes)) => self.started(guard, pipes),
                    Err(error) => {
                        self.failure = Some(Failure::Spawn(error));
                        self.stage = Stage::Over([None, None]);
                    }
                },
                Stage::Aborting(pending) => {
                    std::task::ready!(pending.poll_gone(cx));
                    self.stage = Stage::Over([None, None]);
                }
                Stage::Running(communicate) => {
                    match std::task::ready!(communicate.poll(cx)) {
                        Ok(()) => self.ended(),
                        Err(error) => {
                            self.failure = Some(Failure::Communicate(error));
                            self.wanted = false;
                            self.interrupt();
                        }
                    };
                }
                Stage::Ending(teardown, outputs) => {
                    // Meanwhile it can go on writing: a full pipe must not keep it from ending.
                    let read = poll_outputs(outputs, cx);
                    let gone = teardown.poll(cx);
                    self.refused |= teardown.take_refusal();
                    std::task::ready!(gone);
                    let outputs = std::mem::take(outputs);
                    self.stdin = None;
                    self.stage = if read.is_pending() && self.wanted {
                        Stage::Draining(outputs)
                    } else {
                        Stage::Over(outputs)
                    };
                }
                Stage::Draining(outputs) => {
                    std::task::ready!(poll_outputs(outputs, cx));
                    self.stage = Stage::Over(std::mem::take(outputs));
                }
                Stage::Over(_) => return Poll::Ready(()),
            }
        }
    }

    fn started(&mut self, guard: Arc<ChildGuard>, pipes: Pipes) {
        if let Some(stdin) = &pipes.stdin {
            if let Some(feed) = self.feed.take()
                && let Err(error) = feed(stdin)
            {
                stdin.change(|writer| writer.fail(&error.into()));
            }
            stdin.close();
        }
        let collect = |pipe: Option<ReadPipe>| {
            pipe.map(|pipe| Collect::new(Arc::new(pipe), (self.sink)(&self.limits), None))
        };
        let (stdout, stderr) = (collect(pipes.stdout), collect(pipes.stderr));
        self.stdin = pipes.stdin.map(Arc::new);
        self.guard = Some(guard.clone());
        let communicate = Communicate::new(guard, self.stdin.clone(), stdout, stderr);
        self.stage = Stage::Running(communicate);
    }

    /// The process has ended by itself, and its outputs were read to their ends. What it left behind
    /// in its group is killed, and the process, which was kept for that, is reaped.
    fn ended(&mut self) {
        self.stdin = None;
        self.replace(|stage, _| match stage {
            Stage::Running(mut communicate) => {
                let guard = communicate.guard();
                // Another user's process, which cannot be killed, is left alone.
                let _ = guard.kill_with_group();
                guard.let_group_go();
                Stage::Over([communicate.stdout.take(), communicate.stderr.take()])
            }
            stage => stage,
        });
    }
}

/// Reads both outputs as far as possible; ready when both have ended. What cannot be kept is lost:
/// the process is being ended.
fn poll_outputs<K: Sink>(outputs: &mut Outputs<K>, cx: &mut Context<'_>) -> Poll<()> {
    let mut pending = false;
    for output in outputs.iter_mut().flatten() {
        pending |= output.poll(cx).is_pending();
    }
    if pending {
        Poll::Pending
    } else {
        Poll::Ready(())
    }
}
