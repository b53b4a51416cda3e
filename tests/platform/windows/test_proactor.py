"""asyncio's Proactor loop: its completion port is shared with whatever else the loop does."""

from __future__ import annotations

import asyncio
import gc
import inspect
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

from asyncio.windows_events import IocpProactor  # type: ignore[attr-defined]


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


def is_shared(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop takes procio's packets with its own."""
    entries = loop._proactor._cache.values()  # type: ignore[attr-defined]
    return any(type(entry[0]).__module__ == "procio._core" for entry in entries)


@pytest.mark.parametrize("proactor", [IocpProactor, Overridden, Renamed])
def test_every_kind_of_proactor(proactor: type[IocpProactor]) -> None:
    """One that is not as asyncio's own is served by a thread."""
    loop = asyncio.ProactorEventLoop(proactor())

    async def main() -> None:
        await exchange(50)
        if proactor is not Renamed:
            assert is_shared(loop) == (proactor is IocpProactor)

    assert run(main(), loop) == []


ENTRY = "(f, ov, obj, callback)"
SHAPES = {
    "as it is": ({}, True),
    "five items": (
        {ENTRY: "(f, ov, obj, callback, 0)", "f, ov, obj, callback =": "f, ov, obj, callback, _ =",
         "for fut, ov, obj, callback in": "for fut, ov, obj, callback, _ in",
         "0, finish_wait_for_handle)": "0, finish_wait_for_handle, 0)"}, False),
    "other keys": ({"self._cache[ov.address]": "self._cache[str(ov.address)]", ".pop(address": ".pop(str(address)",
                    ".pop(ov.address": ".pop(str(ov.address)"}, False),
    "another table": ({"self._cache": "self._table"}, False),
    "another end": ({"fut.cancel()": "fut.cancel(msg='closed')"}, False),
    "more of a future": ({"f.set_result(value)": "f.get_loop(); f.set_result(value)"}, False),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_proactor_of_another_shape(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch release may change what is private: then a thread takes the packets, and the loop's own go on."""
    changes, shared = SHAPES[shape]
    source = inspect.getsource(IocpProactor)
    for old, new in changes.items():
        assert old in source
        source = source.replace(old, new)
    names = dict(vars(asyncio.windows_events))  # type: ignore[attr-defined]
    exec(source, names)
    monkeypatch.setattr(asyncio.windows_events, "IocpProactor", names["IocpProactor"])  # type: ignore[attr-defined]
    loop = asyncio.ProactorEventLoop(names["IocpProactor"]())

    async def main() -> None:
        await exchange(10)
        if hasattr(loop._proactor, "_cache"):  # type: ignore[attr-defined]
            assert is_shared(loop) == shared
        await exchange(10, asyncio.subprocess)

    assert run(main(), loop) == []


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
        await writer.wait_closed()

    async def sockets() -> None:
        server = await asyncio.start_server(served, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for size in range(1, 100):
            writer.write(b"y" * size)
            assert await reader.readexactly(size) == b"y" * size
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    async def main() -> None:
        await asyncio.gather(exchange(100), exchange(100), exchange(100, asyncio.subprocess), sockets(), sockets())

    assert run(main(), asyncio.ProactorEventLoop()) == []


class Interruption:
    """Raises KeyboardInterrupt, as a handler of SIGINT may, after the proactor has taken the entry of a packet out
    of its table and before it calls what stands there."""

    def __init__(self) -> None:
        self.raised = False

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        return self.line if frame.f_code is IocpProactor._poll.__code__ else None  # type: ignore[attr-defined]

    def line(self, frame: Any, event: str, arg: Any) -> Any:
        if type(frame.f_locals.get("f")).__module__ == "procio._core":
            self.raised = True
            sys.settrace(None)
            raise KeyboardInterrupt
        return self.line


async def interrupted(event: str, started: list[Any]) -> None:
    """Start a child, and have the interrupt come with its end or its output."""
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    waits = asyncio.create_task(proc.wait() if event == "end" else proc.stdout.readexactly(3))
    await asyncio.sleep(0)
    interruption = Interruption()
    started += [proc, waits, interruption]
    sys.settrace(interruption)
    if event == "end":
        proc.kill()
    else:
        proc.stdin.write(b"abc")
    await asyncio.sleep(60)


@pytest.mark.parametrize("event", ["end", "output"])
def test_an_interrupt_takes_no_event_away(event: str) -> None:
    """What has happened is told when the loop runs again."""
    loop = asyncio.ProactorEventLoop()
    started: list[Any] = []

    async def rest() -> None:
        proc, waits, _ = started
        assert await asyncio.wait_for(waits, 30) == (1 if event == "end" else b"abc")
        if event == "output":
            proc.kill()
        assert await asyncio.wait_for(proc.wait(), 30) == 1
        await exchange(3)

    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            loop.run_until_complete(interrupted(event, started))
        assert started[2].raised
        del caught
        loop.run_until_complete(rest())
    finally:
        sys.settrace(None)
        loop.close()


def test_an_interrupt_that_is_still_handled() -> None:
    """As a program does that ends its children when it is interrupted."""
    loop = asyncio.ProactorEventLoop()
    started: list[Any] = []
    ended = []
    try:
        loop.run_until_complete(interrupted("end", started))
    except KeyboardInterrupt:
        ended.append(loop.run_until_complete(asyncio.wait_for(started[0].wait(), 30)))
    finally:
        sys.settrace(None)
        loop.close()
    assert (ended, started[2].raised) == ([1], True)


def test_entries_that_are_taken_away() -> None:
    """The table belongs to asyncio. Without an entry a packet would be a stranger's."""
    loop = asyncio.ProactorEventLoop()

    async def main() -> None:
        proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        cache = loop._proactor._cache  # type: ignore[attr-defined]
        for address in [key for key, entry in cache.items() if type(entry[0]).__module__ == "procio._core"]:
            cache.pop(address)
        proc.stdin.write(b"abc")
        assert await proc.stdout.readexactly(3) == b"abc"
        proc.kill()
        assert await proc.wait() == 1

    assert run(main(), loop) == []


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
