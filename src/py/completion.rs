//! What the loop's binding completes, and what it lets go of at the loop's end.

use std::sync::Arc;

use pyo3::prelude::*;

/// Something that was woken and has to go on where the loop runs: an operation, a protocol's callback.
pub(super) trait Completion: Send + Sync {
    /// Goes on, and tells Python if that was the end. Raises what the loop's own code raises, such as a
    /// KeyboardInterrupt that arrived meanwhile.
    fn advance(self: Arc<Self>, py: Python<'_>) -> PyResult<()>;
    /// Whether Python is still to be told, after [`advance`](Completion::advance) raised.
    fn is_unfinished(&self) -> bool;
    /// Whether it waits for something.
    fn waits(&self) -> bool {
        false
    }
    /// The loop has ended: lets go of what it holds.
    fn abandon(&self) {}
}
