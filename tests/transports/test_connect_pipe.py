"""loop.connect_read_pipe and loop.connect_write_pipe: pipes, FIFOs, sockets, terminals, standard streams."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import skips
from pipe_ends import MEG, kinds, opened, pty, reading, tty, writing
from protocols import PipeRecorder, reported
from support import open_fds, script_source, turns, until

# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", kinds())
async def test_read(kind: str, tmp_path: Path) -> None:
    reader, writer = opened(kind, tmp_path)
    transport, protocol = await reading(reader)
    assert protocol.names() == ["connection_made"]
    assert protocol.transport is transport
    assert transport.get_protocol() is protocol
    assert transport.get_extra_info("pipe") is reader
    assert transport.is_reading()
    assert not transport.is_closing()
    for number in range(3):
        writer.write(b"%d" % number)
        await until(lambda number=number: len(protocol.data) == number + 1, "data")
    writer.close()
    exc = await protocol.end()
    assert protocol.data == b"012"
    if kind == "terminal":
        assert isinstance(exc, OSError)
        assert exc.errno == errno.EIO
    else:
        assert exc is None
        assert protocol.names()[-2:] == ["eof_received", "connection_lost"]
    await until(lambda: reader.closed, "pipe object closed with the transport")
    transport.close()


async def test_much_data_in_order() -> None:
    code = "import os\nfor n in range(30000): os.write(1, b'%099d\\n' % n)"
    child = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
    _, protocol = await reading(child.stdout)
    assert await protocol.end() is None
    assert protocol.data == b"".join(b"%099d\n" % number for number in range(30000))
    assert child.wait() == 0


async def test_end_of_a_terminal_is_not_reported(tmp_path: Path) -> None:
    reader, writer = opened("terminal", tmp_path)
    with reported(asyncio.get_running_loop()) as contexts:
        _, protocol = await reading(reader)
        writer.close()
        assert (await protocol.end()).errno == errno.EIO
    assert contexts == []


class Poor:
    """A stream for whose first bytes there is no memory."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._poor = stream, True

    def _read_nowait(self, *args: Any) -> Any:
        if self._poor:
            self._poor = False
            raise MemoryError
        return self._stream._read_nowait(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@pytest.mark.differs
async def test_a_lack_of_memory_does_not_end_the_delivery(tmp_path: Path) -> None:
    """The loop is told, and the bytes come all the same. (So it is with asyncio, whose stream is another.)"""
    reader, writer = opened("pipe", tmp_path)
    with reported(asyncio.get_running_loop()) as contexts:
        transport, protocol = await reading(reader)
        transport._stream = Poor(transport._stream)
        writer.write(b"data")
        await until(lambda: protocol.data == b"data", "data")
        writer.close()
        assert await protocol.end() is None
    assert [type(context["exception"]) for context in contexts] == [MemoryError]


async def test_pause_and_resume(tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    transport, protocol = await reading(reader)
    transport.pause_reading()
    transport.pause_reading()
    writer.write(b"first")
    await turns(10)
    assert protocol.names() == ["connection_made"]
    writer.write(b"second")
    writer.close()
    transport.resume_reading()
    transport.resume_reading()
    await protocol.end()
    assert protocol.data == b"firstsecond"


async def test_close_while_reading_and_within_the_callback(tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    transport, protocol = await reading(reader)
    await turns(3)
    transport.close()
    assert transport.is_closing()
    assert not transport.is_reading()
    transport.close()
    assert await protocol.end() is None
    assert protocol.names() == ["connection_made", "connection_lost"]
    await until(lambda: reader.closed, "pipe closed")
    with pytest.raises(BrokenPipeError):
        writer.write(b"x")
    with contextlib.suppress(BrokenPipeError):
        writer.close()

    class Closes(PipeRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.close()

    reader, writer = opened("socket", tmp_path)
    _, protocol = await reading(reader, Closes)
    writer.write(b"x")
    await protocol.end()
    assert protocol.names() == ["connection_made", "data_received", "connection_lost"]
    writer.close()


@pytest.mark.parametrize("direction", [reading, writing], ids=["read", "write"])
async def test_regular_file_is_refused(direction: Any, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b") as file:
        with pytest.raises(ValueError, match=r"^Pipe transport is (only )?for pipes"):
            await direction(file)
        assert not file.closed
        assert os.get_blocking(file.fileno())


@pytest.mark.differs
@pytest.mark.parametrize("direction", [reading, writing], ids=["read", "write"])
async def test_closed_file_is_refused(direction: Any, tmp_path: Path) -> None:
    for end in opened("pipe", tmp_path):
        end.close()
        with pytest.raises(ValueError, match="closed file"):
            await direction(end)


@pytest.mark.parametrize("direction", [reading, writing], ids=["read", "write"])
async def test_factory_that_raises_leaves_the_pipe(direction: Any, tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    before = open_fds()

    def factory() -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await direction(reader if direction is reading else writer, factory)
    assert open_fds() == before
    reader.close()
    writer.close()


@pytest.mark.differs
async def test_null_device() -> None:
    """asyncio logs an error (epoll refuses the device) and waits for ever."""
    transport, protocol = await reading(open(os.devnull, "rb", 0))
    assert await protocol.end() is None
    assert protocol.data == b""
    transport, protocol = await writing(open(os.devnull, "wb", 0))
    transport.write(bytes(MEG))
    transport.close()
    assert await protocol.end() is None


async def test_exception_in_data_received(tmp_path: Path) -> None:
    class Raises(PipeRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise ZeroDivisionError(data)

    reader, writer = opened("pipe", tmp_path)
    with reported(asyncio.get_running_loop()) as contexts:
        _, protocol = await reading(reader, Raises)
        for piece in (b"one", b"two"):
            writer.write(piece)
            await until(lambda piece=piece: protocol.data.endswith(piece), "data")
        writer.close()
        await protocol.end()
    assert [str(context["exception"]) for context in contexts] == ["b'one'", "b'two'"]


async def test_set_protocol(tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    transport, first = await reading(reader)
    second = PipeRecorder()
    transport.set_protocol(second)
    writer.write(b"x")
    writer.close()
    await second.end()
    assert second.data == b"x"
    assert first.names() == ["connection_made"]


@pytest.mark.differs
async def test_buffered_protocol(tmp_path: Path) -> None:
    """As on uvloop; asyncio's own pipes do not know them."""

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.piece = bytearray(3)
            self.data = b""
            self.ended = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.piece

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.piece[:nbytes]

        def connection_lost(self, exc: Exception | None) -> None:
            self.ended.set_result(exc)

    reader, writer = opened("pipe", tmp_path)
    _, protocol = await reading(reader, Buffered)
    writer.write(b"abcdefgh")
    writer.close()
    assert await protocol.ended is None
    assert protocol.data == b"abcdefgh"


@pytest.mark.differs
async def test_pipe_object_closed_by_the_program(tmp_path: Path) -> None:
    """The transport has a descriptor of its own, so neither hangs nor reads another owner's file."""
    reader, writer = opened("pipe", tmp_path)
    transport, protocol = await reading(reader)
    reader.close()
    writer.write(b"x")
    await until(lambda: protocol.data, "data")
    transport.close()
    assert await protocol.end() is None
    with pytest.raises(BrokenPipeError):
        writer.write(b"x")
    with contextlib.suppress(BrokenPipeError):
        writer.close()


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", kinds())
async def test_write(kind: str, tmp_path: Path) -> None:
    reader, writer = opened(kind, tmp_path)
    transport, protocol = await writing(writer)
    assert protocol.names() == ["connection_made"]
    assert transport.get_protocol() is protocol
    assert transport.get_extra_info("pipe") is writer
    transport.write(b"one")
    transport.writelines([b"two", bytearray(b"three")])
    received = b""
    while len(received) < 11:
        received += reader.read(100)
    assert received == b"onetwothree"
    assert transport.get_write_buffer_size() == 0
    transport.close()
    assert transport.is_closing()
    assert await protocol.end() is None
    await until(lambda: writer.closed, "pipe object closed with the transport")
    reader.close()


async def test_write_more_than_the_pipe_takes(tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    transport, protocol = await writing(writer)
    assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    data = os.urandom(MEG)
    transport.write(data)
    assert protocol.names() == ["connection_made", "pause_writing"]
    assert 0 < transport.get_write_buffer_size() < MEG
    transport.write_eof()
    received = b""
    while piece := await asyncio.get_running_loop().run_in_executor(None, reader.read, MEG):
        received += piece
    assert received == data
    assert await protocol.end() is None
    assert protocol.names() == ["connection_made", "pause_writing", "resume_writing", "connection_lost"]
    reader.close()


async def test_abort_loses_what_is_queued(tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    transport, protocol = await writing(writer)
    transport.write(bytes(MEG))
    transport.abort()
    assert await protocol.end() is None
    assert protocol.names() == ["connection_made", "pause_writing", "connection_lost"]
    await until(lambda: writer.closed, "pipe closed")
    assert len(reader.read(2 * MEG)) < MEG
    reader.close()


@pytest.mark.parametrize("kind", ["pipe", "fifo", "socket"])
@pytest.mark.parametrize("queued", [0, MEG])
async def test_reader_goes_away(kind: str, queued: int, tmp_path: Path) -> None:
    reader, writer = opened(kind, tmp_path)
    with reported(asyncio.get_running_loop()) as contexts:
        transport, protocol = await writing(writer)
        transport.write(bytes(queued))
        reader.close()
        exc = await protocol.end()
    if queued:
        assert isinstance(exc, BrokenPipeError | ConnectionResetError)
    else:
        assert exc is None
    assert contexts == []
    assert transport.is_closing()
    transport.write(b"into the void")
    transport.close()


@pytest.mark.differs
async def test_socket_that_is_written_to_by_its_peer_stays_open() -> None:
    """asyncio and uvloop take anything readable for the end."""
    ours, theirs = socket.socketpair()
    transport, protocol = await writing(ours)
    theirs.send(b"hello")
    await turns(10)
    transport.write(b"still there")
    assert theirs.recv(100) == b"still there"
    transport.close()
    await protocol.end()
    theirs.close()


# --- the usual recipes ---------------------------------------------------------------------------


async def test_streams_over_pipes(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    read_end, write_end = opened("pipe", tmp_path)
    reader = asyncio.StreamReader(limit=1000)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), read_end)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, write_end)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)

    async def send() -> None:
        for number in range(2000):
            writer.write(b"%099d\n" % number)
            await writer.drain()
        writer.close()

    task = asyncio.create_task(send())
    lines = [line async for line in reader]
    assert lines == [b"%099d\n" % number for number in range(2000)]
    await task
    await turns(3)


ECHO = """
procio.install()

async def main():
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    async for line in reader:
        writer.write(line.upper())
        await writer.drain()
    writer.close()
    await until(lambda: sys.stdout.closed, "end of writing")

run(main())
"""


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_standard_streams_of_a_program(kind: str, loop_name: str, tmp_path: Path) -> None:
    source = script_source(ECHO, loop_name)
    ours_out = None
    if kind == "pipe":
        stdin, stdout = subprocess.PIPE, subprocess.PIPE
    elif kind == "socket":
        (a, b), (c, d) = socket.socketpair(), socket.socketpair()
        stdin, stdout = b.fileno(), d.fileno()
    else:
        master, slave = pty.openpty()
        tty.setraw(slave)
        stdin, stdout = slave, subprocess.PIPE
        ours_out = open(master, "wb", 0)
    child = subprocess.Popen([sys.executable, "-c", source], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
    if kind == "pipe":
        child.stdin.write(b"one\ntwo\n")
        child.stdin.close()
        out = child.stdout.read()
    elif kind == "socket":
        b.close()
        d.close()
        a.sendall(b"one\ntwo\n")
        a.close()
        with c, c.makefile("rb") as file:
            out = file.read()
    else:
        ours_out.write(b"one\ntwo\n")
        out = child.stdout.readline() + child.stdout.readline()
        os.close(slave)
        ours_out.close()
        child.stdout.read()
    assert out == b"ONE\nTWO\n"
    err = child.stderr.read()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    code = child.wait()
    assert kind == "terminal" or (code, err) == (0, b"")


# --- what other code opened ---------------------------------------------------------------------


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
    return ours.makefile("rb", 0), theirs.send, lambda: (ours.close(), theirs.close())  # type: ignore[func-returns-value, return-value]


def packets() -> tuple[BinaryIO, Callable[[bytes], Any], Callable[[], Any]]:
    if not hasattr(os, "O_DIRECT"):
        pytest.skip(skips.NOT_LINUX)
    read, write = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    return os.fdopen(read, "rb", 0), lambda data: os.write(write, data), lambda: os.close(write)


@pytest.mark.differs  # uvloop by itself takes no such sockets
@pytest.mark.parametrize(
    "ends",
    [
        pytest.param(terminal, id="terminal"),
        pytest.param(lambda: messages(socket.SOCK_STREAM), id="stream"),
        pytest.param(lambda: messages(socket.SOCK_DGRAM), id="datagrams"),
        pytest.param(lambda: messages(socket.SOCK_SEQPACKET), id="packets"),
        pytest.param(packets, id="packet-pipe"),
    ],
)
async def test_what_comes_in_pieces_comes_whole(ends: Callable[[], tuple[Any, ...]]) -> None:
    """One read of a terminal is a line, of some sockets a message: the others must not be left behind."""
    file, write, close = ends()
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
