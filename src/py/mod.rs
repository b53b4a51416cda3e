//! The Python extension `procio._core`: all of PyO3.
//!
//! [`event_loop`] binds a reactor to an event loop and completes what was woken ([`completion`]); [`awaitable`]
//! is what the stream methods return;
//! [`operations`] are the core's state machines as awaitables see them; [`read_callback`] is how a
//! protocol waits; [`busy_poll`] polls before the loop sleeps.

#[allow(unsafe_code)]
mod attached;
mod awaitable;
mod busy_poll;
#[allow(unsafe_code)]
mod bytes_sink;
#[allow(unsafe_code)]
mod c_api;
mod child_lifetime;
mod classes;
mod completion;
mod constructor_token;
mod detached;
#[cfg(Py_3_12)]
#[allow(unsafe_code)]
mod direct_call;
mod errors;
mod event_loop;
#[cfg(unix)]
#[allow(unsafe_code)]
mod fork;
pub mod interop;
#[allow(unsafe_code)]
mod interpreter;
mod merged;
mod operation;
mod operations;
mod pipes;
mod poll_thread;
#[cfg_attr(unix, path = "popen_posix.rs")]
#[cfg_attr(windows, path = "popen_windows.rs")]
mod popen;
#[cfg(windows)]
mod proactor;
mod process;
mod python_bytes;
mod read_callback;
mod reader;
mod run;
mod spawn;
mod stop;
mod stream;
mod timer;
mod writer;

use pyo3::prelude::*;

/// The compiled half of procio. Private: import `procio`.
///
/// A function and not a declarative module: that one would make the classes before it can refuse.
#[pymodule(name = "_core", gil_used = false)]
fn core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    interpreter::check(m.py())?;
    m.add_class::<awaitable::Awaitable>()?;
    m.add_class::<merged::MergedLines>()?;
    m.add_class::<process::Process>()?;
    m.add_class::<stream::StreamReader>()?;
    m.add_class::<writer::StreamWriter>()?;
    m.add_function(wrap_pyfunction!(classes::register_classes, m)?)?;
    m.add_function(wrap_pyfunction!(interop::attach, m)?)?;
    m.add_function(wrap_pyfunction!(pipes::open_reader, m)?)?;
    m.add_function(wrap_pyfunction!(pipes::open_writer, m)?)?;
    m.add_function(wrap_pyfunction!(run::run, m)?)?;
    m.add_function(wrap_pyfunction!(spawn::spawn, m)?)?;
    awaitable::slots::install(m.py());
    popen::watch_forks(m.py())?;
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
