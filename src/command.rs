//! What to run.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use crate::child::Spawning;
use crate::error::SpawnError;
use crate::reactor::{Reactor, Shared};
use crate::start::Starting;
use crate::stdio::Stdio;
use crate::sys::{self, RawHandle};

/// What to run, and how: a builder in the manner of [`std::process::Command`].
///
/// The options are those of Python's `subprocess.Popen`, with the same meaning and the same
/// defaults; in particular all descriptors but the standard streams are closed in the child
/// unless [`close_fds`](Command::close_fds) is turned off.
///
/// ```
/// use procio::{Command, Reactor, Stdio};
///
/// let reactor = Reactor::new()?;
/// let mut command = Command::new("echo");
/// command.arg("hi").stdout(Stdio::piped());
/// let output = reactor.run_until(async {
///     let mut child = command.spawn(&reactor)?.await?;
///     Ok::<_, procio::SpawnError>(child.communicate(None).await)
/// })??;
/// assert_eq!(output?.stdout.as_deref(), Some(&b"hi\n"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    pub(crate) args: Vec<OsString>,
    pub(crate) executable: Option<OsString>,
    pub(crate) env: Option<Vec<(OsString, OsString)>>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    pub(crate) close_fds: bool,
    pub(crate) pass_fds: Vec<RawHandle>,
    pub(crate) restore_signals: bool,
    pub(crate) new_session: bool,
    pub(crate) process_group: Option<i32>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) extra_groups: Option<Vec<u32>>,
    pub(crate) umask: Option<u32>,
    pub(crate) pipe_size: Option<usize>,
    pub(crate) read_limit: usize,
    pub(crate) line_limit: usize,
    pub(crate) kill_on_drop: bool,
}

impl Command {
    /// A command that runs `program`, which is also the first element of its argument vector.
    ///
    /// A name without a slash is looked up along `PATH` of the child's environment.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Command {
            args: vec![program.as_ref().to_owned()],
            executable: None,
            env: None,
            cwd: None,
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            close_fds: true,
            pass_fds: Vec::new(),
            restore_signals: true,
            new_session: false,
            process_group: None,
            user: None,
            group: None,
            extra_groups: None,
            umask: None,
            pipe_size: None,
            read_limit: crate::reader::DEFAULT_LIMIT,
            line_limit: crate::reader::LINE_CEILING,
            kill_on_drop: false,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs another program than the one that the first argument names.
    pub fn executable(&mut self, program: impl AsRef<OsStr>) -> &mut Self {
        self.executable = Some(program.as_ref().to_owned());
        self
    }

    /// Replaces the whole environment of the child.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        let owned = |(k, v): (K, V)| (k.as_ref().to_owned(), v.as_ref().to_owned());
        self.env = Some(env.into_iter().map(owned).collect());
        self
    }

    /// The child's working directory.
    pub fn current_dir(&mut self, dir: impl Into<PathBuf>) -> &mut Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Where the child's standard input comes from; the parent's by default.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdin = stdio.into();
        self
    }

    /// Where the child's standard output goes; to the parent's by default.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdout = stdio.into();
        self
    }

    /// Where the child's standard error goes; to the parent's by default.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stderr = stdio.into();
        self
    }

    /// Whether descriptors above 2 are closed in the child. On by default.
    pub fn close_fds(&mut self, close: bool) -> &mut Self {
        self.close_fds = close;
        self
    }

    /// Descriptors that stay open in the child under the same numbers.
    pub fn pass_fds(&mut self, fds: impl IntoIterator<Item = RawHandle>) -> &mut Self {
        self.pass_fds = fds.into_iter().collect();
        self
    }

    /// Whether SIGPIPE and SIGXFSZ, which Python and Rust ignore, get their default action back in
    /// the child. On by default.
    pub fn restore_signals(&mut self, restore: bool) -> &mut Self {
        self.restore_signals = restore;
        self
    }

    /// Makes the child the leader of a new session. `setsid(2)`.
    pub fn new_session(&mut self, yes: bool) -> &mut Self {
        self.new_session = yes;
        self
    }

    /// Puts the child into this process group; 0 makes a new one. `setpgid(2)`.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.process_group = Some(group);
        self
    }

    /// The user as whom the child runs. `setreuid(2)`.
    pub fn uid(&mut self, user: u32) -> &mut Self {
        self.user = Some(user);
        self
    }

    /// The group as which the child runs. `setregid(2)`.
    pub fn gid(&mut self, group: u32) -> &mut Self {
        self.group = Some(group);
        self
    }

    /// The child's supplementary groups. `setgroups(2)`.
    pub fn groups(&mut self, groups: impl IntoIterator<Item = u32>) -> &mut Self {
        self.extra_groups = Some(groups.into_iter().collect());
        self
    }

    /// The child's file mode creation mask. `umask(2)`.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.umask = Some(mask);
        self
    }

    /// The size in bytes of the kernel's buffer of each new pipe, where the system lets one choose.
    pub fn pipe_size(&mut self, bytes: usize) -> &mut Self {
        self.pipe_size = Some(bytes);
        self
    }

    /// Half of what is read ahead from a piped stream while nobody asks for it, in bytes; 0 for
    /// nothing at all.
    pub fn read_limit(&mut self, bytes: usize) -> &mut Self {
        self.read_limit = bytes;
        self
    }

    /// Whether the child is killed when the last handle to it and to its pipes is dropped. Off by
    /// default. Either way it is reaped, as long as the reactor is dispatched.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// Starts the child. The call returns as soon as the kernel has cloned the process; the
    /// returned future ends when the program was executed, or could not be.
    ///
    /// # Errors
    /// Bad input (a NUL in an argument) and a lack of resources are reported at once; what goes
    /// wrong in the child, such as a program that does not exist, by the future.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child, which the reactor reaps; nothing is left.
    pub fn spawn(&self, reactor: &Reactor) -> Result<Spawning, SpawnError> {
        self.start(&reactor.shared, None).map(Spawning::new)
    }

    pub(crate) fn start(
        &self,
        shared: &Arc<Shared>,
        fork: Option<&mut dyn sys::Fork>,
    ) -> Result<Starting, SpawnError> {
        Starting::new(self, shared, fork)
    }
}
