"""What programs written for asyncio do with its objects, although no documentation says that they may."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import procio
import pytest
import shim
import skips
from support import PIPE, finish, run_script, running, sh

if shim.ACTIVE:
    pytest.skip(skips.OWN_NAMES, allow_module_level=True)


class Tee:
    """A stream in place of another, which keeps a copy of what passes."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.passed = b""

    async def read(self, n: int = -1) -> bytes:
        data: bytes = await self.stream.read(n)
        self.passed += data
        return data

    def write(self, data: bytes) -> None:
        self.passed += data
        self.stream.write(data)

    async def drain(self) -> None:
        await self.stream.drain()

    def close(self) -> None:
        self.stream.close()


@pytest.mark.parametrize("names", [["stdout"], ["stdin"], ["stderr"], ["stdin", "stdout", "stderr"]])
async def test_communicate_uses_a_stream_that_takes_the_place_of_another(names: list[str]) -> None:
    async with running("sh", "-c", "cat; echo err >&2; exit 3", stdin=PIPE, stdout=PIPE, stderr=PIPE) as proc:
        tees = {name: Tee(getattr(proc, name)) for name in names}
        for name, tee in tees.items():
            setattr(proc, name, tee)
        out, err = await proc.communicate(b"data")
        assert (out, err.split(), proc.returncode) == (b"data", [b"err"], 3)
        passed = {"stdin": b"data", "stdout": b"data", "stderr": err}
        assert {name: tee.passed for name, tee in tees.items()} == {name: passed[name] for name in names}
        for name, tee in tees.items():
            setattr(proc, name, tee.stream)


async def test_communicate_where_a_replaced_stream_is_not_read() -> None:
    """A child that does not read is no error there, too."""
    proc = await sh("exit 0", stdin=PIPE)
    await proc.wait()
    stdin = proc.stdin
    proc.stdin = Tee(stdin)
    assert await proc.communicate(b"x" * 100_000) == (None, None)
    proc.stdin = stdin


async def test_the_limit_of_a_stream_can_be_set() -> None:
    """The usual way round LimitOverrunError of a child that has been started already."""
    async with running("cat", stdin=PIPE, stdout=PIPE, limit=10) as proc:
        proc.stdin.write(b"x" * 20 + b"\n")
        with pytest.raises(ValueError, match="chunk"):
            await proc.stdout.readline()
        proc.stdout._limit = 1000
        assert proc.stdout._limit == 1000
        assert await proc.stdout.readline() == b"x" * 20 + b"\n"
        proc.stdout._limit = 5
        proc.stdin.write(b"z" * 20 + b"\n")
        with pytest.raises(ValueError, match="chunk"):
            await proc.stdout.readline()


async def test_the_popen_beneath() -> None:
    proc = await sh("exit 3")
    assert await proc.wait() == 3
    transport = proc._transport
    assert (transport._proc.pid, transport._pid) == (proc.pid, proc.pid)
    assert (transport._proc.poll(), transport._proc.wait(), transport._returncode) == (3, 3, 3)


@pytest.mark.parametrize("name", ["subprocess_exec", "subprocess_shell"])
def test_a_method_of_the_loop_that_was_replaced_is_called(name: str) -> None:
    """On the object alone: a program refuses or audits all children so."""
    asked: list[str] = []

    async def refuse(_factory: Any, program: str, *_args: Any, **_options: Any) -> Any:
        asked.append(program)
        raise PermissionError("no children")

    async def main() -> None:
        setattr(asyncio.get_running_loop(), name, refuse)
        with pytest.raises(PermissionError, match="no children"):
            await (
                procio.create_subprocess_exec("a") if name == "subprocess_exec" else procio.create_subprocess_shell("a")
            )

    with asyncio.Runner(loop_factory=procio.new_event_loop) as runner:
        runner.run(main())
    assert asked == ["a"]


async def test_a_task_that_has_failed_names_its_coroutine() -> None:
    """As the log of an exception that was never retrieved does."""
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        waiting = asyncio.ensure_future(proc.stdout.readexactly(5))
        await asyncio.sleep(0)
        proc.stdin.close()
        await asyncio.wait([waiting])
        at_once = asyncio.ensure_future(proc.stdout.readexactly(5))
        await asyncio.wait([at_once])
        for task in (waiting, at_once):
            assert "StreamReader.readexactly" in repr(task)
            assert isinstance(task.exception(), asyncio.IncompleteReadError)


async def test_a_program_that_writes_on_and_never_drains_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    proc = await sh("exit 0", stdin=PIPE)
    await proc.wait()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:  # until the end of the pipe has been noticed
            proc.stdin.write(b"x")
            await proc.stdin.drain()
    caplog.clear()
    for _ in range(10):
        proc.stdin.write(b"x")
    told = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert len(told) >= 5
    assert set(told) == {"pipe closed by peer or os.write(pipe, data) raised exception."}
    await finish(proc)


@pytest.mark.parametrize("shell", [False, True])
def test_debug_mode_tells_of_a_start(
    loop_factory: Callable[[], Any], shell: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> int:
        proc = await (procio.create_subprocess_shell("exit 0") if shell else procio.create_subprocess_exec("true"))
        await proc.wait()
        return int(proc.pid)

    for debug in (False, True):
        caplog.clear()
        with (
            caplog.at_level(logging.DEBUG, "asyncio"),
            asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner,
        ):
            pid = runner.run(main())
        text = "\n".join(record.getMessage() for record in caplog.records)
        begin = "run shell command 'exit 0'" if shell else "execute program 'true'"
        assert (begin in text) is debug
        assert bool(re.search(rf"process .* created: pid {pid}$", text, re.MULTILINE)) is debug


UNNOTICED = """
async def main():
    proc = await procio.create_subprocess_exec(*{command}, stdin=PIPE)
    until_sync(lambda: dead(proc.pid), "end of the child")

run(main())
"""


def test_a_child_that_has_ended_is_not_told_to_run(loop_name: str) -> None:
    """Also when the loop has had no turn in which to notice."""
    command = repr([sys.executable, "-c", "pass"])
    for _ in range(5):
        done = run_script(UNNOTICED.replace("{command}", command), loop=loop_name, python=("-W", "always"))
        assert (done.returncode, done.stderr) == (0, "")
