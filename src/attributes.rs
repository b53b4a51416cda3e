//! What a child makes of itself before it executes its program, as a [`Command`] tells it.
//!
//! It is done in the order of the child half (`sys/unix/child.rs`), whatever the order of the calls is.

use std::path::PathBuf;
use std::sync::Arc;

use crate::command::Command;
use crate::sys::{self, OwnedHandle};

impl Command {
    /// Whether SIGPIPE and SIGXFSZ, which Python and Rust ignore, get their default action back in
    /// the child. On by default.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "kill -PIPE $$; echo alive"]).restore_signals(false);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"alive\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore_signals(&mut self, restore: bool) -> &mut Self {
        self.spec.attributes.restore_signals = restore;
        self
    }

    /// Makes the child the leader of a new session. `setsid(2)`.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("sleep");
    /// command.arg("1000").setsid(true);
    /// let child = command.spawn(&reactor).await?;
    /// child.signal_group(9)?;
    /// assert_eq!(child.wait().await?.signal(), Some(9));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn setsid(&mut self, yes: bool) -> &mut Self {
        self.spec.attributes.new_session = yes;
        self
    }

    /// Puts the child into this process group; 0 makes a new one. `setpgid(2)`.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// # reactor.run_until(async {
    /// let mut command = Command::new("sleep");
    /// command.arg("1000").process_group(0);
    /// let child = command.spawn(&reactor).await?;
    /// child.signal_group(9)?;
    /// assert_eq!(child.wait().await?.signal(), Some(9));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.spec.attributes.process_group = Some(group);
        self
    }

    /// The user as whom the child runs. `setreuid(2)`. Unless [`groups`](Command::groups) says which
    /// supplementary groups it has, it has none, if the parent may give them up. What the system refuses is an
    /// error at [`Stage::Setup`](crate::Stage::Setup); so it is with [`gid`](Command::gid) and [`groups`](Command::groups).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let user = rustix::process::getuid().as_raw();
    /// let mut command = Command::new("id");
    /// command.arg("-u").uid(user);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, format!("{user}\n").as_bytes());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn uid(&mut self, user: u32) -> &mut Self {
        self.spec.attributes.user = Some(user);
        self
    }

    /// The group as which the child runs. `setregid(2)`.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let group = rustix::process::getgid().as_raw();
    /// let mut command = Command::new("id");
    /// command.arg("-g").gid(group);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, format!("{group}\n").as_bytes());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gid(&mut self, group: u32) -> &mut Self {
        self.spec.attributes.group = Some(group);
        self
    }

    /// The child's supplementary groups. `setgroups(2)`.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("id");
    /// command.arg("-G").groups([1000, 1001]);
    /// match reactor.run_until(command.output(&reactor))? {
    ///     Ok(output) => assert!(output.stdout.ends_with(b" 1000 1001\n")),
    ///     // It takes a privilege.
    ///     Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn groups(&mut self, groups: impl IntoIterator<Item = u32>) -> &mut Self {
        let groups = groups.into_iter().collect();
        self.spec.attributes.groups = sys::Groups::Set(groups);
        self
    }

    /// The child's file mode creation mask. `umask(2)`.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "umask"]).umask(0o077);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"0077\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.spec.attributes.umask = Some(mask);
        self
    }

    /// A limit of a resource, by the system's number of it (`libc::RLIMIT_NOFILE`), as the soft and the
    /// hard limit; `u64::MAX` is none. `setrlimit(2)`.
    ///
    /// The limits are set before the child changes its user. A soft limit above the hard one is
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) at the start; what the system refuses is an error at
    /// [`Stage::Limits`](crate::Stage::Limits).
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "ulimit -n"]).rlimit(libc::RLIMIT_NOFILE as i32, 64, 128);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"64\n");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rlimit(&mut self, resource: i32, soft: u64, hard: u64) -> &mut Self {
        let limit = sys::Limit {
            resource,
            soft,
            hard,
        };
        let limits = &mut self.spec.attributes.limits;
        limits.retain(|known| known.resource != resource);
        limits.push(limit);
        self
    }

    /// The child's niceness, from -20 to 19. `setpriority(2)`. What the system refuses is an error at
    /// [`Stage::Nice`](crate::Stage::Nice).
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("nice");
    /// command.nice(19);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"19\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nice(&mut self, nice: i32) -> &mut Self {
        self.spec.attributes.nice = Some(nice);
        self
    }

    /// The numbers of the processors on which the child may run. Linux; elsewhere the start is
    /// [`Unsupported`](std::io::ErrorKind::Unsupported). `sched_setaffinity(2)`.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("grep");
    /// command.args(["Cpus_allowed_list", "/proc/self/status"]).cpu_affinity([0]);
    /// match reactor.run_until(command.output(&reactor))? {
    ///     Ok(output) => assert_eq!(output.stdout, b"Cpus_allowed_list:\t0\n"),
    ///     // This program may not use that processor.
    ///     Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput),
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cpu_affinity(&mut self, processors: impl IntoIterator<Item = usize>) -> &mut Self {
        self.spec.attributes.cpu_affinity = Some(processors.into_iter().collect());
        self
    }

    /// Whether neither the child nor what it executes can gain privileges, as by a set-user-ID program.
    /// Linux; elsewhere the start is [`Unsupported`](std::io::ErrorKind::Unsupported).
    /// `PR_SET_NO_NEW_PRIVS` of `prctl(2)`.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("grep");
    /// command.args(["NoNewPrivs", "/proc/self/status"]).no_new_privs(true);
    /// let output = reactor.run_until(command.output(&reactor))??;
    /// assert_eq!(output.stdout, b"NoNewPrivs:\t1\n");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn no_new_privs(&mut self, yes: bool) -> &mut Self {
        self.spec.attributes.no_new_privs = yes;
        self
    }

    /// The directory of the control group in which the child is born. Linux; elsewhere the start is
    /// [`Unsupported`](std::io::ErrorKind::Unsupported). The library makes and removes none. Where the kernel
    /// cannot give birth in it (before Linux 5.7, or in version 1), the child enters it before it does
    /// anything else. `CLONE_INTO_CGROUP` of `clone3(2)`, `cgroups(7)`.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("true");
    /// command.cgroup("/sys/fs/cgroup/system.slice/my.service/jobs"); // of which there is none
    /// let error = reactor.run_until(command.status(&reactor))?.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cgroup(&mut self, dir: impl Into<PathBuf>) -> &mut Self {
        self.spec.attributes.cgroup = Some(sys::Directory::Path(dir.into()));
        self
    }

    /// The same by a descriptor of the directory. The command owns it.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// use std::os::fd::OwnedFd;
    /// let dir = OwnedFd::from(std::fs::File::open("/")?); // which is none of a control group
    /// let mut command = Command::new("true");
    /// command.cgroup_fd(dir);
    /// assert!(reactor.run_until(command.status(&reactor))?.is_err());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cgroup_fd(&mut self, dir: impl Into<OwnedHandle>) -> &mut Self {
        let dir = dir.into();
        self.spec.attributes.cgroup = Some(sys::Directory::Descriptor(sys::raw(&dir)));
        self.owned.push(Arc::new(dir));
        self
    }

    /// Whether all that is in the child's [`cgroup`](Command::cgroup), and below it, is killed wherever its
    /// process group would be: when it is shut down, or killed because it is dropped. That also gets
    /// what has left the process group. `Unsupported` where the kernel has no `cgroup.kill`
    /// (Linux 5.14), `InvalidInput` for a control group that this process is in. `cgroups(7)`.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("true");
    /// command.cgroup("/sys/fs/cgroup/jobs/one").cgroup_kill(true).kill_on_drop(true);
    /// let error = reactor.run_until(command.status(&reactor))?.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound); // there is no such control group
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cgroup_kill(&mut self, kill: bool) -> &mut Self {
        self.spec.attributes.cgroup_kill = kill;
        self
    }

    /// Whether the child is killed when this program ends, however that comes. Linux and Windows;
    /// elsewhere the start is [`Unsupported`](std::io::ErrorKind::Unsupported).
    ///
    /// On Windows it is in a job with all that it starts. On Linux it is the child alone. Before
    /// Linux 7.1 only the main thread can start one, since the child would end with any other thread
    /// that does: a start by another, such as a task of a runtime with several threads, fails with
    /// [`Other`](std::io::ErrorKind::Other). And a program that is executed with other privileges than its caller's is no longer
    /// tied. `PR_SET_PDEATHSIG` of `prctl(2)`, `CLONE_PIDFD_AUTOKILL`.
    ///
    /// ```
    /// # use procio::{Command, Reactor};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("true");
    /// command.kill_on_parent_exit(true);
    /// match reactor.run_until(command.status(&reactor))? {
    ///     Ok(status) => assert!(status.success()),
    ///     Err(error) => match error.kind() {
    ///         std::io::ErrorKind::Other => {} // this is not the main thread
    ///         kind => assert_eq!(kind, std::io::ErrorKind::Unsupported),
    ///     },
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_on_parent_exit(&mut self, kill: bool) -> &mut Self {
        self.spec.attributes.kill_on_parent_exit = kill;
        self
    }
}
