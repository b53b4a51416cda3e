"""A loop without children, pipes and operations of procio has the descriptors that it had before."""

from __future__ import annotations

import asyncio
import os

import procio
import pytest
import shim
import skips
from support import PIPE, children, open_fds, output, run_script, until

pytestmark = [
    skips.needs_proc,
    skips.needs_pidfds,  # a thread that waits for a child ends a moment after it
    pytest.mark.skipif(shim.ACTIVE, reason=skips.OWN_NAMES),
    pytest.mark.skipif(os.environ.get("PROCIO_POLL_THREAD") == "1", reason=skips.POLL_THREAD),
]


async def settled() -> dict[int, str]:
    """The open descriptors, when the loop has come round."""
    for _ in range(10):
        await asyncio.sleep(0)
    return open_fds()


async def test_after_the_last_child() -> None:
    before = await settled()
    assert await output("echo", "x") == b"x\n"
    assert await settled() == before


async def test_while_the_process_is_kept() -> None:
    """What has ended and what was read stays to be had."""
    before = await settled()
    proc = await procio.create_subprocess_exec("sh", "-c", "echo x; exit 3", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await proc.wait() == 3
    proc.stdin.close()
    assert await proc.stderr.read() == b""
    assert await proc.stdout.read() == b"x\n"
    assert await settled() == before
    assert await proc.wait() == 3
    assert (proc.returncode, await proc.stdout.read()) == (3, b"")


async def test_with_a_child_or_a_pipe_there_is_a_descriptor() -> None:
    before = await settled()
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await output("true") == b""
    proc.stdin.write(b"x")
    assert await proc.stdout.read(1) == b"x"
    assert len(await settled()) > len(before)
    proc.stdin.close()
    assert (await proc.stdout.read(), await proc.wait()) == (b"", 0)
    assert await settled() == before


async def test_one_after_the_other() -> None:
    """Each time."""
    before = await settled()
    for _ in range(5):
        assert await output("echo", "x") == b"x\n"
        assert await settled() == before


async def test_after_a_start_that_failed() -> None:
    before = await settled()
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            await procio.create_subprocess_exec("/no/such/program", stdin=PIPE, stdout=PIPE)
        with pytest.raises(OSError, match="Bad file"):
            await procio.create_subprocess_exec("true", stdin=PIPE, stdout=12345)
        assert await settled() == before


async def test_an_operation_that_waits_is_not_left_alone() -> None:
    """A stream that was made by hand has no descriptor."""
    reader = procio.StreamReader()
    reading = asyncio.ensure_future(reader.read(1))
    await asyncio.sleep(0)
    assert await output("true") == b""
    await settled()
    reader.feed_data(b"x")
    assert await reading == b"x"
    assert await output("true") == b""
    reading = asyncio.ensure_future(reader.read(1))
    await asyncio.sleep(0)
    reader.feed_data(b"y")
    assert await reading == b"y"


LOOPS_AT_ONE_ADDRESS = """
import weakref
# New loops are made where old ones were: the reactor of one that is gone serves none of them.
async def main():
    assert await output("echo", "x") == b"x\\n"
    await asyncio.sleep(0)
for _ in range(50):
    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
assert not children()
"""


def test_loops_one_after_the_other(loop_name: str) -> None:
    done = run_script(LOOPS_AT_ONE_ADDRESS, loop=loop_name)
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_child_that_is_dropped() -> None:
    """The reactor is there until it is reaped."""
    before = await settled()
    proc = await procio.create_subprocess_exec("sleep", "1000")
    proc.kill()
    del proc
    await until(lambda: not children(), "reaped")
    assert await settled() == before
