"""send_signal, terminate, kill: the right process or none."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any

import procio
import pytest
import skips
from support import (
    KILLED,
    PIPE,
    SH,
    TERMINATED,
    cat,
    dead,
    running,
    script_result,
    sh,
    state,
    turns,
    until,
    until_sync,
)


async def test_terminate_and_kill() -> None:
    async with cat() as proc:
        assert proc.terminate() is None
        assert await proc.wait() == TERMINATED
    async with cat() as proc:
        assert proc.kill() is None
        assert await proc.wait() == KILLED


NAMES = ("SIGUSR2", "SIGRTMIN", "SIGRTMAX")


@pytest.mark.parametrize("number", [1, 2, 10, *(getattr(signal, name) for name in NAMES if hasattr(signal, name))])
async def test_send_signal(number: int) -> None:
    async with running("cat", stdin=PIPE) as proc:
        proc.send_signal(number)
        assert await proc.wait() == -int(number)


@pytest.mark.parametrize("name", ["SEGV", "ABRT", "QUIT", "FPE"])
async def test_core_dumping_signals(name: str) -> None:
    """The flag for a core file is no part of the status."""
    proc = await sh(f"ulimit -c 0; kill -{name} $$")
    assert await proc.wait() == -getattr(signal, f"SIG{name}")


async def test_handler_of_the_child() -> None:
    proc = await sh("trap 'echo caught; exit 5' TERM; echo ready; while :; do read x; done", stdin=PIPE, stdout=PIPE)
    assert await proc.stdout.readline() == b"ready\n"
    proc.terminate()
    await proc.stdin.drain()
    proc.stdin.write(b"\n")
    assert await proc.stdout.readline() == b"caught\n"
    assert await proc.wait() == 5


async def test_signal_zero_asks_only() -> None:
    async with cat() as proc:
        proc.send_signal(0)
        await turns(5)
        assert proc.returncode is None


async def test_signal_right_after_creation() -> None:
    for _ in range(20):
        proc = await procio.create_subprocess_exec("sleep", "1000")
        proc.kill()
        assert await proc.wait() == KILLED


@pytest.mark.parametrize("number", [-1, 65, 9999, "TERM", None, 1.5])
async def test_wrong_signals_raise_as_popen(number: Any) -> None:
    async with cat() as proc:
        with subprocess.Popen(["cat"], stdin=PIPE) as theirs:
            with pytest.raises((OSError, TypeError, ValueError)) as expected:
                theirs.send_signal(number)
            theirs.kill()
        with pytest.raises(type(expected.value)) as caught:
            proc.send_signal(number)
        assert getattr(caught.value, "errno", None) == getattr(expected.value, "errno", None)
        assert proc.returncode is None


@pytest.mark.parametrize("method", ["terminate", "kill", "send_signal"])
async def test_signals_after_the_end(method: str) -> None:
    """gh-88319: ProcessLookupError as soon as the status has been published."""
    proc = await procio.create_subprocess_exec("true")
    await until(lambda: proc.returncode is not None, "returncode")
    with pytest.raises(ProcessLookupError):
        getattr(proc, method)(*([0] if method == "send_signal" else []))
    await proc.wait()
    with pytest.raises(ProcessLookupError):
        getattr(proc, method)(*([15] if method == "send_signal" else []))


async def test_signals_after_the_end_with_open_pipes() -> None:
    """gh-88319: the same while output is still unread."""
    proc = await sh("echo unread", stdout=PIPE)
    await proc.wait()
    with pytest.raises(ProcessLookupError):
        proc.kill()
    assert await proc.stdout.read() == b"unread\n"


async def test_dead_but_not_yet_published() -> None:
    """gh-88319: nothing is raised, whatever the timing."""
    for method in ("terminate", "kill"):
        proc = await sh("exit 7")
        until_sync(lambda proc=proc: dead(proc.pid) or proc.returncode is not None, "zombie")
        if proc.returncode is None:
            getattr(proc, method)()
        assert await proc.wait() == 7


async def test_repeated_kill() -> None:
    async with cat() as proc:
        for _ in range(5):
            proc.kill()
        assert await proc.wait() == KILLED


async def test_signal_reaches_the_child_only() -> None:
    async with running(SH, "-c", "sleep 1000 & echo $!; wait", stdout=PIPE) as proc:
        stray = int(await proc.stdout.readline())
        proc.kill()
        await until(lambda: proc.returncode == KILLED, "end")
        assert state(stray) not in (None, "Z")
        os.kill(stray, 9)


async def test_kill_of_a_process_group() -> None:
    proc = await sh("sleep 1000 & echo ready; wait", stdout=PIPE, process_group=0)
    assert await proc.stdout.readline() == b"ready\n"
    os.killpg(proc.pid, signal.SIGKILL)
    assert await proc.wait() == KILLED
    assert await proc.stdout.read() == b""


async def test_signals_race_with_the_exit() -> None:
    """gh-87744: the status is the process's own or the signal's, never 255."""
    for _ in range(100):
        proc = await sh("read x; exit 4", stdin=PIPE)
        proc.stdin.write(b"\n")
        with contextlib.suppress(ProcessLookupError):
            proc.send_signal(signal.SIGUSR1)
        assert await proc.wait() in (4, -signal.SIGUSR1)
        proc.stdin.close()


RECYCLED = """
import logging, subprocess

logging.disable()  # without pidfds the status is lost, and that is said

async def main():
    # Forks when it reads a line: what has the number then is no child of ours.
    shell = subprocess.Popen(["sh", "-c", STRANGER], stdin=PIPE, stdout=PIPE)
    if os.environ.get("PROCIO_TEST_KQUEUE") == "1":
        await output("true")  # libkqueue makes threads of its own, which have no names
    # The child ends when it is told, and the loop does not run before it has: procio cannot have reaped it.
    before = set(threads())
    proc = await sh("read line; exit 3", stdin=PIPE)
    proc.stdin.close()
    until_sync(lambda: state(proc.pid) == "Z", "zombie")
    # Without pidfds a number is all there is, and only who has seen the end knows that it is free.
    # A thread has its name only once it runs: any other than the poll thread may be the one that waits.
    others = lambda: {name for tid, name in threads().items() if tid not in before} - {"procio-poll"}
    until_sync(lambda: not others(), "end of the waiting thread")
    os.waitpid(proc.pid, 0)
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(proc.pid - 1))
    if sys.argv[1] == "stranger":
        shell.stdin.write(b"\\n")
        shell.stdin.flush()
        victim = int(shell.stdout.readline())
    else:
        child = subprocess.Popen(["sleep", "1000"])
        victim = child.pid
    assert victim == proc.pid
    for signal_it in (proc.kill, proc.terminate):
        with contextlib.suppress(ProcessLookupError):
            signal_it()
    assert state(victim) not in ("Z", None)
    await proc.wait()
    del proc
    gc.collect()
    assert state(victim) not in ("Z", None)
    os.kill(victim, signal.SIGKILL)
    if sys.argv[1] == "child":
        assert child.wait() == KILLED
    shell.communicate()
    assert not children()
run(main())
""".replace("STRANGER", repr("read line && { sleep 1000 >&- & echo $!; wait; }"))


def recycle(victim: str, loop_name: str) -> None:
    """In a pid namespace of its own, where the next pid can be chosen and no other process takes one."""
    private = ("unshare", "--pid", "--fork", "--mount-proc")
    try:
        subprocess.run([*private, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(skips.PID_NOT_CHOSEN)
    assert script_result(RECYCLED, victim, loop=loop_name, prefix=private) is None


@pytest.mark.differs
@skips.needs_proc
@skips.needs_root
def test_recycled_pid_of_a_stranger_is_never_signalled(loop_name: str) -> None:
    """gh-127049: other code reaped the child, and its pid belongs to another process now."""
    recycle("stranger", loop_name)


@pytest.mark.differs
@skips.needs_proc
@skips.needs_root
def test_recycled_pid_of_a_child_is_never_signalled(loop_name: str) -> None:
    """The same, and the other process is a child of ours that other code has started."""
    recycle("child", loop_name)


AUDITED = """
events = []
sys.addaudithook(lambda name, args: events.append([name, *args]) if name in ("os.kill", "os.killpg") else None)


async def main():
    proc = await procio.create_subprocess_exec("cat", stdin=-1, start_new_session=True)
    proc.send_signal(0)
    proc.send_signal_to_group(signal.SIGCONT)
    proc.terminate()
    proc.kill()
    await proc.wait()
    try:
        proc.kill()
    except ProcessLookupError:
        pass
    assert events == [
        ["os.kill", proc.pid, 0],
        ["os.killpg", proc.pid, signal.SIGCONT],
        ["os.kill", proc.pid, 15],
        ["os.kill", proc.pid, 9],
    ], events


run(main())
"""


def test_signals_are_audited(loop_name: str) -> None:
    """By the events of the functions with which Popen's users send them."""
    assert script_result(AUDITED, loop=loop_name) is None


REFUSED = """
def refuse(name, args):
    if name == "os.kill":
        raise PermissionError("refused")


async def main():
    proc = await procio.create_subprocess_exec("cat", stdin=-1)
    sys.addaudithook(refuse)
    for send in (proc.kill, proc.terminate, lambda: proc.send_signal(9)):
        try:
            send()
        except PermissionError:
            pass
        else:
            raise AssertionError
    assert await proc.communicate(b"") == (None, None)
    assert proc.returncode == 0


run(main())
"""


def test_a_refused_signal_is_not_sent(loop_name: str) -> None:
    assert script_result(REFUSED, loop=loop_name) is None
