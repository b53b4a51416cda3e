//! What the constructor of a compiled class is given: its part of a child that has none of Python's objects yet.

use std::any::Any;
use std::sync::Mutex;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::sync::lock;

/// Makes one object. Python code cannot make one of these, and so none of a child's objects.
#[pyclass(frozen, module = "procio._core")]
pub struct ConstructorToken(Mutex<Option<Box<dyn Any + Send + Sync>>>);

impl ConstructorToken {
    pub(super) fn new(part: impl Send + Sync + 'static) -> Self {
        ConstructorToken(Mutex::new(Some(Box::new(part))))
    }

    /// What it was made of, once; RuntimeError if that is not what makes `what`.
    pub(super) fn take<T: 'static>(&self, what: &str) -> PyResult<T> {
        let part = lock(&self.0).take();
        let part = part.ok_or_else(|| PyRuntimeError::new_err("this token was used already"))?;
        match part.downcast() {
            Ok(part) => Ok(*part),
            Err(_) => {
                let text = format!("not the token of {what}");
                Err(PyRuntimeError::new_err(text))
            }
        }
    }
}
