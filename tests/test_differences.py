"""Where procio is right and asyncio is not: each row of docs/differences.md that no other file covers.

wait() with held pipes: test_wait. Long lines: test_limits. Cancelled communicate and creation: test_cancel. Dropped
Process, closed loop: test_drop. Recycled pid, kill after the end: test_signals. Stolen status: test_reaped.
communicate("text"): test_communicate. EMFILE half-way: test_errors.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import procio
import pytest
import skips
from support import BROKEN, KILLED, PIPE, children, helper, kill_stray, output, running, sh, turns, until

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


# --- closing stdout early (gh-130925) ------------------------------------------------------------


async def test_closing_stdout_ends_a_flooding_child() -> None:
    """The child gets SIGPIPE."""
    proc = await procio.create_subprocess_exec(*helper("flood", "x"), stdout=PIPE)
    assert await proc.stdout.readexactly(10) == b"x" * 10
    proc.stdout.close()
    assert await proc.wait() == BROKEN


async def test_closing_stdout_twice_and_after_the_end() -> None:
    proc = await sh("echo out", stdout=PIPE)
    assert await proc.wait() == 0
    proc.stdout.close()
    proc.stdout.close()


async def test_closing_stderr_leaves_stdout() -> None:
    async with running("sh", "-c", "read x; echo out", stdin=PIPE, stdout=PIPE, stderr=PIPE) as proc:
        proc.stderr.close()
        proc.stdin.write(b"\n")
        assert await proc.stdout.readline() == b"out\n"
        assert await proc.wait() == 0


# --- a slow start does not stop the loop (gh-146181) ---------------------------------------------


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


async def test_loop_goes_on_while_path_is_searched(ticks: Callable[[], int]) -> None:
    """Thousands of directories that do not have the program."""
    path = ":".join([f"/none/{number}" for number in range(9000)] + ["/bin", "/usr/bin"])
    before = ticks()
    proc = await procio.create_subprocess_exec("echo", "found", stdout=PIPE, env={"PATH": path})
    turned = ticks() - before
    assert await proc.communicate() == (b"found\n", None)
    assert turned > 20


# --- what programs expect of the transport -------------------------------------------------------


def popen_of(proc: procio.Process) -> Any:
    transport = getattr(proc, "_transport", None)
    if transport is None:
        pytest.skip(skips.NO_LOW_LEVEL)
    return transport.get_extra_info("subprocess")


async def test_extra_info_subprocess() -> None:
    """Programs ask the transport for a subprocess.Popen."""
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        popen = popen_of(proc)
        assert isinstance(popen, subprocess.Popen)
        assert popen.pid == proc.pid
        assert popen.returncode is None
        assert popen.poll() is None
        popen.kill()
        assert await proc.wait() == KILLED
        assert popen.poll() == KILLED
        assert popen.wait() == KILLED
        assert popen.returncode == KILLED


async def test_extra_info_subprocess_may_be_waited_for() -> None:
    """popen.wait() in the loop's thread takes the status; proc.wait() has it all the same."""
    async with running("sh", "-c", "read x; exit 7", stdin=PIPE) as proc:
        popen = popen_of(proc)
        os.write(proc.stdin.get_extra_info("pipe").fileno(), b"\n")
        assert popen.wait(timeout=20) == 7
        assert await proc.wait() == 7


# --- a wrong start leaves nothing ----------------------------------------------------------------


async def test_cancelled_creation_leaves_no_child() -> None:
    """gh-103847: at once, not when somebody collects garbage."""
    for phase in range(6):
        task = asyncio.create_task(procio.create_subprocess_exec("sleep", "1000", stdin=PIPE))
        await turns(phase)
        task.cancel()
        try:
            proc = await task
        except asyncio.CancelledError:
            continue
        proc.kill()
        await proc.wait()
    await until(lambda: not children(), "no child")


async def test_communicate_does_not_wait_for_input_that_nobody_reads() -> None:
    """A descendant holds standard input open and does not read it; asyncio waits for it to go."""
    proc = await sh("exec 3<&0; sleep 1000 <&3 >/dev/null 2>&1 & echo $!", stdin=PIPE, stdout=PIPE)
    out, _ = await asyncio.wait_for(proc.communicate(b"x" * (1 << 20)), 20)
    kill_stray(int(out))
    assert proc.returncode == 0


async def test_input_that_nobody_read_is_written_later(tmp_path: Path) -> None:
    """As long as the Process is held: it was not lost with the end of communicate()."""
    start, count = tmp_path / "start", tmp_path / "count"
    os.mkfifo(start)
    script = 'exec 3<&0; (read x <"$1"; wc -c <&3 >"$2.new"; mv "$2.new" "$2") >/dev/null 2>&1 &'
    proc = await sh(script, str(start), str(count), stdin=PIPE, stdout=PIPE)
    try:
        assert await asyncio.wait_for(proc.communicate(b"x" * (1 << 20)), 20) == (b"", None)
    finally:
        start.write_bytes(b"\n")
    await until(count.exists, "count")
    assert int(count.read_text()) == 1 << 20


async def test_feed_eof_closes_our_end() -> None:
    """The child, which goes on writing, gets SIGPIPE."""
    proc = await procio.create_subprocess_exec("yes", stdout=PIPE)
    proc.stdout.feed_eof()
    await proc.stdout.read()
    assert await asyncio.wait_for(proc.wait(), 20) == BROKEN


async def test_readline_over_the_limit_tells_how_much_can_be_read() -> None:
    proc = await sh("printf 'abcdefgh\\nij\\n'", stdout=PIPE, limit=4)
    with pytest.raises(ValueError) as caught:
        await proc.stdout.readline()
    cause = caught.value.__cause__
    assert isinstance(cause, asyncio.LimitOverrunError)
    assert await proc.stdout.readexactly(cause.consumed) + await proc.stdout.readline() == b"abcdefgh\n"
    assert await proc.stdout.read() == b"ij\n"
    await proc.wait()
