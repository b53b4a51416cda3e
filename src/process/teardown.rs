//! Ending a child with the process group that it leads: ask, wait, kill what is left, reap.
//!
//! # Why the group that is killed is the child's own
//! The leader may end at any time, and its number, which is the group's, could then be given away.
//! So the leader is [pinned](crate::process::reaper::Reaper::pin) first: its end is published, and
//! it stays a zombie until the group was killed. While there is that zombie no other process and no
//! other group has its number, on every system, with and without pidfds.
//!
//! # What can happen between two steps
//! The leader ends before it is asked: the group is asked all the same, for what it left behind.
//! The leader obeys and a member of its group does not: the kill comes for that one. All have ended
//! before the kill: it finds a group of one zombie, which is no error (of the call on Linux; what other
//! kernels say of it is `sys`' to know). The operation is given up half-way, or the loop ends: the group
//! is killed at once, and the reactor reaps the leader.

use std::io;
use std::task::{Context, Poll};

use crate::process::guard::ChildGuard;
use crate::reactor::waiters::Key;

/// The steps of an end, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TeardownStep {
    /// The child is to end by itself.
    #[cfg_attr(not(feature = "python"), expect(dead_code))]
    Running,
    Ask,
    /// It was asked, and has until the grace is over.
    Grace,
    Kill,
    Reap,
    Over,
}

/// Ends a child and what is left of its group. The timer of the grace is the caller's: it calls
/// [`end_grace`](Teardown::end_grace) and polls again.
pub(crate) struct Teardown {
    guard: ChildGuard,
    key: Key,
    step: TeardownStep,
    signal: i32,
    refused: bool,
}

impl Teardown {
    /// Sends `signal` first.
    pub(crate) fn new(guard: ChildGuard, signal: i32) -> Self {
        Teardown::at(TeardownStep::Ask, guard, signal)
    }

    /// Lets the child end by itself, for which it has any time, unless [`ask`](Teardown::ask) is
    /// called; then it begins.
    #[cfg(feature = "python")]
    pub(crate) fn after_end(guard: ChildGuard, signal: i32) -> Self {
        Teardown::at(TeardownStep::Running, guard, signal)
    }

    fn at(step: TeardownStep, guard: ChildGuard, signal: i32) -> Self {
        guard.pin();
        Teardown {
            guard,
            key: None,
            step,
            signal,
            refused: false,
        }
    }

    /// Whether the child is still to end by itself.
    #[cfg(feature = "python")]
    pub(crate) fn is_waiting(&self) -> bool {
        self.step == TeardownStep::Running
    }

    /// Whether the child was asked to end, and has some time for that.
    #[cfg(feature = "python")]
    pub(crate) fn has_grace(&self) -> bool {
        matches!(self.step, TeardownStep::Ask | TeardownStep::Grace)
    }

    /// Ends the wait for an end by itself.
    #[cfg(feature = "python")]
    pub(crate) fn ask(&mut self) {
        if self.step == TeardownStep::Running {
            self.step = TeardownStep::Ask;
        }
    }

    /// The child has had its time, or is to have none; to be called after it was asked.
    pub(crate) fn end_grace(&mut self) {
        if self.step == TeardownStep::Grace {
            self.step = TeardownStep::Kill;
        }
    }

    /// Whether, since the last call, the system refused a signal: the child has become another
    /// user's, and ends when it likes.
    #[cfg(feature = "python")]
    pub(crate) fn take_refusal(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// Goes on as far as it can. Ready when the child has been reaped, or its reactor has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.step = match self.step {
                TeardownStep::Running => {
                    std::task::ready!(self.guard.poll_wait(&mut self.key, cx)).ok();
                    TeardownStep::Kill
                }
                TeardownStep::Ask => match self.guard.ask(self.signal) {
                    // What cannot be asked is given no time to answer.
                    Ok(false) => TeardownStep::Kill,
                    asked => {
                        self.note(asked.map(drop));
                        TeardownStep::Grace
                    }
                },
                TeardownStep::Grace => {
                    std::task::ready!(self.guard.poll_wait(&mut self.key, cx)).ok();
                    TeardownStep::Kill
                }
                TeardownStep::Kill => {
                    let killed = self.guard.kill_with_group();
                    self.note(killed);
                    TeardownStep::Reap
                }
                TeardownStep::Reap => {
                    std::task::ready!(self.guard.poll_wait(&mut self.key, cx)).ok();
                    self.guard.let_group_go();
                    self.guard.unpin();
                    TeardownStep::Over
                }
                TeardownStep::Over => return Poll::Ready(()),
            };
        }
    }

    /// `NotFound`: there is nothing left that could be signalled.
    fn note(&mut self, sent: io::Result<()>) {
        self.refused |= sent.is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
    }
}

impl Drop for Teardown {
    fn drop(&mut self) {
        self.guard.forget(&mut self.key);
        if self.step != TeardownStep::Over {
            let _ = self.guard.kill_with_group();
            self.guard.unpin();
        }
    }
}
