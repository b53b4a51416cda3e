"""What only Windows has: command lines, batch files, handles, flags, unsigned exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import procio
import pytest
import skips
from protocols import start
from support import DEVNULL, PIPE, PYTHON, finish, new_loop_named, output, running, script_result, turns

if sys.platform != "win32":
    pytest.skip(skips.WINDOWS_ONLY, allow_module_level=True)

import msvcrt

from kernel_windows import handle_counts


async def raised(*args: Any, **options: Any) -> tuple[Any, ...]:
    """Class and arguments of the exception that a start raises."""
    try:
        proc = await procio.create_subprocess_exec(*args, **options)
    except Exception as error:
        return type(error), error.args, getattr(error, "winerror", None), getattr(error, "filename", None)
    await finish(proc)
    raise AssertionError("nothing was raised")


def popen_raised(*args: Any, **options: Any) -> tuple[Any, ...]:
    """The same for subprocess.Popen."""
    try:
        proc = subprocess.Popen(args, **options)
    except Exception as error:
        return type(error), error.args, getattr(error, "winerror", None), getattr(error, "filename", None)
    proc.kill()
    proc.wait()
    raise AssertionError("nothing was raised")


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"preexec_fn": print},
        {"pass_fds": (1,)},
        {"user": 0},
        {"group": 0},
        {"extra_groups": [0]},
        {"pipesize": "x"},
        {"env": {"a=b": "c"}},
        {"env": {"a": "\0"}},
        {"env": {"a": 1}},
        {"cwd": "no such directory"},
        {"executable": "no such program"},
        {"creationflags": "x"},
    ],
    ids=str,
)
async def test_errors_are_those_of_popen(options: dict[str, Any]) -> None:
    theirs = popen_raised("true", **options)
    ours = await raised("true", **options)
    assert ours[0] is theirs[0]
    if issubclass(ours[0], OSError):
        assert ours[1:] == theirs[1:]


async def test_missing_program_has_the_number_of_windows() -> None:
    assert await raised("no such program") == popen_raised("no such program")


@pytest.mark.parametrize("code", [0, 1, 255, 256, 259, 0x7FFFFFFF, 0x80000000, 0xC000013A, 0xFFFFFFFF])
async def test_exit_codes_are_unsigned(code: int) -> None:
    script = f"import ctypes; ctypes.windll.kernel32.ExitProcess(ctypes.c_uint({code}))"
    proc = await procio.create_subprocess_exec(*PYTHON, "-c", script)
    assert await proc.wait() == proc.returncode == code
    with procio.installed():
        transport, protocol = await start(*PYTHON, "-c", script, stdin=None, stdout=None, stderr=None)
    await protocol.end()
    assert transport.get_returncode() == code
    transport.close()


async def test_terminate_and_kill_are_one() -> None:
    for end in ("terminate", "kill"):
        async with running("sleep", "1000") as proc:
            getattr(proc, end)()
            assert await proc.wait() == 1
            with pytest.raises(ProcessLookupError):
                getattr(proc, end)()


@pytest.mark.parametrize("number", [2, 9, 22, 64])
async def test_signals_that_do_not_exist(number: int) -> None:
    async with running("sleep", "1000") as proc:
        with pytest.raises(ValueError, match=f"Unsupported signal: {number}"):
            proc.send_signal(number)


CONSOLE = """
import ctypes

CHILD = '''
import ctypes, os, signal, sys
ctypes.windll.kernel32.SetConsoleCtrlHandler(None, False)  # a new group starts with Ctrl-C ignored
for name in ("SIGINT", "SIGBREAK"):
    signal.signal(getattr(signal, name), lambda number, frame: sys.exit(100 + number))
os.write(1, b"ready")
while os.read(0, 1):
    pass
'''

async def main():
    group = subprocess.CREATE_NEW_PROCESS_GROUP
    ctypes.windll.kernel32.SetConsoleCtrlHandler(None, True)
    codes = []
    for turn in range(2):
        start = {"stdin": PIPE, "stdout": PIPE, "creationflags": group}
        proc = await procio.create_subprocess_exec(*PYTHON, "-c", CHILD, **start)
        other = await procio.create_subprocess_exec(*PYTHON, "-c", CHILD, **start)
        assert await proc.stdout.readexactly(5) == await other.stdout.readexactly(5) == b"ready"
        proc.send_signal(getattr(signal, args[0]))
        await until(lambda: proc.stdin.write(b"x") or proc.returncode is not None, "end")
        codes.append(proc.returncode)
        other.stdin.close()
        codes.append(await other.wait())
    return codes

print(json.dumps(run(main())))
"""


def with_console(event: str, loop_name: str) -> Any:
    """Only in a console of its own can a program send what Ctrl-C and Ctrl-Break do."""
    return script_result(CONSOLE, event, loop=loop_name, creationflags=subprocess.CREATE_NEW_CONSOLE)


def test_ctrl_c_event(loop_name: str) -> None:
    """It reaches the group of the child, and no other."""
    assert with_console("CTRL_C_EVENT", loop_name) == [100 + signal.SIGINT, 0] * 2


def test_ctrl_break_event(loop_name: str) -> None:
    assert with_console("CTRL_BREAK_EVENT", loop_name) == [100 + signal.SIGBREAK, 0] * 2


NO_CONSOLE = """
async def main():
    async with running("cat", stdin=PIPE, stdout=PIPE, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP) as proc:
        async def answers():
            proc.stdin.write(b"x")
            return await proc.stdout.readexactly(1) == b"x"

        # It has its console: Wine leaves a conhost.exe, with our pipes, if a child is killed before that.
        yield await answers()
        for event in (signal.CTRL_C_EVENT, signal.CTRL_BREAK_EVENT):
            try:
                proc.send_signal(event)
            except OSError as error:
                yield error.winerror is not None
        yield await answers() and proc.returncode is None

async def results():
    return [result async for result in main()]

print(json.dumps(run(results())))
"""


def test_console_events_without_a_console(loop_name: str) -> None:
    """An OSError, and the child runs on. (os.kill of 3.11 ends it, and then raises a SystemError.)"""
    flags = subprocess.DETACHED_PROCESS
    assert script_result(NO_CONSOLE, loop=loop_name, creationflags=flags) == [True] * 4


async def test_signals_are_compared() -> None:
    """As Popen does it: what equals SIGTERM is SIGTERM."""
    async with running("sleep", "1000") as proc:
        proc.send_signal(15.0)  # type: ignore[arg-type]
        assert await proc.wait() == 1
        with pytest.raises(ProcessLookupError):
            proc.send_signal("no signal")  # type: ignore[arg-type]


async def test_environment_replaces_ours() -> None:
    root = {"SYSTEMROOT": os.environ["SYSTEMROOT"]}
    code = "import os; print(os.environ.get('A'), os.environ.get('B'), 'PROCIO_TEST' in os.environ)"
    out = await output(*PYTHON, "-c", code, env={**root, "b": "é", "A": "x y"})
    assert out.decode("cp1252").split() == ["x", "y", "é", "False"]


async def test_working_directory(tmp_path: Path) -> None:
    out = await output(*PYTHON, "-c", "import os; print(os.getcwd())", cwd=tmp_path)
    assert os.path.samefile(out.decode().strip(), tmp_path)


async def test_startupinfo_is_left_alone() -> None:
    startup = subprocess.STARTUPINFO()
    before = dict(vars(startup))
    proc = await procio.create_subprocess_shell("exit 2", startupinfo=startup)
    assert await proc.wait() == 2
    assert vars(startup) == before


async def test_creation_flags() -> None:
    flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW | subprocess.CREATE_BREAKAWAY_FROM_JOB
    assert await output("echo", "out", creationflags=flags) == b"out\n"


# --- handles -------------------------------------------------------------------------------------


def inheritable_pipe() -> tuple[int, int, int]:
    """A pipe whose writing end is inheritable: its descriptors, and that end's handle."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    return read_end, write_end, msvcrt.get_osfhandle(write_end)


WRITES = (*PYTHON, "-c", "import sys, os, msvcrt; os.write(msvcrt.open_osfhandle(int(sys.argv[1]), 0), b'x')")


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("close_fds", [False, True])
@pytest.mark.filterwarnings("ignore:startupinfo.lpAttributeList")
async def test_who_inherits_a_handle(listed: bool, close_fds: bool) -> None:
    read_end, write_end, handle = inheritable_pipe()
    startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]} if listed else None)
    proc = await procio.create_subprocess_exec(
        *WRITES, str(handle), stderr=DEVNULL, close_fds=close_fds, startupinfo=startup
    )
    code = await proc.wait()
    os.close(write_end)
    got = os.read(read_end, 10)
    os.close(read_end)
    assert (code == 0, got == b"x") == ((True, True) if listed or not close_fds else (False, False))


async def test_handle_list_overrides_close_fds() -> None:
    read_end, write_end, handle = inheritable_pipe()
    startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
    with pytest.warns(RuntimeWarning, match="overriding close_fds"):
        proc = await procio.create_subprocess_exec("true", startupinfo=startup, close_fds=False)
    assert await proc.wait() == 0
    os.close(write_end)
    os.close(read_end)


async def test_pipes_do_not_leak_into_siblings() -> None:
    """If they did, the end of a pipe would be seen only when the sibling ends."""
    siblings = []
    for close_fds in (True, False) * 4:
        proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        sibling = await procio.create_subprocess_exec(
            "sleep", "1000", stdin=DEVNULL, stdout=DEVNULL, close_fds=close_fds
        )
        siblings.append(sibling)
        proc.stdin.close()
        assert await proc.stdout.read() == b""
        assert await proc.wait() == 0
    for sibling in siblings:
        await finish(sibling)


def test_pipes_do_not_leak_between_threads() -> None:
    """The same with children that are started in several threads at once."""
    problems: list[BaseException] = []
    start = threading.Barrier(4)

    async def main(number: int) -> None:
        siblings = []
        start.wait()
        for turn in range(5):
            proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
            siblings.append(await procio.create_subprocess_exec("sleep", "1000", close_fds=bool((turn + number) % 2)))
            async with asyncio.timeout(30):
                assert await proc.communicate(b"x") == (b"x", b"")
        for sibling in siblings:
            await finish(sibling)

    def run(number: int) -> None:
        try:
            factory = asyncio.ProactorEventLoop if number % 2 else asyncio.SelectorEventLoop
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(main(number))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


async def test_no_handles_of_any_kind_are_left() -> None:
    """The system's thread pool has some that come and go; none for each child."""

    async def some() -> None:
        for _ in range(10):
            proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
            assert await proc.communicate(b"x") == (b"x", b"")
            proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE)
            proc.kill()
            assert await proc.wait() == 1

    await some()
    before = handle_counts()
    for _ in range(4):
        await some()
    gc.collect()
    grown = {kind: count - before[kind] for kind, count in handle_counts().items()}
    assert all(count < 20 for count in grown.values()), grown


# --- what stays asyncio's ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["installed", "by class"])
def test_pipes_of_asyncio_go_on_working(how: str, loop_name: str) -> None:
    """connect_read_pipe and connect_write_pipe on the Proactor loop; the Selector loop has none."""
    from asyncio import windows_utils

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reading, writing = map(windows_utils.PipeHandle, windows_utils.pipe(overlapped=(True, True), duplex=True))
        reader = asyncio.StreamReader()
        try:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), reading)
            writer, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, writing)
        except NotImplementedError:
            assert loop_name == "selector"
            reading.close()
            writing.close()
            return
        assert loop_name == "proactor"
        stream = asyncio.StreamWriter(writer, protocol, None, loop)
        for size in (1, 100_000, 3_000_000):
            proc = await asyncio.create_subprocess_exec("true") if how == "installed" else None
            stream.write(b"x" * size)
            data, _ = await asyncio.gather(reader.readexactly(size), stream.drain())
            assert data == b"x" * size
            if proc is not None:
                assert isinstance(proc, procio.Process)
                assert await proc.wait() == 0
        writer.close()
        assert await reader.read() == b""
        transport.close()
        await turns(3)

    def new() -> asyncio.AbstractEventLoop:
        if how == "installed":
            return new_loop_named(loop_name)
        return procio.new_event_loop() if loop_name == "proactor" else procio.EventLoop()

    with procio.installed() if how == "installed" else contextlib.nullcontext():
        with asyncio.Runner(loop_factory=new) as runner:
            runner.run(main())


# --- closing -------------------------------------------------------------------------------------


async def test_closing_twice_is_silent() -> None:
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        for _ in range(2):
            proc.stdin.close()
            proc.stdout.close()
        await proc.stdin.wait_closed()
        assert await proc.stdout.read() == b""
        assert await proc.wait() == 0
        proc.stdin.close()
        proc.stdout.close()


@pytest.mark.parametrize("name", ["read", "readline", "readexactly"])
async def test_close_during_a_pending_read(name: str) -> None:
    async with running("sleep", "1000", stdout=PIPE) as proc:
        reader = proc.stdout
        task = asyncio.create_task(reader.readexactly(5) if name == "readexactly" else getattr(reader, name)())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reader.close()
        if name == "readexactly":
            with pytest.raises(asyncio.IncompleteReadError):
                await task
        else:
            assert await task == b""


async def test_close_during_a_pending_write() -> None:
    async with running("sleep", "1000", stdin=PIPE) as proc:
        proc.stdin.write(b"x" * 10_000_000)
        task = asyncio.create_task(proc.stdin.drain())
        await asyncio.sleep(0)
        proc.stdin.transport.abort()
        await task
        await proc.stdin.wait_closed()


def test_loop_closed_under_pending_operations(loop_factory: Any, capfd: Any) -> None:
    """What the system still works for is cancelled and collected, without a report."""

    async def main() -> procio.Process:
        proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        proc.stdin.write(b"x" * 10_000_000)
        return proc

    loop = loop_factory()
    proc = loop.run_until_complete(main())
    loop.close()
    proc.kill()
    del proc
    assert capfd.readouterr() == ("", "")
