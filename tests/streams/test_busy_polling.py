"""Busy polling: when a read polls before its loop goes to sleep, how often, and that no other callback is delayed."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable

import pytest
import shim
import skips
from support import cat, procio, script_result

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason="asyncio does not look")
WAITS = 64


class Watched(selectors.DefaultSelector):
    """Counts how often a caller asks for its descriptor, which asyncio does not."""

    asked = 0

    def fileno(self) -> int:
        self.asked += 1
        return super().fileno()


def looks(main: Callable[[procio.Process], Awaitable[None]]) -> int:
    """How often the loop was looked at while `main` talked to a `cat`."""
    selector = Watched()

    async def counted() -> int:
        async with cat() as proc:
            selector.asked = 0
            await main(proc)
            return selector.asked

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        return runner.run(counted())


async def exchange(proc: procio.Process) -> None:
    proc.stdin.write(b"x")
    assert await proc.stdout.readexactly(1) == b"x"


async def late(proc: procio.Process) -> None:
    """Waits for what the child was not asked for yet."""
    asyncio.get_running_loop().call_later(0.001, proc.stdin.write, b"x")
    assert await proc.stdout.readexactly(1) == b"x"


@skips.needs_processors
def test_looks_when_there_is_nothing_else_to_do() -> None:
    assert looks(exchange) == 1


def test_looks_seldom_at_a_child_that_takes_its_time() -> None:
    async def main(proc: procio.Process) -> None:
        for _ in range(WAITS):
            await late(proc)

    assert looks(main) <= WAITS // 8


def test_does_not_look_while_a_callback_is_ready() -> None:
    async def main(proc: procio.Process) -> None:
        async def busy() -> None:
            while True:
                await asyncio.sleep(0)

        other = asyncio.ensure_future(busy())
        await asyncio.sleep(0)
        for _ in range(WAITS):
            await exchange(proc)
        other.cancel()

    assert looks(main) == 0


def test_others_have_their_turn_in_each_exchange() -> None:
    async def main(proc: procio.Process) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(WAITS):
            turns: list[str] = []
            proc.stdin.write(b"x")
            loop.call_soon(turns.append, "callback")
            assert await proc.stdout.readexactly(1) == b"x"
            assert turns == ["callback"]

    looks(main)


@pytest.mark.parametrize("selector", ["SelectSelector", "PollSelector"])
def test_selector_without_a_descriptor(selector: str) -> None:
    """There is nothing to look at."""

    async def main() -> None:
        async with cat() as proc:
            for _ in range(WAITS):
                await exchange(proc)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(getattr(selectors, selector)())) as runner:
        runner.run(main())


class Interrupted(selectors.DefaultSelector):
    def fileno(self) -> int:
        raise KeyboardInterrupt


@skips.needs_processors
def test_interrupt_is_not_swallowed() -> None:
    """And the stream is whole afterwards."""

    async def main() -> None:
        async with cat() as proc:
            read = proc.stdout.readexactly(1)
            with pytest.raises(KeyboardInterrupt):
                await read
            with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
                await read
            proc.stdin.write(b"xy")
            await proc.stdin.drain()
            await asyncio.sleep(0)
            assert await proc.communicate() == (b"xy", None)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Interrupted())) as runner:
        runner.run(main())


SWITCH = """
import selectors

class Watched(selectors.DefaultSelector):
    asked = 0
    def fileno(self):
        self.asked += 1
        return super().fileno()

async def main():
    async with cat() as proc:
        for _ in range(64):
            proc.stdin.write(b"x")
            assert await proc.stdout.readexactly(1) == b"x"

selector = Watched()
with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
    runner.run(main())
print(selector.asked)
"""


def test_switch() -> None:
    assert script_result(SWITCH, env={"PROCIO_BUSY_POLL": "0"}) == 0
