"""Any system call of procio's may fail: an exception that says so, or another way; and the loop works afterwards.

A child is started, given input and waited for; another is killed; a third cannot be executed; the loop is closed. In
each of these each call fails in turn, once and always, with each error that it may give (support/injection.py). Never
a hang, a lost child, a zombie, a descriptor or a thread that stays, an abort, a message of the loop's.
"""

from __future__ import annotations

import pytest
import shim
import skips
from injection import Call, Injector, Plan, available, failures, lost_interrupts
from switches import FORCED_PATHS

PATHS = [("", ""), *FORCED_PATHS]

pytestmark = [
    skips.needs_proc,
    pytest.mark.skipif(shim.ACTIVE, reason="tells procio's calls from others by its library"),
    pytest.mark.skipif(not available(), reason="a seccomp filter cannot ask another process here"),
]


def test_a_call_that_fails(loop_name: str) -> None:
    """Of each kind the first one, and all."""
    assert not [str(failure) for failure in failures(loop_name, {}, whole=False)]


@pytest.mark.injection
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("variable", "value"), PATHS, ids=map("=".join, PATHS))
def test_every_call_that_fails(loop_name: str, variable: str, value: str) -> None:
    """All of them, on every path that can be forced."""
    assert not [str(failure) for failure in failures(loop_name, {variable: value} if variable else {}, whole=True)]


@pytest.mark.parametrize("value", ["0", "1"])
def test_close_range_switch(value: str) -> None:
    """The switch is about one call of the child, which this counts as well as makes it fail."""
    plan = Plan()
    with Injector(env={"PROCIO_CLOSE_RANGE": value, "PROCIO_SPAWN": ""}) as injector:
        assert injector.attempt("communicate", plan) == {"said": 0, "problems": []}
    assert (Call("close_range", in_child=True) in plan.seen) == (value == "1")


def test_ctrl_c_at_every_call(loop_name: str) -> None:
    """KeyboardInterrupt comes out of the run, what is left can be cancelled, and the loop works afterwards."""
    assert not lost_interrupts(loop_name)
