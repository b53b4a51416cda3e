"""Types as a user's checkers see them: mypy in its strict mode, and pyright."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import re
import subprocess
import sys
import warnings

import procio
import pytest
import shim
import skips

pytestmark = [
    pytest.mark.project,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shim.ACTIVE, reason="about procio's own types"),
]

# A program that both checkers accept with asyncio, but for the names of procio's own.
PROGRAM = """
import asyncio
import asyncio.subprocess
from typing import Protocol, assert_type
import procio
from procio import subprocess as procio_subprocess

class Waits(Protocol):
    async def wait(self) -> int: ...

async def main() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=procio.PIPE, stdout=procio.PIPE, stderr=procio.STDOUT)
    as_asyncio: asyncio.subprocess.Process = proc
    as_protocol: Waits = proc
    out, err = await proc.communicate(b"x")
    assert_type(out, bytes)
    task = asyncio.create_task(proc.wait())
    assert_type(await task, int)
    assert_type(await asyncio.wait_for(proc.wait(), 1), int)
    async with procio.TaskGroup() as group:
        waiting = group.create_task(proc.wait())
    assert_type(waiting.result(), int)
    async with procio.timeout(1):
        await procio.sleep(0)
    assert proc.stdin is not None and proc.stdout is not None
    writer: asyncio.StreamWriter = proc.stdin
    reader: asyncio.StreamReader = proc.stdout
    code, data = await asyncio.gather(proc.wait(), proc.stdout.read())
    assert_type(code, int)
    assert_type(data, bytes)
    async for line in proc.stdout:
        assert_type(line, bytes)
    proc.stdin.write(bytearray(b"x"))
    await proc.stdin.drain()
    shell = await procio_subprocess.create_subprocess_shell(
        "true", cwd="/", env={"A": "b"}, limit=100, shell=True, text=False, pass_fds=[1], umask=0o22
    )
    shell.send_signal(9)
    with procio.installed():
        procio.install()
    await procio.create_subprocess_exec("true", executable=b"/bin/true", user="nobody", extra_groups=["a", 1])

procio.run(main())
"""

# Every public name, with the type that it has.
NAMES = """
import asyncio
import contextlib
import subprocess
from collections.abc import Callable
from typing import assert_type
import procio

def constants() -> None:
    assert_type(procio.PIPE, int)
    assert_type(procio.STDOUT, int)
    assert_type(procio.DEVNULL, int)
    assert_type(procio.__version__, str)

async def functions() -> None:
    assert_type(await procio.create_subprocess_exec("a", b"b"), procio.Process)
    assert_type(await procio.create_subprocess_shell("a"), procio.Process)
    assert_type(await procio.subprocess.create_subprocess_exec("a"), procio.Process)
    made: asyncio.subprocess.SubprocessStreamProtocol = procio.subprocess.SubprocessStreamProtocol(
        100, asyncio.get_running_loop()
    )
    async with procio.open_process(["a"], stdout=procio.PIPE, grace=1, cwd="/") as owned:
        assert_type(owned, procio.Process)
    done = await procio.run_process(["a"], input=b"x", timeout=1, max_output=(1, 2), cwd="/")
    assert_type(done, procio.CompletedProcess[bytes])
    assert_type(done.stdout, bytes)
    text = await procio.run_process("a", shell=True, input="x", encoding="utf-8", errors="replace")
    assert_type(text, procio.CompletedProcess[str])
    assert_type(text.stderr, str)
    task = asyncio.create_task(procio.run_process(["a"], check=False))
    assert_type((await task).stdout, bytes)

async def process(proc: procio.Process) -> None:
    assert_type(proc.pid, int)
    assert_type(proc.returncode, int | None)
    assert_type(proc.stdin, procio.StreamWriter | None)
    assert_type(proc.stdout, procio.StreamReader | None)
    assert_type(proc.stderr, procio.StreamReader | None)
    assert_type(await proc.wait(), int)
    assert_type(await proc.communicate(), tuple[bytes, bytes])
    assert_type(await proc.stop(signal=15, grace=1), int)
    assert_type(proc.usage, procio.Usage | None)
    assert_type(proc.fileno(), int)
    async for fd, line in proc.merged(keepends=False):
        assert_type(fd, int)
        assert_type(line, bytes)
    async for _, words in proc.merged(encoding="utf-8", errors="replace"):
        assert_type(words, str)
    proc.send_signal(15)
    proc.send_signal_to_group(15)
    proc.terminate()
    proc.kill()

async def reader(stream: procio.StreamReader) -> None:
    assert_type(await stream.read(), bytes)
    assert_type(await stream.readline(), bytes)
    assert_type(await stream.readexactly(1), bytes)
    assert_type(await stream.readuntil((b"a", b"b")), bytes)
    assert_type(stream.at_eof(), bool)
    assert_type(stream.exception(), Exception | None)
    async for line in stream:
        assert_type(line, bytes)
    async for line in stream.lines(keepends=False):
        assert_type(line, bytes)
    async for text in stream.lines(encoding="utf-8"):
        assert_type(text, str)
    stream.feed_data(b"x")
    stream.feed_eof()
    stream.close()

async def writer(stream: procio.StreamWriter) -> None:
    await stream.drain()
    await stream.wait_closed()
    assert_type(stream.is_closing(), bool)
    assert_type(stream.can_write_eof(), bool)
    assert_type(stream.transport, asyncio.WriteTransport)
    stream.write(b"x")
    stream.writelines([b"x", bytearray(b"y"), memoryview(b"z")])
    stream.write_eof()
    stream.close()

def results(done: procio.CompletedProcess[bytes], usage: procio.Usage) -> None:
    assert_type(done.duration, float)
    assert_type(done.usage, procio.Usage | None)
    assert_type(done.dropped, tuple[int, int])
    assert_type(done.returncode, int)
    assert_type(usage.user_time, float)
    assert_type(usage.system_time, float)
    assert_type(usage.max_rss, int | None)
    try:
        done.check_returncode()
    except procio.CalledProcessError as error:
        called: subprocess.CalledProcessError = error
        assert_type(error.returncode, int)
        assert_type(error.duration, float)
        assert_type(error.usage, procio.Usage | None)
        assert_type(error.dropped, tuple[int, int])
    except procio.TimeoutExpired as error:
        expired: subprocess.TimeoutExpired = error
        as_builtin: TimeoutError = error
        assert_type(error.returncode, int | None)
        assert_type(error.duration, float)
        assert_type(error.usage, procio.Usage | None)
        assert_type(error.dropped, tuple[int, int])

class Loop(procio.SubprocessLoopMixin, asyncio.SelectorEventLoop): ...

def loops() -> None:
    loop: asyncio.SelectorEventLoop = procio.EventLoop()
    factory: Callable[[], asyncio.AbstractEventLoop] = procio.new_event_loop
    assert_type(procio.new_uvloop_event_loop(), asyncio.AbstractEventLoop)
    procio.install(Loop)
    procio.uninstall()
    with procio.installed(Loop):
        pass

async def answer() -> int:
    return 42

assert_type(procio.run(answer(), debug=True, loop_factory=procio.EventLoop), int)
"""

# What is wrong in each line is found with asyncio's types.
MISTAKES = """
import procio

async def main() -> None:
    proc = await procio.create_subprocess_exec("x", text=True)  # not text
    proc = await procio.create_subprocess_exec(["ls", "-l"])  # a list
    proc = await procio.create_subprocess_exec("x", timeout=5)  # no such keyword
    proc = await procio.create_subprocess_exec("x", stdot=-1)  # misspelt
    proc = await procio.create_subprocess_exec("x", env={"A": 1})  # a number
    proc = await procio.create_subprocess_exec("x", 3)  # a number
    proc = await procio.create_subprocess_exec("x", stdin="file")  # a name
    proc = await procio.create_subprocess_shell("x", shell=False)  # not a shell
    await proc.communicate("text")  # text
    proc.stdin.write(b"")  # may be None
    proc.wait()  # not awaited
    proc.terminate(3)  # no parameter
    await proc.wait(timeout=3)  # no such keyword
    proc.stop()  # not awaited
    await proc.stop(5)  # by keyword only
    async with procio.open_process("ls", stdot=-1):  # misspelt
        pass
    procio.run_process(["x"])  # not awaited
    await procio.run_process(["x"], input="text")  # text without an encoding
    await procio.run_process(["x"], input=b"bytes", encoding="utf-8")  # bytes with one
    await procio.run_process(["x"], text=True)  # no such keyword
    procio.slep(1)  # misspelt
    procio.subprocess.SubprocessStreamProtocl  # misspelt
    procio.sleep(1)  # not awaited
    for line in proc.stdout:  # not async
        pass
"""


@functools.cache
def names_of_asyncio() -> list[str]:
    """What a program can take from asyncio, and so by procio's name; before other tests import more of it."""
    return [name for name in dir(asyncio) if name[0] != "_" and name not in getattr(procio, "__all__", ())]


def reveal_all() -> str:
    """Asks for the type of each name of asyncio, by asyncio's name and by procio's."""
    pairs = (f"reveal_type(asyncio.{name})\nreveal_type(procio.{name})\n" for name in names_of_asyncio())
    return "import asyncio\nimport procio\n" + "".join(pairs)


FILES = {"program.py": PROGRAM, "names.py": NAMES, "mistakes.py": MISTAKES, "revealed.py": reveal_all()}
CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "--no-pretty"],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}


class Report:
    """What a checker says, by file and line."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.lines: dict[tuple[str, int], list[str]] = {}
        for text in output.splitlines():
            if found := re.match(r"\s*(?:.*[\\/])?(\w+\.py):(\d+)(?::\d+)?(?: -|:) (.*)", text):
                self.lines.setdefault((found[1], int(found[2])), []).append(found[3])

    def errors(self, name: str) -> dict[int, str]:
        """The errors in a file by line."""
        return {
            line: "; ".join(said)
            for (file, line), said in self.lines.items()
            if file == name and any(text.startswith("error") for text in said)
        }


@pytest.fixture(scope="module", params=list(CHECKERS))
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One run of a checker over all files."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(skips.CHECKER_MISSING.format(request.param))
    folder = tmp_path_factory.mktemp("types")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    command = [sys.executable, *CHECKERS[request.param], *FILES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    return Report(done.stdout)


@pytest.mark.parametrize("name", ["program.py", "names.py"])
def test_program_passes(report: Report, name: str) -> None:
    assert not report.errors(name)


def test_every_public_name_has_its_type_checked() -> None:
    mentioned = set(re.findall(r"procio\.(\w+)", NAMES))
    assert not set(procio.__all__) - mentioned
    for owner in (procio.Process, procio.StreamReader, procio.StreamWriter):
        own = {name for base in owner.__mro__[:2] for name in vars(base) if name[0] != "_"}
        known = set(re.findall(r"(?:proc|stream)\.(\w+)", NAMES))
        assert not own - known - UNTYPED_IN_ASYNCIO[owner.__name__], owner


# Members of which asyncio's types say nothing, or that a transport has; they are for asyncio's own use.
UNTYPED_IN_ASYNCIO = {
    "Process": set(),
    "StreamReader": {"set_exception", "set_transport"},
    "StreamWriter": {
        "abort",
        "get_extra_info",
        "get_write_buffer_limits",
        "get_write_buffer_size",
        "set_write_buffer_limits",
        "start_tls",
    },
}


def test_mistakes_are_found(report: Report) -> None:
    wrong = {number for number, text in enumerate(MISTAKES.splitlines(), 1) if "  # " in text}
    assert set(report.errors("mistakes.py")) == wrong, report.output


def test_names_of_asyncio_have_their_types(report: Report) -> None:
    said = {line: texts for (name, line), texts in report.lines.items() if name == "revealed.py"}
    for number, name in enumerate(names_of_asyncio()):
        theirs, ours = (said[3 + 2 * number + k] for k in (0, 1))
        if theirs[0].startswith("error") or theirs[-1].startswith("error"):
            continue  # no public name to the checker, such as asyncio.sys
        # pyright repeats the expression.
        assert [text.replace("asyncio.", "procio.") for text in theirs] == [
            text.replace("asyncio.", "procio.") for text in ours
        ], name


def test_names_of_asyncio_are_there() -> None:
    """The objects themselves, its modules among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in names_of_asyncio():
            assert getattr(procio, name) is getattr(asyncio, name), name
