"""A start that takes long does not hold up the loop, nor other threads (gh-146181)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator

import procio
import pytest
from support import PIPE, children, output, turns, until

pytestmark = pytest.mark.differs


@pytest.fixture
async def ticks() -> AsyncIterator[Callable[[], int]]:
    """How often the loop has turned."""
    count = 0

    async def tick() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(tick())
    yield lambda: count
    task.cancel()


@pytest.fixture
def no_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.mark.usefixtures("no_deprecation")
async def test_loop_goes_on_while_preexec_fn_blocks(ticks: Callable[[], int]) -> None:
    """Creation is pending for as long as preexec_fn likes; everything else runs, other creations too."""
    read_end, write_end = os.pipe()
    task = asyncio.create_task(
        procio.create_subprocess_exec("echo", "late", stdout=PIPE, preexec_fn=lambda: os.read(read_end, 1))
    )
    await until(children, "child")
    before = ticks()
    await until(lambda: ticks() > before + 100, "turns of the loop")
    assert await output("echo", "meanwhile") == b"meanwhile\n"
    assert not task.done()
    os.write(write_end, b"x")
    proc = await task
    os.close(read_end)
    os.close(write_end)
    assert await proc.communicate() == (b"late\n", None)


@pytest.mark.usefixtures("no_deprecation")
async def test_other_threads_go_on_while_preexec_fn_blocks() -> None:
    """3.13 keeps the GIL while it starts a program."""
    read_end, write_end = os.pipe()
    task = asyncio.create_task(procio.create_subprocess_exec("true", preexec_fn=lambda: os.read(read_end, 1)))
    await until(children, "child")
    thread = threading.Thread(target=os.write, args=(write_end, b"x"))
    thread.start()
    thread.join()
    proc = await task
    os.close(read_end)
    os.close(write_end)
    assert await proc.wait() == 0


@pytest.mark.usefixtures("no_deprecation")
async def test_preexec_fn_that_fails_late() -> None:
    read_end, write_end = os.pipe()

    def fail() -> None:
        os.read(read_end, 1)
        raise ZeroDivisionError

    task = asyncio.create_task(procio.create_subprocess_exec("true", stdin=PIPE, preexec_fn=fail))
    await until(children, "child")
    await turns(20)
    assert not task.done()
    os.write(write_end, b"x")
    with pytest.raises(subprocess.SubprocessError, match="Exception occurred in preexec_fn"):
        await task
    os.close(read_end)
    os.close(write_end)
    assert not children()


async def test_loop_goes_on_while_path_is_searched(ticks: Callable[[], int]) -> None:
    """Thousands of directories that do not have the program."""
    path = ":".join([f"/none/{number}" for number in range(9000)] + ["/bin", "/usr/bin"])
    before = ticks()
    proc = await procio.create_subprocess_exec("echo", "found", stdout=PIPE, env={"PATH": path})
    turned = ticks() - before
    assert await proc.communicate() == (b"found\n", None)
    assert turned > 20
