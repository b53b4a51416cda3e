//! The handle of a Rust program on a child.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::child_stdio::{ChildStderr, ChildStdin, ChildStdout, Reading, failure};
use crate::command::Command;
use crate::error::{SpawnError, reactor_ended};
use crate::process::communicate::{Collect, Communicate};
use crate::process::guard::ChildGuard;
use crate::process::spawn::{PendingSpawn, Pipes};
use crate::process::teardown::Teardown;
use crate::process::transfer::DetachedChild;
use crate::reactor::AsReactor;
use crate::status::{ExitStatus, Usage};
use crate::stdio::Stdio;
use crate::stream::read_pipe::ReadPipe;
use crate::sys;

/// A child that is being started; ends with the [`Child`] once its program was executed.
///
/// ```
/// use procio::{Command, Reactor};
///
/// let reactor = Reactor::new()?;
/// let starting = Command::new("true").spawn(&reactor);
/// let child = reactor.run_until(starting)??;
/// assert!(reactor.run_until(child.wait())??.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
/// Dropping it kills the child, which the reactor reaps.
#[must_use = "a child that is being started is killed when this is dropped"]
pub struct Spawning(Result<PendingSpawn, Option<SpawnError>>);

impl Command {
    /// Starts the child, and returns a future that ends when its program was executed, or could not be.
    ///
    /// The call itself makes the child and does not wait, so that a slow disk holds no thread: awaiting
    /// the future is only to learn how it went. On macOS and on Windows the system's call returns when the
    /// program was loaded, and holds the thread until then. So it does where a start falls back to a vfork: on
    /// other processors than x86-64 and AArch64, and in some sandboxes.
    ///
    /// # Errors
    /// By the future, with the [`Stage`](crate::Stage) at which it failed: a NUL in an argument, a lack
    /// of resources, a program or a directory that does not exist.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child, which the reactor reaps; nothing is left.
    ///
    /// ```
    /// use procio::{Command, Reactor, Stage};
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.run_until(async {
    ///     let child = Command::new("true").spawn(&reactor).await?;
    ///     assert!(child.wait().await?.success());
    ///     let error = Command::new("/no/such/program").spawn(&reactor).await.unwrap_err();
    ///     assert_eq!(error.stage(), Stage::Exec);
    ///     Ok::<_, std::io::Error>(())
    /// })??;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn(&self, reactor: &impl AsReactor) -> Spawning {
        let mut hook = self.hook.clone();
        let fork = hook.as_mut().map(|hook| hook as &mut dyn sys::Fork);
        Spawning(PendingSpawn::new(self, &reactor.reactor_handle().0, fork).map_err(Some))
    }

    /// Runs the command to its end and collects its output. Standard output and standard error are
    /// piped and standard input is closed, unless the command says where they lead. The call starts the child, and the
    /// future borrows nothing, so that it can be given to a task.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let output = Command::new("echo").arg("hi").output(&reactor).await?;
    /// assert!(output.status.success());
    /// assert_eq!(output.stdout, b"hi\n");
    /// # Ok::<_, std::io::Error>(())
    /// # })??;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::communicate`].
    ///
    /// # Cancel safety
    /// Dropped before the program runs, it kills the child, as [`Spawning`]. After that it leaves the child running,
    /// unless [`kill_on_drop`](Command::kill_on_drop) was asked for.
    pub fn output<R: AsReactor>(
        &self,
        reactor: &R,
    ) -> impl Future<Output = io::Result<Output>> + use<R> {
        let mut command = self.clone();
        command.stdin.set_default(Stdio::null());
        command.stdout.set_default(Stdio::piped());
        command.stderr.set_default(Stdio::piped());
        let starting = command.spawn(reactor);
        async move { starting.await?.wait_with_output().await }
    }

    /// Runs the command to its end. Standard streams that are piped are closed at once. The call starts the child, as
    /// [`output`](Command::output).
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// assert!(!Command::new("false").status(&reactor).await?.success());
    /// # Ok::<_, std::io::Error>(())
    /// # })??;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::wait`].
    ///
    /// # Cancel safety
    /// As [`output`](Command::output).
    pub fn status<R: AsReactor>(
        &self,
        reactor: &R,
    ) -> impl Future<Output = io::Result<ExitStatus>> + use<R> {
        let starting = self.spawn(reactor);
        async move {
            let mut child = starting.await?;
            drop((child.stdin.take(), child.stdout.take(), child.stderr.take()));
            child.wait().await
        }
    }
}

impl Future for Spawning {
    type Output = Result<Child, SpawnError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(pending) => pending
                .poll(cx)
                .map(|result| result.map(|(guard, pipes)| Child::new(guard, pipes))),
            Err(error) => error
                .take()
                .map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}

impl std::fmt::Debug for Spawning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spawning").finish_non_exhaustive()
    }
}

/// A child process. Belongs to the reactor that started it, and makes progress when that is
/// dispatched.
///
/// Dropping it leaves the child running, as in the standard library, unless
/// [`Command::kill_on_drop`](crate::Command::kill_on_drop) was asked for; either way the reactor
/// reaps it, as long as it is dispatched.
///
/// ```
/// use procio::{Command, ExitStatus, Reactor, Stdio};
///
/// let reactor = Reactor::new()?;
/// reactor.run_until(async {
///     let mut command = Command::new("sh");
///     command.args(["-c", "read line; echo got $line; exit 3"]);
///     let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn(&reactor).await?;
///     let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
///     stdin.write_all(b"it\n").await?;
///     let mut line = String::new();
///     stdout.read_line(&mut line).await?;
///     assert_eq!(line, "got it\n");
///     assert_eq!(child.wait().await?, ExitStatus::Exited(3));
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Child {
    /// The writing end of its standard input, if that was piped. May be taken out.
    pub stdin: Option<ChildStdin>,
    /// The reading end of its standard output, if that was piped. May be taken out.
    pub stdout: Option<ChildStdout>,
    /// The reading end of its standard error, if that was piped. May be taken out.
    pub stderr: Option<ChildStderr>,
    pub(crate) guard: ChildGuard,
}

/// What a child gave back.
///
/// ```
/// # use procio::{Command, Reactor, Stdio};
/// # let reactor = Reactor::new()?;
/// # reactor.run_until(async {
/// let mut child = Command::new("echo").arg("hi").stdout(Stdio::piped()).spawn(&reactor).await?;
/// let output = child.communicate(None).await?;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"hi\n");
/// assert_eq!(output.stderr, b"");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; empty if that was not piped.
    pub stdout: Vec<u8>,
    /// Its standard error; empty if that was not piped.
    pub stderr: Vec<u8>,
}

impl Child {
    pub(crate) fn new(guard: ChildGuard, pipes: Pipes) -> Self {
        Child {
            guard,
            stdin: pipes.stdin.map(ChildStdin::new),
            stdout: pipes.stdout.map(|pipe| ChildStdout(Reading::new(pipe))),
            stderr: pipes.stderr.map(|pipe| ChildStderr(Reading::new(pipe))),
        }
    }

    /// Hands it over to another reactor, with its streams that have not been taken out and what was
    /// read from them.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// let (first, second) = (Reactor::new()?, Reactor::new()?);
    /// let starting = Command::new("echo").arg("hi").stdout(Stdio::piped()).spawn(&first);
    /// let mut child = first.run_until(starting)??.move_to(&second)?;
    /// drop(first);
    /// let output = second.run_until(child.communicate(None))??;
    /// assert_eq!(output.stdout, b"hi\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there are no descriptors or no memory, when reading or writing one of its pipes has
    /// failed, or when the other reactor has ended. A child with a `cgroup_kill`, one that the kernel ties to its
    /// pidfd, and any on Windows cannot be handed over. The child has then been killed.
    pub fn move_to(mut self, reactor: &impl AsReactor) -> io::Result<Self> {
        let parts = self.take_parts()?;
        let (guard, pipes) = parts.attach(&reactor.reactor_handle().0, 0)?;
        Ok(Child::new(guard, pipes))
    }

    /// Takes it out of its reactor. Its own handles are of no use any more.
    pub(crate) fn take_parts(&mut self) -> io::Result<DetachedChild> {
        let stdin = self.stdin.as_ref().map(|stdin| &stdin.pipe);
        let stdout = self.stdout.as_mut().map(|out| out.0.whole());
        let stderr = self.stderr.as_mut().map(|err| err.0.whole());
        let taken = DetachedChild::take(&self.guard, stdin, stdout, stderr);
        taken.inspect_err(|_| drop(self.kill()))
    }

    /// The process id. It stays readable after the end, when it may belong to another process.
    ///
    /// ```
    /// # let reactor = procio::Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = procio::Command::new("true").spawn(&reactor).await?;
    /// assert_ne!(child.id(), std::process::id());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> u32 {
        self.guard.pid()
    }

    /// How it ended, if it has: looks now, without waiting.
    ///
    /// ```
    /// # let reactor = procio::Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = procio::Command::new("sleep").arg("100").spawn(&reactor).await?;
    /// assert_eq!(child.try_wait(), None);
    /// # child.start_kill()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.guard.try_wait().map(|exit| exit.status)
    }

    /// What it consumed; known once it has ended.
    ///
    /// ```
    /// # let reactor = procio::Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = procio::Command::new("true").spawn(&reactor).await?;
    /// child.wait().await?;
    /// let usage = child.usage().expect("it has ended");
    /// assert!(usage.user + usage.system < std::time::Duration::from_secs(60));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.guard.exit().map(|exit| exit.usage)
    }

    /// Waits for its end, even while other processes hold its pipes. Its standard input is closed by this,
    /// unless it was taken out: a child that reads to the end of it would wait for ever. Any number may
    /// wait.
    ///
    /// ```
    /// # use procio::{Command, ExitStatus, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = Command::new("false").spawn(&reactor).await?;
    /// assert_eq!(child.wait().await?, ExitStatus::Exited(1));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the reactor has ended and the child has not, or the system does not tell of its end.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost, wait again. But standard input is closed from the first poll on, and writing to it then
    /// fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe). Take it out if it is to be written after a wait that is given up.
    pub async fn wait(&self) -> io::Result<ExitStatus> {
        if let Some(stdin) = &self.stdin {
            stdin.pipe.close();
        }
        let mut wait = WaiterGuard(&self.guard, None);
        let exit = poll_fn(|cx| wait.0.poll_wait(&mut wait.1, cx)).await?;
        Ok(exit.status)
    }

    /// Sends a signal. It can reach no other process. A child that has ended, but whose end is not
    /// known yet, takes any signal, and nothing happens.
    ///
    /// ```
    /// # use procio::{Command, ExitStatus, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = Command::new("sleep").arg("100").spawn(&reactor).await?;
    /// child.signal(15)?;
    /// assert_eq!(child.wait().await?.signal(), Some(15));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` once the end of the child is known; what kill(2) reports.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.guard.signal(signal)
    }

    /// Sends a signal to the whole process group of which this child is the leader, because its
    /// command had [`process_group(0)`](crate::Command::process_group) or
    /// [`setsid`](crate::Command::setsid). It can reach no other group.
    ///
    /// After the leader's own end the rest of the group can still be reached on Linux 6.9 or newer;
    /// elsewhere not, because the number could be another group's by then.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "sleep 100 & sleep 100; true"]).process_group(0);
    /// let child = command.spawn(&reactor).await?;
    /// child.signal_group(9)?;
    /// assert_eq!(child.wait().await?.signal(), Some(9));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` when the child leads no group, the group has ended, or it can no longer be told
    /// from another; what kill(2) reports.
    pub fn signal_group(&self, signal: i32) -> io::Result<()> {
        self.guard.signal_group(signal)
    }

    /// Kills it, and does not wait for its end. What it has started goes on: see
    /// [`signal_group`](Child::signal_group). A child that has ended is not an error.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = Command::new("sleep").arg("100").spawn(&reactor).await?;
    /// child.start_kill()?;
    /// assert!(!child.wait().await?.success());
    /// child.start_kill()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What kill(2) reports.
    pub fn start_kill(&self) -> io::Result<()> {
        match self.guard.kill() {
            Err(error)
                if self.guard.exit().is_some() && error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Kills it and waits for its end. As [`start_kill`](Child::start_kill) and [`wait`](Child::wait).
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = Command::new("sleep").arg("100").spawn(&reactor).await?;
    /// child.kill().await?;
    /// assert_eq!(child.try_wait().and_then(|status| status.signal()), Some(9));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As theirs.
    ///
    /// # Cancel safety
    /// Dropped before it is done, it has killed the child.
    pub async fn kill(&self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await.map(drop)
    }

    /// Ends the child with the process group that it leads: sends `signal` to the group, waits until
    /// the child has ended or the future `grace` does, sends SIGKILL to what is left of the group, and
    /// reaps the child. A child that leads no group is ended alone.
    ///
    /// The reactor has no timers: `grace` is one of the caller's runtime, such as `tokio::time::sleep`,
    /// or [`std::future::ready`] for none.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "sleep 100 & sleep 100"]).process_group(0);
    /// let child = command.spawn(&reactor).await?;
    /// let status = child.shutdown(15, std::future::pending()).await?;
    /// assert_eq!(status.signal(), Some(15));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the reactor has ended and the child has not; [`InvalidInput`](io::ErrorKind::InvalidInput), and nothing was
    /// sent, if there is no such signal. That a signal was refused is no error: the
    /// child, which has become another user's, is waited for.
    ///
    /// # Cancel safety
    /// Dropped half-way, it sends SIGKILL to the group at once; the reactor reaps the child.
    pub async fn shutdown(
        &self,
        signal: i32,
        grace: impl Future<Output = ()>,
    ) -> io::Result<ExitStatus> {
        if !sys::is_signal(signal) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut teardown = Teardown::new(self.guard.clone(), signal);
        let (mut grace, mut over) = (std::pin::pin!(grace), false);
        poll_fn(|cx| {
            // The signal is sent first, even if there is no grace.
            let polled = teardown.poll(cx);
            if polled.is_ready() || over || grace.as_mut().poll(cx).is_pending() {
                return polled;
            }
            over = true;
            teardown.end_grace();
            teardown.poll(cx)
        })
        .await;
        let exit = self.guard.exit().ok_or_else(reactor_ended)?;
        Ok(exit.status)
    }

    /// Closes its standard input, collects its piped outputs to their ends, and waits for its end.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let child = Command::new("echo").arg("hi").stdout(Stdio::piped()).spawn(&reactor).await?;
    /// assert_eq!(child.wait_with_output().await?.stdout, b"hi\n");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`communicate`](Child::communicate).
    ///
    /// # Cancel safety
    /// Dropped, it drops the child, and what was collected.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        self.communicate(None).await
    }

    /// Writes `input` to its standard input and closes that, collects its piped outputs to their
    /// ends, and waits for its end. Streams that were taken out are left alone. That the child does
    /// not read its input is no error.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("wc");
    /// command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    /// let mut child = command.spawn(&reactor).await?;
    /// let output = child.communicate(Some(b"12345".to_vec())).await?;
    /// assert_eq!(output.stdout.trim_ascii(), b"5");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Reading or writing a pipe failed, there was no memory for the output, or the reactor has ended.
    /// Then the next call returns what was collected. [`InvalidInput`](io::ErrorKind::InvalidInput), and nothing was
    /// done, if there is `input` and standard input is no pipe, or was taken out.
    ///
    /// # Cancel safety
    /// Safe: what was collected is put back, and the writing goes on. The next call, whose `input`
    /// counts for nothing, returns everything.
    pub async fn communicate(&mut self, input: Option<Vec<u8>>) -> io::Result<Output> {
        match (&self.stdin, input) {
            (Some(stdin), input) => {
                if let Some(input) = input {
                    stdin.pipe.write_owned(input)?;
                }
                stdin.pipe.close();
            }
            (None, None) => {}
            (None, Some(_)) => {
                let text = "there is input, and standard input is no pipe or was taken out";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        let stdout = self.stdout.as_mut().map(|out| out.0.whole());
        let stderr = self.stderr.as_mut().map(|err| err.0.whole());
        let collect = |pipe: &ReadPipe| Collect::new(pipe.clone(), Vec::new(), None);
        let (stdout, stderr) = (stdout.map(collect), stderr.map(collect));
        let input = self.stdin.as_ref().map(|stdin| stdin.pipe.clone());
        let mut operation = Communicate::new(self.guard.clone(), input, stdout, stderr);
        poll_fn(|cx| operation.poll(cx)).await?;
        let outputs = [&operation.stdout, &operation.stderr];
        for collect in outputs.into_iter().flatten() {
            if collect.pipe().lock().error().is_some() {
                return Err(failure(collect.pipe()));
            }
        }
        let exit = self.guard.exit().ok_or_else(reactor_ended)?;
        let take = |collect: &mut Option<Collect<Vec<u8>>>| {
            collect.as_mut().and_then(Collect::take).unwrap_or_default()
        };
        Ok(Output {
            status: exit.status,
            stdout: take(&mut operation.stdout),
            stderr: take(&mut operation.stderr),
        })
    }
}

/// A wait that leaves no waker behind when it is given up.
struct WaiterGuard<'a>(&'a ChildGuard, crate::reactor::waiters::Key);

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.0.forget(&mut self.1);
    }
}
