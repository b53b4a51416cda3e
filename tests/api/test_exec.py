"""create_subprocess_exec: programs, arguments, the Process object."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import procio
import pytest
import skips
from support import PIPE, PYTHON, SH, WINDOWS, children, finish, output, running, sh


async def test_output_and_status_of_a_program() -> None:
    proc = await procio.create_subprocess_exec(SH, "-c", "echo out; echo err >&2; exit 3", stdout=PIPE, stderr=PIPE)
    assert await proc.communicate() == (b"out\n", b"err\n")
    assert proc.returncode == 3


async def test_returncode_is_none_while_it_runs() -> None:
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        assert proc.returncode is None
        proc.stdin.close()
        assert await proc.wait() == 0
        assert proc.returncode == 0


async def test_streams_are_none_unless_asked_for() -> None:
    proc = await procio.create_subprocess_exec("true")
    assert (proc.stdin, proc.stdout, proc.stderr) == (None, None, None)
    assert await proc.wait() == 0


async def test_pid_is_that_of_the_child() -> None:
    proc = await sh("echo $$", stdout=PIPE)
    out, _ = await proc.communicate()
    assert int(out) == proc.pid


async def test_child_is_ours() -> None:
    async with running("sleep", "1000") as proc:
        assert proc.pid in children()


async def test_isinstance_of_asyncios_classes() -> None:
    async with running("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE) as proc:
        assert isinstance(proc, asyncio.subprocess.Process)
        assert isinstance(proc, procio.Process)
        assert isinstance(proc.stdin, asyncio.StreamWriter)
        assert isinstance(proc.stdout, asyncio.StreamReader)
        assert isinstance(proc.stderr, asyncio.StreamReader)


async def test_repr_names_the_pid() -> None:
    async with running("cat", stdin=PIPE) as proc:
        assert str(proc.pid) in repr(proc)
        assert "Process" in repr(proc)


async def test_arguments_reach_the_program_unchanged() -> None:
    words = ["", " ", "a b", "\"'\\$`", "*", "-n", "\n", "h\u00e4\u20ac\U0001f600", "\udcff"]
    code = "import os, sys; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))"
    assert await output(*PYTHON, "-c", code, *words) == b"|".join(map(os.fsencode, words))


async def test_arguments_may_be_bytes_or_paths() -> None:
    assert await output(b"/bin/echo", b"\xff", Path("x"), "y") == b"\xff x y\n"


async def test_program_may_be_a_path_object() -> None:
    """As in test_create_subprocess_exec_with_path."""
    assert await output(Path("/bin/echo"), "hello") == b"hello\n"


async def test_program_is_looked_for_in_path() -> None:
    assert await output("echo", "hello") == b"hello\n"


async def test_search_uses_the_environment_of_the_child(tmp_path: Path) -> None:
    """Popen looks along the PATH of `env`, not of the parent."""
    program = tmp_path / "procio-test-program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    assert await output("procio-test-program", env={"PATH": f"/nonexistent:{tmp_path}:/bin"}) == b"found\n"


async def test_search_goes_on_after_a_file_that_cannot_be_run(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder, mode in ((first, 0o644), (second, 0o755)):
        folder.mkdir()
        (folder / "procio-test-program").write_text("#!/bin/sh\necho second\n")
        (folder / "procio-test-program").chmod(mode)
    assert await output("procio-test-program", env={"PATH": f"{first}:{second}"}) == b"second\n"


async def test_path_with_a_slash_is_relative_to_cwd_of_the_child(tmp_path: Path) -> None:
    """Popen changes directory first, so a relative program is looked for there."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    assert await output("./program", cwd=tmp_path) == f"{os.path.realpath(tmp_path)}\n".encode()


async def test_many_arguments() -> None:
    words = ["x" * 1000] * 1000
    code = "import sys; print(len(sys.argv), sum(map(len, sys.argv)))"
    expected = f"{len(words) + 1} {sum(map(len, words)) + 2}\n"
    assert (await output(*PYTHON, "-c", code, *words)).decode() == expected


async def test_statuses_are_those_of_subprocess() -> None:
    signalled = () if WINDOWS else ("kill -9 $$", "kill -15 $$", "kill -6 $$")
    for script in ("exit 0", "exit 1", "exit 255", "exit 256", *signalled):
        proc = await sh(script)
        assert await proc.wait() == subprocess.run([SH, "-c", script], check=False).returncode


async def test_a_hundred_at_once() -> None:
    async def one(number: int) -> bytes:
        return await output(SH, "-c", f"echo {number}")

    found = await asyncio.gather(*(one(number) for number in range(100)))
    assert found == [f"{number}\n".encode() for number in range(100)]


async def test_creation_as_task_and_with_timeout() -> None:
    proc = await asyncio.create_task(procio.create_subprocess_exec("cat", stdin=PIPE))
    await finish(proc)
    proc = await asyncio.wait_for(procio.create_subprocess_exec("cat", stdin=PIPE), 20)
    await finish(proc)


def test_needs_a_running_loop() -> None:
    creation = procio.create_subprocess_exec("true")
    with pytest.raises(RuntimeError, match="no running event loop"):
        creation.send(None)
    creation.close()


def test_nothing_starts_before_the_first_await(tmp_path: Path) -> None:
    """A coroutine that is not awaited has done nothing."""
    marker = tmp_path / "marker"
    creation = procio.create_subprocess_exec("touch", str(marker))
    creation.close()
    assert not marker.exists()


def test_one_loop_after_another(loop_factory: object) -> None:
    """A fresh loop for each program leaves nothing of the one before."""

    async def main() -> bytes:
        return await output("echo", "hello")

    for _ in range(3):
        with asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[arg-type]
            assert runner.run(main()) == b"hello\n"


async def test_debug_mode_changes_nothing() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await proc.communicate(b"x") == (b"x", None)


async def test_interpreter_as_child() -> None:
    proc = await procio.create_subprocess_exec(sys.executable, "-c", "print(6 * 7)", stdout=PIPE)
    assert (await proc.communicate())[0].split() == [b"42"]


@pytest.mark.differs
@skips.needs_child_watchers
def test_a_child_watcher_that_is_not_active() -> None:
    """asyncio's own loop asks for an active one, and refuses."""

    class Inactive(asyncio.ThreadedChildWatcher):  # type: ignore[name-defined, misc]
        def is_active(self) -> bool:  # type: ignore[override]
            return False

    watcher = Inactive()
    asyncio.set_child_watcher(watcher)  # type: ignore[attr-defined]
    try:
        with asyncio.Runner() as runner:
            assert runner.run(output("echo", "a")) == b"a\n"
    finally:
        asyncio.set_child_watcher(None)  # type: ignore[arg-type, attr-defined]
        watcher.close()
