"""Loops that start procio's children without any patching: the classes, the factories and run()."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import procio
import pytest
import shim
import skips
from protocols import start
from routing import LOOP_ONLY, NONE, is_routed
from support import WINDOWS

if shim.ACTIVE:
    pytest.skip(skips.OWN_NAMES, allow_module_level=True)

pytestmark = pytest.mark.usefixtures("nothing_installed")
needs_uvloop = pytest.mark.skipif(not skips.HAVE_UVLOOP, reason=skips.UVLOOP_MISSING)


def run(factory: Callable[[], asyncio.AbstractEventLoop]) -> list[bool]:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(is_routed())


def test_event_loop_class() -> None:
    assert run(procio.EventLoop) == LOOP_ONLY
    assert issubclass(procio.EventLoop, asyncio.SelectorEventLoop)


def test_new_event_loop() -> None:
    assert run(procio.new_event_loop) == LOOP_ONLY
    loop = procio.new_event_loop()
    if WINDOWS:
        assert isinstance(loop, asyncio.ProactorEventLoop)  # type: ignore[attr-defined]
        assert isinstance(loop, procio.SubprocessLoopMixin)
    else:
        assert type(loop) is procio.EventLoop
    loop.close()  # type: ignore[attr-defined]


@needs_uvloop
def test_uvloop_without_patching() -> None:
    import uvloop

    assert run(procio.new_uvloop_event_loop) == LOOP_ONLY

    class Mixed(procio.SubprocessLoopMixin, uvloop.Loop):  # type: ignore[misc]
        pass

    assert run(Mixed) == LOOP_ONLY
    for factory in (procio.new_uvloop_event_loop, Mixed):
        loop = factory()
        assert isinstance(loop, uvloop.Loop)
        loop.close()
    assert run(uvloop.new_event_loop) == NONE


@needs_uvloop
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_new_event_loop_with_the_policy_of_uvloop() -> None:
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        loop = procio.new_event_loop()
        assert isinstance(loop, uvloop.Loop)
        loop.close()
        assert run(procio.new_event_loop) == LOOP_ONLY
    finally:
        asyncio.set_event_loop_policy(None)


def test_run() -> None:
    async def main() -> Any:
        return await is_routed(), type(asyncio.get_running_loop()), asyncio.get_running_loop().get_debug()

    with contextlib.closing(procio.new_event_loop()) as loop:
        expected = type(loop)
    assert procio.run(main()) == (LOOP_ONLY, expected, False)
    assert procio.run(main(), debug=True)[2] is True
    if skips.HAVE_UVLOOP:
        assert procio.run(main(), loop_factory=procio.new_uvloop_event_loop)[0] == LOOP_ONLY

    async def nested() -> None:
        procio.run(main())

    with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
        procio.run(nested())
    # From CPython 3.14 on it is a TypeError.
    with pytest.raises((TypeError, ValueError)) as theirs:
        asyncio.run(5)  # type: ignore[arg-type]
    with pytest.raises(theirs.type, match="coroutine"):
        procio.run(5)  # type: ignore[arg-type]


def test_loops_in_threads() -> None:
    """Each with its own children, procio's by class in some and by installation in none."""
    results: list[Any] = []

    async def work() -> None:
        ends = [await start("sh", "-c", f"echo {number}; exit {number}") for number in range(5)]
        for number, (transport, protocol) in enumerate(ends):
            await protocol.end()
            results.append((protocol.data[1] == b"%d\n" % number, transport.get_returncode() == number))
            transport.close()

    factories = [
        procio.EventLoop,
        procio.new_event_loop,
        *([procio.new_uvloop_event_loop] if skips.HAVE_UVLOOP else []),
    ]
    threads = [
        threading.Thread(target=procio.run, args=(work(),), kwargs={"loop_factory": make}) for make in factories * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(True, True)] * 5 * len(threads)
