//! Reading and writing a pipe. [`reader`] and [`writer`] are state machines that make no system
//! calls; [`buffer`] holds bytes between them and their users; [`pipe`] joins them to descriptors
//! and to the reactor.

pub(crate) mod buffer;
#[cfg(feature = "python")]
pub(crate) mod capped;
pub(crate) mod parked;
pub(crate) mod pipe;
pub(crate) mod reader;
pub(crate) mod writer;
