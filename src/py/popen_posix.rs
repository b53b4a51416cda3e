//! The arguments of `Popen` that only POSIX systems have. No loop there has a completion port.

use std::convert::Infallible;
use std::sync::Arc;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::os_error;
use super::fork::PythonFork;
pub(super) use super::fork::watch_forks;
use super::spawn::from_dict;
use crate::command::Command;
use crate::error::SpawnError;
use crate::process::spawn::PendingSpawn;
use crate::reactor::{Inner, Reactor};
use crate::sys::{self, Attributes, Directory, Groups, Limit, Spec};

from_dict! {
    /// As `procio._options_posix` prepares them.
    pub(super) struct Platform {
        pass_fds: Vec<sys::RawHandle>,
        attributes: Attributes,
        preexec_fn: Option<Py<PyAny>>,
    }
}

/// Takes the options that a child sets about itself from the dictionary in which Python has those that
/// were given, under the names of `Popen`.
macro_rules! attributes_from_dict {
    ($($field:ident: $name:literal,)*) => {
        impl<'py> FromPyObject<'_, 'py> for Attributes {
            type Error = PyErr;

            fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
                let given = object.cast::<PyDict>()?;
                let mut attributes = Attributes { restore_signals: true, ..Attributes::default() };
                if given.is_empty() {
                    return Ok(attributes);
                }
                $(if let Some(value) = given.get_item(pyo3::intern!(given.py(), $name))? {
                    attributes.$field = value.extract()?;
                })*
                Ok(attributes)
            }
        }
    };
}

attributes_from_dict! {
    restore_signals: "restore_signals",
    new_session: "start_new_session",
    process_group: "process_group",
    user: "user",
    group: "group",
    groups: "extra_groups",
    umask: "umask",
    limits: "rlimits",
    nice: "nice",
    cpu_affinity: "cpu_affinity",
    cgroup: "cgroup",
    cgroup_kill: "cgroup_kill",
    no_new_privs: "no_new_privs",
    kill_on_parent_exit: "kill_on_parent_exit",
}

impl<'py> FromPyObject<'_, 'py> for Limit {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let (resource, soft, hard) = object.extract()?;
        Ok(Limit {
            resource,
            soft,
            hard,
        })
    }
}

impl<'py> FromPyObject<'_, 'py> for Groups {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let groups: Option<Vec<u32>> = object.extract()?;
        Ok(groups.map_or(Groups::Keep, Groups::Set))
    }
}

impl Platform {
    /// The control group as it was given, for the exceptions.
    pub(super) fn cgroup(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match &self.attributes.cgroup {
            None => Ok(None),
            Some(Directory::Descriptor(fd)) => Ok(Some(fd.into_py_any(py)?)),
            Some(Directory::Path(path)) => Ok(Some(path.as_os_str().into_py_any(py)?)),
        }
    }

    pub(super) fn apply(&self, spec: &mut Spec) {
        spec.pass_fds.clone_from(&self.pass_fds);
        spec.attributes.clone_from(&self.attributes);
    }

    /// Starts `command` by a fork that Python knows of, if there is code of its to run in the child.
    pub(super) fn fork(
        &self,
        py: Python<'_>,
        command: &Command,
        reactor: &Arc<Inner>,
        raise: impl FnOnce(&SpawnError) -> PyErr,
    ) -> Option<PyResult<PendingSpawn>> {
        let preexec_fn = self.preexec_fn.as_ref()?.bind(py).clone();
        let started = PythonFork::new(preexec_fn).and_then(|mut fork| {
            PendingSpawn::new(command, reactor, Some(&mut fork)).map_err(|error| raise(&error))
        });
        Some(started)
    }
}

/// There is none.
pub(super) struct ProactorPort(Infallible);

impl ProactorPort {
    pub(super) fn serve<B>(&self, _binding: &Arc<B>) {
        match self.0 {}
    }

    pub(super) fn check(&self, _py: Python<'_>) -> PyResult<()> {
        match self.0 {}
    }
}

/// A reactor for a loop, which watches it or has it watched.
pub(super) fn reactor(running: &Bound<'_, PyAny>) -> PyResult<(Reactor, Option<ProactorPort>)> {
    let made = Reactor::new().map_err(|error| os_error(running.py(), &error, None));
    Ok((made?, None))
}

/// The number of a signal, for which `os.kill` takes what is an integer.
pub(super) fn signal_number(signal: &Bound<'_, PyAny>) -> PyResult<i32> {
    signal.extract()
}
