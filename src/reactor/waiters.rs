//! Wakers of operations that wait for the same thing.

use std::task::{Context, Waker};

use slab::Slab;

/// A set of wakers. Each operation has a key of its own, so that one which is given up leaves
/// nothing behind, however often it is tried again.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: Slab<Waker>,
    /// How often all were taken: a place is given to another operation after that.
    round: u64,
}

/// The place of one operation in [`Waiters`], and the round in which it got it.
pub(crate) type Key = Option<(usize, u64)>;

impl Waiters {
    /// Registers the operation, or renews its waker.
    pub(crate) fn register(&mut self, key: &mut Key, cx: &Context<'_>) {
        let place = self.place(*key);
        match place.and_then(|place| self.wakers.get_mut(place)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *key = Some((self.wakers.insert(cx.waker().clone()), self.round)),
        }
    }

    /// Forgets an operation that gives up, if it has not been woken.
    pub(crate) fn forget(&mut self, key: &mut Key) {
        if let Some(place) = self.place(key.take()) {
            self.wakers.try_remove(place);
        }
    }

    fn place(&self, key: Key) -> Option<usize> {
        let current = key.filter(|(_, round)| *round == self.round);
        current.map(|(place, _)| place)
    }

    #[cfg(feature = "python")]
    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Takes all wakers. The keys of their operations become void.
    pub(crate) fn take(&mut self, wakers: &mut Vec<Waker>) {
        self.round += 1;
        wakers.extend(self.wakers.drain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_woken_does_not_give_up_the_place_of_the_next() {
        let (mut waiters, mut woken) = (Waiters::default(), Vec::new());
        let cx = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (None, None);
        waiters.register(&mut first, &cx);
        waiters.take(&mut woken);
        waiters.register(&mut second, &cx);
        waiters.forget(&mut first);
        waiters.take(&mut woken);
        assert_eq!(woken.len(), 2);
    }

    #[test]
    fn one_that_gives_up_leaves_nothing() {
        let (mut waiters, mut woken) = (Waiters::default(), Vec::new());
        let cx = Context::from_waker(Waker::noop());
        let mut key = None;
        for _ in 0..2 {
            waiters.register(&mut key, &cx);
        }
        waiters.forget(&mut key);
        waiters.take(&mut woken);
        assert!(woken.is_empty());
    }
}
