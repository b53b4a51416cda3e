"""A start that takes long does not hold up the loop, nor other threads (gh-146181)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import procio
import pytest
import skips
from support import PIPE, children, dead, gone, output, turns, until

pytestmark = pytest.mark.differs


@pytest.fixture
async def ticks() -> AsyncIterator[Callable[[], int]]:
    """How often the loop has turned."""
    count = 0

    async def tick() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(tick())
    yield lambda: count
    task.cancel()


@pytest.fixture
def no_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.mark.usefixtures("no_deprecation")
async def test_loop_goes_on_while_preexec_fn_blocks(ticks: Callable[[], int]) -> None:
    """Creation is pending for as long as preexec_fn likes; everything else runs, other creations too."""
    read_end, write_end = os.pipe()
    task = asyncio.create_task(
        procio.create_subprocess_exec("echo", "late", stdout=PIPE, preexec_fn=lambda: os.read(read_end, 1))
    )
    await until(children, "child")
    before = ticks()
    await until(lambda: ticks() > before + 100, "turns of the loop")
    assert await output("echo", "meanwhile") == b"meanwhile\n"
    assert not task.done()
    os.write(write_end, b"x")
    proc = await task
    os.close(read_end)
    os.close(write_end)
    assert await proc.communicate() == (b"late\n", None)


@pytest.mark.usefixtures("no_deprecation")
async def test_other_threads_go_on_while_preexec_fn_blocks() -> None:
    """3.13 keeps the GIL while it starts a program."""
    read_end, write_end = os.pipe()
    task = asyncio.create_task(procio.create_subprocess_exec("true", preexec_fn=lambda: os.read(read_end, 1)))
    await until(children, "child")
    thread = threading.Thread(target=os.write, args=(write_end, b"x"))
    thread.start()
    thread.join()
    proc = await task
    os.close(read_end)
    os.close(write_end)
    assert await proc.wait() == 0


@pytest.mark.usefixtures("no_deprecation")
async def test_preexec_fn_that_fails_late() -> None:
    read_end, write_end = os.pipe()

    def fail() -> None:
        os.read(read_end, 1)
        raise ZeroDivisionError

    task = asyncio.create_task(procio.create_subprocess_exec("true", stdin=PIPE, preexec_fn=fail))
    await until(children, "child")
    await turns(20)
    assert not task.done()
    os.write(write_end, b"x")
    with pytest.raises(subprocess.SubprocessError, match="Exception occurred in preexec_fn"):
        await task
    os.close(read_end)
    os.close(write_end)
    assert not children()


@pytest.fixture
def withheld(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], object]]]:
    """A program that cannot be executed until it is released: we hold a lease on its file."""
    import fcntl

    program = tmp_path / "program"
    shutil.copy("/bin/echo", program)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # what tells the holder that the file is wanted
    fd = os.open(program, os.O_RDONLY)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        pytest.skip(skips.NO_LEASE)
    yield program, lambda: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    os.close(fd)
    signal.signal(signal.SIGIO, before)


@pytest.mark.skipif(sys.platform != "linux", reason=skips.NOT_LINUX)
async def test_loop_goes_on_while_the_exec_waits(
    withheld: tuple[Path, Callable[[], object]], ticks: Callable[[], int]
) -> None:
    """However long it takes."""
    program, release = withheld
    task = asyncio.create_task(procio.create_subprocess_exec(program, "late", stdout=PIPE))
    await until(children, "child")
    before = ticks()
    await until(lambda: ticks() > before + 100, "turns of the loop")
    assert await output("echo", "meanwhile") == b"meanwhile\n"
    assert not task.done()
    release()
    assert await (await task).communicate() == (b"late\n", None)


@pytest.mark.skipif(sys.platform == "linux", reason=skips.OTHER_TEST)
async def test_loop_goes_on_while_path_is_searched(ticks: Callable[[], int]) -> None:
    """Thousands of directories that do not have the program."""
    path = ":".join([f"/none/{number}" for number in range(9000)] + ["/bin", "/usr/bin"])
    before = ticks()
    proc = await procio.create_subprocess_exec("echo", "found", stdout=PIPE, env={"PATH": path})
    turned = ticks() - before
    assert await proc.communicate() == (b"found\n", None)
    assert turned > 20


@pytest.fixture
def dead_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that cannot be entered, nor refused: its file system never answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip(skips.NO_FUSE)
    target = os.fsencode(tmp_path)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"fuse", target, b"fuse", 0, options) != 0:
        os.close(device)
        pytest.skip(skips.NO_FUSE)
    yield tmp_path
    os.close(device)
    libc.umount2(target, 2)


def held_by_a_child(fd: int) -> bool:
    """Whether a child holds the file that is open as ``fd``."""
    ours = os.readlink(f"/proc/self/fd/{fd}")
    for pid in children():
        try:
            entries = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        except FileNotFoundError:
            continue
        if ours in entries:
            return True
    return False


@skips.needs_proc
@pytest.mark.parametrize("pass_fds", [False, True])
async def test_a_child_that_starts_slowly_holds_nothing_of_others(dead_directory: Path, pass_fds: bool) -> None:
    """The copies that it has before exec would keep every other child from the end of its input."""
    read_end, write_end = os.pipe()
    kept = [os.open("/dev/null", os.O_RDONLY)] if pass_fds else []
    first = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    task = asyncio.create_task(procio.create_subprocess_exec("true", cwd=dead_directory, pass_fds=kept))
    await until(lambda: len(children()) == 2, "child")
    await until(lambda: not held_by_a_child(write_end), "end of the copies")
    assert await first.communicate(b"all") == (b"all", None)
    os.close(write_end)
    assert os.read(read_end, 1) == b""
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for fd in [read_end, *kept]:
        os.close(fd)


@skips.needs_proc
async def test_a_directory_named_by_a_descriptor(tmp_path: Path) -> None:
    """As with Popen, which closes what is not passed only after it has entered it."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for path in (f"/proc/self/fd/{fd}", f"/dev/fd/{fd}"):
        assert await output("pwd", "-P", cwd=path) == os.fsencode(tmp_path.resolve()) + b"\n"
    os.close(fd)


@pytest.mark.skipif(sys.platform != "linux", reason=skips.NOT_LINUX)
@pytest.mark.usefixtures("no_deprecation")
async def test_a_stranger_that_holds_the_report() -> None:
    """A fork that does not execute keeps the pipe open on which the child tells that its program runs."""
    read_end, write_end = os.pipe()
    pids, pids_end = os.pipe()

    def leave_a_copy() -> None:
        if pid := os.fork():
            os.write(pids_end, pid.to_bytes(4, "little"))
        else:
            os.close(write_end)
            os.read(read_end, 1)  # until the test is over
            os._exit(0)

    proc = await procio.create_subprocess_exec("sleep", "1000", preexec_fn=leave_a_copy)
    stranger = int.from_bytes(os.read(pids, 4), "little")
    assert not dead(stranger)
    proc.kill()
    assert await proc.wait() == -9
    for fd in (read_end, write_end, pids, pids_end):
        os.close(fd)
    await until(lambda: gone(stranger), "its end")
