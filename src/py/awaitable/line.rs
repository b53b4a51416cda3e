//! A line that was asked for, of which there may be millions: no operation as long as it may be at hand.

use std::sync::Arc;

use pyo3::prelude::*;

use super::Op;
use crate::py::event_loop::LoopBinding;
use crate::py::merged::{MergedLines, MergedOp};
use crate::py::operations::{ReadOp, Shape, at_hand};
use crate::py::stream::StreamReader;
use crate::stream::reader::{Separators, Want};

/// Whose line, and for which method.
pub(in crate::py) enum Line {
    Stream(Py<StreamReader>, Shape),
    Merged(Py<MergedLines>),
}

impl From<(Py<StreamReader>, Shape)> for Line {
    fn from((reader, shape): (Py<StreamReader>, Shape)) -> Self {
        Line::Stream(reader, shape)
    }
}

impl From<Py<MergedLines>> for Line {
    fn from(merged: Py<MergedLines>) -> Self {
        Line::Merged(merged)
    }
}

impl Line {
    pub(super) fn binding(&self) -> &Arc<LoopBinding> {
        match self {
            Line::Stream(reader, _) => &reader.get().binding,
            Line::Merged(merged) => merged.get().binding(),
        }
    }

    /// The result, if the line is at hand. Else, or where there is no memory for it, nothing has changed.
    pub(super) fn take_now(&self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        match self {
            Line::Stream(reader, shape) => at_hand(py, reader.get(), &mut newline(), *shape),
            Line::Merged(merged) => merged.get().take_now(py, &mut MergedOp::line_wants()),
        }
    }

    /// What is to be done for it, as any operation.
    pub(super) fn into_op(self) -> Op {
        match self {
            Line::Stream(reader, shape) => Op::Read(ReadOp::new(reader, newline(), shape)),
            Line::Merged(merged) => MergedOp::of_lines(merged),
        }
    }

    /// As a drop, where PyO3 does not know that the thread is attached.
    pub(super) fn release(self, py: Python<'_>) {
        match self {
            Line::Stream(reader, _) => reader.drop_ref(py),
            Line::Merged(merged) => merged.drop_ref(py),
        }
    }
}

fn newline() -> Want {
    Want::Until(Separators::newline())
}
