//! That a child's end was seen, as the thread that waits for it tells the holder of its lock.

use std::io;
use std::sync::atomic::Ordering;

use crate::sync::modelled::AtomicBool;

/// Whether a child's end was seen. From then on, without a pidfd, its number may be another's, if it was
/// reaped by other code.
#[derive(Debug, Default)]
pub(super) struct EndSeen(AtomicBool);

/// What there is to say of a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WaitFound<T> {
    Running,
    Ended(T),
    /// Another child has the number, and runs.
    Taken,
}

impl EndSeen {
    pub(super) fn tell(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_told(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// What a wait for the number says of the child. Whether the end was seen is asked first: a child that
    /// ends after it was found to run, and is seen to, is still to be reaped.
    pub(super) fn judge<T>(
        &self,
        wait: impl FnOnce() -> io::Result<Option<T>>,
    ) -> io::Result<WaitFound<T>> {
        let seen = self.is_told();
        Ok(match wait()? {
            Some(exit) => {
                // A look may have reaped it.
                self.tell();
                WaitFound::Ended(exit)
            }
            None if seen => WaitFound::Taken,
            None => WaitFound::Running,
        })
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::sync::modelled::check;

    #[test]
    fn a_child_that_ends_while_it_is_waited_for_is_not_lost() {
        check(|| {
            let seen = Arc::new(EndSeen::default());
            let ended = Arc::new(AtomicBool::new(false));
            let (told, child) = (seen.clone(), ended.clone());
            let thread = thread::spawn(move || {
                child.store(true, Ordering::SeqCst);
                told.tell();
            });
            let wait = || seen.judge(|| Ok(ended.load(Ordering::SeqCst).then_some(())));
            assert_ne!(wait().unwrap(), WaitFound::Taken);
            thread.join().unwrap();
            assert_eq!(wait().unwrap(), WaitFound::Ended(()));
        });
    }

    #[test]
    fn a_number_that_another_child_has_is_told() {
        check(|| {
            let seen = Arc::new(EndSeen::default());
            let told = seen.clone();
            let thread = thread::spawn(move || told.tell());
            thread.join().unwrap();
            assert_eq!(seen.judge(|| Ok(None::<()>)).unwrap(), WaitFound::Taken);
        });
    }
}
