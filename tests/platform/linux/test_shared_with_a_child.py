"""What a child is not to have of its parent, and what it needs of it until its exec."""

from __future__ import annotations

import asyncio
import fcntl

import pytest
import shim
import skips
from support import cat, open_fds, output

pytestmark = [skips.needs_proc, pytest.mark.skipif(shim.ACTIVE, reason=skips.OWN_NAMES)]


async def test_every_descriptor_is_close_on_exec() -> None:
    """The reactor's, the pipes, the pidfds and what is there for a moment only: none reaches another's child."""
    before = open_fds()
    async with cat(), cat():
        made = {fd: what for fd, what in open_fds().items() if before.get(fd) != what}
        assert any("eventpoll" in what for what in made.values())
        assert [what for fd, what in made.items() if not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC] == []


async def test_arguments_last_until_the_exec() -> None:
    """Children that still search for their program read the paths and arguments that they were given."""

    async def search(number: int) -> bytes:
        path = ":".join([f"/none/{number}/{folder}" for folder in range(1500)] + ["/bin", "/usr/bin"])
        return await output("echo", f"argument {number} " * 50, env={"PATH": path})

    found = await asyncio.gather(*(search(number) for number in range(30)))
    assert found == [f"argument {number} ".encode() * 50 + b"\n" for number in range(30)]
