"""asyncio's Proactor loop: its completion port is shared with whatever else the loop does."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from typing import Any

import procio
import pytest
import skips
from support import PIPE, SUPPORT

if sys.platform != "win32":
    pytest.skip(skips.WINDOWS_ONLY, allow_module_level=True)

from asyncio.windows_events import IocpProactor


async def exchange(times: int, api: Any = procio) -> None:
    """Messages to ``cat`` and back, in pieces of all sizes; then its end."""
    proc = await api.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    for size in range(1, times + 1):
        message = bytes([size % 251]) * (size * 37)
        proc.stdin.write(message)
        await proc.stdin.drain()
        assert await proc.stdout.readexactly(len(message)) == message
    proc.stdin.close()
    assert await proc.stdout.read() == b""
    assert await proc.wait() == 0


def run(main: Any, loop: asyncio.AbstractEventLoop, debug: bool = False) -> list[dict[str, Any]]:
    """Run on ``loop`` and close it; what its exception handler was told."""
    told: list[dict[str, Any]] = []
    loop.set_debug(debug)
    loop.set_exception_handler(lambda loop, context: told.append(context))
    try:
        loop.run_until_complete(asyncio.wait_for(main, 60))
    finally:
        loop.close()
    return told


class Overridden(IocpProactor):
    """Polls in its own way, so procio must not rely on how the base class does it."""

    def _poll(self, timeout: Any = None) -> None:
        super()._poll(timeout)


class Renamed(IocpProactor):
    """Has its operations under another name."""

    def __init__(self) -> None:
        super().__init__()
        self._operations = self._cache
        del self._cache

    def __getattr__(self, name: str) -> Any:
        if name == "_cache" and sys._getframe(1).f_globals["__name__"] == "asyncio.windows_events":
            return self._operations
        raise AttributeError(name)


@pytest.mark.parametrize("proactor", [IocpProactor, Overridden, Renamed])
def test_every_kind_of_proactor(proactor: type[IocpProactor]) -> None:
    """One that is not as asyncio's own is served by a thread."""
    assert run(exchange(50), asyncio.ProactorEventLoop(proactor())) == []


def test_a_thread_can_be_forced() -> None:
    folders = [os.path.dirname(__file__), str(SUPPORT)]
    code = (
        f"import sys; sys.path[:0] = {folders!r}; import asyncio, test_proactor as t; "
        "print(t.run(t.exchange(50), asyncio.ProactorEventLoop()))"
    )
    env = {**os.environ, "PROCIO_POLL_THREAD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, b"[]"), done.stderr


def test_debug_mode_finds_nothing_unexpected(caplog: pytest.LogCaptureFixture) -> None:
    """The loop knows every packet, of children that go in the middle of reading and writing too."""

    async def main() -> None:
        await exchange(5)
        for _ in range(10):
            proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            read = asyncio.create_task(proc.stdout.read(1))
            proc.stdin.write(b"x" * (1 << 20))
            await asyncio.sleep(0)
            proc.kill()
            await proc.wait()
            read.cancel()
            del proc
            gc.collect()
        await exchange(5)

    assert run(main(), asyncio.ProactorEventLoop(), debug=True) == []
    said = [record.getMessage() for record in caplog.records]
    assert not [text for text in said if "an unexpected event" in text or "running after closing" in text]


def test_others_use_the_same_port() -> None:
    """asyncio's own children and sockets, and procio's, at the same time."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async def sockets() -> None:
        server = await asyncio.start_server(served, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for size in range(1, 100):
            writer.write(b"y" * size)
            assert await reader.readexactly(size) == b"y" * size
        writer.close()
        server.close()

    async def main() -> None:
        await asyncio.gather(exchange(100), exchange(100), exchange(100, asyncio.subprocess), sockets(), sockets())

    assert run(main(), asyncio.ProactorEventLoop()) == []


async def busy() -> procio.Process:
    """A child with operations in flight on every pipe."""
    proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    proc.stdin.write(b"x" * (1 << 22))
    return proc


def test_loop_that_is_dropped_and_not_closed(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of ours keeps it alive, and what is in flight does not keep it from ending."""
    loop = asyncio.ProactorEventLoop()
    proc = loop.run_until_complete(busy())
    gone = weakref.ref(loop)
    proc.kill()
    del proc
    with pytest.warns(ResourceWarning, match="unclosed event loop"):  # noqa: PT031  (it may come with either)
        del loop
        gc.collect()
    assert gone() is None
    assert run(exchange(5), asyncio.ProactorEventLoop()) == []
    assert capfd.readouterr() == ("", "")
