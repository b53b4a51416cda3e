//! The arguments of `Popen` that only POSIX systems have. No loop there has a completion port.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use pyo3::prelude::*;

use super::event_loop::LoopBinding;
use super::fork::PythonFork;
use super::spawn::from_dict;
use crate::command::Command;
use crate::error::SpawnError;
use crate::process::spawn::PendingSpawn;
use crate::reactor::{Inner, Reactor};
use crate::sys;

from_dict! {
    /// As `procio._options_posix` prepares them.
    pub(super) struct Platform {
        pass_fds: Vec<sys::RawHandle>,
        restore_signals: bool,
        start_new_session: bool,
        process_group: Option<i32>,
        user: Option<u32>,
        group: Option<u32>,
        extra_groups: Option<Vec<u32>>,
        umask: Option<u32>,
        preexec_fn: Option<Py<PyAny>>,
    }
}

impl Platform {
    pub(super) fn apply(&self, command: &mut Command) {
        command.pass_fds.clone_from(&self.pass_fds);
        command.restore_signals = self.restore_signals;
        command.new_session = self.start_new_session;
        command.process_group = self.process_group;
        command.user = self.user;
        command.group = self.group;
        command.extra_groups.clone_from(&self.extra_groups);
        command.umask = self.umask;
    }

    /// Starts `command` by a fork that Python knows of, if there is code of its to run in the child.
    pub(super) fn fork(
        &self,
        py: Python<'_>,
        command: &Command,
        reactor: &Arc<Inner>,
        raise: impl FnOnce(&SpawnError) -> PyErr,
    ) -> Option<PyResult<PendingSpawn>> {
        let mut fork = PythonFork {
            preexec_fn: self.preexec_fn.as_ref()?.bind(py).clone(),
            raised: None,
        };
        let started = PendingSpawn::new(command, reactor, Some(&mut fork));
        Some(match (started, fork.raised) {
            (_, Some(raised)) => Err(raised),
            (Err(error), None) => Err(raise(&error)),
            (Ok(starting), None) => Ok(starting),
        })
    }
}

/// There is none.
pub(super) struct SharedPort(Infallible);

impl SharedPort {
    pub(super) fn serve(self, _host: &Arc<LoopBinding>) {
        match self.0 {}
    }
}

/// A reactor for a loop, which watches it or has it watched.
pub(super) fn reactor(_running: &Bound<'_, PyAny>) -> io::Result<(Reactor, Option<SharedPort>)> {
    Ok((Reactor::new()?, None))
}

/// The number of a signal, for which `os.kill` takes what is an integer.
pub(super) fn signal_number(signal: &Bound<'_, PyAny>) -> PyResult<i32> {
    signal.extract()
}
