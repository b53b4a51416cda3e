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

/// A waker that is not needed any more, to be dropped when the lock under which it was found has been let go of: it may be
/// all that is left of a task, whose destructor calls whatever it likes.
#[must_use = "it is to outlive the lock"]
#[derive(Default)]
pub(crate) struct Stale(#[expect(dead_code, reason = "dropped later")] pub(crate) Option<Waker>);

/// Has a waker wake what `cx` belongs to.
#[inline]
pub(crate) fn renew(waker: &mut Waker, cx: &Context<'_>) -> Stale {
    if waker.will_wake(cx.waker()) {
        return Stale(None);
    }
    Stale(Some(std::mem::replace(waker, cx.waker().clone())))
}

/// The place of one operation in [`Waiters`], and the round in which it got it.
pub(crate) type Key = Option<(u32, u32)>;

impl Waiters {
    /// Registers the operation, or renews its waker.
    #[inline]
    pub(crate) fn register(&mut self, key: &mut Key, cx: &Context<'_>) -> Stale {
        let places = self.0.get_or_insert_default();
        match places.waker(*key) {
            Some(waker) => renew(waker, cx),
            None => {
                let place = places.wakers.insert(cx.waker().clone());
                // For more operations there is no memory.
                *key = u32::try_from(place).ok().map(|place| (place, places.round));
                Stale(None)
            }
        }
    }

    /// Forgets an operation that gives up, if it has not been woken.
    pub(crate) fn forget(&mut self, key: &mut Key) -> Stale {
        let key = key.take();
        let Some(places) = &mut self.0 else {
            return Stale(None);
        };
        let Some(place) = places.place(key) else {
            return Stale(None);
        };
        let stale = Stale(places.wakers.try_remove(place));
        // Before the first wake-up no key is void, so none can be taken for one of what comes next.
        if places.round == 0 && places.wakers.is_empty() {
            self.0 = None;
        }
        stale
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
        let _ = waiters.register(&mut first, &cx);
        waiters.take(&mut woken);
        let _ = waiters.register(&mut second, &cx);
        let _ = waiters.forget(&mut first);
        waiters.take(&mut woken);
        assert_eq!(woken.len(), 2);
    }

    #[test]
    fn one_that_gives_up_leaves_nothing() {
        let (mut waiters, mut woken) = (Waiters::default(), Vec::new());
        let cx = Context::from_waker(Waker::noop());
        let mut key = None;
        for _ in 0..2 {
            let _ = waiters.register(&mut key, &cx);
        }
        let _ = waiters.forget(&mut key);
        assert!(waiters.0.is_none(), "it keeps no memory");
        waiters.take(&mut woken);
        assert!(woken.is_empty());
    }
}
