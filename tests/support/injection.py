"""Makes one system call of procio's fail in another interpreter, as a sandbox or a lack of resources would.

The interpreter installs a seccomp filter that asks us about each call of a few kinds (SECCOMP_RET_USER_NOTIF,
Linux 5.0; going on is 5.5). Those that procio makes are told from the others by their address: most come out of its
library, and those that it makes through the C library are such as the interpreter itself does not make. Which of
them fails, and how, is a `Plan`; there is one for each attempt, so that one interpreter serves hundreds.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import LOOPS, kernel_at_least, script_source

# Columns: x86-64, AArch64.
_NUMBERS = {
    "read": (0, 63),
    "write": (1, 64),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "writev": (20, 66),
    "clone": (56, 220),
    "execve": (59, 221),
    "kill": (62, 129),
    "fcntl": (72, 25),
    "getpriority": (140, 141),
    "epoll_ctl": (233, 21),
    "waitid": (247, 95),
    "epoll_pwait": (281, 22),
    "timerfd_create": (283, 85),
    "timerfd_settime": (286, 86),
    "eventfd2": (290, 19),
    "epoll_create1": (291, 20),
    "dup3": (292, 24),
    "pipe2": (293, 59),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "close_range": (436, 436),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
_SECCOMP = {"x86_64": 317, "aarch64": 277}
CALLS = {} if _COLUMN is None else {name: numbers[_COLUMN] for name, numbers in _NUMBERS.items()}
_NAMES = {number: name for name, number in CALLS.items()}

# What procio makes through the C library, from which the interpreter makes no such call in an attempt.
_THROUGH_LIBC = {"waitid", "clone", "clone3", "pidfd_send_signal"}
_STACK = 128 * 1024  # the mapping of a child's stack with its guard

# What each may give: the manual's list without what the arguments decide, and what sandboxes answer. EAGAIN of an
# edge-triggered descriptor would promise an event that never comes, and ECHILD a child that is not there.
_REFUSED = (errno.EPERM, errno.ENOSYS)
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
ERRORS: dict[str, tuple[int, ...]] = {
    "read": (errno.EINTR, errno.EIO, errno.ENOMEM, errno.EPERM),
    "write": (errno.ENOMEM, errno.EPERM),  # the child's report; the parent writes to eventfds only, which takes nothing
    "mmap": (errno.ENOMEM, errno.EPERM),
    "mprotect": (errno.ENOMEM, errno.EACCES, errno.EPERM),
    "writev": (errno.EINTR, errno.EIO, errno.ENOMEM, errno.EPERM),
    "clone": (errno.EAGAIN, errno.ENOMEM, *_REFUSED),
    "clone3": (errno.EAGAIN, errno.ENOMEM, *_REFUSED),
    "execve": (errno.EACCES, errno.E2BIG, errno.ENOMEM, errno.EPERM),
    "kill": (errno.EPERM,),
    "fcntl": (errno.EPERM, errno.EMFILE),
    "epoll_ctl": (errno.ENOMEM, errno.ENOSPC, *_REFUSED),
    "waitid": (errno.EINTR, errno.EINVAL, *_REFUSED),
    "epoll_pwait": (errno.EINTR, *_REFUSED),
    "timerfd_create": (*_NO_DESCRIPTOR, *_REFUSED),
    "timerfd_settime": _REFUSED,
    "eventfd2": (*_NO_DESCRIPTOR, *_REFUSED),
    "epoll_create1": (*_NO_DESCRIPTOR, *_REFUSED),
    "dup3": (errno.EBUSY, errno.EMFILE, errno.EPERM),
    "pipe2": (*_NO_DESCRIPTOR, *_REFUSED),
    "pidfd_send_signal": (errno.EINVAL, *_REFUSED),
    "pidfd_open": (*_NO_DESCRIPTOR, *_REFUSED),
    "close_range": (errno.EINVAL, *_REFUSED),
}


# What pthread_create makes of an error of clone.
_OTHERWISE = {errno.ENOMEM: (errno.EAGAIN,)}


@dataclass(frozen=True)
class Call:
    """A call as it is counted: its name, and whether the child makes it before its exec."""

    name: str
    in_child: bool = False

    def __str__(self) -> str:
        return f"child's {self.name}" if self.in_child else self.name


@dataclass
class Plan:
    """Which call fails, and how. Without a call all of them go on, and are counted."""

    call: Call | None = None
    errno: int = 0
    number: int | None = None  # its how-manieth occurrence; None is each
    interrupts: bool = False  # it is the call `number` of all, which goes on, and meanwhile comes a SIGINT
    seen: Counter[Call] = field(default_factory=Counter)
    failed: int = 0

    def decide(self, call: Call) -> int:
        """The errno with which this call is to fail; 0 lets it go on."""
        number = self.seen[call]
        self.seen[call] += 1
        if self.interrupts:
            if not call.in_child and self.number == self.made():
                self.failed += 1
                return -1
            return 0
        if call != self.call or (self.number is not None and number != self.number):
            return 0
        self.failed += 1
        return self.errno

    def made(self) -> int:
        """How many calls the interpreter has made."""
        return sum(count for call, count in self.seen.items() if not call.in_child)


_TARGET = """
import ctypes, socket, struct, warnings

def install(numbers, seccomp):
    load, equal, give = 0x20, 0x15, 0x06
    program = struct.pack("HBBI", load, 0, 0, 0)
    for number in numbers:
        program += struct.pack("HBBI", equal, 0, 1, number) + struct.pack("HBBI", give, 0, 0, 0x7FC00000)
    program += struct.pack("HBBI", give, 0, 0, 0x7FFF0000)

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program, len(program))
    loaded = Program(len(program) // 8, ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    # A signal does not end the call that we are asked about (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19).
    listener = libc.syscall(seccomp, 1, 8 | 32, ctypes.byref(loaded))
    if listener < 0:
        listener = libc.syscall(seccomp, 1, 8, ctypes.byref(loaded))
    assert listener >= 0, ctypes.get_errno()
    return listener

def injecting(on):
    os.getpriority(os.PRIO_PGRP if on else os.PRIO_PROCESS, 0)

DATA = bytes(range(256)) * 1024

async def communicate():
    proc = await procio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
    out, _ = await proc.communicate(DATA)
    assert (out == DATA, proc.returncode, await proc.wait()) == (True, 0, 0), (len(out), proc.returncode)

async def hand_over():
    proc = await procio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(DATA)
    first = await proc.stdout.readexactly(1)
    await turns(5)  # something is read ahead
    try:
        detached = proc._detach()
    except OSError:
        # Nothing has changed: what was read, what is queued, the child, an error that no operation has told.
        out, _ = await proc.communicate()
        assert (first + out == DATA, proc.returncode) == (True, 0)
        raise
    del proc
    proc = await detached
    out, _ = await proc.communicate()
    assert (first + out == DATA, proc.returncode) == (True, 0)

async def end():
    proc = await procio.create_subprocess_exec("/bin/sleep", "1000")
    proc.kill()
    assert await proc.wait() == -9

async def missing():
    try:
        await procio.create_subprocess_exec("/no/such/program")
    except FileNotFoundError:
        # Where the start says so at once: before 3.12 wait_for forgets a cancellation that comes when all is done.
        return await asyncio.sleep(0)
    raise AssertionError("it was found")

async def attempt(scenario, problems):
    injecting(True)
    try:
        await asyncio.wait_for(scenario(), 10)
        said = 0
    except TimeoutError:
        problems.append("hang")
        said = None
    except OSError as error:
        said = error.errno
    except MemoryError:
        said = 12
    finally:
        injecting(False)
    for _ in range(2):
        assert await asyncio.wait_for(output("/bin/echo", "x"), 10) == b"x\\n"
    return said

def left(before):
    return [f"{kind} {name}" for (kind, table), old in zip(look().items(), before.values())
            for name in table.items() - old.items()]

def left_in_the_end(before):
    gc.collect()
    end = time.monotonic() + 5
    while (rest := left(before)) and time.monotonic() < end:
        time.sleep(0.002)
        gc.collect()
    return rest

def look():
    return {"descriptor": open_fds(), "child": children(), "thread": threads()}

def judge(name):
    problems, said = [], None
    before = look()
    loop = new_loop()
    loop.set_exception_handler(lambda _, context: problems.append("handler: " + repr(context)[:300]))
    try:
        said = loop.run_until_complete(attempt(globals()[name], problems))
    except BaseException as error:
        problems.append(repr(error))
    injecting(True)
    loop.close()
    injecting(False)
    loop = None
    return {"said": said, "problems": problems + left_in_the_end(before)}

async def within(seconds, coroutine):
    # Not wait_for: what is interrupted has to come out of the run by itself.
    task = asyncio.ensure_future(coroutine)
    handle = asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        return await task
    finally:
        handle.cancel()

def calmly(loop, coroutine):
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    except RuntimeError:
        # uvloop stops by itself when it has been interrupted, and may do so when the run is over already.
        return loop.run_until_complete(task)

def interrupted(name):
    problems, said, ignored = [], None, []
    before = look()
    loop = new_loop()
    loop.set_exception_handler(lambda _, context: problems.append("handler: " + repr(context)[:300]))
    # The interpreter ignores what a finalizer raises, also this.
    sys.unraisablehook = lambda what: ignored.append(what.exc_type)
    try:
        injecting(True)
        try:
            loop.run_until_complete(within(10, globals()[name]()))
        finally:
            injecting(False)
        said = "interrupt" if KeyboardInterrupt in ignored else "nothing"
    except KeyboardInterrupt:
        said = "interrupt"
    except asyncio.CancelledError:
        problems.append("hang")
    except BaseException as error:
        problems.append(repr(error))
    for task in asyncio.all_tasks(loop):
        task.cancel()
        try:
            calmly(loop, asyncio.wait([task], timeout=10))
        except KeyboardInterrupt:
            pass
        if not task.done():
            problems.append(f"does not end: {task}")
        elif not task.cancelled():
            task.exception()
    for _ in range(2):
        assert calmly(loop, asyncio.wait_for(output("/bin/echo", "x"), 10)) == b"x\\n"
    task = None
    sys.unraisablehook = sys.__unraisablehook__
    loop.close()
    loop = None
    return {"said": said, "problems": problems + left_in_the_end(before)}

with socket.socket(fileno=int(args[0])) as channel:
    new_loop().close()
    if os.environ.get("PROCIO_TEST_KQUEUE") == "1":  # keeps an epoll and an eventfd for the whole process
        run(output("/bin/true"))
    listener = install(json.loads(args[1]), int(args[2]))
    socket.send_fds(channel, [b"x"], [listener])
    os.close(listener)
for line in sys.stdin:
    how, name = line.split()
    print(json.dumps(globals()[how](name)), flush=True)
"""

SCENARIOS = ("communicate", "hand_over", "end", "missing")


def available() -> bool:
    """Whether this system can do it."""
    return bool(CALLS) and kernel_at_least(5, 5) and not _user_notifications_refused()


def _user_notifications_refused() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    action = ctypes.c_uint32(0x7FC00000)
    return libc.syscall(_SECCOMP[platform.machine()], 2, 0, ctypes.byref(action)) != 0


class Injector:
    """An interpreter with procio in it, whose calls fail as a plan says."""

    def __init__(self, loop: str = LOOPS[0], env: dict[str, str] | None = None) -> None:
        """Start it."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            numbers = json.dumps(list(CALLS.values()))
            self._process = subprocess.Popen(
                [sys.executable, "-c", script_source(_TARGET, loop), *map(str, (theirs.fileno(), numbers)),
                 str(_SECCOMP[platform.machine()])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **(env or {})},
            )  # fmt: skip
            theirs.close()
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        assert fds, "the filter was not installed"
        self._listener = fds[0]
        self._library = self._ranges("_core")
        self._executable = os.readlink(f"/proc/{self._process.pid}/exe")
        self._plan = Plan()
        self._active = False
        self._stop = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Injector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()  # not read to its end, which a child that was lost would hold up
        self._process.wait()
        os.close(self._stop[1])
        self._thread.join()
        os.close(self._stop[0])
        os.close(self._listener)

    def attempt(self, scenario: str, plan: Plan, seconds: float = 60.0) -> dict[str, Any]:
        """Run a scenario in which calls fail as planned; what came of it."""
        self._plan = plan
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        how = "interrupted" if plan.interrupts else "judge"
        self._process.stdin.write(f"{how} {scenario}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            how = f"it ended: {self._process.wait()}" if ready else "it hangs"
            return {"said": None, "problems": [how]}
        result: dict[str, Any] = json.loads(line)
        return result

    def _ranges(self, name: str) -> list[range]:
        lines = Path(f"/proc/{self._process.pid}/maps").read_text().splitlines()
        fields = [line.split() for line in lines if name in line and " r-xp " in line]
        return [range(*(int(end, 16) for end in area.split("-"))) for area, *_ in fields]

    def _serve(self) -> None:
        receive, send = 0xC0502100, 0xC0182101
        poll = select.poll()
        for fd in (self._listener, self._stop[0]):
            poll.register(fd, select.POLLIN)
        while True:
            events = dict(poll.poll())
            if self._stop[0] in events:
                return
            if not events[self._listener] & select.POLLIN:
                # No process has the filter any more; until Linux 6.11 to receive would wait for ever.
                poll.unregister(self._listener)
                continue
            notice = bytearray(80)
            try:
                fcntl.ioctl(self._listener, receive, notice)
            except OSError:  # it was killed meanwhile
                continue
            ident, pid, _, number, _, address = struct.unpack_from("QIIiIQ", notice)
            code = self._decide(pid, number, address, struct.unpack_from("6Q", notice, 32))
            if code < 0:
                self._process.send_signal(signal.SIGINT)
                code = 0
            answer = bytearray(struct.pack("QqiI", ident, 0, -code, 0 if code else 1))
            try:
                fcntl.ioctl(self._listener, send, answer)
            except OSError:
                continue

    def _decide(self, pid: int, number: int, address: int, arguments: tuple[int, ...]) -> int:
        name = _NAMES[number]
        if name == "getpriority":
            self._active = arguments[0] == 1
            return 0
        if not self._active or not self._is_ours(name, address, arguments):
            return 0
        if self._plan.interrupts and pid != self._process.pid:
            return 0  # a signal is for the main thread, so only its own calls are moments that can be repeated
        in_child = not os.path.exists(f"/proc/{self._process.pid}/task/{pid}")
        if in_child and self._has_executed(pid):
            return 0
        return self._plan.decide(Call(name, in_child))

    def _is_ours(self, name: str, address: int, arguments: tuple[int, ...]) -> bool:
        # The debug build of std asks with F_GETFD whether a descriptor is open, and aborts if not.
        if name == "fcntl" and arguments[1] == fcntl.F_GETFD:
            return False
        if name in ("mmap", "mprotect"):
            return arguments[1] in (_STACK, _STACK // 2)
        return name in _THROUGH_LIBC or any(address in area for area in self._library)

    def _has_executed(self, pid: int) -> bool:
        try:
            return os.readlink(f"/proc/{pid}/exe") != self._executable
        except OSError:
            return True


# A pipe is all by which a child with memory of its own can report.
_NO_SECOND_REPORT = Call("write", in_child=True)


@dataclass(frozen=True)
class Failure:
    """An attempt after which something was not as it should be."""

    scenario: str
    plan: Plan
    result: dict[str, Any]

    def __str__(self) -> str:
        which = "each" if self.plan.number is None else f"number {self.plan.number}"
        return f"{self.scenario}: {self.plan.call}, {which}, {errno.errorcode[self.plan.errno]}: {self.result}"


def plans(seen: Counter[Call], whole: bool) -> Iterator[Plan]:
    """Each of these calls fails once, and all of its kind, with each error that it may give; or few of them."""
    for call, count in seen.items():
        errors = ERRORS[call.name]
        if call.name == "write" and not call.in_child:
            continue
        for code in errors if whole else {errors[0], errors[-1]}:
            yield from (Plan(call, code, number) for number in range(count if whole else 1))
            if code != errno.EINTR:
                yield Plan(call, code)


def _is_out_of_reach(plan: Plan, env: dict[str, str]) -> bool:
    """Whether nothing of procio's could make up for such a failure."""
    if env.get("PROCIO_TEST_KQUEUE") == "1" and plan.call.name == "waitid" and plan.number is None:
        return True  # libkqueue looks by waitid whether a child has ended
    return plan.call == _NO_SECOND_REPORT and env.get("PROCIO_SPAWN") == "fork"


def failures(loop: str, env: dict[str, str], *, whole: bool) -> list[Failure]:
    """Run all scenarios with all plans; what went wrong. An error is right if it is the one that was injected."""
    found = []
    injector = Injector(loop, env)
    try:
        for scenario in SCENARIOS:
            counted = Plan()
            result = injector.attempt(scenario, counted)
            assert result == {"said": 0, "problems": []}, result
            for plan in plans(counted.seen, whole):
                if _is_out_of_reach(plan, {**os.environ, **env}):
                    continue
                result = injector.attempt(scenario, plan)
                if result["problems"] or result["said"] not in (0, plan.errno, *_OTHERWISE.get(plan.errno, ())):
                    found.append(Failure(scenario, plan, result))
                if result["said"] is None:
                    injector.close()
                    injector = Injector(loop, env)
    finally:
        injector.close()
    return found


def lost_interrupts(loop: str, *, step: int = 1) -> list[str]:
    """Send SIGINT at each call of each scenario, or at some; what did not raise KeyboardInterrupt, or did more."""
    found = []
    injector = Injector(loop)
    try:
        for scenario in SCENARIOS:
            counted = Plan(interrupts=True)
            result = injector.attempt(scenario, counted)
            assert result == {"said": "nothing", "problems": []}, result
            for number in range(1, counted.made() + 1, step):
                plan = Plan(interrupts=True, number=number)
                result = injector.attempt(scenario, plan)
                if result["problems"] or (plan.failed and result["said"] != "interrupt"):
                    calls = ", ".join(map(str, plan.seen))
                    found.append(f"{scenario}, call {number}: {result} after {calls}")
                if result["said"] is None:
                    injector.close()
                    injector = Injector(loop)
    finally:
        injector.close()
    return found
