//! Code of the caller's that runs in the child, between fork and exec.

use std::cell::UnsafeCell;
use std::io;
use std::sync::Arc;

use super::spawn::Fork;

/// What runs in the child, in the order in which it was given.
#[derive(Clone, Default)]
pub(crate) struct PreExec(Vec<Arc<Hook>>);

struct Hook(UnsafeCell<Box<dyn FnMut() -> io::Result<()> + Send + Sync>>);

// SAFETY: what is in the cell is used in a forked child only, which has its own copy and one thread.
unsafe impl Sync for Hook {}

impl PreExec {
    /// # Safety
    /// The hook runs in a copy of the process that has one thread: it may only do what is allowed in a
    /// signal handler. See signal-safety(7).
    pub(crate) unsafe fn add<F>(&mut self, hook: F)
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        self.0.push(Arc::new(Hook(UnsafeCell::new(Box::new(hook)))));
    }
}

// SAFETY: for the hooks, the caller of [`PreExec::add`] has promised it.
unsafe impl Fork for PreExec {
    fn in_child(&mut self) -> Result<(), i32> {
        for hook in &self.0 {
            // SAFETY: this is the only thread of the child, and no hook can reach another.
            let hook = unsafe { &mut *hook.0.get() };
            hook().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
        }
        Ok(())
    }
}
