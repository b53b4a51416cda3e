//! What debuggers of other processes see in an awaitable.
//!
//! `python -m asyncio ps` and `pstree` (CPython 3.14 and newer) take whatever a task runs for a
//! generator, and read the state of its frame out of its memory without a look at its type. Where
//! a finished generator has that state, an awaitable has the same, and the tool goes on with the
//! next task; anything else would have it follow what it takes for a frame, and fail for the whole
//! program.

#[cfg(Py_3_14)]
use std::mem::MaybeUninit;

/// The head, without the object's own, of a generator from its list of weak references to its flags.
#[cfg(Py_3_14)]
const BEFORE: usize = 6 * size_of::<usize>() + 3;

/// `FRAME_CLEARED`.
#[cfg(Py_3_14)]
const CLEARED: u8 = if cfg!(Py_3_15) { 5 } else { 4 };

/// The first field of an awaitable, so that `_frame_state` is where a generator has `gi_frame_state`.
/// Only that byte is ever written.
#[cfg(Py_3_14)]
#[repr(C)]
pub(super) struct GeneratorHead {
    _before: [MaybeUninit<u8>; BEFORE],
    _frame_state: u8,
}

#[cfg(not(Py_3_14))]
pub(super) struct GeneratorHead;

impl GeneratorHead {
    pub(super) fn finished() -> Self {
        #[cfg(Py_3_14)]
        {
            GeneratorHead {
                _before: [const { MaybeUninit::uninit() }; BEFORE],
                _frame_state: CLEARED,
            }
        }
        #[cfg(not(Py_3_14))]
        GeneratorHead
    }
}
