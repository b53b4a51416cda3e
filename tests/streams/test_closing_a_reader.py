"""Closing proc.stdout or proc.stderr before their end: the pipe is closed, and the child is told (gh-130925)."""

from __future__ import annotations

import asyncio

import procio
import pytest
from support import BROKEN, PIPE, helper, running, sh

pytestmark = pytest.mark.differs


async def test_closing_stdout_ends_a_flooding_child() -> None:
    """The child gets SIGPIPE."""
    proc = await procio.create_subprocess_exec(*helper("flood", "x"), stdout=PIPE)
    assert await proc.stdout.readexactly(10) == b"x" * 10
    proc.stdout.close()
    assert await proc.wait() == BROKEN


async def test_closing_stdout_twice_and_after_the_end() -> None:
    proc = await sh("echo out", stdout=PIPE)
    assert await proc.wait() == 0
    proc.stdout.close()
    proc.stdout.close()


async def test_closing_stderr_leaves_stdout() -> None:
    async with running("sh", "-c", "read x; echo out", stdin=PIPE, stdout=PIPE, stderr=PIPE) as proc:
        proc.stderr.close()
        proc.stdin.write(b"\n")
        assert await proc.stdout.readline() == b"out\n"
        assert await proc.wait() == 0


async def test_feed_eof_closes_our_end() -> None:
    """The child, which goes on writing, gets SIGPIPE."""
    proc = await procio.create_subprocess_exec("yes", stdout=PIPE)
    proc.stdout.feed_eof()
    await proc.stdout.read()
    assert await asyncio.wait_for(proc.wait(), 20) == BROKEN
