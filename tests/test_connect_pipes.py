"""connect_read_pipe and connect_write_pipe of what somebody else opened."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO

import procio
import pytest
import skips
from support import turns, until

tty = pytest.importorskip("tty", reason=skips.POSIX_PIPES, exc_type=ImportError)


@pytest.fixture(autouse=True)
async def _installed() -> AsyncIterator[None]:
    with procio.installed():
        yield


class Reading(asyncio.Protocol):
    """Keeps what it is told, under a name, in a list that others may share."""

    def __init__(self, told: list[Any], name: str = "") -> None:
        self.told = told
        self.name = name

    def data_received(self, data: bytes) -> None:
        self.told.append(self.name + data.decode())

    def connection_lost(self, exc: BaseException | None) -> None:
        self.told.append(f"{self.name}lost")


async def connect(file: Any, told: list[Any], name: str = "") -> asyncio.ReadTransport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: Reading(told, name), file)
    return transport


def terminal() -> tuple[BinaryIO, Callable[[bytes], Any], Callable[[], Any]]:
    parent, child = os.openpty()
    tty.setcbreak(child, when=0)
    attributes = tty.tcgetattr(child)
    attributes[3] |= tty.ICANON
    tty.tcsetattr(child, tty.TCSANOW, attributes)
    return os.fdopen(child, "rb", 0), lambda data: os.write(parent, data + b"\n"), lambda: os.close(parent)


def messages(kind: int) -> tuple[BinaryIO, Callable[[bytes], Any], Callable[[], Any]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    return ours.makefile("rb", 0), theirs.send, lambda: (ours.close(), theirs.close())


def packets() -> tuple[BinaryIO, Callable[[bytes], Any], Callable[[], Any]]:
    if not hasattr(os, "O_DIRECT"):
        pytest.skip(skips.NOT_LINUX)
    read, write = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    return os.fdopen(read, "rb", 0), lambda data: os.write(write, data), lambda: os.close(write)


@pytest.mark.differs  # uvloop by itself takes no such sockets
@pytest.mark.parametrize(
    "opened",
    [
        pytest.param(terminal, id="terminal"),
        pytest.param(lambda: messages(socket.SOCK_STREAM), id="stream"),
        pytest.param(lambda: messages(socket.SOCK_DGRAM), id="datagrams"),
        pytest.param(lambda: messages(socket.SOCK_SEQPACKET), id="packets"),
        pytest.param(packets, id="packet-pipe"),
    ],
)
async def test_what_comes_in_pieces_comes_whole(opened: Callable[[], tuple[Any, ...]]) -> None:
    """One read of a terminal is a line, of some sockets a message: the others must not be left behind."""
    file, write, close = opened()
    told: list[str] = []
    transport = await connect(file, told)
    texts = [f"message {number}" for number in range(5)]
    try:
        for text in texts:
            write(text.encode())
        await until(lambda: "".join(told).replace("\n", "") == "".join(texts), "all messages")
    finally:
        transport.close()
        await until(lambda: told[-1] == "lost", "connection_lost")
        close()


async def test_what_is_there_already_comes_before_the_end_of_an_older_pipe() -> None:
    """asyncssh closes the pipe it read before once it has the next, and counts on this order."""
    told: list[str] = []
    old, old_writer = os.pipe()
    new, new_writer = os.pipe()
    os.write(new_writer, b"data")
    first = await connect(os.fdopen(old, "rb", 0), told, "old ")
    second = await connect(os.fdopen(new, "rb", 0), told, "new ")
    first.close()
    await until(lambda: len(told) == 2, "both")
    second.close()
    await until(lambda: len(told) == 3, "the end")
    os.close(old_writer)
    os.close(new_writer)
    assert told == ["new data", "old lost", "new lost"]


@pytest.mark.differs  # uvloop by itself cannot have a terminal twice
async def test_terminal_stays_open_when_its_other_side_closes() -> None:
    """Closing it would send SIGHUP to a program that has closed its streams and is about to end."""
    told: list[str] = []
    parent, child = os.openpty()
    reading = await connect(os.fdopen(os.dup(parent), "rb", 0), told)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(parent, "wb", 0))
    os.close(child)
    await until(lambda: told == ["lost"], "the hang-up")
    await turns(20)
    assert not transport.is_closing()
    os.fstat(parent)
    transport.close()
    reading.close()
    await turns(20)
