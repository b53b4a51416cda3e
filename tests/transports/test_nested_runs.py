"""A callback of a protocol that runs the loop again, as debuggers, notebooks and dialogs do."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
import weakref
from pathlib import Path
from typing import Any

import procio
import pytest
import shim
from support import SH, WINDOWS, helper, until_sync

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason="procio's own loop class")


def run_nested(loop: Any, seconds: float) -> None:
    """What `nest_asyncio` makes of `run_until_complete`: turns of the loop within one of its callbacks."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # In each turn: a timer may come early by the clock's resolution, which is 16 ms on Windows.
        loop.call_later(0.02, lambda: None)
        loop._run_once()
    # The turn that we are in goes on with as many callbacks as it found, of which some have run.
    for _ in range(100):
        loop.call_soon(lambda: None)


class Nested(asyncio.SubprocessProtocol):
    """Runs the loop in one of its callbacks, once."""

    def __init__(self, callback: str, came: list[Any], end: asyncio.Future[None]) -> None:
        self.callback, self.came, self.end = callback, came, end

    def told(self, callback: str, *what: Any) -> None:
        self.came.append((callback, *what))
        if callback == self.callback:
            self.callback = ""
            run_nested(asyncio.get_running_loop(), 0.3)
            self.came.append("nested run over")

    def connection_made(self, transport: Any) -> None:
        self.told("connection_made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.told("pipe_data_received", fd, data)

    def pipe_connection_lost(self, fd: int, exc: Any) -> None:
        self.told("pipe_connection_lost", fd)

    def process_exited(self) -> None:
        self.told("process_exited")

    def connection_lost(self, exc: Any) -> None:
        self.told("connection_lost")
        self.end.set_result(None)


# On Windows the second is of the other kind, whose events a thread collects.
FACTORIES = [] if shim.ACTIVE else [procio.new_event_loop, *([procio.EventLoop] if WINDOWS else [])]


@pytest.mark.parametrize("new_loop", FACTORIES)
@pytest.mark.parametrize(
    "callback", ["connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited", "connection_lost"]
)
def test_everything_is_delivered_around_a_nested_run(callback: str, new_loop: Any) -> None:
    came: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        end = loop.create_future()
        script = "echo early; (sleep 0.1; echo late) & exit 3"
        await loop.subprocess_exec(lambda: Nested(callback, came, end), SH, "-c", script, stdin=None)
        await asyncio.wait_for(end, 10)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    data = b"".join(event[2] for event in came if event[0] == "pipe_data_received")
    assert data == b"early\nlate\n"
    assert came.count("nested run over") == 1
    assert came.count(("connection_lost",)) == came.count(("process_exited",)) == 1
    if callback == "process_exited":
        before = came[: came.index("nested run over")]
        assert ("pipe_data_received", 1, b"late\n") in before or data in [event[-1] for event in before]


@pytest.mark.parametrize("new_loop", FACTORIES)
def test_what_another_child_wrote_comes_in_the_nested_run(new_loop: Any, tmp_path: Path) -> None:
    """Both became ready in the same turn."""
    came: list[bytes] = []
    seen: list[int] = []

    class Protocol(asyncio.SubprocessProtocol):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            came.append(data)
            if len(came) == 1:
                run_nested(asyncio.get_running_loop(), 0.2)
                seen.append(len(came))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        notes = [tmp_path / "a", tmp_path / "b"]
        commands = [helper("emit", "wait", "x\\n", f"note:{note}", "wait") for note in notes]
        transports = [(await loop.subprocess_exec(Protocol, *command, stderr=None))[0] for command in commands]
        for transport in transports:
            transport.get_pipe_transport(0).write(b"g")
        for note in notes:  # until both have written; the loop stands still
            until_sync(note.exists, "both have written")
        while not seen:
            await asyncio.sleep(0.01)
        for transport in transports:
            transport.close()
            await transport._wait()  # type: ignore[attr-defined]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert seen == [2]


async def test_the_context_of_the_first_caller_is_not_kept() -> None:
    var: contextvars.ContextVar[Any] = contextvars.ContextVar("var")

    class Value:
        pass

    async def request() -> weakref.ref[Value]:
        value = Value()
        var.set(value)
        await (await procio.create_subprocess_exec("true")).wait()
        return weakref.ref(value)

    refs = [await asyncio.create_task(request()) for _ in range(2)]
    await asyncio.sleep(0.01)  # what was scheduled by them has run
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
