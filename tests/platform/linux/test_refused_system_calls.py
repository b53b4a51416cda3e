"""Kernels and sandboxes that refuse a system call: found out at run time, by being refused.

A seccomp filter does what gVisor, emulators, old kernels and container profiles do. The switches of
test_fallbacks choose a path from the start; here procio has to find it.
"""

from __future__ import annotations

import json
import platform
import signal

import pytest
import shim
import skips
from support import clears_signal_handlers, kernel_at_least, script_result

NUMBERS = {
    "x86_64": {"write": 1, "writev": 20, "clone": 56, "kill": 62},
    "aarch64": {"write": 64, "writev": 66, "clone": 220, "kill": 129},
}
NUMBERS["x86_64"] |= {"getgroups": 115, "capget": 125, "rt_sigtimedwait": 128, "waitid": 247}
NUMBERS["aarch64"] |= {"getgroups": 158, "capget": 90, "rt_sigtimedwait": 137, "waitid": 95}
for numbers in NUMBERS.values():
    numbers.update({"pidfd_send_signal": 424, "clone3": 435, "close_range": 436})
CLONE_VM, CLONE_PIDFD, CLONE_VFORK, CLONE_THREAD = 0x100, 0x1000, 0x4000, 0x10000
EPERM, EIO, E2BIG, EAGAIN, ENOMEM, EACCES, EINVAL, EPIPE, ENOSYS, ECONNRESET = 1, 5, 7, 11, 12, 13, 22, 32, 38, 104

pytestmark = [
    skips.needs_proc,
    pytest.mark.skipif(platform.machine() not in NUMBERS, reason=skips.NO_SECCOMP_NUMBERS),
]

# Refuses calls by their number, and by the value of an argument, if there is one: of the third, or of that with the
# given index. Those with `flags` are refused if they have any of them, but not when they make a thread, unless that is
# among the flags.
FILTER = """
import ctypes, struct

refused = json.loads(args[0])
CLONE_THREAD = 0x10000

def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)

load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
program = []
for number, flags, errno, *argument in refused:
    steps = [instruction(give, 0x50000 | errno)]
    if argument:  # word 16 is the first argument, word 24 the second
        value, index = (*argument, 2)[:2]
        steps = [instruction(load, 16 + 8 * index), instruction(equal, value, 0, 1), *steps]
    if flags:  # word 0 is the number of the call, word 16 its first argument
        choice = [instruction(any_bit, CLONE_THREAD & ~flags, 2, 0), instruction(any_bit, flags, 0, 1)]
        steps = [instruction(load, 16), *choice, *steps]
    program += [instruction(load, 0), instruction(equal, number, 0, len(steps)), *steps]
program = b"".join([*program, instruction(give, 0x7FFF0000)])

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(program)
loaded = Program(len(program) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(loaded), 0, 0) == 0, ctypes.get_errno()
"""

ours = pytest.mark.skipif(shim.ACTIVE, reason="asyncio has another way to start a child")
needs_clone3 = pytest.mark.skipif(not clears_signal_handlers(), reason=skips.NO_CLONE3)

REFUSED = """
async def main():
    for _ in range(3):
        assert await output("echo", "x") == b"x\\n"
    reader, writer = os.pipe()
    for fd in (reader, writer):
        os.set_inheritable(fd, True)
    script = f"for fd in {reader} {writer}; do test -e /proc/self/fd/$fd && echo $fd; done; true"
    assert await output("sh", "-c", script) == b""
    assert await output("sh", "-c", script, pass_fds=[writer]) == b"%d\\n" % writer
    os.close(reader)
    os.close(writer)
    proc = await procio.create_subprocess_exec("sleep", "1000")
    proc.kill()
    assert await asyncio.wait_for(proc.wait(), 20) == -9
    try:
        await procio.create_subprocess_exec("/no/such/program")
    except FileNotFoundError as error:
        assert error.filename == "/no/such/program"
    else:
        raise AssertionError("no error")
    task = asyncio.create_task(procio.create_subprocess_exec("sleep", "1000"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.cancelled()

run(main())
assert not children(), children()
"""


NO_CLONE3 = ("clone3", 0, ENOSYS)


def refusing(calls: list[tuple[str, int, int]], code: str, loop: str, **env: str) -> None:
    numbers = NUMBERS[platform.machine()]
    rules = json.dumps([(numbers[name], flags, errno) for name, flags, errno in calls])
    assert script_result(FILTER + code, rules, loop=loop, env=env) is None


@pytest.mark.parametrize(
    ("call", "flags", "errno"),
    [
        pytest.param("clone", CLONE_VM, EPERM, id="memory-not-shared"),
        pytest.param("clone", CLONE_VM, EACCES, id="memory-not-shared-for-lack-of-access"),
        pytest.param("clone", CLONE_PIDFD, EINVAL, id="no-pidfd-from-clone"),
        pytest.param("clone", CLONE_VM | CLONE_PIDFD, EINVAL, id="neither"),
        pytest.param("pidfd_send_signal", 0, EPERM, id="no-signal-by-pidfd"),
        pytest.param("pidfd_send_signal", 0, ENOSYS, id="signal-by-pidfd-unknown"),
        pytest.param("close_range", 0, ENOSYS, id="no-close-range"),
        pytest.param("close_range", 0, EPERM, id="close-range-refused"),
    ],
)
def test_refused_call(call: str, flags: int, errno: int, loop_name: str) -> None:
    """Who looks at the flags of clone refuses clone3 altogether, where they are out of reach."""
    refusing([(call, flags, errno), *([NO_CLONE3] if flags else [])], REFUSED, loop_name)


# What decides here is the system call, so nothing else may make threads or choose another way.
FIRST_WAY = {"PROCIO_SPAWN": "", "PROCIO_PIDFD": "1", "PROCIO_POLL_THREAD": "0", "PROCIO_CLONE3": "1"}
FIRST_WAY["PROCIO_SETXID_BARRIER"] = "1"

STARTS = """
async def main():
    for _ in range(3):
        assert await output("echo", "x") == b"x\\n"
run(main())
"""

EXHAUSTED = """
async def main():
    for _ in range(3):
        try:
            await output("echo", "x")
        except BlockingIOError:
            pass
        else:
            raise AssertionError("no error")
run(main())
"""


# Root without the capabilities to become another user. A process that has them makes a thread for a start, and glibc
# makes none where clone3 is refused with anything but ENOSYS.
ONE_IDENTITY = """
import ctypes
header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
call = ctypes.CDLL(None, use_errno=True)
assert call.capget(header, sets) == 0
for i in range(3):
    sets[i] &= ~(1 << 6 | 1 << 7)
assert call.capset(header, sets) == 0, ctypes.get_errno()
"""


@ours
@pytest.mark.parametrize("errno", [ENOSYS, EPERM, EINVAL, E2BIG, EACCES])
def test_refused_clone3(errno: int, loop_name: str) -> None:
    """What is tried next differs in nothing but clone3: it is not CLONE_VFORK, which would be an error here."""
    calls = [("clone3", 0, errno), ("clone", CLONE_VFORK, EAGAIN)]
    refusing(calls, ONE_IDENTITY + REFUSED, loop_name, **FIRST_WAY)


@ours
@needs_clone3
def test_clone3_switch(loop_name: str) -> None:
    """A child is made by clone3, and with the switch by clone, which is out of resources here."""
    exhausted = [("clone", CLONE_VM | CLONE_PIDFD, EAGAIN)]
    refusing(exhausted, STARTS, loop_name, **FIRST_WAY)
    refusing(exhausted, EXHAUSTED, loop_name, **FIRST_WAY | {"PROCIO_CLONE3": "0"})


@ours
@pytest.mark.parametrize(("way", "flags"), [("", CLONE_VM), ("vfork", CLONE_VM | CLONE_VFORK), ("fork", 0)])
def test_spawn_switch(way: str, flags: int, loop_name: str) -> None:
    """Each way makes its own kind of child: if there are no resources for that kind the start fails, and only then."""
    env = FIRST_WAY | {"PROCIO_SPAWN": way, "PROCIO_EXEC": ""}
    for flag in (CLONE_VM, CLONE_VFORK):
        code = EXHAUSTED if flags & flag else STARTS
        refusing([NO_CLONE3, ("clone", flag, EAGAIN)], code, loop_name, **env)


GROUP = """
async def main():
    proc = await procio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    try:
        proc.send_signal_to_group(9)
        assert args[1] == "1"
    except PermissionError:
        assert args[1] == "0"
        proc.kill()
    assert await proc.wait() == -9
run(main())
"""


@ours
@pytest.mark.skipif(not kernel_at_least(6, 9), reason=skips.NO_GROUP_SIGNAL)
@skips.needs_pidfds
@pytest.mark.parametrize("value", ["0", "1"])
def test_group_signal_switch(value: str) -> None:
    """A group is signalled by the pidfd of its leader, and with the switch by its number, which is refused here."""
    rules = json.dumps([(NUMBERS[platform.machine()]["kill"], 0, EPERM)])
    env = FIRST_WAY | {"PROCIO_GROUP_SIGNAL": value}
    assert script_result(FILTER + GROUP, rules, value, env=env) is None


WHOLE_SESSION = """
script = "sleep 1000 & echo $!; exec sleep 1000"

async def main():
    proc = await procio.create_subprocess_exec("sh", "-c", script, stdout=PIPE, start_new_session=True)
    grandchild = int(await proc.stdout.readline())
    proc.send_signal_to_group(9)
    assert await asyncio.wait_for(proc.wait(), 20) == -9
    await until(lambda: not state(grandchild) or state(grandchild) == "Z", "end of the group")

    run = asyncio.ensure_future(procio.run_process(["sh", "-c", script], timeout=0.5, grace=0))
    try:
        await run
    except procio.TimeoutExpired as error:
        grandchild = int(error.stdout)
    await until(lambda: not state(grandchild) or state(grandchild) == "Z", "end of the session")

run(main())
assert not children(), children()
"""


@ours
@skips.needs_pidfds
@pytest.mark.parametrize("errno", [EPERM, ENOSYS, EINVAL])
def test_a_group_is_signalled_where_signals_by_pidfd_are_refused(errno: int, loop_name: str) -> None:
    refusing([("pidfd_send_signal", 0, errno)], WHOLE_SESSION, loop_name)


REFUSED_SIGNAL = """
import warnings

async def main():
    proc = await procio.create_subprocess_exec("sleep", "1000")
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert await asyncio.wait_for(proc.stop(grace=0.01), 20) == -9
    assert [warning.category for warning in given] == [RuntimeWarning]

run(main())
"""


@ours
def test_a_process_that_may_not_be_asked_is_killed_after_the_grace(loop_name: str) -> None:
    """As a security module may have it: the grace begins all the same."""
    numbers = NUMBERS[platform.machine()]
    rules = json.dumps([(numbers[name], 0, EPERM, signal.SIGTERM, 1) for name in ("kill", "pidfd_send_signal")])
    assert script_result(FILTER + REFUSED_SIGNAL, rules, loop=loop_name) is None


REFUSED_LOOK = """
async def main():
    for method in ("terminate", "kill"):
        proc = await procio.create_subprocess_exec("sh", "-c", "read line; exit 7", stdin=PIPE)
        proc.stdin.close()
        until_sync(lambda: state(proc.pid) == "Z", "end of the child")
        getattr(proc, method)()
        assert await proc.wait() == 7

run(main())
"""


@ours
@pytest.mark.parametrize("pidfds", ["0", "1"])
def test_a_signal_after_the_end_loses_no_status_where_waitid_is_refused(pidfds: str, loop_name: str) -> None:
    """To look at a child by its number is to reap it then."""
    refused = [("waitid", 0, EPERM), ("pidfd_send_signal", 0, ENOSYS)]
    refusing(refused, REFUSED_LOOK, loop_name, PROCIO_PIDFD=pidfds)


TRACED = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)

def trace_me():
    if libc.ptrace(0, 0, 0, 0):
        os._exit(99)

async def main():
    proc = await procio.create_subprocess_exec("sleep", "1000", preexec_fn=trace_me)
    await until(lambda: state(proc.pid) == "t" or proc.returncode == 99, "stop at the exec")
    if proc.returncode == 99:
        return
    waiting = asyncio.ensure_future(proc.wait())
    await turns(20)
    assert proc.returncode is None and not waiting.done()
    proc.kill()
    assert await asyncio.wait_for(waiting, 20) == -9

run(main())
"""


@ours
@pytest.mark.parametrize("pidfds", ["0", "1"])
def test_a_child_that_stands_still_for_its_tracer_has_not_ended(pidfds: str, loop_name: str) -> None:
    """The program itself is the tracer: waitid(2) reports the stop to it."""
    assert script_result(TRACED, loop=loop_name, env={"PROCIO_PIDFD": pidfds}) is None


AS_DATA = """
        import resource
        options = dict(rlimits={resource.RLIMIT_NOFILE: (50, 50)}, nice=19, cpu_affinity=os.sched_getaffinity(0),
                       no_new_privs=True, kill_on_parent_exit=True, cwd=os.open("/", os.O_RDONLY))
"""


@ours
def test_options_as_data_share_the_memory(loop_name: str) -> None:
    """A child of that kind is out of resources here, so none of another kind was tried."""
    code = EXHAUSTED.replace("        try:\n", AS_DATA.lstrip("\n") + "        try:\n", 1)
    code = code.replace('"x")', '"x", **options)')
    refusing([NO_CLONE3, ("clone", CLONE_VM, EAGAIN)], code, loop_name, **FIRST_WAY)


@ours
@needs_clone3
def test_error_of_clone3_that_is_no_refusal(loop_name: str) -> None:
    """It is the caller's to know of, whatever clone would say."""
    refusing([("clone3", 0, EAGAIN)], EXHAUSTED, loop_name, **FIRST_WAY)


NOT_WRITTEN = """
async def main():
    for _ in range(2):
        proc = await procio.create_subprocess_exec("sh", "-c", "echo out; cat", stdin=-1, stdout=-1)
        try:
            assert await proc.communicate(b"i" * int(args[3])) == (b"out\\n", None)
        except OSError as error:
            assert error.errno == int(args[1]), error
            # Told once: the next call returns what was collected.
            assert await proc.communicate() == (b"out\\n", None)
            assert not ignored
        else:
            assert ignored
        assert proc.returncode == 0
ignored = args[2] == "ignored"
run(main())
"""


@ours
@pytest.mark.parametrize("errno", [EPERM, EIO, ENOMEM, EPIPE, ECONNRESET])
def test_input_that_cannot_be_written(errno: int, loop_name: str) -> None:
    """communicate() ignores only that the child does not read its input."""
    numbers, length = NUMBERS[platform.machine()], 12345
    rules = json.dumps([(numbers["write"], 0, errno, length), (numbers["writev"], 0, errno)])
    expected = "ignored" if errno in (EPIPE, ECONNRESET) else "raised"
    result = script_result(FILTER + NOT_WRITTEN, rules, str(errno), expected, length, loop=loop_name)
    assert result is None
