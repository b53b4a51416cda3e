//! What to run.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::stdio::Stdio;
use crate::sys::{self, OwnedHandle};

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
///     let mut child = command.spawn(&reactor).await?;
///     Ok::<_, procio::SpawnError>(child.communicate(None).await)
/// })??;
/// assert_eq!(output?.stdout, b"hi\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Command {
    pub(crate) spec: sys::Spec,
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    /// The descriptors in `spec` that are ours.
    pub(crate) owned: Vec<Arc<OwnedHandle>>,
    pub(crate) hook: Option<sys::PreExec>,
    pub(crate) pipe_size: Option<usize>,
    pub(crate) read_limit: usize,
    pub(crate) line_limit: usize,
    pub(crate) kill_on_drop: bool,
}

impl Command {
    /// A command that runs `program`, which is also the first element of its argument vector.
    ///
    /// A name without a slash is looked up along `PATH` of the child's environment. On Windows the system looks for it, in
    /// this program's directory, the current one and the system's before those of this program's `PATH`. CreateProcessW.
    ///
    /// ```
    /// let command = procio::Command::new("/usr/bin/env");
    /// assert_eq!(command.get_program(), "/usr/bin/env");
    /// ```
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Command {
            spec: sys::Spec::new(program.as_ref()),
            stdin: Stdio::default(),
            stdout: Stdio::default(),
            stderr: Stdio::default(),
            owned: Vec::new(),
            hook: None,
            pipe_size: None,
            read_limit: 0,
            line_limit: crate::stream::reader::LINE_CEILING,
            kill_on_drop: false,
        }
    }

    /// Adds an argument.
    ///
    /// ```
    /// # use procio::Command;
    /// let mut command = Command::new("echo");
    /// command.arg("a word").arg("-v");
    /// assert!(command.get_args().eq(["a word", "-v"]));
    /// ```
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.spec.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    ///
    /// ```
    /// # use procio::Command;
    /// let mut command = Command::new("echo");
    /// command.args(["a word", "-v"]);
    /// assert!(command.get_args().eq(["a word", "-v"]));
    /// ```
    pub fn args<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.spec
            .args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// The first element of the argument vector, which otherwise is the program.
    ///
    /// ```
    /// # use procio::Command;
    /// let mut command = Command::new("/bin/sh");
    /// command.arg0("name").args(["-c", "echo $0"]);
    /// assert_eq!(command.get_program(), "/bin/sh");
    /// ```
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        let spec = &mut self.spec;
        if let Some(first) = spec.args.first_mut() {
            let program = std::mem::replace(first, name.as_ref().to_owned());
            spec.executable.get_or_insert(program);
        }
        self
    }

    /// Sets a variable in the child's environment, which otherwise is the parent's as it is when
    /// the child is started. (Strings there without `=`, which are no variables, are not passed on: std gives
    /// no access to them that another thread's `set_var` could not disturb.)
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo $ANSWER"]).env("ANSWER", "42").stdout(Stdio::piped());
    /// # let output = reactor.run_until(async {
    /// #     let mut child = command.spawn(&reactor).await?;
    /// #     Ok::<_, Box<dyn std::error::Error>>(child.communicate(None).await?)
    /// # })??;
    /// # assert_eq!(output.stdout, b"42\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.spec.env.set(name.as_ref(), Some(value.as_ref()));
        self
    }

    /// Sets variables, as [`env`](Command::env).
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo $LANG $TZ"]).envs([("LANG", "C"), ("TZ", "UTC")]);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"C UTC\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Self {
        for (name, value) in env {
            self.env(name, value);
        }
        self
    }

    /// Removes a variable from the child's environment.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo ${HOME-none}"]).env_remove("HOME");
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"none\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.spec.env.set(name.as_ref(), None);
        self
    }

    /// Empties the child's environment. What [`env`](Command::env) sets after that is all it gets.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("/usr/bin/env");
    /// command.env_clear().env("LANG", "C");
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"LANG=C\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env_clear(&mut self) -> &mut Self {
        self.spec.env = sys::Environment::cleared();
        self
    }

    /// The child's working directory.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("pwd");
    /// command.current_dir("/");
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"/\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current_dir(&mut self, dir: impl Into<PathBuf>) -> &mut Self {
        self.spec.cwd = Some(sys::Directory::Path(dir.into()));
        self
    }

    /// The child's working directory, by a descriptor. The command owns it. Unix; elsewhere the start is
    /// [`Unsupported`](std::io::ErrorKind::Unsupported). `fchdir(2)`.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// use std::os::fd::OwnedFd;
    /// let mut command = Command::new("pwd");
    /// command.current_dir_fd(OwnedFd::from(std::fs::File::open("/")?));
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"/\n");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current_dir_fd(&mut self, dir: impl Into<OwnedHandle>) -> &mut Self {
        let dir = dir.into();
        self.spec.cwd = Some(sys::Directory::Descriptor(sys::raw(&dir)));
        self.owned.push(Arc::new(dir));
        self
    }

    /// Where the child's standard input comes from; the parent's by default.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("cat");
    /// command.stdin(Stdio::null());
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdin = stdio.into();
        self
    }

    /// Where the child's standard output goes; to the parent's by default.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("cat");
    /// command.stdin(Stdio::null()).stdout(Stdio::piped());
    /// let child = command.spawn(&reactor).await?;
    /// assert!(child.stdin.is_none() && child.stdout.is_some());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdout = stdio.into();
        self
    }

    /// Where the child's standard error goes; to the parent's by default.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo out; echo err >&2"]).stderr(Stdio::to_stdout());
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"out\nerr\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stderr = stdio.into();
        self
    }

    /// Whether descriptors above 2 are closed in the child. On by default.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// use std::os::fd::AsRawFd;
    /// let inherited = rustix::io::dup(std::io::stderr())?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "test -e /dev/fd/$0", &inherited.as_raw_fd().to_string()]).close_fds(false);
    /// assert!(reactor.run_until(command.status(&reactor))??.success());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close_fds(&mut self, close: bool) -> &mut Self {
        self.spec.close_fds = close;
        self
    }

    /// Keeps a descriptor open in the child, under the same number. The command owns it.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// use std::os::fd::{AsRawFd, OwnedFd};
    /// let file = OwnedFd::from(std::fs::File::open("/dev/null")?);
    /// let path = format!("/dev/fd/{}", file.as_raw_fd());
    /// let mut command = Command::new("cat");
    /// command.arg(path).pass_fd(file);
    /// assert!(reactor.run_until(command.status(&reactor))??.success());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pass_fd(&mut self, fd: impl Into<OwnedHandle>) -> &mut Self {
        let fd = fd.into();
        self.spec.pass_fds.push(sys::raw(&fd));
        self.owned.push(Arc::new(fd));
        self
    }

    /// The size in bytes of the kernel's buffer of each new pipe, where the system lets one choose.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("echo");
    /// command.arg("hi").pipe_size(256 * 1024);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"hi\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipe_size(&mut self, bytes: usize) -> &mut Self {
        self.pipe_size = Some(bytes);
        self
    }

    /// Half of what is read ahead from a piped stream while no operation reads it, in bytes. 0, which is
    /// the default, for nothing at all.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("head");
    /// command.args(["-c", "100000", "/dev/zero"]).stdout(Stdio::piped()).read_limit(64 * 1024);
    /// let child = command.spawn(&reactor).await?;
    /// // More than the pipe holds: it ends although its output is not read yet.
    /// assert!(child.wait().await?.success());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_limit(&mut self, bytes: usize) -> &mut Self {
        self.read_limit = bytes;
        self
    }

    /// The longest line, in bytes, that `read_line` and `read_until` wait for; 1 GiB by default.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("echo");
    /// command.arg("a long line").stdout(Stdio::piped()).line_limit(4);
    /// let mut child = command.spawn(&reactor).await?;
    /// let mut output = child.stdout.take().ok_or("not piped")?;
    /// let error = output.read_line(&mut String::new()).await.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn line_limit(&mut self, bytes: usize) -> &mut Self {
        self.line_limit = bytes;
        self
    }

    /// Whether the child is killed when the [`Child`](crate::Child) is dropped. Off by default. Either
    /// way it is reaped, as long as the reactor is dispatched.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stdio};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("sleep");
    /// command.arg("1000").stdout(Stdio::piped()).kill_on_drop(true);
    /// let mut child = command.spawn(&reactor).await?;
    /// let mut output = child.stdout.take().ok_or("not piped")?;
    /// drop(child);
    /// // The sleep had the only other end of the pipe.
    /// assert_eq!(output.read_to_end(&mut Vec::new()).await?, 0);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// Whether the process group that the child leads is killed with it when the
    /// [`Child`](crate::Child) is dropped, also when the child itself has ended. Off by default.
    ///
    /// It leads one if the command has [`process_group(0)`](Command::process_group) or
    /// [`setsid`](Command::setsid); otherwise this is
    /// [`kill_on_drop`](Command::kill_on_drop). A child that has ended stays a zombie until the `Child`
    /// is dropped or [`shutdown`](crate::Child::shutdown) has ended: the number of the group is then its own.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "sleep 100 & true"]).process_group(0).kill_group_on_drop(true);
    /// let child = command.spawn(&reactor).await?;
    /// assert!(child.wait().await?.success());
    /// drop(child); // and with it the sleep
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_group_on_drop(&mut self, kill: bool) -> &mut Self {
        self.spec.kill_group_on_drop = kill;
        self
    }

    /// The program that it runs.
    ///
    /// ```
    /// let command = procio::Command::new("ls");
    /// assert_eq!(command.get_program(), "ls");
    /// ```
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        let spec = &self.spec;
        let program = spec.executable.as_ref().or(spec.args.first());
        program.map_or(OsStr::new(""), |program| program)
    }

    /// The arguments, without the one that is the program's name.
    ///
    /// ```
    /// let mut command = procio::Command::new("ls");
    /// assert!(command.args(["-l", "/"]).get_args().eq(["-l", "/"]));
    /// ```
    pub fn get_args(&self) -> impl ExactSizeIterator<Item = &OsStr> {
        let args = self.spec.args.get(1..).unwrap_or_default();
        args.iter().map(|arg| &**arg)
    }

    /// The variables that are set (`Some`) or removed (`None`) in the child's environment; not those
    /// that it has from its parent.
    ///
    /// ```
    /// use std::ffi::OsStr;
    /// let mut command = procio::Command::new("ls");
    /// command.env("LANG", "C").env_remove("TZ");
    /// let envs: Vec<_> = command.get_envs().collect();
    /// let (lang, tz) = (OsStr::new("LANG"), OsStr::new("TZ"));
    /// assert_eq!(envs, [(lang, Some(OsStr::new("C"))), (tz, None)]);
    /// ```
    pub fn get_envs(&self) -> impl Iterator<Item = (&OsStr, Option<&OsStr>)> {
        self.spec.env.changes()
    }

    /// The child's working directory; `None` is the parent's, or one that is given as a descriptor.
    ///
    /// ```
    /// use std::path::Path;
    /// let mut command = procio::Command::new("ls");
    /// assert_eq!(command.current_dir("/").get_current_dir(), Some(Path::new("/")));
    /// ```
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        match &self.spec.cwd {
            Some(sys::Directory::Path(dir)) => Some(dir),
            _ => None,
        }
    }

    /// Whether the child will be the leader of a group that may have to be signalled.
    pub(crate) fn leads(&self) -> bool {
        let job = sys::JOBS && self.spec.kill_group_on_drop;
        self.spec.attributes.new_session || self.spec.attributes.process_group == Some(0) || job
    }
}

impl fmt::Debug for Command {
    /// Of variables only the names: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let env: Vec<_> = self.get_envs().map(|(name, _)| name).collect();
        f.debug_struct("Command")
            .field("program", &self.get_program())
            .field("args", &self.get_args().collect::<Vec<_>>())
            .field("envs", &env)
            .field("current_dir", &self.get_current_dir())
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}
