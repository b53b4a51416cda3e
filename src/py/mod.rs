//! The Python extension `procio._core`: all of PyO3.
//!
//! [`host`] binds a reactor to an event loop; [`awaitable`] is what the stream methods return;
//! [`linger`] looks for a moment before the loop sleeps; [`operations`] are the core's state machines as awaitables see them; [`call`] is how a protocol
//! waits.

mod awaitable;
#[allow(unsafe_code)]
mod buffer;
mod call;
pub mod embed;
mod ends;
mod errors;
#[cfg(unix)]
mod fork;
mod host;
mod linger;
mod operations;
#[cfg_attr(unix, path = "platform_posix.rs")]
#[cfg_attr(windows, path = "platform_windows.rs")]
mod platform;
#[cfg(windows)]
mod proactor;
mod process;
mod reader;
mod relay;
mod request;
#[allow(unsafe_code)]
mod send;
mod writer;

use pyo3::prelude::*;

/// The compiled half of procio. Private: import `procio`.
#[pymodule(name = "_core", gil_used = false)]
mod core {
    #[pymodule_export]
    use super::awaitable::Awaitable;
    #[pymodule_export]
    use super::embed::attach;
    #[pymodule_export]
    use super::ends::{open_reader, open_writer};
    #[pymodule_export]
    use super::process::{Process, register_classes};
    #[pymodule_export]
    use super::reader::StreamReader;
    #[pymodule_export]
    use super::request::spawn;
    #[pymodule_export]
    use super::writer::StreamWriter;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        super::send::install(m.py());
        m.add("__version__", env!("CARGO_PKG_VERSION"))?;
        m.add(
            "build_profile",
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        )
    }
}
