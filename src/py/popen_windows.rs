//! The arguments of `Popen` that only Windows has, and loops that have a completion port.

use std::ffi::OsString;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::errors::os_error;
use super::proactor;
use super::spawn::from_dict;
use crate::command::Command;
use crate::error::SpawnError;
use crate::process::spawn::PendingSpawn;
use crate::reactor::{Inner, Reactor};
use crate::sys::{self, Spec};

from_dict! {
    /// As `procio._options_windows` prepares them.
    pub(super) struct Platform {
        command_line: Option<OsString>,
        creationflags: u32,
        startup_flags: u32,
        show_window: u16,
        standard: [sys::RawHandle; 3],
        handle_list: Vec<sys::RawHandle>,
        kill_on_parent_exit: bool,
    }
}

impl Platform {
    /// There are none.
    pub(super) fn cgroup(&self, _py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(None)
    }

    pub(super) fn apply(&self, spec: &mut Spec) {
        spec.attributes.kill_on_parent_exit = self.kill_on_parent_exit;
        spec.platform = sys::PlatformOptions {
            creation_flags: self.creationflags,
            startup_flags: self.startup_flags,
            show_window: self.show_window,
            standard: self.standard,
            command_line: self.command_line.clone(),
            handle_list: self.handle_list.clone(),
        };
    }

    /// Nothing is forked here.
    pub(super) fn fork(
        &self,
        _py: Python<'_>,
        _command: &Command,
        _reactor: &Arc<Inner>,
        _raise: impl FnOnce(&SpawnError) -> PyErr,
    ) -> Option<PyResult<PendingSpawn>> {
        None
    }
}

/// Nothing is forked here.
pub(super) fn watch_forks(_py: Python<'_>) -> PyResult<()> {
    Ok(())
}

pub(super) use proactor::ProactorPort;

/// A reactor for a loop: on the loop's own completion port, where it has one that can be shared.
pub(super) fn reactor(running: &Bound<'_, PyAny>) -> PyResult<(Reactor, Option<ProactorPort>)> {
    let shared = if sys::poll_thread_forced() {
        None
    } else {
        proactor::reactor(running)?
    };
    match shared {
        Some((reactor, shared_port)) => Ok((reactor, Some(shared_port))),
        None => Ok((new_reactor(running.py())?, None)),
    }
}

fn new_reactor(py: Python<'_>) -> PyResult<Reactor> {
    Reactor::new().map_err(|error| os_error(py, &error, None))
}

/// The number of a signal. `Popen` compares what it is given with those that there are, and so has
/// no other error for what is not a number.
pub(super) fn signal_number(signal: &Bound<'_, PyAny>) -> PyResult<i32> {
    for number in sys::SIGNALS {
        if signal.eq(number)? {
            return Ok(number);
        }
    }
    Err(PyValueError::new_err(format!(
        "Unsupported signal: {}",
        signal.str()?
    )))
}
