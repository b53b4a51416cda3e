//! Wakers of operations that wait for the same thing.

use std::task::{Context, Waker};

use slab::Slab;

/// A set of wakers. Each operation has a key of its own, so that one which is given up leaves
/// nothing behind, however often it is tried again. It takes memory while an operation waits, and keeps it
/// once operations were woken: an idle child has four of them.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Option<Box<Places>>);

#[derive(Debug, Default)]
struct Places {
    wakers: Slab<Waker>,
    /// How often all were taken: a place is given to another operation after that.
    round: u32,
}

/// The place of one operation in [`Waiters`], and the round in which it got it.
pub(crate) type Key = Option<(u32, u32)>;

impl Waiters {
    /// Registers the operation, or renews its waker.
    pub(crate) fn register(&mut self, key: &mut Key, cx: &Context<'_>) {
        let places = self.0.get_or_insert_default();
        match places.waker(*key) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                let place = places.wakers.insert(cx.waker().clone());
                // For more operations there is no memory.
                *key = u32::try_from(place).ok().map(|place| (place, places.round));
            }
        }
    }

    /// Forgets an operation that gives up, if it has not been woken.
    pub(crate) fn forget(&mut self, key: &mut Key) {
        let key = key.take();
        if let Some(places) = &mut self.0
            && let Some(place) = places.place(key)
        {
            places.wakers.try_remove(place);
            // Before the first wake-up no key is void, so none can be taken for one of what comes next.
            if places.round == 0 && places.wakers.is_empty() {
                self.0 = None;
            }
        }
    }

    #[cfg(feature = "python")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|places| places.wakers.is_empty())
    }

    /// Takes all wakers. The keys of their operations become void.
    #[inline]
    pub(crate) fn take(&mut self, wakers: &mut Vec<Waker>) {
        if let Some(places) = &mut self.0 {
            places.take(wakers);
        }
    }
}

impl Places {
    fn place(&self, key: Key) -> Option<usize> {
        let current = key.filter(|(_, round)| *round == self.round);
        current.map(|(place, _)| place as usize)
    }

    fn take(&mut self, wakers: &mut Vec<Waker>) {
        self.round = self.round.wrapping_add(1);
        wakers.extend(self.wakers.drain());
    }

    fn waker(&mut self, key: Key) -> Option<&mut Waker> {
        let place = self.place(key)?;
        self.wakers.get_mut(place)
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
        assert!(waiters.0.is_none(), "it keeps no memory");
        waiters.take(&mut woken);
        assert!(woken.is_empty());
    }
}
