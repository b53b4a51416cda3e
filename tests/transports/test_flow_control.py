"""The low-level API's flow control, and asyncio's stream protocols on procio's transports."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import os
from pathlib import Path
from typing import Any

import pytest
import shim
from protocols import Recorder, finish, start
from support import (
    DEADLINE,
    KILLED,
    WINDOWS,
    helper,
    resident_bytes,
    resume,
    script_result,
    standing_still,
    suspend,
    turns,
    until,
)

PIPE = 64 * 1024
# On Windows what the system has been given counts as unwritten until it has taken all of it.
UNCOUNTED = PIPE if WINDOWS else 0


# --- reading -------------------------------------------------------------------------------------


async def test_paused_reading_stops_the_child_and_loses_nothing(tmp_path: Path) -> None:
    size, report = 2_000_003, tmp_path / "written"
    transport, protocol = await start(*helper("flood", "x", report, size), stdin=None, stderr=None)
    pipe = transport.get_pipe_transport(1)
    pipe.pause_reading()
    pipe.pause_reading()
    assert not pipe.is_reading()
    before = len(protocol.data[1])
    assert await standing_still(transport.get_pid(), report) < size
    await turns(20)
    assert len(protocol.data[1]) - before <= (0 if not shim.ACTIVE else PIPE)
    assert transport.get_returncode() is None
    pipe.resume_reading()
    pipe.resume_reading()
    assert pipe.is_reading()
    await protocol.end()
    assert len(protocol.data[1]) == size
    transport.close()


async def test_paused_reading_costs_bounded_memory() -> None:
    class Pauses(Recorder):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            self.note("pipe_data_received", fd)
            self.transport.get_pipe_transport(fd).pause_reading()

    before = resident_bytes()
    transport, protocol = await start(*helper("flood", "x"), protocol=Pauses, stdin=None, stderr=None)
    for _ in range(50):
        await until(lambda: not protocol.transport.get_pipe_transport(1).is_reading(), "pause")
        transport.get_pipe_transport(1).resume_reading()
        await turns(1)
    assert resident_bytes() - before < 20 << 20
    await finish(transport, protocol)


async def test_pause_and_resume_within_the_callback() -> None:
    """However often: the loop is not taken over by the child."""

    class Hesitates(Recorder):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            super().pipe_data_received(fd, data)
            pipe = self.transport.get_pipe_transport(fd)
            for _ in range(3):
                pipe.pause_reading()
                pipe.resume_reading()

    size = 8_000_000
    command = ("head", "-c", str(size), "/dev/zero")
    transport, protocol = await start(*command, protocol=Hesitates, stdin=None, stderr=None)
    most = 0
    while not protocol.ended.done():
        before = len(protocol.data[1])
        await asyncio.sleep(0)
        most = max(most, len(protocol.data[1]) - before)
    assert len(protocol.data[1]) == size
    assert most <= 512 * 1024
    transport.close()


@pytest.mark.differs
async def test_pause_before_anything_was_read() -> None:
    class Pauses(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.get_pipe_transport(1).pause_reading()

    transport, protocol = await start("echo", "x", protocol=Pauses, stdin=None, stderr=None)
    await until(lambda: "process_exited" in protocol.names(), "exit")
    await turns(5)
    assert protocol.names() == ["connection_made", "process_exited"]
    transport.get_pipe_transport(1).resume_reading()
    await protocol.end()
    assert protocol.data[1] == b"x\n"
    transport.close()


async def test_close_while_reading_is_paused() -> None:
    transport, protocol = await start(*helper("flood", "x"), stdin=None, stderr=None)
    transport.get_pipe_transport(1).pause_reading()
    await finish(transport, protocol)
    transport.get_pipe_transport(1).resume_reading()
    await turns(3)
    assert protocol.names()[-1] == "connection_lost"


# --- writing -------------------------------------------------------------------------------------


async def stopped_cat(protocol: Any = Recorder) -> tuple[Any, Any, Any]:
    """`cat` that does not read before it is resumed: transport, protocol, its standard input."""
    transport, recorder = await start("cat", protocol=protocol, stderr=None)
    suspend(transport.get_pid())
    return transport, recorder, transport.get_pipe_transport(0)


async def test_writing_is_paused_above_the_high_mark_and_resumed_at_the_low_one() -> None:
    sizes: list[int] = []

    class Watches(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            sizes.append(self.transport.get_pipe_transport(0).get_write_buffer_size())

    transport, protocol, pipe = await stopped_cat(Watches)
    assert pipe.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    high = 200_000 + UNCOUNTED
    pipe.set_write_buffer_limits(high=high, low=1000)
    assert pipe.get_write_buffer_limits() == (1000, high)
    pipe.write(bytes(PIPE + 200_000))
    assert "pause_writing" not in protocol.names()
    assert pipe.get_write_buffer_size() > 0
    pipe.write(bytes(200_000))
    pipe.write(b"more")
    assert protocol.names().count("pause_writing") == 1
    assert pipe.get_write_buffer_size() > high
    resume(transport.get_pid())
    await until(lambda: "resume_writing" in protocol.names(), "resume_writing")
    assert sizes[0] <= 1000
    pipe.write_eof()
    await protocol.end()
    assert len(protocol.data[1]) == PIPE + 400_004
    assert protocol.names().count("resume_writing") == protocol.names().count("pause_writing") == 1
    transport.close()


async def test_lower_marks_pause_at_once() -> None:
    transport, protocol, pipe = await stopped_cat()
    pipe.set_write_buffer_limits(high=1000 + UNCOUNTED)
    pipe.write(bytes(PIPE + 1000))
    assert "pause_writing" not in protocol.names()
    pipe.set_write_buffer_limits(high=0)
    assert protocol.names().count("pause_writing") == 1
    for high, low in ((1, 2), (-1, None), (None, -1)):
        with pytest.raises(ValueError, match="must be >= "):
            pipe.set_write_buffer_limits(high, low)
    resume(transport.get_pid())
    await until(lambda: "resume_writing" in protocol.names(), "resume_writing")
    await finish(transport, protocol)


async def test_write_within_pause_writing_and_resume_writing() -> None:
    class Writes(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            self.transport.get_pipe_transport(0).write(b"p" * 100_000)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.names().count("resume_writing") < 5:
                self.transport.get_pipe_transport(0).write(b"r" * 2_000_000)

    transport, protocol, pipe = await stopped_cat(Writes)
    pipe.write(b"w" * 300_000)
    resume(transport.get_pid())
    await until(lambda: protocol.names().count("resume_writing") == 5, "resume_writing")
    pipe.close()
    await protocol.end()
    written = b"w" * 300_000 + (b"p" * 100_000 + b"r" * 2_000_000) * 4 + b"p" * 100_000
    assert protocol.data[1] == written
    names = [name for name in protocol.names() if name.endswith("_writing")]
    assert names == ["pause_writing", "resume_writing"] * 5
    transport.close()


@pytest.mark.parametrize("how", ["close", "abort", "write_eof"])
async def test_end_of_writing_within_pause_writing(how: str) -> None:
    class Ends(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            getattr(self.transport.get_pipe_transport(0), how)()

    transport, protocol, pipe = await stopped_cat(Ends)
    pipe.write(bytes(300_000))
    assert pipe.is_closing()
    resume(transport.get_pid())
    await protocol.end()
    assert protocol.lost(0) == [None]
    assert len(protocol.data[1]) == 300_000 or (how == "abort" and len(protocol.data[1]) < 300_000)
    assert protocol.names().count("pause_writing") == 1
    transport.close()


def test_write_while_the_loop_does_not_run(loop_factory: Any) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        transport, protocol = runner.run(start("cat", stderr=None))
        pipe = transport.get_pipe_transport(0)
        pipe.write(bytes(3_000_000))
        assert "pause_writing" in protocol.names()
        pipe.close()
        runner.run(protocol.end())
        assert len(protocol.data[1]) == 3_000_000
        transport.close()
        runner.run(turns(2))


async def test_close_writes_what_is_queued() -> None:
    transport, protocol, pipe = await stopped_cat()
    pipe.writelines([b"a" * 200_000, bytearray(b"b" * 200_000), memoryview(b"c" * 200_000)])
    pipe.close()
    pipe.close()
    assert pipe.is_closing()
    pipe.write(b"too late")
    resume(transport.get_pid())
    await protocol.end()
    assert protocol.data[1] == b"a" * 200_000 + b"b" * 200_000 + b"c" * 200_000
    assert pipe.can_write_eof()
    transport.close()


async def test_broken_pipe_reaches_pipe_connection_lost() -> None:
    transport, protocol = await start("sh", "-c", "read x; exec <&-; exec sleep 1000", stderr=None)
    pipe = transport.get_pipe_transport(0)
    pipe.write(b"\n" + bytes(1 << 20))
    await until(lambda: protocol.lost(0), "loss of standard input")
    assert isinstance(protocol.lost(0)[0], BrokenPipeError)
    assert pipe.is_closing()
    pipe.write(b"into the void")
    await finish(transport, protocol)
    assert len(protocol.lost(0)) == 1


async def test_standard_input_closed_by_the_child_while_nothing_is_queued() -> None:
    transport, protocol = await start("sh", "-c", "exec <&-; exec sleep 1000", stderr=None)
    await until(lambda: protocol.lost(0), "loss of standard input")
    assert protocol.lost(0) == [None]
    await finish(transport, protocol)


async def test_many_writes_after_the_end_are_worth_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    transport, protocol = await start("cat", stderr=None)
    pipe = transport.get_pipe_transport(0)
    pipe.close()
    await protocol.end()
    for _ in range(20):
        pipe.write(b"x")
    texts = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert len(texts) > 5 or shim.ACTIVE
    assert all("pipe closed by peer" in text for text in texts)
    transport.close()


# --- asyncio's own stream protocol, a subclass of it, and Process made by hand --------------------


class Subclass(asyncio.subprocess.SubprocessStreamProtocol):
    """As anyio has one."""

    exited = 0

    def process_exited(self) -> None:
        self.exited += 1
        super().process_exited()


PROTOCOLS = [asyncio.subprocess.SubprocessStreamProtocol, Subclass]


async def by_hand(kind: Any, *command: Any, limit: int = PIPE, **options: Any) -> asyncio.subprocess.Process:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(lambda: kind(limit=limit, loop=loop), *command, **options)
    assert transport.get_protocol() is protocol
    return asyncio.subprocess.Process(transport, protocol, loop)


@pytest.mark.parametrize("kind", PROTOCOLS)
async def test_communicate_by_hand(kind: Any) -> None:
    proc = await by_hand(kind, "sh", "-c", "cat; echo err >&2; exit 3")
    data = os.urandom(500_000)
    assert await asyncio.wait_for(proc.communicate(data), DEADLINE) == (data, b"err\n")
    assert proc.returncode == 3
    assert await proc.wait() == 3


@pytest.mark.parametrize("kind", PROTOCOLS)
async def test_streams_by_hand(kind: Any) -> None:
    proc: Any = await by_hand(kind, "cat", stderr=None)
    assert proc.stderr is None
    for number in range(50):
        proc.stdin.write(b"line %d\n" % number)
        await proc.stdin.drain()
        assert await proc.stdout.readline() == b"line %d\n" % number
    proc.stdin.close()
    await proc.stdin.wait_closed()
    assert await proc.stdout.read() == b""
    assert await proc.wait() == 0


@pytest.mark.parametrize("kind", PROTOCOLS)
async def test_returncode_is_set_when_wait_returns(kind: Any) -> None:
    for code in range(10):
        proc = await by_hand(kind, "sh", "-c", f"exit {code}", stdin=None, stdout=None, stderr=None)
        assert await proc.wait() == proc.returncode == code
    for _ in range(3):
        proc = await by_hand(kind, "sleep", "1000", stdin=None, stdout=None, stderr=None)
        waits = [asyncio.create_task(proc.wait()) for _ in range(3)]
        waits[0].cancel()
        await turns(1)
        proc.kill()
        assert await asyncio.gather(*waits[1:]) == [KILLED, KILLED]
        assert proc.returncode == KILLED


async def test_subclass_gets_its_callbacks_before_wait_returns() -> None:
    kept: list[Subclass] = []

    def make(**options: Any) -> Subclass:
        kept.append(Subclass(**options))
        return kept[-1]

    proc = await by_hand(make, "true", stdin=None, stdout=None, stderr=None)
    await proc.wait()
    assert kept[0].exited == 1


@pytest.mark.parametrize("kind", PROTOCOLS)
async def test_limit_of_the_streams_bounds_what_is_read_ahead(kind: Any, tmp_path: Path) -> None:
    size, report = 3_000_000, tmp_path / "written"
    command = helper("flood", "x", report, size)
    proc: Any = await by_hand(kind, *command, limit=1000, stdin=None, stderr=None)
    assert await standing_still(proc.pid, report) < size
    total = 0
    while data := await proc.stdout.read(700):
        total += len(data)
    assert total == size
    assert await proc.wait() == 0


@pytest.mark.parametrize("kind", PROTOCOLS)
async def test_drain_waits_by_hand(kind: Any) -> None:
    proc: Any = await by_hand(kind, "cat", stderr=None)
    suspend(proc.pid)
    proc.stdin.write(bytes(300_000))
    assert proc.stdin._protocol._paused
    drain = asyncio.create_task(proc.stdin.drain())
    await turns(5)
    assert not drain.done()
    resume(proc.pid)
    assert len(await proc.stdout.readexactly(300_000)) == 300_000
    await asyncio.wait_for(drain, DEADLINE)
    assert not proc.stdin._protocol._paused
    proc.stdin.close()
    assert await proc.stdout.read() == b""
    await proc.wait()


@pytest.mark.parametrize("kind", PROTOCOLS)
async def test_kill_and_close_by_hand(kind: Any) -> None:
    proc: Any = await by_hand(kind, "sleep", "1000")
    proc._transport.close()
    assert await proc.wait() == KILLED
    with pytest.raises(ProcessLookupError):
        proc.kill()
    assert await proc.stdout.read() == b""
    assert proc.stdin.is_closing()


@pytest.mark.differs
def test_transport_while_the_loop_stands_still(loop_name: str) -> None:
    """Between two runs of the loop a program may write, change the marks, pause and resume."""
    assert script_result(STANDING, loop=loop_name) == [600_000, ["pause", "resume"]]


STANDING = """
class Protocol(asyncio.SubprocessProtocol):
    def __init__(self):
        self.received, self.flow = 0, []

    def pipe_data_received(self, fd, data):
        self.received += len(data)

    def pause_writing(self):
        self.flow.append("pause")

    def resume_writing(self):
        self.flow.append("resume")

procio.install()
loop = new_loop()
transport, protocol = loop.run_until_complete(loop.subprocess_exec(Protocol, "cat"))
stdin, stdout = transport.get_pipe_transport(0), transport.get_pipe_transport(1)
stdin.set_write_buffer_limits(high=100_000)
stdin.write(b"x" * 600_000)
stdout.pause_reading()
stdout.resume_reading()

async def all_of_it():
    await until(lambda: protocol.received == 600_000)

loop.run_until_complete(all_of_it())
for fd in range(3):
    transport.get_pipe_transport(fd).close()
transport.close()
loop.close()
print(json.dumps([protocol.received, protocol.flow]))
"""
