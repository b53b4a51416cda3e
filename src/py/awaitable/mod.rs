//! Coroutine-like objects over the core's operations.
//!
//! Nothing happens before the first `send`. If the operation can be done at once it is, and there
//! is no future and no turn of the loop. Otherwise one future is made, and the reactor's dispatch
//! carries the operation on, in Rust, until it is done: one operation, one wake-up.
//!
//! What an operation found is handed over at the `send` that follows, and not before: a task that
//! is cancelled between the two loses nothing.

#[allow(unsafe_code)]
mod free_list;
mod generator_layout;
mod line;
mod origin;
mod slot;
#[allow(unsafe_code)]
pub(super) mod slots;
#[cfg(Py_3_12)]
#[allow(unsafe_code)]
mod stop_iteration;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyRuntimeWarning, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use self::generator_layout::GeneratorHead;
use self::line::Line;
pub(super) use self::slot::Slot;
use self::slot::SlotState;
use self::slots::SendMode;
use crate::py::attached::{Attached, Borrow};
use crate::py::errors::{in_drop, warn};
use crate::py::event_loop::LoopBinding;
use crate::py::operation::Operation;
use crate::py::operations::{DrainOp, ReadOp};
use crate::sync::lock;

/// An operation. Those that are made for every line or chunk need no memory of their own. `Read` holds its
/// StreamReader by Python's reference count, which spares the two atomic increments of an Arc.
pub(super) enum Op {
    Read(ReadOp),
    Drain(Arc<LoopBinding>, DrainOp),
    Other(Arc<LoopBinding>, Box<dyn Operation>),
}

impl Op {
    fn binding(&self) -> &Arc<LoopBinding> {
        match self {
            Op::Read(op) => op.binding(),
            Op::Drain(binding, _) | Op::Other(binding, _) => binding,
        }
    }
}

impl Deref for Op {
    type Target = dyn Operation;

    fn deref(&self) -> &Self::Target {
        match self {
            Op::Read(op) => op,
            Op::Drain(_, op) => op,
            Op::Other(_, op) => &**op,
        }
    }
}

impl DerefMut for Op {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Op::Read(op) => op,
            Op::Drain(_, op) => op,
            Op::Other(_, op) => &mut **op,
        }
    }
}

/// What the stream and process methods return: a coroutine to `await`, `create_task`, `wait_for`,
/// `gather` and `TaskGroup`, implemented in Rust.
#[pyclass(frozen, module = "procio._core", weakref)]
#[repr(C)]
pub struct Awaitable {
    _head: GeneratorHead,
    course: Attached<Course>,
    /// How `__next__` is to give a result; see [`slots`].
    send_mode: SendMode,
}

/// How far it has come.
struct Course {
    /// A line that was asked for: an operation only if it is not at hand.
    line: Option<Line>,
    state: State,
    /// What it is called once it is done, if it had to wait or has failed: then logs name it.
    name: &'static str,
}

/// The name of a coroutine that has nothing to tell.
const UNNAMED: &str = "Awaitable";

impl Course {
    fn of(op: Op) -> Self {
        let state = State::New(origin::traced(op));
        Course {
            line: None,
            state,
            name: UNNAMED,
        }
    }

    fn line(line: Line) -> Self {
        Course {
            line: Some(line),
            state: State::Done,
            name: UNNAMED,
        }
    }

    /// The state, in which a line that was asked for is an operation as all others are.
    fn state(&mut self) -> &mut State {
        if let Some(line) = self.line.take() {
            self.state = State::New(line.into_op());
        }
        &mut self.state
    }

    /// Leaves it done, and gives what was.
    fn take(&mut self) -> State {
        std::mem::replace(self.state(), State::Done)
    }
}

enum State {
    New(Op),
    Waiting(Arc<Slot>),
    /// Cancelled, but the operation has to be wound up first.
    Cancelling(Arc<Slot>, Box<PyErr>),
    Done,
}

impl Awaitable {
    pub(super) fn new(binding: &Arc<LoopBinding>, op: impl Operation + 'static) -> Self {
        Awaitable::on(Course::of(Op::Other(binding.clone(), Box::new(op))))
    }

    fn on(course: Course) -> Self {
        Awaitable {
            _head: GeneratorHead::finished(),
            course: Attached::new(course),
            send_mode: SendMode::default(),
        }
    }

    /// How far it has come. Raises RuntimeError if a step of it is under way, which has called this.
    fn course<'a>(&'a self, py: Python<'a>) -> PyResult<Borrow<'a, Course>> {
        let course = self.course.borrow(py);
        course.ok_or_else(|| PyRuntimeError::new_err("coroutine already executing"))
    }

    /// A value, or the future to wait for.
    fn step(&self, py: Python<'_>) -> PyResult<Step> {
        let state = {
            let mut course = self.course(py)?;
            if let State::New(op) = course.state()
                && let Some(result) = op.try_now(py)
            {
                let used = course.take();
                if let (Err(_), State::New(op)) = (&result, &used) {
                    course.name = op.name();
                }
                drop(course);
                if let State::New(op) = &used {
                    op.binding().run_completions(py)?;
                }
                return result.map(Step::Return);
            }
            course.take()
        };
        match state {
            State::New(op) => self.first(py, op),
            State::Waiting(slot) if slot.is_awaited(py)? => {
                *self.course(py)?.state() = State::Waiting(slot);
                let text = "coroutine is being awaited already";
                Err(PyRuntimeError::new_err(text))
            }
            State::Waiting(slot) => self.go_on(py, None, slot, None),
            State::Cancelling(slot, error) => self.go_on(py, None, slot, Some(error)),
            State::Done => Err(PyRuntimeError::new_err(
                "cannot reuse already awaited coroutine",
            )),
        }
    }

    fn first(&self, py: Python<'_>, mut op: Op) -> PyResult<Step> {
        self.course(py)?.name = op.name();
        let running = match op.binding().check_loop(py) {
            Ok(running) => running,
            Err(error) => return elsewhere(py, op, error).map(Step::Return),
        };
        op.start(py)?;
        // Most operations end here, so they are not given a waker of their own yet.
        if op.poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            let result = op.finish(py);
            op.binding().run_completions(py)?;
            return result.map(Step::Return);
        }
        let binding = op.binding().clone();
        binding.prepare_wait(py)?;
        let reads = matches!(op, Op::Read(_));
        let state = Mutex::new(SlotState {
            op: Some(op),
            future: None,
            done: false,
        });
        let slot = binding.add_waiting(|key| {
            let binding = binding.clone();
            Arc::new(Slot {
                binding,
                key,
                state,
            })
        });
        let step = self.go_on(py, Some(running.clone()), slot, None)?;
        if reads
            && matches!(step, Step::Yield(_))
            && let Err(interrupt) = binding.busy_poll.before_sleep(&running)
        {
            // It ends as a coroutine that has raised: the stream is free, even if a reference to us is kept.
            self.close(py)?;
            return Err(interrupt);
        }
        Ok(step)
    }

    fn go_on(
        &self,
        py: Python<'_>,
        running: Option<Bound<'_, PyAny>>,
        slot: Arc<Slot>,
        error: Option<Box<PyErr>>,
    ) -> PyResult<Step> {
        let resumed = slot.resume(py, running).and_then(|future| {
            slot.binding.run_completions(py)?;
            Ok(future)
        });
        let future = match resumed {
            Ok(future) => future,
            Err(raised) => {
                // Something else still knows the slot by its waker: the operation must not stay.
                drop(slot.take());
                return Err(raised);
            }
        };
        if let Some(future) = future {
            *self.course(py)?.state() = match error {
                None => State::Waiting(slot),
                Some(error) => State::Cancelling(slot, error),
            };
            return Ok(Step::Yield(future.unbind()));
        }
        let op = slot.take();
        match (op, error) {
            (_, Some(error)) => Err(*error),
            (Some(mut op), None) => {
                let result = op.finish(py);
                drop(op);
                slot.binding.run_completions(py)?;
                result.map(Step::Return)
            }
            (None, None) => Err(PyRuntimeError::new_err(
                "cannot reuse already awaited coroutine",
            )),
        }
    }
}

/// What needs no event of its own loop any more, such as the status of a child that has ended, can
/// be had while another loop runs; `error` is raised for what has to wait.
fn elsewhere(py: Python<'_>, mut op: Op, error: PyErr) -> PyResult<Py<PyAny>> {
    if !op.may_end_elsewhere() {
        return Err(error);
    }
    op.start(py)?;
    if op
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
    {
        return Err(error);
    }
    let binding = op.binding().clone();
    let closed = binding.is_closed();
    let result = op.finish(py);
    drop(op);
    binding.run_completions(py)?;
    result.map_err(|failed| {
        // Not the child's own failure: it would have had to wait for a loop that is closed.
        let waits = closed && failed.is_instance_of::<PyOSError>(py);
        if waits { error } else { failed }
    })
}

impl State {
    /// Ends the operation, and does what that led to.
    fn give_up(self, py: Python<'_>) -> PyResult<()> {
        let binding = match &self {
            State::New(op) => op.binding().clone(),
            State::Waiting(slot) | State::Cancelling(slot, _) => {
                drop(slot.take());
                slot.binding.clone()
            }
            State::Done => return Ok(()),
        };
        drop(self);
        binding.run_completions(py)
    }
}

enum Step {
    Yield(Py<PyAny>),
    Return(Py<PyAny>),
}

#[pymethods]
impl Awaitable {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// `Awaitable[bytes]`, for annotations.
    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let alias = cls.py().import("types")?.getattr("GenericAlias")?;
        alias.call1((cls, item))
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        let (py, this) = (slf.py(), slf.get());
        let plainly = this.send_mode.is_plain();
        let value = match this.step(py)? {
            Step::Yield(future) => return Ok(Some(future)),
            Step::Return(value) => value,
        };
        slots::keep(slf);
        if plainly {
            this.send_mode.note_return();
            Ok(Some(value))
        } else if value.is_none(py) {
            Ok(None)
        } else {
            Err(stop(py, value))
        }
    }

    /// Resumes it, as a coroutine's `send`; the value must be None.
    #[pyo3(signature = (value, /))]
    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if !value.is_none() {
            return Err(PyTypeError::new_err("can't send non-None value"));
        }
        match self.step(py)? {
            Step::Yield(future) => Ok(future),
            Step::Return(value) => Err(stop(py, value)),
        }
    }

    /// Raises an exception where it waits, as a coroutine's `throw`.
    #[pyo3(signature = (typ, val=None, tb=None, /))]
    fn throw(
        &self,
        py: Python<'_>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let error = exception(typ, val, tb)?;
        let state = self.course(py)?.take();
        let (slot, error) = match state {
            State::Waiting(slot) if slot.asks(|op| op.cancel()) => (slot, error),
            State::Cancelling(slot, first) if slot.asks(|op| op.cancel_again()) => (slot, *first),
            state => {
                state.give_up(py)?;
                return Err(error);
            }
        };
        lock(&slot.state).done = false;
        match self.go_on(py, None, slot, Some(Box::new(error)))? {
            Step::Yield(future) => Ok(future),
            Step::Return(value) => Ok(value),
        }
    }

    /// Gives it up, as a coroutine's `close`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.course(py)?.take();
        state.give_up(py)
    }

    #[getter]
    fn __name__(&self, py: Python<'_>) -> PyResult<&'static str> {
        let name = self.__qualname__(py)?;
        Ok(name.rsplit_once('.').map_or(name, |(_, last)| last))
    }

    #[getter]
    fn __qualname__(&self, py: Python<'_>) -> PyResult<&'static str> {
        let mut course = self.course(py)?;
        Ok(match course.state() {
            State::New(op) => op.name(),
            State::Waiting(_) | State::Cancelling(..) | State::Done => course.name,
        })
    }

    #[getter]
    fn cr_running(&self) -> bool {
        false
    }

    #[getter]
    fn cr_suspended(&self, py: Python<'_>) -> PyResult<bool> {
        let mut course = self.course(py)?;
        let state = course.state();
        Ok(matches!(state, State::Waiting(_) | State::Cancelling(..)))
    }

    /// The state in the words of `inspect`, which asks for it on 3.15.
    #[getter]
    fn cr_state(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(match self.course(py)?.state() {
            State::New(_) => "CORO_CREATED",
            State::Waiting(_) | State::Cancelling(..) => "CORO_SUSPENDED",
            State::Done => "CORO_CLOSED",
        })
    }

    /// Where it was created, if `sys.set_coroutine_origin_tracking_depth` has that tracked.
    #[getter]
    fn cr_origin(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let origin = |op: &Op| op.origin().map(|origin| origin.clone_ref(py));
        Ok(match self.course(py)?.state() {
            State::New(op) => origin(op),
            State::Waiting(slot) | State::Cancelling(slot, _) => {
                lock(&slot.state).op.as_ref().and_then(origin)
            }
            State::Done => None,
        })
    }

    /// The future that it waits for, or None.
    #[getter]
    fn cr_await(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(match self.course(py)?.state() {
            State::Waiting(slot) | State::Cancelling(slot, _) => {
                let state = lock(&slot.state);
                state.future.as_ref().map(|future| future.clone_ref(py))
            }
            State::New(_) | State::Done => None,
        })
    }

    /// A frame without code of its own, for `inspect` and for tools that show stacks; None once it
    /// is done.
    #[getter]
    fn cr_frame<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if matches!(self.course(py)?.state(), State::Done) {
            return Ok(None);
        }
        slots::frame(py, self.__qualname__(py)?).map(Some)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<coroutine {}>", self.__qualname__(py)?))
    }
}

impl Drop for Awaitable {
    fn drop(&mut self) {
        match self.course.get_mut().state() {
            State::New(op) => in_drop(|py| never_awaited(py, op.name(), op.origin())),
            State::Waiting(slot) | State::Cancelling(slot, _) => drop(slot.take()),
            State::Done => {}
        }
    }
}

/// StopIteration with a value. A tuple would be taken for its arguments, so that is wrapped; what
/// is not need not be, and the interpreter can then do without making an exception object.
fn stop(py: Python<'_>, value: Py<PyAny>) -> PyErr {
    if value.bind(py).is_exact_instance_of::<PyTuple>() {
        PyStopIteration::new_err((value,))
    } else {
        PyStopIteration::new_err(value)
    }
}

fn never_awaited(py: Python<'_>, name: &str, origin: Option<&Py<PyAny>>) {
    let mut text = format!("coroutine '{name}' was never awaited");
    if let Some(origin) = origin {
        let shown = py.import("procio._coroutine").and_then(|module| {
            let shown = module.call_method1("created_at", (origin,))?;
            shown.extract::<String>()
        });
        text.push_str(&shown.unwrap_or_default());
    }
    warn(py, &py.get_type::<PyRuntimeWarning>(), text);
}

/// The exception of a `throw`, in its old form with up to three arguments too.
fn exception(
    typ: Bound<'_, PyAny>,
    val: Option<Bound<'_, PyAny>>,
    tb: Option<Bound<'_, PyAny>>,
) -> PyResult<PyErr> {
    let py = typ.py();
    let value = match (typ.cast::<PyType>(), val) {
        (Err(_), _) => typ,
        (Ok(class), Some(value)) if value.is_instance(class)? => value,
        (Ok(class), Some(value)) if !value.is_none() => class.call1((value,))?,
        (Ok(class), _) => class.call0()?,
    };
    if let Some(tb) = tb.filter(|tb| !tb.is_none()) {
        value.call_method1("with_traceback", (tb,))?;
    }
    static BASE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let base = BASE.import(py, "builtins", "BaseException")?;
    if !value.is_instance(base)? {
        let name: Bound<'_, PyString> = value.get_type().name()?;
        let text = format!(
            "exceptions must be classes or instances deriving from BaseException, not {name}"
        );
        return Err(PyTypeError::new_err(text));
    }
    Ok(PyErr::from_value(value))
}
