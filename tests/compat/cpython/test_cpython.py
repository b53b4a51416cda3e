"""CPython's own tests of asyncio's subprocesses, run against procio on each loop.

They are imported from the running interpreter; skips.CPYTHON names what is left out and why.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import unittest
import warnings
from collections.abc import Callable
from typing import Any

import procio
import pytest
import shim
import skips

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from test.test_asyncio import test_events as their_events
        from test.test_asyncio import test_subprocess as their_subprocess
        from test.test_asyncio import utils as their_utils
except (ImportError, unittest.SkipTest):
    pytest.skip(skips.TEST_PACKAGE_MISSING, allow_module_level=True)

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(120)]


def names(mixin: type) -> list[str]:
    """The tests of a class, inherited ones too."""
    return list(unittest.TestLoader().getTestCaseNames(mixin))  # type: ignore[arg-type]


def is_low_level(mixin: type, name: str) -> bool:
    """Whether a test calls loop.subprocess_exec or loop.subprocess_shell itself."""
    return "loop.subprocess_" in inspect.getsource(getattr(mixin, name))


def make_case(mixin: type, name: str, factory: LoopFactory) -> unittest.TestCase:
    """One of their tests on a loop of ours."""

    class Case(mixin, their_utils.TestCase):  # type: ignore[misc, name-defined]
        def setUp(self) -> None:
            super().setUp()
            self.loop = factory()
            self.set_event_loop(self.loop, cleanup=False)
            self.addCleanup(self.loop.close)
            self.addCleanup(self.loop.run_until_complete, asyncio.sleep(0))

        def create_event_loop(self) -> asyncio.AbstractEventLoop:
            return factory()

    return Case(name)


def pipe_names() -> list[str]:
    """The tests of a loop that connect pipes."""
    mixin = their_events.EventLoopTestsMixin
    return [
        name for name in names(mixin) if re.search(r"\bconnect_\w+_pipe\(", inspect.getsource(getattr(mixin, name)))
    ]


def make_pipe_case(name: str, factory: LoopFactory) -> unittest.TestCase:
    """One of them. Their mixin makes the loop itself; closing it looks into asyncio's own."""

    class Case(their_events.EventLoopTestsMixin, their_utils.TestCase):  # type: ignore[misc, name-defined]
        def create_event_loop(self) -> asyncio.AbstractEventLoop:
            return factory()

        def set_event_loop(self, loop: asyncio.AbstractEventLoop, *, cleanup: bool = True) -> None:
            super().set_event_loop(loop, cleanup=False)
            self.addCleanup(loop.close)

    return Case(name)


@functools.cache
def covers_low_level(factory: LoopFactory) -> bool:
    """Whether install() routes loop.subprocess_exec of such a loop to procio."""

    async def probe() -> bool:
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            asyncio.SubprocessProtocol, "true", stdin=None, stdout=None, stderr=None
        )
        module = type(transport).__module__
        while transport.get_returncode() is None:
            await asyncio.sleep(0.002)
        transport.close()
        return module.split(".")[0] == "procio"

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(probe())


def run_case(mixin: type, name: str, factory: LoopFactory, left_out: dict[str, str]) -> None:
    if name in left_out:
        pytest.skip(left_out[name])
    with procio.installed():
        if is_low_level(mixin, name) and not shim.ACTIVE and not covers_low_level(factory):
            pytest.skip(skips.NO_LOW_LEVEL)
        judge(make_case(mixin, name, factory))


def judge(case: unittest.TestCase) -> None:
    """Run it, and take over its outcome."""
    result = unittest.TestResult()
    case.run(result)
    for _, reason in result.skipped:
        pytest.skip(reason)
    problems: list[Any] = [text for _, text in result.errors + result.failures]
    assert not problems, "\n".join(problems)
    assert result.testsRun == 1


@pytest.mark.parametrize("name", names(their_subprocess.SubprocessMixin))
def test_subprocess(name: str, loop_factory: LoopFactory) -> None:
    """test.test_asyncio.test_subprocess."""
    run_case(their_subprocess.SubprocessMixin, name, loop_factory, skips.CPYTHON)


@pytest.mark.parametrize("name", names(their_events.SubprocessTestsMixin))
def test_events(name: str, loop_factory: LoopFactory) -> None:
    """test.test_asyncio.test_events, the part about loop.subprocess_exec and loop.subprocess_shell."""
    run_case(their_events.SubprocessTestsMixin, name, loop_factory, skips.CPYTHON_EVENTS)


@pytest.mark.parametrize("name", pipe_names())
def test_pipes(name: str, loop_factory: LoopFactory) -> None:
    """test.test_asyncio.test_events, the part about loop.connect_read_pipe and loop.connect_write_pipe."""
    if name in skips.CPYTHON_PIPES:
        pytest.skip(skips.CPYTHON_PIPES[name])
    with procio.installed():
        judge(make_pipe_case(name, loop_factory))


def test_every_skip_names_a_test_of_cpython() -> None:
    """A name that no supported CPython has is a mistake in the list."""
    known = set(names(their_subprocess.SubprocessMixin)) | set(names(their_events.SubprocessTestsMixin))
    known |= set(pipe_names())
    assert set(skips.CPYTHON) | set(skips.CPYTHON_EVENTS) | set(skips.CPYTHON_PIPES) <= known
