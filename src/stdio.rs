//! Where a child's standard streams lead.

use std::sync::Arc;

use crate::sys::{OwnedHandle, RawHandle};

/// Where one of a child's standard streams leads.
#[derive(Clone, Debug, Default)]
pub struct Stdio(pub(crate) Target);

#[derive(Clone, Debug, Default)]
pub(crate) enum Target {
    #[default]
    Inherit,
    Null,
    Pipe,
    /// Standard error only: wherever standard output leads.
    Stdout,
    Owned(Arc<OwnedHandle>),
    Raw(RawHandle),
}

impl Stdio {
    /// The parent's own stream.
    #[must_use]
    pub fn inherit() -> Self {
        Stdio(Target::Inherit)
    }

    /// Nothing: reads end at once and writes vanish.
    #[must_use]
    pub fn null() -> Self {
        Stdio(Target::Null)
    }

    /// A new pipe whose other end the [`Child`](crate::Child) holds.
    #[must_use]
    pub fn piped() -> Self {
        Stdio(Target::Pipe)
    }

    /// For standard error: the same open file as standard output, in one order.
    #[must_use]
    pub fn to_stdout() -> Self {
        Stdio(Target::Stdout)
    }

    /// A descriptor of the caller's, by number. The caller keeps it open until the child was
    /// started; a number that is not open makes the start fail.
    #[must_use]
    pub fn from_raw(handle: RawHandle) -> Self {
        Stdio(Target::Raw(handle))
    }
}

impl From<OwnedHandle> for Stdio {
    fn from(handle: OwnedHandle) -> Self {
        Stdio(Target::Owned(Arc::new(handle)))
    }
}
