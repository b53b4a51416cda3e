//! `spawn`: from the prepared arguments to a child.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;

use super::awaitable::Awaitable;
use super::classes::make_process;
use super::errors::{Names, spawn_error};
use super::event_loop::LoopBinding;
use super::operation::Operation;
use super::popen::Platform;
use crate::command::Command;
use crate::error::SpawnError;
use crate::process::guard::ChildGuard;
use crate::process::spawn::{PendingSpawn, Pipes};
use crate::stdio::Stdio;
use crate::sync::lock;
use crate::sys::{self, Directory, Environment};

/// Declares a struct and how it is taken from a dictionary with its fields as keys. (What PyO3
/// derives makes a new string of each key, for each child.)
macro_rules! from_dict {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident { $($(#[$note:meta])* $field:ident: $kind:ty,)* }
    ) => {
        $(#[$doc])*
        $vis struct $name { $($(#[$note])* $field: $kind,)* }

        impl<'py> FromPyObject<'_, 'py> for $name {
            type Error = PyErr;

            fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
                let py = object.py();
                Ok($name {
                    $($field: object
                        .get_item(pyo3::intern!(py, stringify!($field)))?
                        .extract()?,)*
                })
            }
        }
    };
}
pub(super) use from_dict;

from_dict! {
    /// The arguments of `Popen`, checked and converted by `procio._options`: every string is encoded,
    /// every identity a number, every stream a descriptor or one of the constants.
    pub struct Request {
        args: Vec<OsBytes>,
        executable: Option<OsBytes>,
        env: Option<Vec<(OsBytes, OsBytes)>>,
        cwd: Option<Directory>,
        stdin: Option<i64>,
        stdout: Option<i64>,
        stderr: Option<i64>,
        limit: Option<usize>,
        read_ahead: bool,
        close_fds: bool,
        pipesize: Option<usize>,
        /// A block owns it: its group is killed with it.
        owned: bool,
        platform: Platform,
        /// As the caller gave them, for the exceptions.
        program: Py<PyAny>,
        directory: Py<PyAny>,
    }
}

struct OsBytes(OsString);

impl<'py> FromPyObject<'_, 'py> for OsBytes {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let Ok(bytes) = object.extract::<&[u8]>() else {
            return Ok(OsBytes(object.extract()?));
        };
        sys::os_string_from_bytes(bytes)
            .map(OsBytes)
            .ok_or_else(|| PyValueError::new_err("not representable"))
    }
}

impl<'py> FromPyObject<'_, 'py> for Directory {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(descriptor) = object.extract() {
            return Ok(Directory::Descriptor(descriptor));
        }
        let path: OsBytes = object.extract()?;
        Ok(Directory::Path(path.0.into()))
    }
}

impl Request {
    /// Starts the child. The loop goes on while its program is being executed.
    pub(super) fn begin(
        &self,
        py: Python<'_>,
        binding: &Arc<LoopBinding>,
    ) -> PyResult<PendingSpawn> {
        self.start(py, binding).map_err(|error| {
            // What was made for the child has gone again. If the loop cannot be told, it keeps its descriptor.
            match binding.suspend_if_idle(py) {
                Err(interrupt) if !interrupt.is_instance_of::<PyException>(py) => interrupt,
                _ => error,
            }
        })
    }

    fn start(&self, py: Python<'_>, binding: &LoopBinding) -> PyResult<PendingSpawn> {
        let (command, reactor) = (self.command(), &binding.reactor);
        let raise = |error: &SpawnError| self.error(py, error);
        match self.platform.fork(py, &command, reactor, raise) {
            Some(started) => started,
            None => {
                // The environment is copied while no other thread of the interpreter can change it.
                let plan = PendingSpawn::plan(&command).map_err(|error| raise(&error))?;
                let start = || PendingSpawn::start(&command, plan, reactor, None);
                if sys::spawn_blocks() {
                    py.detach(start)
                } else {
                    start()
                }
                .map_err(|error| raise(&error))
            }
        }
    }

    /// What `Popen` raises for the same failure.
    pub(super) fn error(&self, py: Python<'_>, error: &SpawnError) -> PyErr {
        let names = Names {
            program: self.program.clone_ref(py),
            cwd: self.directory.clone_ref(py),
            cgroup: match self.platform.cgroup(py) {
                Ok(cgroup) => cgroup,
                Err(error) => return error,
            },
        };
        spawn_error(py, error, &names)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("");
        let spec = &mut command.spec;
        spec.args = self.args.iter().map(|arg| arg.0.clone()).collect();
        spec.executable = self.executable.as_ref().map(|program| program.0.clone());
        let pair = |(name, value): &(OsBytes, OsBytes)| (name.0.clone(), value.0.clone());
        spec.env = match &self.env {
            Some(env) => Environment::Exactly(env.iter().map(pair).collect()),
            None => Environment::Own,
        };
        spec.cwd.clone_from(&self.cwd);
        spec.close_fds = self.close_fds;
        spec.kill_group_on_drop = self.owned;
        self.platform.apply(spec);
        command.stdin = stdio(self.stdin);
        command.stdout = stdio(self.stdout);
        command.stderr = stdio(self.stderr);
        command.read_limit = crate::stream::reader::DEFAULT_LIMIT;
        if let Some(limit) = self.limit {
            (command.line_limit, command.read_limit) = (limit, limit);
        }
        if !self.read_ahead {
            command.read_limit = 0;
        }
        command.pipe_size = self.pipesize;
        command.kill_on_drop = true;
        command
    }
}

/// `subprocess.PIPE`, `STDOUT` and `DEVNULL` are -1, -2 and -3.
fn stdio(given: Option<i64>) -> Stdio {
    match given {
        None => Stdio::inherit(),
        Some(-1) => Stdio::piped(),
        Some(-2) => Stdio::to_stdout(),
        Some(-3) => Stdio::null(),
        Some(fd) => Stdio::from_raw(sys::RawHandle::try_from(fd).unwrap_or(-1)),
    }
}

/// Starts a child when awaited, and returns the `Process` once its program was executed. The loop
/// goes on meanwhile. Raises what `subprocess.Popen` raises. Cancelled, it leaves nothing: no
/// child, no zombie, no descriptor.
#[pyfunction]
pub fn spawn(py: Python<'_>, request: Request) -> PyResult<Awaitable> {
    let binding = LoopBinding::current(py)?;
    let op = SpawnOp {
        binding: binding.clone(),
        request,
        pending: None,
        result: Mutex::default(),
        aborted: false,
    };
    Ok(Awaitable::new(&binding, op))
}

type Spawned = (ChildGuard, Pipes);

struct SpawnOp {
    binding: Arc<LoopBinding>,
    request: Request,
    pending: Option<Mutex<PendingSpawn>>,
    result: Mutex<Option<Result<Spawned, SpawnError>>>,
    aborted: bool,
}

impl Operation for SpawnOp {
    fn name(&self) -> &'static str {
        "spawn"
    }

    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        let pending = self.request.begin(py, &self.binding)?;
        self.pending = Some(Mutex::new(pending));
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pending) = &self.pending else {
            return Poll::Ready(());
        };
        let mut pending = lock(pending);
        if self.aborted {
            return pending.poll_gone(cx);
        }
        if lock(&self.result).is_some() {
            return Poll::Ready(());
        }
        pending
            .poll(cx)
            .map(|result| *lock(&self.result) = Some(result))
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let result = lock(&self.result).take();
        match result {
            Some(Ok((guard, pipes))) => make_process(py, &self.binding, guard, pipes),
            Some(Err(error)) => Err(self.request.error(py, &error)),
            None => Ok(py.None()),
        }
    }

    /// Kills the child and waits until it is gone: the canceller finds nothing left.
    fn cancel(&mut self) -> bool {
        if let Some(Ok((guard, pipes))) = lock(&self.result).take() {
            drop(pipes);
            let _ = guard.kill();
            if let Some(pending) = &self.pending {
                lock(pending).take_back(guard);
            }
        }
        let Some(pending) = &self.pending else {
            return false;
        };
        lock(pending).abort();
        self.aborted = true;
        true
    }

    /// The child was sent SIGKILL, and one that may not be sent it is not waited for.
    fn cancel_again(&mut self) -> bool {
        self.aborted
    }
}
