//! Control groups, of which procio makes and removes none. cgroups(7).

use std::io;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, accessat, openat};
use rustix::io::Errno;

use crate::sys::spec::Directory;
use crate::sys::{above_stdio, current_pid, duplicate};

const PROCS: &str = "cgroup.procs";
const KILL: &str = "cgroup.kill";

/// The directory of a control group. That it is one shows when it is entered.
pub(crate) fn open(dir: &Directory) -> io::Result<OwnedFd> {
    let path = match dir {
        Directory::Descriptor(fd) => return duplicate(*fd),
        Directory::Path(path) => path,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    above_stdio(rustix::fs::open(path, flags, Mode::empty())?)
}

/// What kills everything in a control group and below it, also what has left the process group.
/// Linux 5.14.
#[derive(Debug)]
pub(crate) struct CgroupKill(OwnedFd);

impl CgroupKill {
    /// Opened before there is a child, so that what cannot be killed later is not started.
    ///
    /// # Errors
    /// `Unsupported` where the kernel cannot do it, for the root of a hierarchy, and for one of version
    /// 1. `InvalidInput` for a control group in which this process is itself.
    pub(crate) fn open(dir: &OwnedFd) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let kill = match openat(dir, KILL, flags, Mode::empty()) {
            Err(Errno::NOENT)
                if accessat(dir, PROCS, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok() =>
            {
                let text = "cgroup_kill is not to be had here: there is no cgroup.kill";
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            kill => above_stdio(kill?)?,
        };
        if contains_this_process(dir).unwrap_or(false) {
            let text = "cgroup_kill would kill this program: it is in the control group itself";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(CgroupKill(kill))
    }

    /// Sends SIGKILL to all that is in it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        rustix::io::write(&self.0, b"1")?;
        Ok(())
    }
}

/// Whether it is in this very group; one that it is in a group below is not seen.
fn contains_this_process(dir: &OwnedFd) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut procs = String::new();
    let file = openat(dir, PROCS, flags, Mode::empty())?;
    std::fs::File::from(file).read_to_string(&mut procs)?;
    let own = current_pid().to_string();
    Ok(procs.lines().any(|pid| pid == own))
}
