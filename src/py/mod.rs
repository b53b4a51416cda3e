//! The Python extension `procio._core`: all of PyO3.
//!
//! [`event_loop`] binds a reactor to an event loop; [`awaitable`] is what the stream methods return;
//! [`operations`] are the core's state machines as awaitables see them; [`read_callback`] is how a
//! protocol waits; [`busy_poll`] polls before the loop sleeps.

mod awaitable;
mod busy_poll;
#[allow(unsafe_code)]
mod bytes_sink;
mod child_lifetime;
mod classes;
mod detached;
mod errors;
mod event_loop;
#[cfg(unix)]
mod fork;
pub mod interop;
mod merged;
mod operations;
mod pipes;
mod poll_thread;
#[cfg_attr(unix, path = "popen_posix.rs")]
#[cfg_attr(windows, path = "popen_windows.rs")]
mod popen;
#[cfg(windows)]
mod proactor;
mod process;
mod read_callback;
mod reader;
mod run;
mod spawn;
mod stop;
mod timer;
mod writer;

use pyo3::prelude::*;

/// The compiled half of procio. Private: import `procio`.
#[pymodule(name = "_core", gil_used = false)]
mod core {
    #[pymodule_export]
    use super::awaitable::Awaitable;
    #[pymodule_export]
    use super::classes::register_classes;
    #[pymodule_export]
    use super::interop::attach;
    #[pymodule_export]
    use super::merged::MergedLines;
    #[pymodule_export]
    use super::pipes::{open_reader, open_writer};
    #[pymodule_export]
    use super::process::Process;
    #[pymodule_export]
    use super::reader::StreamReader;
    #[pymodule_export]
    use super::run::run;
    #[pymodule_export]
    use super::spawn::spawn;
    #[pymodule_export]
    use super::writer::StreamWriter;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        super::awaitable::slots::install(m.py());
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
