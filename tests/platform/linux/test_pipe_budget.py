"""What pipes take of the pages that the kernel grants each user: pipe(7)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
from pathlib import Path

import procio
import pytest
import shim
import skips
from support import PIPE, running

pytestmark = [skips.needs_proc, pytest.mark.skipif(shim.ACTIVE, reason="asyncio enlarges no pipe")]

CHILDREN = 80
USUAL = 64 * 1024


def enlarged(processes: list[procio.Process], stream: str) -> list[int]:
    """The sizes of the pipes that are larger than usual."""
    transports = [proc._transport.get_pipe_transport(0 if stream == "stdin" else 1) for proc in processes]
    sizes = [fcntl.fcntl(transport.get_extra_info("pipe"), fcntl.F_GETPIPE_SZ) for transport in transports]
    return [size for size in sizes if size > USUAL]


def share() -> int:
    """An eighth of what the user has, in bytes."""
    pages = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text())
    return pages * resource.getpagesize() // 8


def size_of_a_new_pipe() -> int:
    ends = os.pipe()
    try:
        return fcntl.fcntl(ends[0], fcntl.F_GETPIPE_SZ)
    finally:
        for end in ends:
            os.close(end)


async def test_busy_children_leave_others_their_pipes() -> None:
    for _ in range(2):
        async with contextlib.AsyncExitStack() as stack:
            start = [stack.enter_async_context(running("yes", stdout=PIPE)) for _ in range(CHILDREN)]
            processes = [await process for process in start]
            for proc in processes:
                await proc.stdout.readexactly(2 << 20)
            sizes = enlarged(processes, "stdout")
            # The second time as well: what had ended has given back what it had.
            assert sizes
            assert sum(sizes) <= share()
            assert size_of_a_new_pipe() == USUAL


async def test_much_input_for_many_children() -> None:
    async with contextlib.AsyncExitStack() as stack:
        start = [stack.enter_async_context(running("cat", stdin=PIPE, stdout=PIPE)) for _ in range(CHILDREN)]
        processes = [await process for process in start]
        data = bytes(1 << 20)
        for proc in processes:
            proc.stdin.write(data)
            assert await proc.stdout.readexactly(len(data)) == data
        both = enlarged(processes, "stdin") + enlarged(processes, "stdout")
        assert both
        assert sum(both) <= share()
        assert size_of_a_new_pipe() == USUAL
