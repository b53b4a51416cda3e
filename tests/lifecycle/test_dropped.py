"""A Process that is dropped, a loop that ends, an interpreter that ends: nothing stays, stderr stays clean."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from collections.abc import Callable
from typing import Any

import procio
import pytest
import skips
from support import KILLED, PIPE, cat, dead, pipes, run_script, running, state, turns, until, until_sync


def resource_warnings(records: list[Any]) -> list[str]:
    assert all(issubclass(record.category, ResourceWarning) for record in records), [str(r) for r in records]
    return [str(record.message) for record in records]


@pytest.mark.differs
@pytest.mark.parametrize("options", [{}, {"stdin": PIPE}, {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}], ids=len)
async def test_dropped_process_is_killed_and_reaped(options: dict[str, Any]) -> None:
    before = pipes()
    proc = await procio.create_subprocess_exec("sleep", "1000", **options)
    pid = proc.pid
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        del proc
        gc.collect()
        await until(lambda: state(pid) is None, "killed and reaped")
    assert len(resource_warnings(records)) >= 1
    await until(lambda: pipes() <= before, "pipes closed")


@pytest.mark.differs
async def test_dropped_process_without_a_turn_of_the_loop() -> None:
    """The kill does not wait for the loop."""
    proc = await procio.create_subprocess_exec("sleep", "1000")
    pid = proc.pid
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del proc
        gc.collect()
    until_sync(lambda: dead(pid), "killed")
    await until(lambda: state(pid) is None, "reaped")


async def test_dropped_after_kill_is_silent() -> None:
    """Who has killed it has not forgotten it."""
    proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE)
    pid = proc.pid
    proc.kill()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del proc
        gc.collect()
        await until(lambda: state(pid) is None, "reaped")


async def test_dropped_after_the_end_is_silent() -> None:
    """No assertion is needed: a warning, also of a finalizer, fails every test (`filterwarnings = error`)."""
    proc = await procio.create_subprocess_exec("echo", "unread", stdout=PIPE)
    await proc.wait()
    await proc.stdout.read()
    del proc
    gc.collect()
    await turns(3)


async def test_process_that_a_task_waits_for_is_kept() -> None:
    """A running wait() or communicate() holds what it needs."""
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    task = asyncio.create_task(proc.communicate(b"x"))
    await turns(1)
    del proc
    gc.collect()
    assert await task == (b"x", None)


@pytest.mark.differs
async def test_process_in_a_cycle() -> None:
    proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE)
    pid = proc.pid
    box: list[Any] = [proc]
    box.append(box)
    del proc
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del box
        gc.collect()
        await until(lambda: state(pid) is None, "killed and reaped")


@pytest.mark.differs
def test_loop_closed_with_a_running_child(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """gh-114177, gh-88050: killed and reaped although its loop is closed; nothing but the ResourceWarning."""
    loop = loop_factory()
    proc = loop.run_until_complete(procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE))
    pid = proc.pid
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        loop.close()
        del proc
        gc.collect()
        until_sync(lambda: state(pid) is None, "killed and reaped")
    resource_warnings(records)


def test_process_kept_after_its_loop_was_closed(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Its attributes stay usable; kill() works or says that it cannot, but never hits a stranger."""
    loop = loop_factory()
    proc = loop.run_until_complete(procio.create_subprocess_exec("true"))
    assert loop.run_until_complete(proc.wait()) == 0
    loop.close()
    assert proc.returncode == 0
    assert isinstance(proc.pid, int)
    with pytest.raises(ProcessLookupError):
        proc.kill()


@pytest.mark.differs
def test_loop_closed_right_after_a_kill(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The child is reaped although the Process is kept and no loop is there any more; its end is known."""
    loop = loop_factory()
    proc = loop.run_until_complete(procio.create_subprocess_exec("sleep", "1000"))
    proc.kill()
    loop.close()
    assert state(proc.pid) is None
    assert proc.returncode == KILLED


EXIT = """
async def main():
    global kept
    kept = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    print(kept.pid, flush=True)
    if "reading" in args:
        global reading
        reading = asyncio.ensure_future(kept.stdout.readline())
        await turns(3)
    if "writing" in args:
        kept.stdin.write(b"x" * 3000000)
    if "exit" in args:
        sys.exit(0)
    if "unawaited" in args:
        asyncio.ensure_future(procio.create_subprocess_exec("sleep", "1000"))

if "open loop" in args:
    loop = new_loop()
    loop.run_until_complete(main())
else:
    run(main())
"""


@pytest.mark.differs
@pytest.mark.parametrize("how", ["", "open loop", "reading", "writing", "exit", "unawaited"])
def test_interpreter_ends_with_a_running_child(loop_name: str, how: str) -> None:
    """gh-114177, gh-85492: no hang, no orphan, nothing on stderr."""
    done = run_script(EXIT, how, loop=loop_name, python=("-W", "ignore::ResourceWarning"))
    assert (done.returncode, done.stderr) == (0, "")
    until_sync(lambda: dead(int(done.stdout)), "end of the child")


@pytest.mark.differs
def test_interpreter_ends_with_a_running_child_says_only_the_warning(loop_name: str) -> None:
    done = run_script(EXIT, "", loop=loop_name, python=("-W", "always::ResourceWarning"))
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    until_sync(lambda: dead(int(done.stdout)), "end of the child")


INTERRUPT = """
async def main():
    proc = await procio.create_subprocess_exec("sleep", "1000", stdout=PIPE)
    print(proc.pid, flush=True)
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
    await proc.communicate()

try:
    run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.differs
def test_keyboard_interrupt_while_communicating(loop_name: str) -> None:
    done = run_script(INTERRUPT, loop=loop_name, python=("-W", "ignore::ResourceWarning"))
    pid, word = done.stdout.split()
    assert (done.returncode, word, done.stderr) == (0, "interrupted", "")
    until_sync(lambda: dead(int(pid)), "end of the child")


@skips.needs_proc
def test_many_loops_leave_no_descriptor(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Reactor and pidfds go with their loop."""
    counts = []
    for _ in range(5):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(one())
        gc.collect()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[1:] == [counts[0]] * 4


async def one() -> None:
    async with cat() as proc:
        proc.stdin.write(b"x")
        assert await proc.stdout.readexactly(1) == b"x"


@pytest.mark.differs
async def test_object_dropped_while_an_exception_unwinds() -> None:
    """Its warning must neither swallow nor replace the exception that is under way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            with pytest.raises(ZeroDivisionError):
                (proc.stdout.readline(), 1 / 0)
        with pytest.raises(ZeroDivisionError):
            (await procio.create_subprocess_exec("sleep", "1000"), 1 / 0)


@pytest.mark.differs
@pytest.mark.parametrize("method", ["wait", "communicate"])
def test_loop_closed_with_a_waiting_task(method: str) -> None:
    """Task, process and child go, although the task waits for the child and the child for the task."""

    async def start() -> tuple[int, asyncio.Task[Any]]:
        proc = await procio.create_subprocess_exec("sleep", "1000", stdout=PIPE)
        task = asyncio.ensure_future(getattr(proc, method)())
        await turns(3)
        return proc.pid, task

    loop = asyncio.SelectorEventLoop()
    pid, task = loop.run_until_complete(start())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop.close()
        del task, loop
        gc.collect()
    until_sync(lambda: state(pid) is None, "end of the child")
