"""`preexec_fn`: as with `Popen`, in the child, in the parent, and where the interpreter is told of the fork."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import procio
import pytest
import skips
from support import SH, output

resource = pytest.importorskip("resource", reason=skips.POSIX_OPTIONS)


async def test_preexec_fn_runs_in_the_child() -> None:
    read_end, write_end = os.pipe()
    try:
        proc = await procio.create_subprocess_exec(
            "true", preexec_fn=lambda: os.write(write_end, str(os.getpid()).encode())
        )
        assert await proc.wait() == 0
        assert int(os.read(read_end, 100)) == proc.pid
    finally:
        os.close(read_end)
        os.close(write_end)


async def test_preexec_fn_sees_the_new_directory_and_session(tmp_path: Path) -> None:
    def write() -> None:
        Path("marker").write_text(f"{os.getsid(0) == os.getpid()}")

    proc = await procio.create_subprocess_exec("true", preexec_fn=write, cwd=tmp_path, start_new_session=True)
    assert await proc.wait() == 0
    assert (tmp_path / "marker").read_text() == "True"


async def test_preexec_fn_changes_the_child_only() -> None:
    before = os.environ.copy()
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    assert await output(SH, "-c", "ulimit -c", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    assert resource.getrlimit(resource.RLIMIT_CORE) == limit
    assert os.environ.copy() == before


async def test_preexec_fn_changes_the_environment() -> None:
    """The program gets the environment as it is after the function, unless `env` says what it gets."""

    def change() -> None:
        os.environ["FRUIT"] = "apple"

    command = (SH, "-c", "echo $FRUIT")
    assert await output(*command, preexec_fn=change) == b"apple\n"
    assert await output(*command, preexec_fn=change, env={"FRUIT": "pear"}) == b"pear\n"
    assert "FRUIT" not in os.environ


async def test_preexec_fn_that_raises() -> None:
    def fail() -> None:
        raise ZeroDivisionError("in the child")

    with pytest.raises(subprocess.SubprocessError) as caught:
        await procio.create_subprocess_exec("true", preexec_fn=fail)
    with pytest.raises(subprocess.SubprocessError) as theirs:
        subprocess.Popen(["true"], preexec_fn=fail)
    assert type(caught.value) is type(theirs.value)
    assert str(caught.value) == str(theirs.value)


async def test_preexec_fn_beside_another_thread() -> None:
    """The child has one thread only; Python code still runs in it. As by `Popen`, there is no warning of a fork."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always", DeprecationWarning)
            assert subprocess.Popen(["true"], preexec_fn=lambda: sum(range(1000))).wait() == 0
            proc = await procio.create_subprocess_exec("true", preexec_fn=lambda: sum(range(1000)))
            assert await proc.wait() == 0
        assert given == []
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("collector", [True, False])
async def test_preexec_fn_and_the_collector_of_cycles(collector: bool) -> None:
    """It is off in the child, and in the parent afterwards as it was, also if there is no child."""

    def write() -> None:
        os.write(1, b"%d" % gc.isenabled())

    was_on = gc.isenabled()
    (gc.enable if collector else gc.disable)()
    try:
        theirs = subprocess.run(["true"], preexec_fn=write, stdout=subprocess.PIPE, check=True).stdout
        assert await output("true", preexec_fn=write) == theirs
        assert gc.isenabled() == collector
        with pytest.raises(FileNotFoundError):
            await procio.create_subprocess_exec("/no/such/program", preexec_fn=write, stdout=subprocess.DEVNULL)
        assert gc.isenabled() == collector
    finally:
        (gc.enable if was_on else gc.disable)()


HANDLERS = r"""
import asyncio, os, subprocess, sys
import procio

sys.addaudithook(lambda event, _: os.write(1, b"audit os.fork\n") if event == "os.fork" else None)
for when, text in {"before": b"before\n", "after_in_parent": b"parent\n", "after_in_child": b"child\n"}.items():
    os.register_at_fork(**{when: lambda text=text: os.write(1, text)})

def hook():
    os.write(1, b"hook\n")

def start(program):
    if sys.argv[1] == "Popen":
        return subprocess.Popen([program], preexec_fn=hook).wait()

    async def main():
        process = await procio.create_subprocess_exec(program, preexec_fn=hook)
        return await process.wait()

    return asyncio.run(main())

start("true")
try:
    start("/no/such/program")
except FileNotFoundError:
    os.write(1, b"not found\n")
"""


def test_preexec_fn_and_handlers_of_forks() -> None:
    """Those that `Popen` runs are run, each as often, in the parent and in the child."""

    def lines(which: str) -> list[str]:
        done = subprocess.run([sys.executable, "-c", HANDLERS, which], stdout=subprocess.PIPE, text=True, check=True)
        return sorted(done.stdout.split("\n"))

    theirs = lines("Popen")
    assert theirs.count("child") == theirs.count("parent") == theirs.count("hook") == 2
    assert lines("procio") == theirs


AT_SHUTDOWN = """
import asyncio, os, subprocess, sys
import procio

async def main():
    process = await procio.create_subprocess_exec("true", preexec_fn=int)
    return await process.wait()

class Late:
    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def __del__(self):
        try:
            if sys.argv[1] == "Popen":
                subprocess.Popen(["true"], preexec_fn=int).wait()
            else:
                self.loop.run_until_complete(main())
        except Exception as error:
            os.write(1, f"{type(error).__name__}: {error}".encode())
        self.loop.close()

sys.late = Late()
"""


def test_preexec_fn_at_the_shutdown_of_the_interpreter() -> None:
    """What `Popen` raises is raised."""

    def told(which: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-c", AT_SHUTDOWN, which], stdout=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout

    assert told("procio") == told("Popen")
