//! What the reaper needs of a process, in small traits: the system's [`Process`] has them, and in the
//! tests a script.

use std::io;
use std::time::Duration;

use crate::status::{Exit, ExitStatus};
use crate::sys::{CgroupKill, Group, Poller, Process};

/// Tells a poller that the process has ended.
pub(crate) trait Notify {
    /// Has the poller report `token` when the process ends.
    fn watch(&mut self, poller: &Poller, token: usize) -> io::Result<()>;
    /// Ends that.
    fn unwatch(&mut self, poller: &Poller);
}

/// Waits for the end of the process and reaps it.
pub(crate) trait Wait {
    /// Reaps it if it has ended.
    fn try_wait(&mut self) -> io::Result<Option<Exit>>;
    /// Looks whether it has ended, and leaves it to be reaped.
    fn try_look(&mut self) -> io::Result<Option<Exit>>;
    /// Blocks until it has ended, or for `timeout`; then reaps it if it has.
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<Exit>>;
    /// Blocks until it has ended and reaps it.
    fn wait_blocking(&mut self) -> ExitStatus;
}

/// Signals the process. Not to be used after it was reaped.
pub(crate) trait Kill {
    /// Whether no process survives that signal.
    fn is_deadly(signal: i32) -> bool;
    /// Whether an error says that other code reaped the process.
    fn is_gone(error: &io::Error) -> bool;
    fn signal(&self, signal: i32) -> io::Result<()>;
    fn kill(&self) -> io::Result<()>;
    fn signal_group(&self, signal: i32) -> io::Result<()>;
    fn kill_group(&self) -> io::Result<()>;
    /// Asks it, or its group, to end. `false` where the system has no way to ask.
    fn ask(&self, signal: i32, group: bool) -> io::Result<bool>;
}

/// Signals the group of a leader that was reaped.
pub(crate) trait KillGroup {
    fn signal(&self, signal: i32) -> io::Result<()>;
    fn kill(&self) -> io::Result<()>;
}

/// A process that was started and has not been reaped.
pub(crate) trait ChildProcess: Notify + Wait + Kill + Send + 'static {
    /// What can still signal its group when it was reaped.
    type Group: KillGroup + Send;

    fn pid(&self) -> u32;
    /// What remains of it when it was reaped.
    fn into_group(self) -> Option<Self::Group>;
    /// What can kill its control group.
    fn take_cgroup_kill(&mut self) -> Option<CgroupKill>;
    /// Whether the kernel ends it with this program.
    fn is_tied(&self) -> bool;
}

impl Notify for Process {
    fn watch(&mut self, poller: &Poller, token: usize) -> io::Result<()> {
        Process::watch(self, poller, token)
    }

    fn unwatch(&mut self, poller: &Poller) {
        Process::unwatch(self, poller);
    }
}

impl Wait for Process {
    fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        Process::try_wait(self)
    }

    fn try_look(&mut self) -> io::Result<Option<Exit>> {
        Process::try_look(self)
    }

    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<Exit>> {
        Process::wait_timeout(self, timeout)
    }

    fn wait_blocking(&mut self) -> ExitStatus {
        Process::wait_blocking(self)
    }
}

impl Kill for Process {
    fn is_deadly(signal: i32) -> bool {
        Process::is_deadly(signal)
    }

    fn is_gone(error: &io::Error) -> bool {
        Process::is_gone(error)
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        Process::signal(self, signal)
    }

    fn kill(&self) -> io::Result<()> {
        Process::kill(self)
    }

    fn signal_group(&self, signal: i32) -> io::Result<()> {
        Process::signal_group(self, signal)
    }

    fn kill_group(&self) -> io::Result<()> {
        Process::kill_group(self)
    }

    fn ask(&self, signal: i32, group: bool) -> io::Result<bool> {
        Process::ask(self, signal, group)
    }
}

impl KillGroup for Group {
    fn signal(&self, signal: i32) -> io::Result<()> {
        Group::signal(self, signal)
    }

    fn kill(&self) -> io::Result<()> {
        Group::kill(self)
    }
}

impl ChildProcess for Process {
    type Group = Group;

    fn pid(&self) -> u32 {
        Process::pid(self)
    }

    fn into_group(self) -> Option<Group> {
        Process::into_group(self)
    }

    fn take_cgroup_kill(&mut self) -> Option<CgroupKill> {
        Process::take_cgroup_kill(self)
    }

    fn is_tied(&self) -> bool {
        Process::is_tied(self)
    }
}
