//! A child is let go: by its last guard, or by the end of its reactor. It is not left behind.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::process::orphan::{REAP_TIMEOUT, reap_orphan};
use crate::process::reaper::Reaper;
use crate::process::seams::ChildProcess;
use crate::reactor::{Inner, Source};
use crate::status::Exit;
use crate::sync::lock;
use crate::sys::{Process, Readiness};

/// A counted handle on a child. When the last one goes, the child is released.
pub(crate) struct ChildGuard<P: ChildProcess = Process>(Arc<Reaper<P>>);

impl<P: ChildProcess> ChildGuard<P> {
    /// As [`Reaper::watch`].
    pub(crate) fn watch(
        reactor: &Arc<Inner>,
        process: P,
        kill_on_drop: bool,
        leads: bool,
        kill_group_on_drop: bool,
    ) -> io::Result<Self> {
        Reaper::watch(reactor, process, kill_on_drop, leads, kill_group_on_drop).map(ChildGuard)
    }

    /// One whose end is known already.
    pub(crate) fn ended(
        reactor: &Arc<Inner>,
        pid: u32,
        group: Option<P::Group>,
        exit: Option<Exit>,
    ) -> Self {
        ChildGuard(Reaper::ended(reactor, pid, group, exit))
    }
}

impl<P: ChildProcess> Clone for ChildGuard<P> {
    fn clone(&self) -> Self {
        // As for an Arc: the caller has a guard, so that no other can be the last meanwhile.
        self.0.guards.fetch_add(1, Ordering::Relaxed);
        ChildGuard(self.0.clone())
    }
}

impl<P: ChildProcess> Deref for ChildGuard<P> {
    type Target = Reaper<P>;

    fn deref(&self) -> &Reaper<P> {
        &self.0
    }
}

impl<P: ChildProcess> std::fmt::Debug for ChildGuard<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildGuard")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

impl<P: ChildProcess> Drop for ChildGuard<P> {
    fn drop(&mut self) {
        // The reactor has a reference of its own, which does not count.
        if self.0.guards.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.release();
        }
    }
}

impl<P: ChildProcess> Reaper<P> {
    pub(crate) fn kill_on_drop(&self) -> bool {
        self.kill_on_drop.load(Ordering::Relaxed)
    }

    pub(crate) fn set_kill_on_drop(&self, kill: bool) {
        self.kill_on_drop.store(kill, Ordering::Relaxed);
    }

    /// Its last guard has gone. If that is what was asked for, it is killed; the reactor reaps
    /// it, and if the reactor has ended, we do.
    fn release(&self) {
        self.released.store(true, Ordering::Release);
        if self.reactor.in_forked_child() {
            return;
        }
        let killed = self.kill_group_on_drop() || self.kill_on_drop();
        if self.kill_group_on_drop() {
            self.kill_owned();
        } else if killed {
            // After its end, another child may have been started into the same control group.
            if self.kill().is_ok() {
                let _ = self.kill_cgroup();
            }
        }
        // After the kill, for which the process must be here.
        let mut state = lock(&self.state);
        state.abandoned = true;
        self.leave_if_refused(state);
        if killed && self.reactor.is_closed() {
            self.reap_orphan();
        }
    }

    /// Kills it with its group, for which it need not be kept any longer.
    fn kill_owned(&self) {
        let _ = self.kill_with_group();
        self.killed.store(true, Ordering::Relaxed);
        let mut state = lock(&self.state);
        state.pins = 0;
        self.reap_zombie(state);
    }

    /// Reaps a child that was killed without the reactor.
    fn reap_orphan(&self) {
        let process = lock(&self.state).process.take();
        if let Some(mut process) = process {
            self.unwatch(&mut process);
            reap_orphan(process);
        }
    }
}

impl<P: ChildProcess> Source for Reaper<P> {
    fn ready(&self, _readiness: Readiness, wakers: &mut Vec<Waker>) {
        self.reap(wakers);
    }

    fn shutdown(&self, wakers: &mut Vec<Waker>) {
        // To be woken outside of the lock: they may hold the last handle on this very life.
        lock(&self.state).waiters.take(wakers);
        if self.kill_group_on_drop() && !self.reactor.in_forked_child() {
            // The block that owns it cannot go on: it ends here.
            self.kill_owned();
        }
        if self.killed.load(Ordering::Relaxed) {
            // Programs close the loop right after the kill, and keep the handle: nothing else
            // would reap it before that goes.
            self.reap_by(|process| process.wait_timeout(REAP_TIMEOUT), wakers);
        }
        if self.released.load(Ordering::Acquire)
            && self.kill_on_drop()
            && !self.reactor.in_forked_child()
        {
            self.reap_orphan();
        }
    }
}
