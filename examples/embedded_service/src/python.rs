//! The interpreter, and its event loop in a thread.

use std::ffi::CString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use procio::Child;
use procio::tokio::Driver;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyModule};
use pyo3_async_runtimes::{TaskLocals, into_future_with_locals};

use crate::Failure;

/// Runs until it is told to stop.
const MAIN: &str = "
import asyncio

async def main(ready):
    stop = asyncio.Event()
    ready(asyncio.get_running_loop(), stop.set)
    await stop.wait()

def run(ready):
    asyncio.run(main(ready))
";

/// Python, with the user's handlers.
#[derive(Clone)]
pub struct Interpreter(Arc<Inner>);

struct Inner {
    handlers: Py<PyModule>,
    locals: TaskLocals,
    stop: Py<PyAny>,
    thread: Mutex<Option<JoinHandle<PyResult<()>>>>,
}

impl Interpreter {
    /// Starts Python and its loop, and imports the handlers.
    pub fn start(handlers: &Path) -> Result<Self, Failure> {
        let code = CString::new(std::fs::read(handlers)?)?;
        let file = CString::new(handlers.as_os_str().as_encoded_bytes())?;
        Python::initialize();
        let handlers = Python::attach(|py| {
            PyModule::from_code(py, &code, &file, c"handlers").map(Bound::unbind)
        })?;
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("python".to_owned());
        let thread = thread.spawn(move || run_loop(sender))?;
        let (event_loop, stop) = receiver.recv()?;
        let locals =
            Python::attach(|py| TaskLocals::new(event_loop.into_bound(py)).copy_context(py))?;
        Ok(Interpreter(Arc::new(Inner {
            handlers,
            locals,
            stop,
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Awaits `run(body)` on Python's loop, and takes over the process that it returns.
    pub async fn run(&self, body: &[u8], driver: &Driver) -> Result<Child, Failure> {
        let process = Python::attach(|py| {
            let args = (PyBytes::new(py, body),);
            let coroutine = self.0.handlers.bind(py).call_method1("run", args)?;
            into_future_with_locals(&self.0.locals, coroutine)
        })?;
        let process = process.await?;
        Ok(Python::attach(|py| {
            procio::python::from_process(process.bind(py), driver)
        })?)
    }

    /// Awaits `sort(body, child)` on Python's loop, to which it gives the child.
    pub async fn sort(&self, body: &[u8], child: Child) -> Result<Vec<u8>, Failure> {
        let sorted = Python::attach(|py| {
            let child = procio::python::into_awaitable(py, child)?;
            let args = (PyBytes::new(py, body), child);
            let coroutine = self.0.handlers.bind(py).call_method1("sort", args)?;
            into_future_with_locals(&self.0.locals, coroutine)
        })?;
        let sorted = sorted.await?;
        Ok(Python::attach(|py| sorted.extract(py))?)
    }

    /// Ends the loop, and waits for its thread. What is still running on it is cancelled.
    pub fn stop(&self) -> Result<(), Failure> {
        Python::attach(|py| {
            let event_loop = self.0.locals.event_loop(py);
            event_loop
                .call_method1("call_soon_threadsafe", (&self.0.stop,))
                .map(drop)
        })?;
        let thread = self.0.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            Some(Ok(result)) => Ok(result?),
            Some(Err(_)) => Err("the thread of Python's loop has panicked".into()),
            None => Ok(()),
        }
    }
}

type Ready = (Py<PyAny>, Py<PyAny>);

fn run_loop(sender: mpsc::Sender<Ready>) -> PyResult<()> {
    Python::attach(|py| {
        let ready = PyCFunction::new_closure(py, None, None, move |args, _| -> PyResult<()> {
            let _ = sender.send(args.extract()?);
            Ok(())
        })?;
        let code = CString::new(MAIN)?;
        let module = PyModule::from_code(py, &code, c"service.py", c"service")?;
        module.call_method1("run", (ready,)).map(drop)
    })
}
