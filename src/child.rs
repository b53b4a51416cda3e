//! The handle of a Rust program on a child.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::communicate::{Collect, Communicate};
use crate::error::SpawnError;
use crate::life::Held;
use crate::pipe::{ReadPipe, WritePipe};
use crate::start::{Pipes, Starting};
use crate::status::{ExitStatus, Usage};

/// A child that is being started; ends with the [`Child`] once its program was executed.
///
/// # Cancel safety
/// Dropping it kills the child, which the reactor reaps.
#[must_use = "a child that is being started is killed when this is dropped"]
pub struct Spawning(Starting);

impl Spawning {
    pub(crate) fn new(starting: Starting) -> Self {
        Spawning(starting)
    }
}

impl Future for Spawning {
    type Output = Result<Child, SpawnError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0
            .poll(cx)
            .map(|result| result.map(|(life, pipes)| Child::new(life, pipes)))
    }
}

/// A child process. Belongs to the reactor that started it, and makes progress when that is
/// dispatched.
pub struct Child {
    life: Arc<Held>,
    stdin: Option<Arc<WritePipe>>,
    stdout: Option<Arc<ReadPipe>>,
    stderr: Option<Arc<ReadPipe>>,
}

impl std::fmt::Debug for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

/// What a child gave back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, if that was piped.
    pub stdout: Option<Vec<u8>>,
    /// Its standard error, if that was piped.
    pub stderr: Option<Vec<u8>>,
}

impl Child {
    fn new(life: Arc<Held>, pipes: Pipes) -> Self {
        Child {
            life,
            stdin: pipes.stdin.map(Arc::new),
            stdout: pipes.stdout.map(Arc::new),
            stderr: pipes.stderr.map(Arc::new),
        }
    }

    /// The process id. It stays readable after the end, when it may belong to another process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.life.pid()
    }

    /// How it ended, if it has: looks now.
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.life.try_wait().map(|exit| exit.status)
    }

    /// What it consumed; known once it has ended.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.life.exit().map(|exit| exit.usage)
    }

    /// Waits for its end, whoever still holds its pipes.
    ///
    /// # Cancel safety
    /// Nothing is lost: wait again.
    pub async fn wait(&self) -> ExitStatus {
        let mut key = None;
        poll_fn(|cx| self.life.poll_wait(&mut key, cx)).await.status
    }

    /// Sends a signal. It can reach no other process.
    ///
    /// # Errors
    /// `NotFound` once the end of the child is known; what kill(2) reports.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.life.signal(signal)
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// As [`signal`](Child::signal).
    pub fn kill(&self) -> io::Result<()> {
        self.life.kill()
    }

    /// Writes `input` to its standard input and closes that, collects its piped outputs to their
    /// ends, and waits for its end. That the child does not read its input is no error.
    ///
    /// # Errors
    /// Reading a pipe failed, or there was no memory for the output.
    ///
    /// # Cancel safety
    /// What was collected is put back, and the writing goes on: the next call returns everything.
    pub async fn communicate(&mut self, input: Option<Vec<u8>>) -> io::Result<Output> {
        if let Some(stdin) = &self.stdin {
            if let Some(input) = input {
                stdin.write(&input.clone(), |written| (Box::new(input), written));
            }
            stdin.close();
        }
        let collect = |pipe: &Option<Arc<ReadPipe>>| {
            pipe.clone()
                .map(|pipe| Collect::new(pipe, Vec::new(), None))
        };
        let (stdout, stderr) = (collect(&self.stdout), collect(&self.stderr));
        let mut operation = Communicate::new(self.life.clone(), stdout, stderr);
        poll_fn(|cx| operation.poll(cx))
            .await
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        let take = |collect: &mut Option<Collect<Vec<u8>>>| match collect {
            None => Ok(None),
            Some(collect) => {
                let pipe = collect.pipe().clone();
                let error = pipe
                    .lock()
                    .error()
                    .map(|e| io::Error::new(e.kind(), e.to_string()));
                error.map_or_else(|| Ok(collect.take()), Err)
            }
        };
        let (stdout, stderr) = (take(&mut operation.stdout)?, take(&mut operation.stderr)?);
        let status = self
            .life
            .exit()
            .map_or(ExitStatus::Lost, |exit| exit.status);
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}
