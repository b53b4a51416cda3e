//! The child half: what runs in the new process between clone and exec.
//!
//! On Linux this code shares its parent's memory while the parent's threads go on. So it makes raw
//! system calls only; it allocates nothing, takes no lock, touches no thread-local (`errno` is
//! one), cannot panic, and never returns. It reads the [`Job`], which does not change until the
//! parent has learnt the outcome, and writes nothing but its own stack.
//!
//! The order of the steps is that of CPython's `_posixsubprocess.c`, because it can be observed:
//! a relative `cwd` is resolved before the session changes, `pass_fds` survive a `preexec_fn`
//! that opens files, and so on. One step comes earlier than there: without a hook, the descriptors
//! are closed before the working directory is entered. A directory on a dead network disk may hold
//! the child for minutes, and its copies of the parent's descriptors would keep other children from
//! the end of their input, and peers from the end of their connections, for as long.
//!
//! What CPython does not have comes where nothing that follows can undo it or be hindered by it: the
//! tie to the parent first, and again once the identity has changed, which unties it; then the control
//! group, so that all that follows is accounted there; limits, niceness and affinity before the
//! identity, for the privilege that they may take; and to forgo new privileges last.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::os::raw::{self, Errno};
use super::{Plan, RawHandle, current_pid, os, plan};
use crate::error::{SpawnError, Stage};
use crate::sys::spec::{Attributes, Groups};

/// What the child half works on. Lives, unchanged, until the child has called exec or has ended.
pub(crate) struct Job {
    pub plan: Plan,
    /// What becomes descriptors 0, 1 and 2; `None` leaves them as they are.
    pub stdio: [Option<RawHandle>; 3],
    /// Where the child reports an error: `[stage, errno]` as two native-endian 32-bit words. It is
    /// close-on-exec, so its end without a word says that the program runs.
    pub report: RawHandle,
    /// The same, where the child shares our memory: a pipe may refuse it (there is no memory, or a
    /// sandbox allows no write). 0 before. The only word of the job that the child writes.
    pub failure: AtomicU64,
    /// The signal mask of the thread that asked for the child; set last.
    pub mask: raw::SigSet,
    pub close_range: bool,
    /// The program is executed by the C library, whatever is preloaded in front of it.
    pub library_exec: bool,
    /// Whether the child is born with its parent's signal handlers. Known to who makes it.
    pub inherits_handlers: bool,
    /// Whether the child has to enter its control group: it was not born there.
    pub enters_cgroup: bool,
    /// The kernel kills the child when its pidfd is closed, and reaps it.
    pub autokill: bool,
    /// Whether the child has to tie itself to the process that makes it, whose number this is.
    pub dies_with: Option<i32>,
}

impl Job {
    /// Has the child tie itself to its parent, if it is to, and the kernel does not do it. The tie is to
    /// the thread that makes it; only the main one lasts as long as the program.
    pub(crate) fn tie_to_parent(&mut self) -> Result<(), SpawnError> {
        self.dies_with = None;
        if !self.plan.attributes.kill_on_parent_exit || self.autokill {
            return Ok(());
        }
        if !os::in_main_thread() {
            let text = "kill_on_parent_exit would end the child with this thread: \
                        only the main thread can start it";
            return Err(SpawnError::new(Stage::ParentExit, io::Error::other(text)));
        }
        self.dies_with = i32::try_from(current_pid()).ok();
        Ok(())
    }
}

/// The stages that a report can name, in the order of their codes.
pub(super) const STAGES: [Stage; 10] = [
    Stage::Setup,
    Stage::Chdir,
    Stage::Cgroup,
    Stage::Limits,
    Stage::Nice,
    Stage::Affinity,
    Stage::ParentExit,
    Stage::NoNewPrivs,
    Stage::PreExec,
    Stage::Exec,
];

struct FailedStep(Stage, Errno);

/// The caller's code, in a child that shares nothing with its parent.
type InChild<'a> = &'a mut dyn FnMut() -> Result<(), i32>;

/// Runs the job and never returns.
///
/// # Safety
/// Only in a new process that either shares nothing with its parent or is alone on a stack of its
/// own, with signals blocked. `job` must stay valid and unchanged until this process has executed
/// a program or ended.
pub(super) unsafe fn run(job: &Job, hook: Option<InChild<'_>>) -> ! {
    // SAFETY: passed on from the caller.
    let FailedStep(stage, Errno(errno)) = unsafe { exec(job, hook) };
    let code = STAGES.iter().position(|known| *known == stage);
    let words = [code.unwrap_or(0) as u32, errno as u32];
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&words[0].to_ne_bytes());
    bytes[4..].copy_from_slice(&words[1].to_ne_bytes());
    job.failure
        .store(u64::from_ne_bytes(bytes), Ordering::Release);
    raw::write(job.report, &bytes);
    raw::exit(255)
}

/// # Safety
/// As [`run`].
unsafe fn exec(job: &Job, hook: Option<InChild<'_>>) -> FailedStep {
    let plan = &job.plan;
    // The environment is the one that the hook leaves behind, as with `execv`.
    let inherits = hook.is_some() && plan.inherits_env;
    if let Err(failure) = prepare(job, hook) {
        return failure;
    }
    // Caught signals would run our parent's handlers, in its memory, as soon as the mask is lifted;
    // exec resets them anyhow. Ignored ones stay ignored, as exec leaves them.
    if job.inherits_handlers {
        raw::reset_caught_signals(&job.mask);
    }
    raw::set_signal_mask(&job.mask);
    let execute = if job.library_exec {
        library_execve
    } else {
        raw::execve
    };
    let envp = if inherits {
        plan::environ()
    } else {
        plan.envp()
    };
    let mut first = None;
    let mut last = Errno(libc::ENOENT);
    for file in &plan.candidates {
        // SAFETY: the arrays are null-terminated and live as long as the job, or this process.
        last = unsafe { execute(file, plan.argv(), envp) };
        if last.0 != libc::ENOENT && last.0 != libc::ENOTDIR && first.is_none() {
            first = Some(last);
        }
    }
    FailedStep(Stage::Exec, first.unwrap_or(last))
}

/// What has to be so in the child before it executes its program, in this order.
fn prepare(job: &Job, hook: Option<InChild<'_>>) -> Result<(), FailedStep> {
    let plan = &job.plan;
    // A handler that ran here would run in the memory of a parent that goes on. It would take a
    // signal between two instructions to see that from outside, so it is looked at here; tests have
    // debug assertions. A hook's child has its own memory, and no signals blocked.
    if cfg!(debug_assertions) && hook.is_none() && !raw::blocks_all_signals() {
        return Err(FailedStep(Stage::Setup, Errno(libc::EDEADLK)));
    }
    die_with_parent(job)?;
    if let (Some(dir), true) = (&plan.cgroup, job.enters_cgroup) {
        step(Stage::Cgroup, raw::enter_cgroup(dir.as_raw_fd()))?;
    }
    step(Stage::Setup, inherit(job))?;
    step(Stage::Setup, standard_streams(job.stdio))?;
    // A hook may use any descriptor of the parent's; so may a `cwd` that names one.
    let early = hook.is_none() && !plan.cwd_names_descriptor();
    if plan.close_fds && early {
        close_from_3(job);
    }
    if let Some(dir) = &plan.cwd {
        step(Stage::Chdir, dir.enter())?;
    }
    if let Some(mask) = plan.attributes.umask {
        raw::umask(mask);
    }
    if plan.attributes.restore_signals {
        raw::default_action(libc::SIGPIPE);
        raw::default_action(libc::SIGXFSZ);
    }
    step(Stage::Setup, session(&plan.attributes))?;
    resources(plan)?;
    step(Stage::Setup, identity(&plan.attributes))?;
    die_with_parent(job)?;
    if let Some(hook) = hook {
        step(Stage::PreExec, hook().map_err(Errno))?;
    }
    if plan.close_fds && !early {
        close_from_3(job);
    }
    if plan.attributes.no_new_privs {
        step(Stage::NoNewPrivs, raw::forgo_new_privileges())?;
    }
    Ok(())
}

/// execve(3); returns only when it failed. It may allocate, and stores `errno`: never while the parent's
/// thread goes on.
///
/// # Safety
/// `argv` and `envp` are null-terminated arrays of C strings.
unsafe fn library_execve(
    file: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    // SAFETY: the caller's.
    unsafe { libc::execve(file.as_ptr(), argv, envp) };
    Errno(
        std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::ENOEXEC),
    )
}

/// The report must end at exec, even if its number is among those to be passed.
fn inherit(job: &Job) -> Result<(), Errno> {
    for fd in job.plan.inherit.iter().filter(|fd| **fd != job.report) {
        raw::clear_cloexec(*fd)?;
    }
    Ok(())
}

/// Puts the standard streams in their places. A source that is itself 0, 1 or 2 would be
/// overwritten before its turn, so it moves out of the way first (CPython issue 32270).
fn standard_streams(stdio: [Option<RawHandle>; 3]) -> Result<(), Errno> {
    let [stdin, mut stdout, mut stderr] = stdio;
    if stdout == Some(0) {
        stdout = Some(raw::dup_above_2(0)?);
    }
    if let Some(fd @ (0 | 1)) = stderr {
        stderr = Some(raw::dup_above_2(fd)?);
    }
    for (target, source) in [stdin, stdout, stderr].into_iter().enumerate() {
        let target = target as c_int;
        match source {
            None => {}
            Some(fd) if fd == target => raw::clear_cloexec(fd)?,
            Some(fd) => raw::dup_to(fd, target)?,
        }
    }
    Ok(())
}

fn step(stage: Stage, result: Result<(), Errno>) -> Result<(), FailedStep> {
    result.map_err(|errno| FailedStep(stage, errno))
}

/// A parent that has ended before it could be named is no longer ours: there is no one left to tell.
fn die_with_parent(job: &Job) -> Result<(), FailedStep> {
    let Some(parent) = job.dies_with else {
        return Ok(());
    };
    step(Stage::ParentExit, raw::die_with_parent())?;
    // 0 is a parent in another pid namespace, of whom nothing can be known.
    match raw::parent() {
        0 => Ok(()),
        pid if pid == parent => Ok(()),
        _ => raw::exit(255),
    }
}

fn resources(plan: &Plan) -> Result<(), FailedStep> {
    for limit in &plan.attributes.limits {
        step(Stage::Limits, raw::set_limit(limit))?;
    }
    if let Some(nice) = plan.attributes.nice {
        step(Stage::Nice, raw::set_nice(nice))?;
    }
    if let Some(processors) = &plan.processors {
        step(Stage::Affinity, raw::set_affinity(processors))?;
    }
    Ok(())
}

fn session(new: &Attributes) -> Result<(), Errno> {
    if new.new_session {
        raw::setsid()?;
    }
    if let Some(group) = new.process_group {
        raw::setpgid(group)?;
    }
    Ok(())
}

fn identity(new: &Attributes) -> Result<(), Errno> {
    match &new.groups {
        Groups::Set(groups) => raw::setgroups(groups)?,
        // As std does it: without the privilege they stay.
        Groups::DropWithUser if new.user.is_some() => match raw::setgroups(&[]) {
            Err(Errno(libc::EPERM)) => {}
            result => result?,
        },
        Groups::DropWithUser | Groups::Keep => {}
    }
    if let Some(group) = new.group {
        raw::setregid(group)?;
    }
    if let Some(user) = new.user {
        raw::setreuid(user)?;
    }
    Ok(())
}

/// Closes what is above 2 but for `plan.keep` and the report, which closes itself at exec.
fn close_from_3(job: &Job) {
    let keep = |fd: RawHandle| fd == job.report || job.plan.keep.binary_search(&fd).is_ok();
    if job.close_range && close_ranges(job).is_ok() {
        return;
    }
    raw::close_each_from_3(job.plan.max_fd, keep);
}

fn close_ranges(job: &Job) -> Result<(), Errno> {
    let mut from = 3;
    let mut report = Some(job.report);
    let mut keep = job.plan.keep.iter().copied().peekable();
    loop {
        // Two ascending sequences merged: `keep`, and the one number `report`.
        let next = match (keep.peek().copied(), report) {
            (Some(fd), Some(r)) if fd <= r => keep.next(),
            (_, Some(_)) => report.take(),
            (Some(_), None) => keep.next(),
            (None, None) => break,
        };
        let Some(fd) = next else { break };
        if fd > from {
            raw::close_range(from, fd - 1)?;
        }
        from = from.max(fd + 1);
    }
    raw::close_range(from, c_int::MAX)
}
