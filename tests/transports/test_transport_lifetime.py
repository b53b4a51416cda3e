"""Transports and the end: of the child, of the loop, of the program; debug mode, threads and forks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from protocols import Recorder, start
from support import KILLED, children, kill_stray, pipes, run_script, script_result, state, turns, until, until_sync


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@contextlib.contextmanager
def warned() -> Iterator[list[str]]:
    """The texts of the ResourceWarnings, which themselves would keep what they are about."""
    texts: list[str] = []

    def note(message: Warning | str, category: type[Warning], *args: Any, **kwds: Any) -> None:
        assert issubclass(category, ResourceWarning)
        texts.append(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield texts


class Plain(Recorder):
    """Does not keep its transport."""

    def connection_made(self, transport: Any) -> None:
        self.note("connection_made")


@pytest.mark.usefixtures("no_gc")
@pytest.mark.differs
async def test_nothing_is_kept_after_the_end_even_with_the_transport() -> None:
    """And without a garbage collection."""
    before = pipes()
    transport, protocol = await start("cat", protocol=Plain)
    transport.get_pipe_transport(0).write(b"x")
    transport.get_pipe_transport(0).close()
    await protocol.end()
    await turns(3)
    seen = weakref.ref(protocol)
    del protocol
    assert seen() is None
    assert transport.get_protocol() is None
    assert pipes() <= before
    seen = weakref.ref(transport)
    popen = transport.get_extra_info("subprocess")
    transport.close()
    del transport
    assert seen() is None
    assert popen.returncode == 0


@pytest.mark.differs
async def test_transport_of_a_finished_child_need_not_be_closed() -> None:
    """asyncio warns of it."""
    transport, protocol = await start("true", protocol=Plain)
    await protocol.end()
    await turns(3)
    with warned() as texts:
        del transport, protocol
        gc.collect()
    assert texts == []


async def exit_or_output(protocol: Recorder) -> None:
    await until(lambda: "process_exited" in protocol.names() or protocol.data[1], "exit")


async def test_paused_output_of_a_dropped_transport_is_worth_a_warning() -> None:
    """The child has ended, its output is not read, and everything is dropped: a ResourceWarning."""
    before = pipes()
    transport, protocol = await start("echo", "x", protocol=Plain, stdin=None, stderr=None)
    transport.get_pipe_transport(1).pause_reading()
    await exit_or_output(protocol)
    await turns(3)
    with warned() as texts:
        del transport, protocol
        gc.collect()
    assert any("unclosed transport" in text for text in texts)
    await until(lambda: pipes() <= before, "pipes closed")


# --- a loop that is closed -----------------------------------------------------------------------


async def _fresh() -> tuple[Any, Any]:
    return await start("sleep", "1000", protocol=Plain)


async def _at_work() -> tuple[Any, Any]:
    transport, protocol = await start("cat", protocol=Plain)
    transport.get_pipe_transport(0).write(b"x")
    await until(lambda: protocol.data[1], "echo")
    return transport, protocol


async def _flooded() -> tuple[Any, Any]:
    transport, protocol = await start("yes", protocol=Plain, stdin=None)
    await until(lambda: len(protocol.data[1]) > 500_000, "output")
    return transport, protocol


async def _paused() -> tuple[Any, Any]:
    transport, protocol = await start("yes", protocol=Plain)
    transport.get_pipe_transport(1).pause_reading()
    await turns(3)
    return transport, protocol


async def _queued() -> tuple[Any, Any]:
    transport, protocol = await start("sleep", "1000", protocol=Plain)
    transport.get_pipe_transport(0).write(bytes(1 << 20))
    return transport, protocol


async def _closing() -> tuple[Any, Any]:
    transport, protocol = await start("sleep", "1000", protocol=Plain)
    transport.close()
    return transport, protocol


async def _dead() -> tuple[Any, Any]:
    transport, protocol = await start("sleep", "1000", protocol=Plain)
    transport.kill()
    pid = transport.get_pid()
    until_sync(lambda: state(pid) in (None, "Z"), "end")
    return transport, protocol


async def _exited_with_pipes() -> tuple[Any, Any]:
    transport, protocol = await start("sh", "-c", "sleep 1000 & echo $!", protocol=Plain, stdin=None, stderr=None)
    await until(lambda: protocol.data[1] and "process_exited" in protocol.names(), "exit")
    return transport, protocol


async def _half_done() -> tuple[Any, Any]:
    """Creation is under way and its task is cancelled by the end of the runner."""
    task = asyncio.create_task(start("sleep", "1000", protocol=Plain))
    await turns(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return None, None


MOMENTS = [_fresh, _at_work, _flooded, _paused, _queued, _closing, _dead, _exited_with_pipes, _half_done]


@pytest.mark.differs
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__.strip("_"))
@pytest.mark.parametrize("keeps", [False, True], ids=["dropped", "kept"])
def test_loop_closed(moment: Any, keeps: bool, loop_factory: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No child, no descriptor and no noise is left; a ResourceWarning at most."""
    before, young = pipes(), set(children())
    loop = loop_factory()
    transport, protocol = loop.run_until_complete(moment())
    born = set(children()) - young
    output = bytes(protocol.data[1]) if moment is _exited_with_pipes else b""
    loop.close()
    with warned() as texts:
        if keeps and transport is not None:
            transport.close()
            transport.close()
            assert transport.is_closing()
        seen = transport and weakref.ref(transport)
        del transport, protocol
        gc.collect()
        assert seen is None or seen() is None
        until_sync(lambda: not any(state(pid) for pid in born), "children killed and reaped")
    if output:
        kill_stray(int(output))
    assert pipes() <= before
    assert len(texts) <= 2
    assert [record for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.differs
def test_closed_loop_is_released(loop_factory: Any) -> None:
    """Neither a transport that is kept nor the protocol holds it."""

    async def work() -> tuple[Any, Any]:
        transport, protocol = await start("true", protocol=Plain)
        await protocol.end()
        await turns(2)
        protocol.ended = None
        return transport, protocol

    loop = loop_factory()
    transport, _ = loop.run_until_complete(work())
    loop.close()
    seen = weakref.ref(loop)
    del loop
    gc.collect()
    assert seen() is None
    transport.close()


# --- a program that ends, debug mode, threads, fork ----------------------------------------------

ABANDONED = """
procio.install()

class Protocol(asyncio.SubprocessProtocol):
    pass

async def main():
    global kept
    kept = await asyncio.get_running_loop().subprocess_exec(Protocol, "sleep", "1000")
    print(kept[0].get_pid(), flush=True)
    if "paused" in args:
        kept[0].get_pipe_transport(1).pause_reading()

run(main())
"""


@pytest.mark.differs
@pytest.mark.parametrize("how", ["reading", "paused"])
def test_program_that_ends_with_a_running_child(how: str, loop_name: str) -> None:
    done = run_script(ABANDONED, how, loop=loop_name, python=("-W", "ignore::ResourceWarning"))
    assert (done.returncode, done.stderr) == (0, "")
    pid = int(done.stdout)
    until_sync(lambda: state(pid) in (None, "Z"), "end of the child")


async def test_debug_mode_tells_what_is_run(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 100.0
    caplog.set_level(logging.DEBUG, logger="asyncio")
    transport, protocol = await start("sleep", "1000")
    transport.get_pipe_transport(1).pause_reading()
    transport.get_pipe_transport(1).resume_reading()
    transport.close()
    await protocol.end()
    loop.set_debug(False)
    text = caplog.text
    for words in ("execute program 'sleep'", "Close running child process: kill", f"exited with return code {KILLED}"):
        assert words in text
    assert "1000" not in text.replace(str(transport.get_pid()), "")


DEBUG = """
procio.install()

class Protocol(asyncio.SubprocessProtocol):
    def __init__(self):
        self.data, self.end = b"", asyncio.get_running_loop().create_future()
    def pipe_data_received(self, fd, data):
        self.data += data
    def connection_lost(self, exc):
        self.end.set_result(None)

async def main():
    transport, protocol = await asyncio.get_running_loop().subprocess_exec(Protocol, "cat", stderr=None)
    pipe = transport.get_pipe_transport(0)
    pipe.write(bytes(1 << 20))
    pipe.close()
    await protocol.end
    transport.close()
    return len(protocol.data)

print(json.dumps(run(main())))
"""


def test_debug_mode_from_the_environment(loop_name: str) -> None:
    done = run_script(
        DEBUG, loop=loop_name, env={"PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"}, python=("-X", "dev")
    )
    assert (done.returncode, done.stdout, "Error" in done.stderr, "Warning" in done.stderr) == (
        0,
        "1048576\n",
        False,
        False,
    )


FORK = """
procio.install()

class Protocol(asyncio.SubprocessProtocol):
    def __init__(self):
        self.data, self.end = b"", asyncio.get_running_loop().create_future()
    def pipe_data_received(self, fd, data):
        self.data += data
    def connection_lost(self, exc):
        self.end.set_result(None)

async def main():
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Protocol, "cat", stderr=None)
    pipe = transport.get_pipe_transport(0)
    pid = os.fork()
    if pid == 0:
        try:
            transport.close()
            transport.get_extra_info("subprocess").poll()
            transport = protocol = pipe = None
            gc.collect()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    pipe.write(b"still there")
    await until(lambda: protocol.data)
    pipe.close()
    await protocol.end
    transport.close()
    return [status, protocol.data.decode(), transport.get_returncode()]

print(json.dumps(run(main())))
"""


@pytest.mark.differs
def test_fork_that_closes_its_copy(loop_name: str) -> None:
    """The child is the parent's: it is not killed, and the parent's pipes go on."""
    python = ("-W", "ignore::DeprecationWarning")
    assert script_result(FORK, loop=loop_name, python=python) == [0, "still there", 0]
