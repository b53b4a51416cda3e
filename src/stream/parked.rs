//! What operations had collected when they were given up: kept as it is, in the order of the stream.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;

use crate::stream::buffer::Sink;

/// Pieces in the memory in which they were collected. To add one costs the same whatever its length.
/// None take no memory.
#[derive(Default)]
pub(crate) struct Parked(Option<Box<Pieces>>);

#[derive(Default)]
struct Pieces {
    /// With the number of bytes of each that are gone.
    pieces: VecDeque<(Box<dyn Sink>, usize)>,
    length: usize,
}

impl Parked {
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |parked| parked.length)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds a piece, of which the first `gone` bytes do not count, before all others. One that keeps
    /// nothing to be put back is dropped.
    pub(crate) fn push_front(&mut self, piece: Box<dyn Sink>, gone: usize) {
        if !piece.piece_at(gone).is_empty() {
            let parked = self.0.get_or_insert_default();
            parked.length += piece.len() - gone;
            parked.pieces.push_front((piece, gone));
        }
    }

    #[cfg(any(test, feature = "python"))]
    pub(crate) fn push_back(&mut self, piece: Box<dyn Sink>) {
        if !piece.piece_at(0).is_empty() {
            let parked = self.0.get_or_insert_default();
            parked.length += piece.len();
            parked.pieces.push_back((piece, 0));
        }
    }

    /// The first bytes that lie together.
    pub(crate) fn front(&self) -> &[u8] {
        let first = self.0.as_ref().and_then(|parked| parked.pieces.front());
        first.map_or(&[], |(piece, gone)| piece.piece_at(*gone))
    }

    /// Takes `count` bytes, at most those of [`front`](Parked::front).
    pub(crate) fn consume(&mut self, count: usize) {
        let Some(parked) = &mut self.0 else { return };
        let Some((piece, gone)) = parked.pieces.front_mut() else {
            return;
        };
        *gone += count;
        parked.length -= count;
        if *gone >= piece.len() {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) -> Option<Box<dyn Sink>> {
        let parked = self.0.as_mut()?;
        let (first, _) = parked.pieces.pop_front()?;
        if parked.pieces.is_empty() {
            self.0 = None;
        }
        Some(first)
    }

    /// The first piece, to be collected on, if it is a `K` of at most `most` bytes of which nothing
    /// was taken.
    pub(crate) fn resume<K: Sink>(&mut self, most: usize) -> Option<K> {
        let parked = self.0.as_mut()?;
        let (first, gone) = parked.pieces.front()?;
        let kind: &dyn Any = &**first;
        if *gone > 0 || first.len() > most || !kind.is::<K>() {
            return None;
        }
        parked.length -= first.len();
        let first = self.pop_front()?;
        let first: Box<dyn Any> = first;
        first.downcast().ok().map(|sink| *sink)
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parked")
            .field("length", &self.len())
            .finish_non_exhaustive()
    }
}
