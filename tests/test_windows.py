"""What only Windows has: command lines, batch files, handles, flags, unsigned exit codes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import procio
import pytest
import skips
from support import DEVNULL, PIPE, PYTHON, finish, output, running

if sys.platform != "win32":
    pytest.skip(skips.WINDOWS_ONLY, allow_module_level=True)

import msvcrt

ARGV = (*PYTHON, "-c", "import sys; sys.stdout.buffer.write('\\0'.join(sys.argv[1:]).encode('utf-8', 'surrogatepass'))")

HOSTILE = [
    "&calc",
    '"&calc',
    '"&calc&"',
    "a|b",
    "a>b",
    "a^b",
    "(a)",
    "%PATH%",
    "%COMSPEC%",
    "100%",
    "a b",
    "a\tb",
    "!x!",
    "",
    "a\nb",
    "a\r\nb",
    "^&calc",
    '\\"',
    "a\\",
    "a b\\",
    "a,b;c=d",
    "-x=é",
]


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


# --- command lines -------------------------------------------------------------------------------


async def test_arguments_arrive_as_they_are() -> None:
    assert (await output(*ARGV, *HOSTILE)).decode().split("\0") == HOSTILE


async def test_lone_surrogates_arrive() -> None:
    assert await output(*ARGV, "\ud800") == "\ud800".encode("utf-8", "surrogatepass")


@pytest.mark.differs
@pytest.mark.parametrize("argument", HOSTILE)
@pytest.mark.parametrize("name", ["show.bat", "show.CMD", "with space.bat"])
async def test_batch_files_run_nothing_else(tmp_path: Path, name: str, argument: str) -> None:
    """CVE-2024-24576: what cmd.exe would interpret is quoted or refused, never run."""
    script = tmp_path / name
    script.write_text("@echo [%1]\r\n@set /p line=\r\n", newline="")
    witness = tmp_path / "witness"
    hostile = argument.replace("calc", f"echo x>{witness}")
    refused = any(mark in hostile for mark in '"%\r\n')
    try:
        out = await output(str(script), hostile, stdin=DEVNULL)
    except ValueError as error:
        assert refused and "cmd.exe" in str(error)
    else:
        assert not refused
        assert out.decode("utf-8", "replace").startswith("[")
    assert not witness.exists()


async def test_batch_file_gets_plain_arguments(tmp_path: Path) -> None:
    script = tmp_path / "show.bat"
    script.write_text("@echo %~1-%~2-%3\r\n", newline="")
    out = await output(str(script), "one", "two words", "a&b", stdin=DEVNULL)
    assert out.split(b"\r\n")[0] == b'one-two words-"a&b"'


async def test_shell_command_is_that_of_popen() -> None:
    for command in ("echo a&echo b", 'echo "a b"', "exit 3", "echo %COMSPEC%"):
        theirs = subprocess.run(command, shell=True, stdout=PIPE)
        proc = await procio.create_subprocess_shell(command, stdout=PIPE)
        assert ((await proc.communicate())[0], proc.returncode) == (theirs.stdout, theirs.returncode)


async def test_shell_takes_no_bytes() -> None:
    with pytest.raises(TypeError, match="bytes args is not allowed on Windows"):
        await procio.create_subprocess_shell(b"echo")


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
        sibling = await procio.create_subprocess_exec("sleep", "1000", stdin=DEVNULL, stdout=DEVNULL, close_fds=close_fds)
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
    """What the system still works for is cancelled and collected; nobody hears of it."""

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
