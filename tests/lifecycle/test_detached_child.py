"""A child that goes from one event loop to another, as a Rust program hands it to and fro."""

import asyncio
import gc
import os
import signal
import subprocess
import sys

import procio
import pytest
import shim
import skips

if shim.ACTIVE:
    pytest.skip(skips.OWN_NAMES, allow_module_level=True)

from procio import _core

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason=skips.NO_HANDOVER)


async def start(*args, **kwds):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), procio.PIPE)
    return await procio.create_subprocess_exec(*args, **pipes | kwds)


def in_two_loops(first, second):
    """Run two coroutine functions, each in a loop of its own; the second takes the first's result."""
    return asyncio.run(second(asyncio.run(first())))


def test_everything_goes_along():
    """Bytes read ahead and not, bytes not yet written, and the exit status."""
    script = "printf 'one\\ntwo\\n'; cat; echo err >&2; exit 3"

    async def first():
        proc = await start("sh", "-c", script)
        assert await proc.stdout.readline() == b"one\n"
        proc.stdin.write(b"x" * 1_000_000)
        proc.stdin.close()
        return proc, proc._detach()

    async def second(both):
        _old, detached = both
        proc = await detached
        assert isinstance(proc, procio.subprocess.Process)
        assert proc.pid == both[0].pid
        assert await proc.stdout.readline() == b"two\n"
        out, err = await proc.communicate()
        assert (out, err, proc.returncode) == (b"x" * 1_000_000, b"err\n", 3)

    in_two_loops(first, second)


def test_a_child_that_has_ended_keeps_its_status_and_its_output():
    async def first():
        proc = await start("sh", "-c", "echo late; kill -TERM $$")
        assert await proc.wait() == -signal.SIGTERM
        return proc._detach()

    async def second(detached):
        proc = _core._attach(detached)
        assert proc.returncode == -signal.SIGTERM
        assert await proc.communicate() == (b"late\n", b"")
        with pytest.raises(ProcessLookupError):
            proc.kill()

    in_two_loops(first, second)


def test_an_end_that_was_read_stays_one():
    async def first():
        proc = await start("sh", "-c", "exec >&-; read x; exit 1")
        assert await proc.stdout.read() == b""
        return proc._detach()

    async def second(detached):
        proc = await detached
        assert await proc.stdout.read() == b""
        proc.kill()
        assert await proc.wait() == -signal.SIGKILL

    in_two_loops(first, second)


async def test_what_was_given_away_is_of_no_use():
    proc = await start("cat")
    new = await proc._detach()
    with pytest.raises(RuntimeError, match="handed over"):
        await proc.wait()
    with pytest.raises(ProcessLookupError):
        proc.kill()
    with pytest.raises(OSError, match="handed over"):
        await proc.stdout.read(1)
    with pytest.raises(RuntimeError, match="handed over"):
        proc._detach()
    assert proc.returncode is None
    del proc  # without a warning: it is not running there
    gc.collect()
    assert await new.communicate(b"x") == (b"x", b"")


async def test_a_process_that_is_being_used_is_refused():
    proc = await start("cat")
    for operation in (proc.wait(), proc.stdout.read(1), proc.communicate()):
        task = asyncio.ensure_future(operation)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="under way"):
            proc._detach()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    new = await proc._detach()
    assert await new.communicate() == (b"", b"")


async def test_it_can_be_claimed_once():
    detached = (await start("cat"))._detach()
    proc = await detached
    with pytest.raises(RuntimeError, match="handed over already"):
        await detached
    assert await proc.communicate() == (b"", b"")


async def test_detached_child_that_is_not_claimed_is_killed_and_reaped():
    proc = await start("cat")
    detached = proc._detach()
    pid = proc.pid
    del detached, proc
    gc.collect()
    # The kernel may take its time; the loop does not wait for it.
    while subprocess.run(["kill", "-0", str(pid)], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        await asyncio.sleep(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_detached_child_cannot_be_claimed_without_a_loop():
    detached = asyncio.run(_detached())
    with pytest.raises(RuntimeError, match="no running event loop"):
        _core._attach(detached)


async def _detached():
    return (await start("cat"))._detach()
