//! A process from its start to its end as one operation: start it, feed it, collect what it writes,
//! and leave nothing of it.

use std::io;
use std::task::{Context, Poll};

use crate::error::SpawnError;
use crate::process::communicate::{Collect, Communicate};
use crate::process::guard::ChildGuard;
use crate::process::spawn::{PendingSpawn, Pipes};
use crate::process::teardown::Teardown;
use crate::stream::buffer::{OutOfMemory, Sink};
use crate::stream::read_pipe::ReadPipe;
use crate::stream::write_pipe::WritePipe;

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

enum Phase<K: Sink> {
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
    phase: Phase<K>,
    sink: fn(&Limits) -> K,
    limits: Limits,
    /// What is to be done with its standard input, once it has one.
    feed: Option<Feed>,
    stdin: Option<WritePipe>,
    guard: Option<ChildGuard>,
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
            phase: Phase::Spawning(pending),
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
        match &self.phase {
            Phase::Spawning(_) | Phase::Running(_) => Some(Period::Run),
            Phase::Ending(teardown, _) => teardown.has_grace().then_some(Period::Grace),
            Phase::Draining(_) => Some(Period::Drain),
            Phase::Aborting(_) | Phase::Over(_) => None,
        }
    }

    /// The period is over.
    pub(crate) fn time_is_up(&mut self) {
        match &mut self.phase {
            Phase::Spawning(_) | Phase::Running(_) => self.interrupt(),
            Phase::Ending(teardown, _) => teardown.end_grace(),
            Phase::Draining(outputs) => self.phase = Phase::Over(std::mem::take(outputs)),
            Phase::Aborting(_) | Phase::Over(_) => {}
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
        self.replace(|phase, signal| match phase {
            Phase::Spawning(mut pending) => {
                pending.abort();
                Phase::Aborting(pending)
            }
            Phase::Running(mut communicate) => {
                let outputs = [communicate.stdout.take(), communicate.stderr.take()];
                Phase::Ending(Teardown::new(communicate.guard().clone(), signal), outputs)
            }
            phase => phase,
        });
    }

    fn replace(&mut self, change: impl FnOnce(Phase<K>, i32) -> Phase<K>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over([None, None]));
        self.phase = change(phase, self.signal);
    }

    /// Whether, since the last call, the system refused a signal.
    pub(crate) fn take_refusal(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// The process, once it was started.
    pub(crate) fn guard(&self) -> Option<&ChildGuard> {
        self.guard.as_ref()
    }

    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// What was collected from standard output and standard error.
    pub(crate) fn outputs(&mut self) -> Outputs<K> {
        match &mut self.phase {
            Phase::Over(outputs) => std::mem::take(outputs),
            _ => [None, None],
        }
    }

    /// Goes on as far as it can.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.phase {
                Phase::Spawning(pending) => match std::task::ready!(pending.poll(cx)) {
                    Ok((guard, pipes)) => self.started(guard, pipes),
                    Err(error) => {
                        self.failure = Some(Failure::Spawn(error));
                        self.phase = Phase::Over([None, None]);
                    }
                },
                Phase::Aborting(pending) => {
                    std::task::ready!(pending.poll_gone(cx));
                    self.phase = Phase::Over([None, None]);
                }
                Phase::Running(communicate) => {
                    match std::task::ready!(communicate.poll(cx)) {
                        Ok(()) => self.ended(),
                        Err(error) => {
                            self.failure = Some(Failure::Communicate(error));
                            self.wanted = false;
                            self.interrupt();
                        }
                    };
                }
                Phase::Ending(teardown, outputs) => {
                    // Meanwhile it can go on writing: a full pipe must not keep it from ending.
                    let read = poll_outputs(outputs, cx);
                    let gone = teardown.poll(cx);
                    self.refused |= teardown.take_refusal();
                    std::task::ready!(gone);
                    let outputs = std::mem::take(outputs);
                    self.stdin = None;
                    self.phase = if read.is_pending() && self.wanted {
                        Phase::Draining(outputs)
                    } else {
                        Phase::Over(outputs)
                    };
                }
                Phase::Draining(outputs) => {
                    std::task::ready!(poll_outputs(outputs, cx));
                    self.phase = Phase::Over(std::mem::take(outputs));
                }
                Phase::Over(_) => return Poll::Ready(()),
            }
        }
    }

    fn started(&mut self, guard: ChildGuard, pipes: Pipes) {
        if let Some(stdin) = &pipes.stdin {
            if let Some(feed) = self.feed.take()
                && let Err(error) = feed(stdin)
            {
                stdin.change(|writer| writer.fail(&error.into()));
            }
            stdin.close();
        }
        let collect = |pipe: Option<ReadPipe>| {
            pipe.map(|pipe| Collect::new(pipe, (self.sink)(&self.limits), None))
        };
        let (stdout, stderr) = (collect(pipes.stdout), collect(pipes.stderr));
        self.stdin = pipes.stdin;
        self.guard = Some(guard.clone());
        let communicate = Communicate::new(guard, self.stdin.clone(), stdout, stderr);
        self.phase = Phase::Running(communicate);
    }

    /// The process has ended by itself, and its outputs were read to their ends. What it left behind
    /// in its group is killed, and the process, which was kept for that, is reaped.
    fn ended(&mut self) {
        self.stdin = None;
        self.replace(|phase, _| match phase {
            Phase::Running(mut communicate) => {
                let guard = communicate.guard();
                // Another user's process, which cannot be killed, is left alone.
                let _ = guard.kill_with_group();
                guard.let_group_go();
                Phase::Over([communicate.stdout.take(), communicate.stderr.take()])
            }
            phase => phase,
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
