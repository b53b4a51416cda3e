//! Reading and writing a pipe. [`reader`] and [`writer`] are state machines that make no system
//! calls; [`buffer`] holds bytes between them and their users; [`read_pipe`] and [`write_pipe`] join
//! them to descriptors and to the reactor.

pub(crate) mod buffer;
#[cfg(feature = "python")]
pub(crate) mod capped;
pub(crate) mod io;
pub(crate) mod parked;
pub(crate) mod read_pipe;
mod read_state;
pub(crate) mod reader;
pub(crate) mod write_pipe;
pub(crate) mod writer;
