//! A command as plain data: all that a platform is told of it.
//!
//! An option is a field here, which its builder method or the Python binding fills; a step of the child
//! half, or an argument of `CreateProcessW`; and a line of documentation. Nothing between copies it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::{PlatformOptions, RawHandle, same_variable};

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
            env: Environment::Changed(Vec::new()),
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

/// A child's environment.
#[derive(Clone)]
pub(crate) enum Environment {
    /// The process's own as the system has it, also what is no variable.
    #[cfg_attr(
        not(feature = "python"),
        expect(dead_code, reason = "only an interpreter's lock makes it safe to read")
    )]
    Own,
    /// The process's own variables as they are at the start, but for these: `None` removes one.
    Changed(Vec<(OsString, Option<OsString>)>),
    /// These variables and no others.
    Exactly(Vec<(OsString, OsString)>),
}

impl Environment {
    /// Sets a variable, or removes it.
    pub(crate) fn set(&mut self, name: &OsStr, value: Option<&OsStr>) {
        let owned = value.map(OsStr::to_owned);
        match self {
            Environment::Own => *self = Environment::Changed(vec![(name.to_owned(), owned)]),
            Environment::Changed(changes) => {
                changes.retain(|(known, _)| !same_variable(known, name));
                changes.push((name.to_owned(), owned));
            }
            Environment::Exactly(pairs) => {
                pairs.retain(|(known, _)| !same_variable(known, name));
                pairs.extend(owned.map(|value| (name.to_owned(), value)));
            }
        }
    }

    /// What is set (`Some`) and removed (`None`) explicitly.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&OsStr, Option<&OsStr>)> {
        let (changes, pairs) = match self {
            Environment::Own => (&[][..], &[][..]),
            Environment::Changed(changes) => (&changes[..], &[][..]),
            Environment::Exactly(pairs) => (&[][..], &pairs[..]),
        };
        let changed = changes
            .iter()
            .map(|(name, value)| (&**name, value.as_deref()));
        changed.chain(pairs.iter().map(|(name, value)| (&**name, Some(&**value))))
    }

    /// Whether it is the process's own, with nothing changed.
    pub(crate) fn is_inherited(&self) -> bool {
        match self {
            Environment::Own => true,
            Environment::Changed(changes) => changes.is_empty(),
            Environment::Exactly(_) => false,
        }
    }

    /// Calls `assign` with each variable.
    pub(crate) fn for_each<E>(
        &self,
        mut assign: impl FnMut(&OsStr, &OsStr) -> Result<(), E>,
    ) -> Result<(), E> {
        if !matches!(self, Environment::Exactly(_)) {
            let changed =
                |name: &OsStr| self.changes().any(|(known, _)| same_variable(known, name));
            for (name, value) in std::env::vars_os().filter(|(name, _)| !changed(name)) {
                assign(&name, &value)?;
            }
        }
        self.changes()
            .filter_map(|(name, value)| Some((name, value?)))
            .try_for_each(|(name, value)| assign(name, value))
    }
}
