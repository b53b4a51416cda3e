//! Starting a child, and learning later whether it executed its program.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::child::{self, Job, STAGES};
use super::os::{self, ChildMemory, raw};
use super::pipe::{PipeReader, report_pipe};
use super::{Plan, Process, RawHandle, current_pid, switches};
use crate::error::{SpawnError, Stage};

/// What runs around the fork for a child that must run the caller's code before exec.
///
/// # Safety
/// What runs in the child is sound in a copy of the process that has one thread. See signal-safety(7).
pub(crate) unsafe trait Fork {
    /// Runs before the fork.
    fn before(&mut self) {}
    /// Runs after it in the parent, also if there is no child.
    fn after_in_parent(&mut self) {}
    /// Runs after it in the child, before all else.
    fn after_in_child(&mut self) {}
    /// Runs in the child after everything but the closing of descriptors. An error, 0 if it has no
    /// number, gives up.
    fn in_child(&mut self) -> Result<(), i32>;
}

/// Makes children. One for each reactor.
pub(crate) struct Spawner {
    cloner: Arc<os::Cloner>,
}

impl Spawner {
    pub(crate) fn new() -> Self {
        Spawner {
            cloner: Arc::new(os::Cloner::new()),
        }
    }

    /// Starts `plan` with `stdio` as its standard streams, and returns at once, but for
    /// [`posix_spawn`](super::posix_spawn): then there is no report, and the program runs. When this returns
    /// an error there is no child. With `fork`, the child is made by fork(2).
    pub(crate) fn spawn(
        &self,
        plan: Plan,
        stdio: [Option<RawHandle>; 3],
        fork: Option<&mut dyn Fork>,
    ) -> Result<(Process, Option<ExecReport>), SpawnError> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        if fork.is_none() && switches().posix_spawn {
            // The program runs before it has a pidfd, for which there has to be room.
            let room = os::open_pidfd(current_pid().cast_signed()).map_err(SpawnError::setup)?;
            if let Some(pid) = super::posix_spawn::start(&plan, stdio)? {
                drop(room);
                return Ok((adopt(pid).map_err(SpawnError::setup)?, None));
            }
        }
        let (report, writer) = report_pipe().map_err(SpawnError::setup)?;
        let mut job = Box::new(Job {
            plan,
            stdio,
            report: writer.as_raw_fd(),
            failure: AtomicU64::new(0),
            mask: raw::signal_mask(),
            close_range: switches().close_range,
            library_exec: switches().library_exec,
            inherits_handlers: true,
            enters_cgroup: true,
            autokill: false,
            dies_with: None,
        });
        let cgroup_kill = job.plan.cgroup_kill.take();
        let (mut process, started) = match fork {
            Some(fork) => {
                job.tie_to_parent()?;
                forked(&job, fork).map_err(SpawnError::setup)?
            }
            None => self.cloned(&mut job)?,
        };
        process.cgroup_kill = cgroup_kill;
        drop(writer);
        let report = ExecReport {
            report,
            pid: process.pid(),
            bytes: Vec::new(),
            rest: Some((job, started)),
            cloner: self.cloner.clone(),
            owner: current_pid(),
        };
        Ok((process, Some(report)))
    }

    fn cloned(&self, job: &mut Job) -> Result<(Process, Option<ChildMemory>), SpawnError> {
        // SAFETY: the job is boxed and goes into the report, which gives it up only when the
        // child has executed a program or ended; `entry` does not return.
        let (pid, pidfd, started) = unsafe { self.cloner.start(job, entry)? };
        let mut process = Process::new(pid, pidfd);
        process.autokill = job.autokill;
        Ok((process, Some(started)))
    }
}

extern "C" fn entry(job: *mut c_void) -> c_int {
    // SAFETY: the pointer is the one that `start` was given, and its promise still holds.
    unsafe { child::run(&*job.cast_const().cast::<Job>(), None) }
}

fn forked(job: &Job, fork: &mut dyn Fork) -> io::Result<(Process, Option<ChildMemory>)> {
    fork.before();
    // SAFETY: what the child does before exec is the child half, which is made for less than this, and
    // what `Fork` promises to be sound there.
    let pid = unsafe { libc::fork() };
    let error = io::Error::last_os_error();
    if pid == 0 {
        let fork = AbortOnUnwind(fork);
        fork.0.after_in_child();
        // SAFETY: this is a process of its own, with a copy of the job.
        unsafe { child::run(job, Some(&mut || fork.0.in_child())) }
    }
    fork.after_in_parent();
    if pid == -1 {
        return Err(error);
    }
    Ok((adopt(pid)?, None))
}

/// A child that was made without a pidfd. On an error it is gone.
fn adopt(pid: i32) -> io::Result<Process> {
    match os::open_pidfd(pid) {
        Ok(pidfd) => Ok(Process::new(pid, pidfd)),
        // SIGCHLD is ignored, and the child has ended already: the kernel has reaped it.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Process::gone(pid)),
        Err(error) => {
            // Out of descriptors: a child that could not be signalled safely shall not live.
            let mut process = Process::new(pid, None);
            let _ = process.signal(libc::SIGKILL);
            process.wait_blocking();
            Err(error)
        }
    }
}

/// In the child. A panic must not unwind into the frames of the fork's caller, where a second copy of the
/// program would go on.
struct AbortOnUnwind<'a>(&'a mut dyn Fork);

impl Drop for AbortOnUnwind<'_> {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// What became of the exec. Owns all memory that the child half reads, until it no longer does.
pub(crate) struct ExecReport {
    report: PipeReader,
    pid: u32,
    bytes: Vec<u8>,
    rest: Option<(Box<Job>, Option<ChildMemory>)>,
    cloner: Arc<os::Cloner>,
    owner: u32,
}

impl ExecReport {
    /// The outcome, once it is known: that the program runs, or the error that the child met (it
    /// has then ended, or is about to). `None` before.
    ///
    /// # Errors
    /// When the report cannot be read. The child may be anywhere, and still use our memory.
    pub(crate) fn try_get(&mut self) -> io::Result<Option<Result<(), SpawnError>>> {
        if self.read_to_end()? {
            return Ok(Some(self.give_up_memory()));
        }
        Ok(self.has_executed().then(|| self.conclude()))
    }

    /// The outcome, as the child no longer uses our memory: it runs its program, or has ended.
    pub(crate) fn conclude(&mut self) -> Result<(), SpawnError> {
        // Of a child that has ended there may be a word that was not read.
        let _ = self.read_to_end();
        self.give_up_memory()
    }

    /// The outcome, of a report that was read.
    fn give_up_memory(&mut self) -> Result<(), SpawnError> {
        let Some((job, started)) = self.rest.take() else {
            return decode(&self.bytes);
        };
        if let Some(started) = started {
            self.cloner.recycle(started);
        }
        match job.failure.load(Ordering::Acquire) {
            0 => decode(&self.bytes),
            failure => decode(&failure.to_ne_bytes()),
        }
    }

    /// Whether that is the end of the report: the child no longer uses our memory.
    fn read_to_end(&mut self) -> io::Result<bool> {
        loop {
            self.bytes.reserve(16);
            match self.report.try_read(&mut self.bytes) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// What the system tells of a child whose report does not end, because another process holds
    /// the pipe.
    fn has_executed(&self) -> bool {
        self.bytes.is_empty() && os::has_executed(self.pid)
    }

    /// Has the poller report `token` after a while, so that the child is looked at again.
    pub(crate) fn remind(&self, poller: &os::Poller, token: usize) {
        os::remind(poller, token);
    }
}

impl AsFd for ExecReport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

impl Drop for ExecReport {
    fn drop(&mut self) {
        // A child that still reads the job must find it, whatever happens to us. The callers keep
        // a report until it is over; where they cannot, the memory is lost and nothing else.
        // In a forked copy the report is not ours to read.
        if self.rest.is_some() && self.owner == current_pid() {
            let _ = self.try_get();
        }
        std::mem::forget(self.rest.take());
    }
}

fn decode(report: &[u8]) -> Result<(), SpawnError> {
    let [a, b, c, d, e, f, g, h] = report else {
        return Ok(());
    };
    let stage = u32::from_ne_bytes([*a, *b, *c, *d]) as usize;
    let errno = i32::from_ne_bytes([*e, *f, *g, *h]);
    let stage = STAGES.get(stage).copied().unwrap_or(Stage::Setup);
    Err(SpawnError::new(stage, io::Error::from_raw_os_error(errno)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_report_is_success() {
        assert!(decode(&[]).is_ok());
    }

    #[test]
    fn a_report_names_stage_and_error() {
        let mut report = (Stage::Exec as u32).to_ne_bytes().to_vec();
        report.extend(libc::ENOENT.to_ne_bytes());
        let error = decode(&report).unwrap_err();
        assert_eq!(error.stage(), Stage::Exec);
        assert_eq!(error.io_error().raw_os_error(), Some(libc::ENOENT));
    }
}
