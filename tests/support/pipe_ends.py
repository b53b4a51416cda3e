"""Pipes, FIFOs, sockets and terminals to connect transports to."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import skips
from protocols import PipeRecorder

# A test file that imports this module is left out where there are no such pipes.
pty = pytest.importorskip("pty", reason=skips.POSIX_PIPES, exc_type=ImportError)
tty = pytest.importorskip("tty")

MEG = 1 << 20


def kinds() -> list[str]:
    return ["pipe", "fifo", "socket", "terminal"]


def opened(kind: str, folder: Path) -> tuple[IO[bytes], IO[bytes]]:
    """A reading and a writing end, as unbuffered files."""
    if kind == "pipe":
        reader, writer = os.pipe()
    elif kind == "fifo":
        os.mkfifo(folder / "fifo")
        reader = os.open(folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(folder / "fifo", os.O_WRONLY)
    elif kind == "socket":
        reader, writer = (end.detach() for end in socket.socketpair())
    else:
        reader, writer = pty.openpty()
        tty.setraw(writer)
    return open(reader, "rb", 0), open(writer, "wb", 0)


async def reading(pipe: Any, factory: Callable[[], Any] = PipeRecorder) -> tuple[Any, Any]:
    return await asyncio.get_running_loop().connect_read_pipe(factory, pipe)


async def writing(pipe: Any, factory: Callable[[], Any] = PipeRecorder) -> tuple[Any, Any]:
    return await asyncio.get_running_loop().connect_write_pipe(factory, pipe)
