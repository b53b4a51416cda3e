//! `run_process`: one awaitable from the start of a process to its end.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::awaitable::Awaitable;
use super::bytes_sink::BytesSink;
use super::child_lifetime::ChildLifetime;
use super::errors::os_error;
use super::event_loop::LoopBinding;
use super::operation::{FollowUp, Operation, follow};
use super::python_bytes::write;
use super::spawn::Request;
use super::stop::warn_of_refusal;
use super::timer::Timer;
use crate::error::error_again;
use crate::process::communicate::Collect;
use crate::process::run::{Failure, Feed, Limits, Period, Run};
use crate::stream::buffer::{OutOfMemory, Sink};
use crate::stream::capped::Capped;
use crate::stream::io::ReadIo;
use crate::sync::lock;

const SIGTERM: i32 = 15;
/// How long, in seconds, a pipe is read after the end of a process that was interrupted.
const DRAIN: f64 = 0.05;

/// Runs a process to its end, and returns an `Outcome`. Raises what `subprocess.Popen` raises if it
/// cannot be started. `timeout` and `grace` are in seconds.
#[pyfunction]
#[pyo3(signature = (request, input, timeout, grace, limits))]
pub fn run(
    py: Python<'_>,
    request: Request,
    input: Option<Py<PyBytes>>,
    timeout: f64,
    grace: f64,
    limits: Limits,
) -> PyResult<Awaitable> {
    let binding = LoopBinding::current(py)?;
    let op = RunOp {
        binding: binding.clone(),
        request,
        input,
        timeout,
        grace,
        limits,
        started: Instant::now(),
        run: None,
        timer: None,
        timed_out: false,
        follow_up: None,
    };
    Ok(Awaitable::new(&binding, op))
}

/// Where an output is collected.
enum RunSink {
    All(BytesSink),
    Capped(Capped),
}

impl RunSink {
    fn new(limits: &Limits) -> Self {
        match *limits {
            None => RunSink::All(BytesSink::default()),
            Some((head, tail)) => RunSink::Capped(Capped::new(head, tail)),
        }
    }

    fn finish(mut self, py: Python<'_>) -> PyResult<Collected> {
        match &mut self {
            RunSink::All(sink) => Ok((sink.finish(py)?, 0, 0)),
            RunSink::Capped(capped) => {
                let (kept, seam, dropped) = std::mem::take(capped).finish();
                let bytes = PyBytes::new_with(py, kept.len(), |bytes| {
                    bytes.copy_from_slice(&kept);
                    Ok(())
                })?;
                Ok((bytes.unbind(), seam, dropped))
            }
        }
    }
}

impl Sink for RunSink {
    fn append(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        match self {
            RunSink::All(sink) => sink.append(bytes),
            RunSink::Capped(sink) => sink.append(bytes),
        }
    }

    fn read(&mut self, io: &mut dyn ReadIo, room: usize) -> Result<io::Result<usize>, OutOfMemory> {
        match self {
            RunSink::All(sink) => sink.read(io, room),
            RunSink::Capped(sink) => sink.read(io, room),
        }
    }

    fn len(&self) -> usize {
        match self {
            RunSink::All(sink) => sink.len(),
            RunSink::Capped(sink) => sink.len(),
        }
    }

    fn piece_at(&self, start: usize) -> &[u8] {
        match self {
            RunSink::All(sink) => sink.piece_at(start),
            RunSink::Capped(sink) => sink.piece_at(start),
        }
    }
}

/// What an output came to: the bytes, after how many of them others were left out, and how many.
type Collected = (Py<PyBytes>, usize, u64);

/// What a run came to: the return code and the two outputs; user and system time in seconds and the
/// largest resident set in bytes; how long it took, in seconds; and whether it took too long. The first
/// and the fourth are None if the program was not executed in time.
type Outcome = (
    Option<i64>,
    Option<Collected>,
    Option<Collected>,
    Option<(f64, f64, Option<u64>)>,
    f64,
    bool,
);

struct RunOp {
    binding: Arc<LoopBinding>,
    request: Request,
    input: Option<Py<PyBytes>>,
    timeout: f64,
    grace: f64,
    limits: Limits,
    started: Instant,
    run: Option<Mutex<Run<RunSink>>>,
    timer: Option<(Period, Timer)>,
    timed_out: bool,
    follow_up: Option<FollowUp>,
}

impl RunOp {
    /// Has the timer run for what now takes its time. Returns whether that is over already.
    fn keep_time(&mut self, period: Option<Period>, cx: &Context<'_>) -> bool {
        if self.timer.as_ref().map(|(period, _)| *period) != period {
            let started = period.map(|period| (period, self.start_timer(period)));
            if let Some(former) = std::mem::replace(&mut self.timer, started) {
                // To drop it calls into Python, which may come back here.
                self.follow(|_| {
                    drop(former);
                    Ok(())
                });
            }
        }
        let timer = self.timer.as_ref();
        timer.is_some_and(|(_, timer)| timer.is_due(cx))
    }

    fn start_timer(&mut self, period: Period) -> Timer {
        let seconds = match period {
            Period::Run => self.timeout,
            Period::Grace => self.grace,
            Period::Drain => DRAIN,
        };
        let timer = Timer::new(seconds);
        if seconds > 0.0 && seconds.is_finite() {
            self.follow(timer.start(&self.binding, seconds));
        }
        timer
    }

    /// Adds something to be called in Python.
    fn follow(&mut self, call: impl FnOnce(Python<'_>) -> PyResult<()> + Send + Sync + 'static) {
        follow(&mut self.follow_up, call);
    }

    fn outcome(&self, py: Python<'_>, run: &mut Run<RunSink>) -> PyResult<Outcome> {
        let [stdout, stderr] = run.outputs();
        let failed = [&stdout, &stderr]
            .into_iter()
            .flatten()
            .find_map(|output| output.pipe().lock().error().map(error_again));
        // Without the lock: to make the exception may run code of the program.
        if let Some(error) = failed {
            return Err(os_error(py, &error, None));
        }
        let finish = |collect: Option<Collect<RunSink>>| {
            let sink = collect.and_then(|mut collect| collect.take());
            sink.map(|sink| sink.finish(py)).transpose()
        };
        let (mut returncode, mut usage) = (None, None);
        if let Some(guard) = run.guard() {
            returncode = ChildLifetime::new(guard.clone()).returncode(py)?;
            usage = guard.exit().map(|exit| exit.usage);
        }
        let usage = usage.map(|it| {
            let (user, system) = (it.user.as_secs_f64(), it.system.as_secs_f64());
            (user, system, it.max_resident)
        });
        let duration = self.started.elapsed().as_secs_f64();
        let (stdout, stderr) = (finish(stdout)?, finish(stderr)?);
        Ok((returncode, stdout, stderr, usage, duration, self.timed_out))
    }
}

impl Operation for RunOp {
    fn name(&self) -> &'static str {
        "run_process"
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        self.started = Instant::now();
        let pending = self.request.begin(py, &self.binding)?;
        let feed = self.input.take().map(|input| -> Feed {
            Box::new(move |stdin| Python::attach(|py| write(stdin, input.bind(py)).map(drop)))
        });
        let run = Run::new(pending, RunSink::new, self.limits, feed, SIGTERM);
        self.run = Some(Mutex::new(run));
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(run) = self.run.take() else {
            return Poll::Ready(());
        };
        let polled = {
            let mut run = lock(&run);
            loop {
                let polled = run.poll(cx);
                if run.take_refusal()
                    && let Some(guard) = run.guard()
                {
                    self.follow(warn_of_refusal(guard.pid()));
                }
                if polled.is_ready() || !self.keep_time(run.period(), cx) {
                    break polled;
                }
                self.timed_out |= run.period() == Some(Period::Run);
                run.time_is_up();
            }
        };
        self.run = Some(run);
        polled
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.timer = None;
        let Some(run) = self.run.take() else {
            return Ok(py.None());
        };
        let mut run = lock(&run);
        match run.take_failure() {
            Some(Failure::Spawn(error)) => Err(self.request.error(py, &error)),
            Some(Failure::Communicate(error)) => Err(os_error(py, &error, None)),
            None => self.outcome(py, &mut run)?.into_py_any(py),
        }
    }

    fn take_follow_up(&mut self) -> Option<FollowUp> {
        self.follow_up.take()
    }

    fn cancel(&mut self) -> bool {
        if let Some(run) = &self.run {
            lock(run).cancel();
        }
        self.run.is_some()
    }

    fn cancel_again(&mut self) -> bool {
        self.cancel()
    }
}
