"""``import procio as asyncio``: streams that a program makes itself, and those of sockets, are asyncio's."""

from __future__ import annotations

import asyncio
import math
import socket
from typing import Any

import procio
import pytest
import shim
import skips
from support import PIPE

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason=skips.OWN_NAMES)


async def test_reader() -> None:
    reader: Any = procio.StreamReader()
    reader.feed_data(b"one\ntwo")
    reader.feed_eof()
    assert isinstance(reader, procio.StreamReader)
    assert isinstance(reader, asyncio.StreamReader)
    assert await reader.readline() == b"one\n"
    assert await reader.read() == b"two"
    loop = asyncio.get_running_loop()
    for limited in (procio.StreamReader(3), procio.StreamReader(limit=3, loop=loop), procio.StreamReader(3, loop)):
        limited.feed_data(b"too long\n")
        with pytest.raises(ValueError, match="longer than limit"):
            await limited.readline()
    for unlimited in (procio.StreamReader(math.inf), procio.StreamReader(limit=2**64)):  # type: ignore[arg-type]
        unlimited.feed_data(b"x" * 100_000 + b"\n")
        assert len(await unlimited.readline()) == 100_001
    with pytest.raises(ValueError, match="Limit"):
        procio.StreamReader(0)


async def test_writer() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        loop = asyncio.get_running_loop()
        reader: Any = procio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
        writer = procio.StreamWriter(transport, protocol, reader, loop)
        assert isinstance(writer, procio.StreamWriter)
        writer.write(b"x")
        await writer.drain()
        assert theirs.recv(10) == b"x"
        theirs.sendall(b"y\n")
        assert await reader.readline() == b"y\n"
        writer.close()
        await writer.wait_closed()


async def test_streams_of_a_child_are_told_apart() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert isinstance(proc.stdout, procio.StreamReader)
    assert isinstance(proc.stdin, procio.StreamWriter)
    assert not isinstance(proc.stdin, procio.StreamReader)
    assert not isinstance(proc, procio.StreamReader)
    assert type(proc.stdout) is procio.StreamReader
    await proc.communicate()


async def test_a_class_of_ones_own_derives_from_asyncio() -> None:
    class Own(procio.StreamReader):
        pass

    with pytest.raises(TypeError):
        Own()
    assert not isinstance(asyncio.StreamReader(), Own)


async def test_tls_is_refused() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE)
    with pytest.raises(NotImplementedError, match="TLS"):
        await proc.stdin.start_tls(None)
    await proc.communicate()
