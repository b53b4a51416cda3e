"""What a destructor raises, when procio lets go of an object of the user's, ends nothing and loses nothing.

The interpreter can only report it (`sys.unraisablehook`): the operation in the middle of which it comes goes on.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import procio
import pytest
from protocols import start
from support import PIPE, cat, output, running

COUNT = 1 << 20


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """What was raised where it could only be reported."""
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_type))
    return seen


@pytest.fixture(params=[RuntimeError, MemoryError, KeyboardInterrupt])
def error(request: pytest.FixtureRequest) -> type[BaseException]:
    """What is raised."""
    cls: type[BaseException] = request.param
    return cls


def raising(base: type[Any], error: type[BaseException]) -> type[Any]:
    """A subclass whose instances raise when they go."""

    def finalizer(self: object) -> None:
        raise error

    return type("Raising", (base,), {"__del__": finalizer})


async def all_is_well() -> None:
    """The loop works."""
    gc.collect()
    assert await output("echo", "x") == b"x\n"


@pytest.mark.parametrize("base", [bytes, bytearray])
async def test_bytes_that_are_written(base: Any, error: type[BaseException], ignored: list[Any]) -> None:
    """Pieces go one by one, as the child reads them."""
    cls = raising(base, error)
    async with cat() as proc:
        for letter in b"abc":
            proc.stdin.write(cls(bytes([letter]) * COUNT))
            proc.stdin.write(cls(bytes([letter])))
        reads = asyncio.create_task(proc.stdout.readexactly(3 * COUNT + 3))
        await proc.stdin.drain()
        assert await reads == b"".join(bytes([letter]) * (COUNT + 1) for letter in b"abc")
        proc.stdin.writelines([cls(b"d"), cls(b"e")])
        assert await proc.communicate(cls(b"f")) == (b"def", None)
    await all_is_well()
    assert set(ignored) == {error}
    assert len(ignored) >= 9


async def test_the_owner_of_a_memoryview(error: type[BaseException], ignored: list[Any]) -> None:
    owner = raising(bytearray, error)
    async with cat() as proc:
        proc.stdin.write(memoryview(owner(b"x" * COUNT)))
        assert len((await proc.communicate(memoryview(owner(b"y"))))[0]) == COUNT + 1
    await all_is_well()
    assert ignored == [error] * 2


async def test_arguments_of_a_start(error: type[BaseException], ignored: list[Any], tmp_path: Path) -> None:
    text = raising(str, error)

    class Directory:
        def __fspath__(self) -> str:
            return str(tmp_path)

    def started() -> Any:
        env = {text(name): text(value) for name, value in os.environ.items()}
        return output(text("echo"), text("x"), cwd=raising(Directory, error)(), env=env)

    for _ in range(3):
        assert await started() == b"x\n"
    assert set(ignored) == {error}
    ignored.clear()
    with pytest.raises(FileNotFoundError):
        await procio.create_subprocess_exec(text("no such program"), text("x"))
    await all_is_well()
    assert set(ignored) == {error}


async def test_a_function_of_a_start(error: type[BaseException], ignored: list[Any]) -> None:
    """It goes when the child has been started, in the parent and not in the child."""

    class Function:
        def __call__(self) -> None:
            pass

    assert await output("echo", "x", preexec_fn=raising(Function, error)()) == b"x\n"
    await all_is_well()
    assert ignored == [error]


def watched(things: list[Any], error: type[BaseException]) -> list[weakref.ref[Any]]:
    """Weak references whose callbacks raise when the objects go."""

    def callback(_: Any) -> None:
        raise error

    return [weakref.ref(thing, callback) for thing in things]


async def test_weak_references(error: type[BaseException], ignored: list[Any]) -> None:
    """Of a process, its streams and operations that go: while they wait, and when they are done."""
    async with cat() as proc:
        reads = proc.stdout.readline()
        refs = watched([proc, proc.stdin, proc.stdout, reads], error)
        task = asyncio.ensure_future(reads)
        await asyncio.sleep(0)
        del reads
        proc.stdin.write(b"a\nb")
        assert await task == b"a\n"
        del task
        assert await proc.communicate() == (b"b", None)
    del proc
    await all_is_well()
    assert [ref() for ref in refs] == [None] * 4
    assert ignored == [error] * 4


@pytest.mark.differs
async def test_a_process_that_is_dropped(error: type[BaseException], ignored: list[Any]) -> None:
    """It is killed all the same."""
    proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE)
    refs = watched([proc, proc.stdin, proc.stdout], error)
    proc.kill()
    del proc
    await all_is_well()
    assert [ref() for ref in refs] == [None] * 3
    assert ignored == [error] * 3


async def test_a_protocol_that_goes(error: type[BaseException], ignored: list[Any]) -> None:
    """After all that it has to be told. Whether a child's end or its output is seen first is open."""
    told: list[Any] = []

    class Protocol(asyncio.SubprocessProtocol):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            told.append((fd, data))

        def process_exited(self) -> None:
            told.append("exited")

        def connection_lost(self, exc: BaseException | None) -> None:
            told.append("lost")
            end.set_result(None)

    loop = asyncio.get_running_loop()
    problems: list[Any] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    with procio.installed():
        for _ in range(3):
            told.clear()
            end = loop.create_future()
            await start("echo", "x", protocol=raising(Protocol, error), stdin=None, stderr=None)
            await end
            assert told in ([(1, b"x\n"), "exited", "lost"], ["exited", (1, b"x\n"), "lost"])
    await all_is_well()
    assert problems == []
    assert ignored == [error] * 3


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_is_closed(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], error: type[BaseException], ignored: list[Any]
) -> None:
    """What waits is let go one by one; each holds an object that raises."""
    loop = loop_factory()

    async def waits(proc: procio.Process, held: object) -> None:
        await proc.stdout.read()

    async def main() -> None:
        for _ in range(3):
            proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE)
            tasks.append(asyncio.create_task(waits(proc, raising(object, error)())))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    loop.run_until_complete(main())
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    tasks.clear()
    loop.close()
    del loop
    gc.collect()
    assert ignored == [error] * 3
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(all_is_well())


async def test_an_exception_of_a_stream(error: type[BaseException], ignored: list[Any]) -> None:
    """It goes when another takes its place, and with the stream."""
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        cls = raising(ArithmeticError, error)
        for number in range(1, 4):
            proc.stdout.set_exception(cls(str(number)))
            try:
                await proc.stdout.read()
            except ArithmeticError as caught:
                assert caught.args == (str(number),)  # noqa: PT017  (`raises` would keep it)
    del proc
    await all_is_well()
    assert ignored == [error] * 3
