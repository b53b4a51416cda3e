//! Code of the caller's that runs in the child, between fork and exec.

use std::cell::UnsafeCell;
use std::io;
use std::sync::Arc;

use super::spawn::{Fork, Forked};
use crate::command::Command;

/// What runs in the child, in the order in which it was given.
#[derive(Clone, Default)]
pub(crate) struct PreExec(Vec<Arc<Hook>>);

struct Hook(UnsafeCell<Box<dyn FnMut() -> io::Result<()> + Send + Sync>>);

// SAFETY: what is in the cell is used in a forked child only, which has its own copy and one thread.
unsafe impl Sync for Hook {}

impl Command {
    /// Runs `hook` in the child, after everything else and before the program is executed. If it
    /// fails, so does the start, at [`Stage::PreExec`](crate::Stage::PreExec), with EINVAL if its error
    /// has no number. Hooks run in the order in which they were added. One that panics aborts the child.
    ///
    /// The child is then made by fork(2), which takes the longer the more memory the parent uses.
    /// Most of what a hook is used for is an option of its own here.
    ///
    /// ```
    /// # use procio::{Command, Reactor, Stage};
    /// # let reactor = Reactor::new()?;
    /// let mut command = Command::new("true");
    /// // SAFETY: makes no call at all.
    /// unsafe { command.pre_exec(|| Err(std::io::ErrorKind::Other.into())) };
    /// let error = reactor.run_until(command.spawn(&reactor))?.unwrap_err();
    /// assert_eq!(error.stage(), Stage::PreExec);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    /// The hook runs in a copy of the process in which no other thread exists, but the locks that
    /// they held are still held. It may only do what is allowed in a signal handler: allocate
    /// nothing, take no lock, not panic. See signal-safety(7).
    pub unsafe fn pre_exec<F>(&mut self, hook: F) -> &mut Self
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        let hooks = self.hook.get_or_insert_default();
        hooks
            .0
            .push(Arc::new(Hook(UnsafeCell::new(Box::new(hook)))));
        self
    }
}

impl Fork for PreExec {
    /// fork(2).
    fn fork(&mut self) -> io::Result<Forked> {
        // SAFETY: what the child does before exec is the child half, which is made for less than
        // this, and the hook, for which the caller of `pre_exec` has promised the same.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(Forked::Child),
            pid => Ok(Forked::Parent(pid)),
        }
    }

    fn in_child(&mut self) -> Result<(), i32> {
        for hook in &self.0 {
            // SAFETY: this is the only thread of the child, and no hook can reach another.
            let hook = unsafe { &mut *hook.0.get() };
            hook().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
        }
        Ok(())
    }
}
