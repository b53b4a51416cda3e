//! A command as plain data: all that a platform is told of it.
//!
//! An option is a field here, which its builder method or the Python binding fills; a step of the child
//! half, or an argument of `CreateProcessW`; and a line of documentation. Nothing between copies it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::{Environment, PlatformOptions, RawHandle};

/// What to run, and how.
#[derive(Clone)]
pub(crate) struct Spec {
    /// The argument vector, of which the first is also the program if `executable` is `None`.
    pub args: Vec<OsString>,
    pub executable: Option<OsString>,
    pub env: Environment,
    pub cwd: Option<Directory>,
    pub close_fds: bool,
    /// Kept open in the child under the same numbers.
    pub pass_fds: Vec<RawHandle>,
    /// What it has started ends with it: the process group that it leads, on Windows a job.
    pub kill_group_on_drop: bool,
    pub attributes: Attributes,
    pub platform: PlatformOptions,
}

impl Spec {
    /// Runs `program`, with the defaults of `std`, but that descriptors are closed.
    pub(crate) fn new(program: &OsStr) -> Self {
        Spec {
            args: vec![program.to_owned()],
            executable: None,
            env: Environment::inherited(),
            cwd: None,
            close_fds: true,
            pass_fds: Vec::new(),
            kill_group_on_drop: false,
            attributes: Attributes {
                restore_signals: true,
                groups: Groups::DropWithUser,
                ..Attributes::default()
            },
            platform: PlatformOptions::default(),
        }
    }
}

/// What a child makes of itself before it executes its program. Systems without fork refuse them.
#[derive(Clone, Default)]
pub(crate) struct Attributes {
    /// SIGPIPE and SIGXFSZ, which Python and Rust ignore, get their default action back.
    pub restore_signals: bool,
    pub new_session: bool,
    /// 0 is one of its own.
    pub process_group: Option<i32>,
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub groups: Groups,
    pub umask: Option<u32>,
    pub limits: Vec<Limit>,
    pub nice: Option<i32>,
    /// The numbers of the processors that it may run on.
    pub cpu_affinity: Option<Vec<usize>>,
    /// The control group that it is born in, or enters before anything else.
    pub cgroup: Option<Directory>,
    /// What is left in the control group is killed where a process group would be.
    pub cgroup_kill: bool,
    pub no_new_privs: bool,
    pub kill_on_parent_exit: bool,
}

/// A limit of a resource, by the system's number of it. The highest number is none.
#[derive(Clone, Copy)]
#[cfg_attr(windows, expect(dead_code, reason = "refused there, whatever it is"))]
pub(crate) struct Limit {
    pub resource: i32,
    pub soft: u64,
    pub hard: u64,
}

/// A directory, by its name or by a descriptor that is open for as long as it is needed.
#[derive(Clone)]
pub(crate) enum Directory {
    Path(PathBuf),
    #[cfg_attr(windows, expect(dead_code, reason = "refused there, whatever it is"))]
    Descriptor(RawHandle),
}

/// A child's supplementary groups.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Groups {
    /// Those of its parent, whichever user the child becomes: the rule of `Popen`.
    #[default]
    Keep,
    /// None, if it becomes another user and may give them up: the rule of `std`.
    DropWithUser,
    Set(Vec<u32>),
}
