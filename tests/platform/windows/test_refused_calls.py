"""Any call into Windows that procio makes may fail: an exception that says so, or another way; and the loop works
afterwards. Wine forgives what Windows does not, so the calls are made to fail (`support/injection_windows.py`).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import Any

import procio
import pytest
import shim
import skips
from support import PIPE, TERMINATED, finish, kill_stray, output, running, script_result

if sys.platform != "win32":
    pytest.skip(skips.WINDOWS_ONLY, allow_module_level=True)
if shim.ACTIVE:
    pytest.skip(skips.OWN_NAMES, allow_module_level=True)

from injection_windows import AVAILABLE, INTERPRETER, LIBRARY, TARGET, imports, refused

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="replaces functions by instructions for x86-64")

ACCESS_DENIED = 5
WAIT_TIMEOUT = 258
INVALID_HANDLE = -1

KILLS = {"kill": (), "terminate": (), "send_signal": (signal.SIGTERM,)}


@pytest.mark.parametrize("kill", KILLS)
async def test_a_process_that_is_still_ending(kill: str) -> None:
    """Windows refuses to end it, and its handle does not yet say that it has ended: what tells is its exit code."""
    async with running("sleep", "1000") as proc:
        kill_stray(proc.pid)
        with (
            refused("WaitForSingleObject", 0, WAIT_TIMEOUT) as asked,
            refused("TerminateProcess", ACCESS_DENIED) as ended,
        ):
            getattr(proc, kill)(*KILLS[kill])
            assert asked.failed == ended.failed == 1
        assert await proc.wait() == 1


@pytest.mark.parametrize("kill", KILLS)
async def test_a_process_that_may_not_be_ended(kill: str) -> None:
    """It runs on, and the caller is told."""
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        with refused("TerminateProcess", ACCESS_DENIED), pytest.raises(PermissionError) as caught:
            getattr(proc, kill)(*KILLS[kill])
        assert caught.value.winerror == ACCESS_DENIED
        assert await proc.communicate(b"x") == (b"x", None)
        assert proc.returncode == 0


async def test_a_process_that_says_nothing_of_its_end() -> None:
    """Neither a wait for its handle nor its exit code can be had: no wait is without end."""
    async with running("cat", stdin=PIPE) as proc:
        waits = asyncio.create_task(proc.wait())
        with refused("WaitForSingleObject", ACCESS_DENIED, 0xFFFFFFFF):
            proc.stdin.close()
            with pytest.raises(PermissionError):
                await asyncio.wait_for(waits, 30)
        assert await proc.wait() == 0


async def test_every_name_of_a_pipe_is_refused() -> None:
    """As in a sandbox. Windows says the same of a name that is taken, for which others are tried: not for ever."""
    with refused("CreateNamedPipeW", ACCESS_DENIED, INVALID_HANDLE) as made:
        for number in (1, 2):
            with pytest.raises(PermissionError) as caught:
                await procio.create_subprocess_exec("cat", stdin=PIPE)
            assert caught.value.winerror == ACCESS_DENIED
            assert made.failed == made.seen < number * 100
    assert await output("echo", "x") == b"x\n"


async def test_names_of_pipes_that_are_taken() -> None:
    """Others are found."""
    with refused("CreateNamedPipeW", ACCESS_DENIED, INVALID_HANDLE, count=3) as made:
        assert await output("echo", "x") == b"x\n"
    assert (made.failed, made.seen) == (3, 4)


async def test_another_error_of_a_pipe_is_not_tried_again() -> None:
    with refused("CreateNamedPipeW", 87, INVALID_HANDLE) as made, pytest.raises(OSError, match="WinError 87"):
        await procio.create_subprocess_exec("cat", stdin=PIPE)
    assert made.seen == 1


async def test_a_path_that_cannot_be_told_is_not_started() -> None:
    """It may be that of a batch file, whose arguments a shell would take apart."""
    with refused("GetFullPathNameW", 8) as asked, pytest.raises(OSError, match="WinError 8"):
        await finish(await procio.create_subprocess_exec("m.bat\\x\\..", '"&echo x&"'))
    assert asked.failed == 1


async def test_input_whose_end_cannot_be_watched() -> None:
    """That the writing end cannot be read says nothing of the child: it is not taken for one that reads no more."""
    with refused("ReadFile", 1450, count=1) as reads, pytest.raises(OSError, match="WinError 1450"):
        proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert await proc.communicate(b"x") == (b"x", None)
    assert reads.failed
    assert await output("echo", "x") == b"x\n"


# --- job objects ---------------------------------------------------------------------------------


def test_a_job_that_cannot_be_nested_any_more(loop_name: str) -> None:
    """The program was put into another job meanwhile: a child that ends with the program gets a new one."""
    code = """
from injection_windows import refused

options = {"stdin": PIPE, "stdout": PIPE, "kill_on_parent_exit": True}

async def works(proc):
    assert await proc.communicate(b"x") == (b"x", None)

async def main():
    first = await procio.create_subprocess_exec("cat", **options)
    with refused("CreateProcessW", 5, count=1) as started:
        await works(await procio.create_subprocess_exec("cat", **options))
        assert (started.failed, started.seen) == (1, 2)
        # It is the one of the program from now on.
        await works(await procio.create_subprocess_exec("cat", **options))
        assert started.seen == 3
    with refused("CreateProcessW", 5) as started:
        try:
            await procio.create_subprocess_exec("cat", **options)
        except PermissionError as error:
            assert "job object" in str(error), error
        else:
            raise AssertionError("no error")
        assert started.seen == 2
    # To close the one before would have ended what is in it.
    await works(first)

run(main())
"""
    assert script_result(code, loop=loop_name) is None


async def test_access_that_is_denied_in_a_job() -> None:
    """The system does not say whether it denies the program or the job; so the error names both."""
    with refused("CreateProcessW", ACCESS_DENIED), pytest.raises(PermissionError, match="job object") as caught:
        await procio.run_process(["cat"])
    assert (caught.value.winerror, caught.value.filename) == (ACCESS_DENIED, None)


def test_the_job_of_the_program_cannot_be_made(loop_name: str) -> None:
    """The error is the system's, and names the keyword."""
    code = """
from injection_windows import refused

async def main():
    try:
        with refused("CreateJobObjectW", 1450):
            await procio.create_subprocess_exec("cat", kill_on_parent_exit=True)
    except OSError as error:
        assert error.winerror == 1450, error.winerror
        assert str(error).endswith("(kill_on_parent_exit)"), error
    else:
        raise AssertionError("no error")

run(main())
"""
    assert script_result(code, loop=loop_name) is None


# --- asking a process to end ---------------------------------------------------------------------

# The console host says that an event was sent, also to a group that it does not know.
SENT = ("GenerateConsoleCtrlEvent", 0, 1)


@pytest.mark.parametrize("flag", ["CREATE_NEW_CONSOLE", "CREATE_NO_WINDOW", "DETACHED_PROCESS"])
async def test_an_event_that_goes_nowhere_because_of_a_flag(flag: str) -> None:
    with refused(*SENT) as events:
        async with procio.open_process(["sleep", "1000"], creationflags=getattr(subprocess, flag)) as proc:
            assert await asyncio.wait_for(proc.stop(grace=1000), 30) == TERMINATED
    assert events.seen == 0


async def test_an_event_that_goes_nowhere_because_the_process_has_no_console() -> None:
    """As that of a program with windows: the console knows one process, whose number is not the child's."""
    with refused(*SENT) as events, refused("GetConsoleProcessList", 0, 1) as asked:
        async with procio.open_process(["sleep", "1000"]) as proc:
            assert await asyncio.wait_for(proc.stop(grace=1000), 30) == TERMINATED
    assert (asked.seen, events.seen) == (1, 0)


async def test_a_console_that_does_not_tell_its_processes() -> None:
    """Then they are asked."""
    with refused(*SENT) as events, refused("GetConsoleProcessList", 6):
        async with procio.open_process(["sleep", "1000"]) as proc:
            assert await proc.stop(grace=0.05) == TERMINATED
    assert events.seen == 1


async def test_a_process_in_our_own_group_is_not_asked() -> None:
    """The event would reach us, too. It is in its job all the same."""
    with refused(*SENT) as events, refused("GetConsoleProcessList", 6):
        async with procio.open_process(["sleep", "1000"], start_new_session=False) as proc:
            assert await asyncio.wait_for(proc.stop(grace=1000), 30) == TERMINATED
    assert events.seen == 0


# --- each call in turn ---------------------------------------------------------------------------


@pytest.mark.timeout(150)
def test_a_call_into_windows_that_fails(loop_name: str) -> None:
    """Of each kind the first one, and all. Nothing hangs, no process and no handle stays, the loop works afterwards."""
    _, found = script_result(TARGET, loop=loop_name, timeout=140)
    assert not found, "\n".join(found)  # not cut short


@pytest.mark.injection
@pytest.mark.timeout(900)
def test_every_call_into_windows_that_fails(loop_name: str) -> None:
    """All of them, in every way."""
    _, found = script_result(TARGET, "whole", loop=loop_name, timeout=850)
    assert not found, "\n".join(found)  # not cut short


async def exception_of_a_start(module: Any) -> tuple[Any, ...]:
    """Its class and what it says."""
    with pytest.raises(OSError, match="WinError") as caught:
        await module.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    error = caught.value
    return type(error), error.args, error.winerror, error.filename


@pytest.mark.parametrize("code", [5, 8, 87, 206, 1450])
@pytest.mark.parametrize(
    ("function", "theirs", "result"),
    [("CreateProcessW", "CreateProcessW", 0), ("CreateNamedPipeW", "CreateNamedPipeA", INVALID_HANDLE)],
)
def test_the_error_is_that_of_asyncio(function: str, theirs: str, result: int, code: int) -> None:
    """asyncio calls both from the interpreter's own library; before 3.14 its pipes have narrow names."""
    if not imports(theirs, INTERPRETER):
        theirs = function
    found = []
    for module, library in ((procio, LIBRARY), (asyncio, INTERPRETER)):
        with (
            asyncio.Runner(loop_factory=asyncio.ProactorEventLoop) as runner,
            refused(function if library == LIBRARY else theirs, code, result, library=library) as calls,
        ):
            found.append(runner.run(exception_of_a_start(module)))
            assert calls.failed
    assert found[0] == found[1]
