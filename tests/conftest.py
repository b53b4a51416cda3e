"""Every async test on every loop; after every test nothing may be left over."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import shim
from _pytest.runner import runtestprotocol

shim.load()

import skips  # noqa: E402
import support  # noqa: E402
import switches  # noqa: E402

SETTLE = 10.0


def _new_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    def new() -> asyncio.AbstractEventLoop:
        if name == "uvloop" and not skips.HAVE_UVLOOP:
            pytest.skip(skips.UVLOOP_MISSING)
        return support.new_loop_named(name)

    return new


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Which loops an async test runs on."""
    return {name: _new_loop(name) for name in support.LOOPS}


def pytest_report_header() -> list[str]:
    """Say what this run is about, where that is not the default."""
    about = [f"forced path: {switch}" for switch in switches.active()]
    return [*about, "implementation: asyncio itself"] if shim.ACTIVE else about


@pytest.fixture(scope="session", autouse=True)
def _prepare() -> None:
    """Start from the same state however pytest was started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores these two,
    for name in ("SIGQUIT", "SIGHUP"):  # and children inherit that; nohup
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    # libuv opens a pipe for the whole process with its first loop; Windows opens what its sockets
    # and its thread pool need.
    for name in ("uvloop",) if skips.HAVE_UVLOOP else support.LOOPS if support.WINDOWS else ():
        with asyncio.Runner(loop_factory=_new_loop(name)) as runner:
            runner.run(support.output("true") if support.WINDOWS else asyncio.sleep(0))
    if skips.LIBKQUEUE:  # keeps an epoll and an eventfd for the whole process
        with asyncio.Runner() as runner:
            runner.run(support.output("true"))


@pytest.fixture(params=support.LOOPS)
def loop_name(request: pytest.FixtureRequest) -> str:
    """The same choice for tests that start an interpreter of their own."""
    if request.param == "uvloop" and not skips.HAVE_UVLOOP:
        pytest.skip(skips.UVLOOP_MISSING)
    return str(request.param)


@pytest.fixture
def loop_factory(loop_name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The same choice for tests that run loops of their own."""
    return _new_loop(loop_name)


def _bounded(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """An async test that is cancelled a while before pytest-timeout would interrupt the loop.

    On uvloop an exception out of a signal handler does not reach the test.
    """

    @functools.wraps(function)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(seconds):
            await function(*args, **kwargs)

    return bounded


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return 0.9 * float(marker.args[0] if marker else item.config.getini("timeout"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Apply the list of skips; on asyncio itself expect the differences to fail."""
    for item in items:
        name = getattr(item, "originalname", None) or item.name
        file = item.path.relative_to(support.TESTS).as_posix()
        if reason := skips.left_out(file, name):
            item.add_marker(pytest.mark.skip(reason=reason))
        if shim.ACTIVE and item.get_closest_marker("differs"):
            item.add_marker(pytest.mark.xfail(reason="asyncio differs", strict=False))
            item.add_marker(pytest.mark.timeout(5), append=False)
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj, _seconds(item))


def pytest_collection_finish() -> None:
    """What is there before the first test stays; `nothing_left` need not go through all of it each time."""
    gc.collect()
    gc.freeze()


_again: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test once more if Wine was at fault (skips.WINE_FAULT)."""
    if not skips.on_wine():
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if any(report.failed and skips.WINE_FAULT in report.longreprtext for report in reports):
        _again.append(item.nodeid)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which."""
    for name in _again:
        terminalreporter.write_line(f"run again, as Wine could not start a process ({skips.WINE_FAULT}): {name}")


class Snapshot:
    """Descriptors, children and threads of this process."""

    def __init__(self) -> None:
        self.tables = {
            "descriptor": support.open_fds(),
            "child": support.children(),
            "thread": support.threads(),
        }

    def left_since(self, before: Snapshot) -> list[str]:
        """What is there now and was not there before."""
        return [
            f"{kind} {key}: {value}"
            for kind, table in self.tables.items()
            for key, value in table.items()
            if before.tables[kind].get(key) != value and (kind == "descriptor" or key not in before.tables[kind])
        ]


def _remove_children(before: Snapshot) -> None:
    for pid in support.children().keys() - before.tables["child"].keys():
        support.kill(pid)
        if not support.WINDOWS:  # where waitpid takes a handle
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No descriptor, child, zombie or thread is left when the test and its loop are over.

    Autouse fixtures come first, so the loop is made after the first look and closed before the second.
    """
    before = Snapshot()
    yield
    end = time.monotonic() + SETTLE
    gc.collect()
    while left := Snapshot().left_since(before):
        if time.monotonic() > end or (shim.ACTIVE and request.node.get_closest_marker("differs")):
            break
        time.sleep(0.002)
        gc.collect()
    if left:
        _remove_children(before)
        if not (shim.ACTIVE and request.node.get_closest_marker("differs")):
            pytest.fail("left over:\n" + "\n".join(left))
