"""Much of everything; afterwards nothing is left. PROCIO_STRESS scales the sizes (1.0 is full size)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import zlib
from collections.abc import Callable

import procio
import pytest
from support import PIPE, children, finish, helper, output, resident_bytes, running, turns, until
from test_threads import in_threads

SCALE = float(os.environ.get("PROCIO_STRESS", "0.1"))
MEGABYTE = 1 << 20

pytestmark = [pytest.mark.stress, pytest.mark.timeout(60 + 540 * max(SCALE, 0.1))]


def scaled(full: int, least: int = 1) -> int:
    return max(least, int(full * SCALE))


async def test_short_children_two_hundred_at_a_time() -> None:
    """2,000 of them."""
    places = asyncio.Semaphore(200)

    async def one(number: int) -> None:
        async with places:
            proc = await procio.create_subprocess_exec("echo", str(number), stdout=PIPE)
            assert await proc.communicate() == (b"%d\n" % number, None)
            assert proc.returncode == 0

    await asyncio.gather(*(one(number) for number in range(scaled(2000))))
    assert not children()


async def test_children_without_pipes_two_hundred_at_a_time() -> None:
    places = asyncio.Semaphore(200)

    async def one(number: int) -> None:
        async with places:
            proc = await procio.create_subprocess_exec("true")
            assert await proc.wait() == 0

    await asyncio.gather(*(one(number) for number in range(scaled(1000))))
    assert not children()


def test_many_conversations_in_eight_threads(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work(number: int) -> None:
        async def one(turn: int) -> None:
            proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            word = b"%d %d" % (number, turn)
            assert await proc.communicate(word) == (word, None)
            assert proc.returncode == 0

        for start in range(0, scaled(200, 5), 5):
            await asyncio.gather(*(one(turn) for turn in range(start, start + 5)))

    in_threads(8, loop_factory, work)
    assert not children()


async def test_creations_cancelled_at_random_moments() -> None:
    """500 of them, some of which fail, many at a time."""
    chance = random.Random(1)
    commands = (("true",), ("cat",), ("sleep", "1000"), ("/nonexistent/program",))

    async def one() -> None:
        creation = procio.create_subprocess_exec(*chance.choice(commands), stdin=PIPE, stdout=PIPE)
        task = asyncio.create_task(creation)
        if chance.random() < 0.5:
            await turns(chance.randrange(12))
        else:
            await asyncio.sleep(chance.random() * 0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, FileNotFoundError):
            await finish(await task)

    left = scaled(500)
    while left > 0:
        await asyncio.gather(*(one() for _ in range(min(left, 20))))
        left -= 20
    await until(lambda: not children(), "no child")


async def test_much_through_cat_in_both_directions() -> None:
    """256 MB, drained writes against reads, in bounded memory."""
    block = os.urandom(MEGABYTE)
    count = scaled(256)
    sums = [0, 0]

    async def write(writer: asyncio.StreamWriter) -> None:
        for _ in range(count):
            writer.write(block)
            sums[0] = zlib.crc32(block, sums[0])
            await writer.drain()
        writer.close()

    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        before = resident_bytes()
        task = asyncio.create_task(write(proc.stdin))
        total = 0
        while data := await proc.stdout.read(MEGABYTE):
            total += len(data)
            sums[1] = zlib.crc32(data, sums[1])
        await task
        assert total == count * MEGABYTE
        assert sums[0] == sums[1]
        assert resident_bytes() - before < 64 * MEGABYTE
        assert await proc.wait() == 0


async def test_much_through_communicate() -> None:
    data = os.urandom(MEGABYTE) * scaled(256)
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    out, _ = await proc.communicate(data)
    assert out == data
    assert proc.returncode == 0


@pytest.mark.differs
async def test_lines_of_ten_megabytes() -> None:
    count = scaled(20, 2)
    arguments = [word for number in range(count) for word in (f"{number % 10}*{10 * MEGABYTE}", "\\n")]
    async with running(*helper("emit", *arguments), stdout=PIPE) as proc:
        number = 0
        async for line in proc.stdout:
            assert len(line) == 10 * MEGABYTE + 1
            assert line[:1] == line[-2:-1] == b"%d" % (number % 10)
            number += 1
        assert number == count
        assert await proc.wait() == 0


async def test_a_million_short_lines() -> None:
    count = scaled(1_000_000)
    async with running(*helper("emit", f"a line\\n*{count}"), stdout=PIPE) as proc:
        found = 0
        async for line in proc.stdout:
            assert line == b"a line\n"
            found += 1
        assert found == count
        assert await proc.wait() == 0


async def test_a_hundred_conversations_at_once() -> None:
    """Line by line with 100 children at a time."""

    async def talk(number: int) -> None:
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            for turn in range(scaled(200, 5)):
                proc.stdin.write(b"%d %d\n" % (number, turn))
                await proc.stdin.drain()
                assert await proc.stdout.readline() == b"%d %d\n" % (number, turn)

    await asyncio.gather(*(talk(number) for number in range(100)))


async def test_children_that_are_killed_and_forgotten() -> None:
    """Kill without wait: the reaper needs no task."""
    for _ in range(scaled(300, 10)):
        proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE)
        proc.kill()
    await until(lambda: proc.returncode is not None, "end of the last")
    await until(lambda: not children(), "all reaped")
    assert await output("echo", "fine") == b"fine\n"
