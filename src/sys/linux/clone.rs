//! The strategies to make a child, each the fallback of the one before, and the race-free birth of its pidfd.
//!
//! # The first strategy: asynchronous vfork
//!
//! `clone(CLONE_VM)` without `CLONE_VFORK`: the child borrows our memory, so nothing is copied
//! however large we are, and we go on at once, so a slow exec (a cold disk, NFS, thousands of
//! misses along PATH) holds neither the loop nor another start. What makes it right:
//!
//! - The child has a stack of its own; stack, arguments and environment live until the report pipe
//!   ends. The kernel lets go of the old memory in exec before it closes descriptors, and in exit
//!   likewise, so once the end of that pipe is seen the child cannot touch them any more.
//! - All signals are blocked round the clone, so no handler can run in the child while it shares
//!   our memory, and none can interrupt us between the clone and the restored mask. The child
//!   lifts the mask last, when no signal is caught any more: it was either born without our
//!   handlers (CLONE_CLEAR_SIGHAND of clone3(2), Linux 5.5), or has asked for each signal whether it
//!   is caught, and has reset those that are. Which of the two it is, the job says.
//! - The child is made by the calling thread, and so inherits that thread's mask, affinity,
//!   scheduling and parent-death signal, as a child of `Popen` does.
//! - The pidfd is made by the clone itself: there is no moment at which the child has a pid that
//!   could already have been recycled.
//!
//! A child that is to end with this program is tied to its pidfd by the kernel, where that can be done
//! (CLONE_PIDFD_AUTOKILL); else it ties itself to the thread that makes it, by PR_SET_PDEATHSIG.
//!
//! What refuses clone3, among them seccomp filters that cannot look at its flags, gets clone(2) with
//! the same flags before it gets the next strategy.
//!
//! A child that changes its identity does not share our memory (see [`Plan::changes_identity`]). A process that
//! may change its own waits with that for the exec (see [`setxid_barrier`]).
//!
//! [`Plan::changes_identity`]: crate::sys::Plan::changes_identity

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::io::fcntl_dupfd_cloexec;

use super::stack::Stack;
use super::{clone3, credentials, open_pidfd, raw, setxid_barrier, uses_pidfds};
use crate::error::{SpawnError, Stage};
use crate::sync::lock;
use crate::sys::{Job, switches};

/// Stacks that are kept for the next child.
const SPARE_STACKS: usize = 16;

/// A way to make a child. Lower ones are for kernels and sandboxes that refuse the higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SpawnStrategy {
    /// The child shares our memory and we go on.
    Asynchronous,
    /// The child shares our memory and we wait until it has called exec, as `Popen` does.
    Vfork,
    /// The child has a copy of our memory.
    Fork,
}

impl SpawnStrategy {
    pub(crate) const FIRST: SpawnStrategy = if raw::LEAVES_ERRNO_ALONE {
        SpawnStrategy::Asynchronous
    } else {
        SpawnStrategy::Vfork
    };

    fn flags(self) -> c_int {
        match self {
            SpawnStrategy::Asynchronous => libc::CLONE_VM,
            SpawnStrategy::Vfork => libc::CLONE_VM | libc::CLONE_VFORK,
            SpawnStrategy::Fork => 0,
        }
    }

    fn lower(self) -> Option<SpawnStrategy> {
        match self {
            SpawnStrategy::Asynchronous => Some(SpawnStrategy::Vfork),
            SpawnStrategy::Vfork => Some(SpawnStrategy::Fork),
            SpawnStrategy::Fork => None,
        }
    }
}

/// Makes children, and remembers what this system lets it do.
pub(crate) struct Cloner {
    spare: Mutex<Vec<Stack>>,
    refused: AtomicU8,
    /// Whether the clone is asked for a pidfd. Emulators and filters refuse the flag with any strategy.
    pidfd: AtomicBool,
    /// Whether clone3 is tried.
    clone3: AtomicBool,
    /// Whether the kernel may know how to kill a child whose pidfd is closed.
    autokill: AtomicBool,
}

/// What the kernel is asked for. What it does not do is left to the child, or not done.
#[derive(Clone, Copy)]
struct Attempt {
    strategy: SpawnStrategy,
    /// A change of our identity is to wait for the exec.
    guarded: bool,
    pidfd: bool,
    clone3: bool,
    /// The child is born in its control group: CLONE_INTO_CGROUP, Linux 5.7.
    into_cgroup: bool,
    /// The child is killed when the pidfd is closed: CLONE_PIDFD_AUTOKILL, Linux 7.1.
    autokill: bool,
}

impl Cloner {
    pub(crate) fn new() -> Self {
        Cloner {
            spare: Mutex::default(),
            refused: AtomicU8::new(switches().first_strategy as u8),
            pidfd: AtomicBool::new(uses_pidfds()),
            clone3: AtomicBool::new(switches().clone3),
            autokill: AtomicBool::new(switches().autokill),
        }
    }

    /// Starts `entry(job)` in a new process, by the first attempt that the system allows. Returns
    /// its pid, its pidfd where the kernel has them, and the stack on which it runs: to be given
    /// to [`recycle`](Cloner::recycle) once the child has let go of our memory.
    ///
    /// # Safety
    /// `job` stays valid and, once this has returned, unchanged until the child has executed a
    /// program or ended, and `entry` does not return.
    pub(crate) unsafe fn start(
        &self,
        job: &mut Job,
        entry: extern "C" fn(*mut c_void) -> c_int,
    ) -> Result<(i32, Option<OwnedFd>, Stack), SpawnError> {
        let spare = lock(&self.spare).pop();
        let stack = spare.map_or_else(Stack::new, Ok);
        let stack = stack.map_err(SpawnError::setup)?;
        let mut attempt = self.first_attempt(job);
        loop {
            job.inherits_handlers = !attempt.clone3;
            job.enters_cgroup = !attempt.into_cgroup;
            job.autokill = attempt.autokill;
            job.tie_to_parent()?;
            // SAFETY: the caller's promise, and `stack` is unused and outlives the child half.
            match unsafe { clone(job, entry, &stack, attempt) } {
                Ok((pid, pidfd)) => {
                    // The child has not been reaped, so its number is still its own.
                    let pidfd = pidfd.or_else(|| open_pidfd(pid).ok().flatten());
                    if !job.plan.changes_identity() {
                        self.refused
                            .fetch_max(attempt.strategy as u8, Ordering::Relaxed);
                    }
                    return Ok((pid, pidfd, stack));
                }
                Err(error) => match self.next_attempt(attempt, &error, job) {
                    Some(next) => attempt = next,
                    None => return Err(SpawnError::new(stage_of(attempt, &error), error)),
                },
            }
        }
    }

    pub(crate) fn recycle(&self, stack: Stack) {
        let mut spare = lock(&self.spare);
        if spare.len() < SPARE_STACKS {
            spare.push(stack);
        }
    }

    fn first_attempt(&self, job: &Job) -> Attempt {
        let pidfd = self.pidfd.load(Ordering::Relaxed);
        let clone3 = self.clone3.load(Ordering::Relaxed);
        let autokill = job.plan.attributes.kill_on_parent_exit && clone3 && pidfd;
        let strategy = self.strategy(job);
        let guarded = strategy == SpawnStrategy::Asynchronous && credentials::may_change();
        Attempt {
            strategy,
            guarded,
            pidfd,
            clone3,
            into_cgroup: job.plan.cgroup.is_some() && clone3,
            autokill: autokill && self.autokill.load(Ordering::Relaxed),
        }
    }

    /// What is tried after the kernel has refused an attempt, if anything is. What was refused for all
    /// children is remembered, what only for this one is not.
    fn next_attempt(&self, last: Attempt, error: &io::Error, job: &Job) -> Option<Attempt> {
        let errno = error.raw_os_error();
        // A control group of version 1 can only be entered.
        if last.into_cgroup && (refused(error) || errno == Some(libc::EBADF)) {
            return Some(Attempt {
                into_cgroup: false,
                ..last
            });
        }
        if !refused(error) {
            return None;
        }
        if last.autokill {
            // EPERM is about this child, which could gain privileges.
            if errno == Some(libc::EINVAL) {
                self.autokill.store(false, Ordering::Relaxed);
            }
            return Some(Attempt {
                autokill: false,
                ..self.first_attempt(job)
            });
        }
        if last.clone3 {
            self.clone3.store(false, Ordering::Relaxed);
            return Some(Attempt {
                clone3: false,
                ..last
            });
        }
        if let Some(strategy) = last.strategy.lower() {
            return Some(Attempt { strategy, ..last });
        }
        self.pidfd.store(false, Ordering::Relaxed);
        last.pidfd.then(|| self.first_attempt(job))
    }

    fn strategy(&self, job: &Job) -> SpawnStrategy {
        if job.plan.changes_identity() {
            return SpawnStrategy::Fork;
        }
        match self.refused.load(Ordering::Relaxed) {
            0 => SpawnStrategy::Asynchronous,
            1 => SpawnStrategy::Vfork,
            _ => SpawnStrategy::Fork,
        }
    }
}

/// Which step an error is about: what is wrong with a control group shows in the clone already.
fn stage_of(attempt: Attempt, error: &io::Error) -> Stage {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::ENODEV | libc::ENOENT | libc::EOPNOTSUPP)
            if attempt.into_cgroup =>
        {
            Stage::Cgroup
        }
        _ => Stage::Setup,
    }
}

/// What seccomp filters, gVisor, old kernels and emulators answer to flags they do not want.
fn refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EACCES | libc::E2BIG)
    )
}

/// Makes the child, with all signals blocked. By clone3(2), unless the child inherits our handlers.
///
/// # Safety
/// As [`Cloner::start`]; no other code uses `stack`.
unsafe fn clone(
    job: &Job,
    entry: extern "C" fn(*mut c_void) -> c_int,
    stack: &Stack,
    attempt: Attempt,
) -> io::Result<(i32, Option<OwnedFd>)> {
    let mut pidfd: c_int = -1;
    let pidfd_flag = if attempt.pidfd { libc::CLONE_PIDFD } else { 0 };
    let guarded = attempt.guarded && attempt.strategy == SpawnStrategy::Asynchronous;
    let cgroup = job.plan.cgroup.as_ref().filter(|_| attempt.into_cgroup);
    let (caller, place) = if guarded {
        setxid_barrier::block_signals()
    } else {
        (raw::set_signal_mask(&!0), None)
    };
    let word = place.as_ref().map(setxid_barrier::Place::word);
    // Without a place a change waits until the exec for this thread, which blocks the signal that asks it to follow.
    let strategy = if guarded && word.is_none() {
        SpawnStrategy::Vfork
    } else {
        attempt.strategy
    };
    let word_flag = word.map_or(0, |_| libc::CLONE_CHILD_CLEARTID);
    let flags = strategy.flags() | pidfd_flag | word_flag;
    let cleared = word.unwrap_or(ptr::null());
    let request = clone3::CloneRequest {
        flags,
        cgroup: cgroup.map(AsRawFd::as_raw_fd),
        autokill: attempt.autokill,
        no_new_privs: job.plan.attributes.no_new_privs,
        cleared,
    };
    let job = (&raw const *job).cast_mut().cast();
    let made = if attempt.clone3 {
        // SAFETY: `entry` runs on a stack of its own and does not return; `job` is only read.
        unsafe { clone3::clone3(&request, &mut pidfd, stack, entry, job) }
            .map_err(|error| io::Error::from_raw_os_error(error.0))
    } else {
        let (top, flags) = (stack.top().cast(), flags | libc::SIGCHLD);
        let no_tls = ptr::null::<c_void>();
        // SAFETY: likewise.
        match unsafe { libc::clone(entry, top, flags, job, &raw mut pidfd, no_tls, cleared) } {
            -1 => Err(io::Error::last_os_error()),
            pid => Ok(pid),
        }
    };
    // Without a child the place is given up here.
    if let (Ok(_), Some(place)) = (&made, place) {
        place.settle();
    }
    raw::set_signal_mask(&caller);
    let pid = made?;
    if pidfd == -1 {
        // Before Linux 5.2 the flag does nothing.
        return Ok((pid, None));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid, Some(above_stdio_if_possible(pidfd))))
}

/// The child runs: nothing may fail any more. A pidfd below 3 works, it is only unusual.
fn above_stdio_if_possible(pidfd: OwnedFd) -> OwnedFd {
    let low = pidfd.as_raw_fd() < 3;
    let moved = low.then(|| fcntl_dupfd_cloexec(&pidfd, 3).ok()).flatten();
    moved.unwrap_or(pidfd)
}
