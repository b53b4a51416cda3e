"""Plays a plan on an implementation and notes what can be seen after each step."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import socket
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from plans import Step
from support import HELPERS, PYTHON, dead, resume, state, suspend, turns, until

DEADLINE = 10.0
# Turns of the loop in which whatever is in a pipe reaches the task that waits for it.
SETTLE = 16

Create = Callable[..., Awaitable[Any]]


class Divergence(AssertionError):
    """What was seen is not what was expected."""


def told(error: BaseException) -> tuple[Any, ...]:
    """An exception as something that can be compared."""
    if isinstance(error, asyncio.CancelledError):
        return ("cancelled",)
    if "called while another coroutine" in str(error):
        return (
            "raised",
            type(error).__name__,
            "",
            {},
        )  # asyncio names the function within that waits, procio the one called
    more = {name: getattr(error, name) for name in ("partial", "expected", "consumed") if hasattr(error, name)}
    if str(error).startswith("Separator is "):
        # Whether the separator is found, too, depends on how much happens to have been read ahead: asyncio goes on
        # reading when half of the buffer has been taken, procio at once.
        return ("raised", type(error).__name__, "Separator is too far away", {})
    return ("raised", type(error).__name__, str(error), more)


def read_ahead(stream: Any) -> int:
    """How many bytes a reader holds, as its text says."""
    found = re.search(r" (\d+) bytes", repr(stream))
    return int(found[1]) if found else 0


class Operation:
    """A task that a step has started."""

    def __init__(self, step: int, child: Child, fd: int | None, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.step, self.child, self.fd = step, child, fd
        self.task = asyncio.ensure_future(coroutine)

    def outcome(self) -> tuple[Any, ...]:
        """What has come of it."""
        if not self.task.done():
            return ("pending",)
        if self.task.cancelled():
            return ("cancelled",)
        if error := self.task.exception():
            return told(error)
        return ("returned", self.task.result())


class Child:
    """A process with the socket by which it is told what to do."""

    def __init__(self) -> None:
        self.process: Any = None
        self.pid = 0
        self.holder = 0
        self.sent = 0
        # Streams of which only the bytes in all can be compared: a cancellation raced with the data.
        self.raced: set[int] = set()
        self.received = {1: bytearray(), 2: bytearray()}
        self.control, self.their_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)

    def stream(self, fd: int) -> Any:
        """The stream of that descriptor."""
        return (self.process.stdin, self.process.stdout, self.process.stderr)[fd]

    def input(self, size: int) -> bytes:
        """The next bytes to write; no two places look the same."""
        start, self.sent = self.sent, self.sent + size
        block = b"".join(b"%07x " % number for number in range(start // 8, start // 8 + 4096))
        return (block * (size // len(block) + 1))[:size]

    async def ask(self, *words: object) -> str:
        """Have it do something; its answer, or nothing if it ended over it."""
        self.control.send(" ".join(map(str, words)).encode())
        async with asyncio.timeout(DEADLINE):
            return await self.answer()

    async def answer(self) -> str:
        """What it says next."""
        with contextlib.suppress(ConnectionResetError):
            return (await asyncio.get_running_loop().sock_recv(self.control, 4096)).decode()
        return ""

    def ask_at_once(self, *words: object) -> None:
        """The same without a turn of the loop."""
        self.control.send(" ".join(map(str, words)).encode())
        self.control.settimeout(DEADLINE)
        self.control.recv(4096)
        self.control.setblocking(False)

    def seen(self) -> dict[str, Any]:
        """What its owner can see of it."""
        found: dict[str, Any] = {"returncode": self.process.returncode}
        if (stdin := self.process.stdin) is not None:
            found["stdin"] = (stdin.is_closing(), stdin.can_write_eof())
        for fd, stream in ((1, self.process.stdout), (2, self.process.stderr)):
            if stream is not None and fd not in self.raced:
                found[f"stream {fd}"] = (stream.at_eof(), stream.exception())
        return found


class Player:
    """One run of one plan. `record` is that of the run to compare with, or None for the first."""

    def __init__(self, create: Create, record: Record | None = None) -> None:
        self.create = create
        self.expected = record
        self.record = Record()
        self.children: list[Child] = []
        self.operations: list[Operation] = []
        self.reported: Counter[str] = Counter()
        self.step = 0

    # --- the frame -------------------------------------------------------------------------------

    async def play(self, plan: list[Step]) -> None:
        """Take the steps one after the other and note what is seen after each."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self.report(context))
        for self.step, step in enumerate(plan):
            self.record.answers.append(None)
            await getattr(self, f"do_{step.name}")(
                *(() if step.name == "close_loop" else (step.target,)), *step.arguments
            )
            if step.name == "close_loop":
                return
            await self.settle()

    def finish(self) -> None:
        """What is seen when the loop has been closed."""
        self.operations.clear()
        for child in self.children:
            pid = child.pid
            child.process = None
            gc.collect()
            self.wait_until_gone(pid)
        self.compare("reported", self.reported)

    def clean_up(self) -> None:
        """After a failure: end what is left."""
        for child in self.children:
            child.control.close()
            child.their_end.close()
            for pid in filter(None, (child.pid, child.holder)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)

    def wait_until_gone(self, pid: int) -> None:
        """A child that nothing refers to any more has no process and no zombie."""
        end = time.monotonic() + DEADLINE
        while state(pid) is not None:
            if time.monotonic() > end:
                raise Divergence(f"child {pid} is still there: {state(pid)}")
            gc.collect()
            time.sleep(0.001)

    def report(self, context: dict[str, Any]) -> None:
        """What the loop's exception handler is told."""
        self.reported[f"{context.get('message')}: {context.get('exception')!r}"] += 1

    def decide(self, choice: Callable[[], Any]) -> Any:
        """A choice that depends on what has happened: made in the first run, the same in the others."""
        if self.expected is None:
            self.record.choices[self.step] = choice()
            return self.record.choices[self.step]
        return self.expected.choices[self.step]

    def note(self, answer: Any) -> None:
        """What a step itself gave."""
        self.record.answers[self.step] = answer

    def seen(self) -> dict[str, Any]:
        """What can be seen now."""
        found: dict[str, Any] = {"answer": self.record.answers[self.step]}
        for number, child in enumerate(self.children):
            if child.process is not None:
                found[f"child {number}"] = child.seen()
        for operation in self.operations:
            if operation.fd is None or operation.fd not in operation.child.raced:
                found[f"operation of step {operation.step}"] = operation.outcome()
        return found

    async def settle(self) -> None:
        """Let the loop do what is to be done, and compare."""
        await turns(SETTLE)
        if self.expected is None:
            self.record.seen.append(self.seen())
        else:
            expected = self.expected.seen[self.step]
            end = time.monotonic() + DEADLINE
            while (found := self.seen()) != expected and time.monotonic() < end and not contradicts(found, expected):
                await asyncio.sleep(0.001)
            self.compare(f"after step {self.step}", found, expected)
        for operation in [each for each in self.operations if each.task.done()]:
            if operation.fd not in operation.child.raced:
                self.record.outcomes[operation.step] = operation.outcome()
            self.collect(operation)

    def compare(self, what: str, found: Any, expected: Any = None) -> None:
        """Note it in the first run; in the others it has to be the same."""
        if self.expected is None:
            self.record.others[what] = found
            return
        expected = self.expected.others.get(what) if expected is None else expected
        if found != expected:
            raise Divergence(f"{what}:\n" + "\n".join(differences(found, expected)))

    def collect(self, operation: Operation) -> None:
        """It is over: keep the bytes that it took out of a stream."""
        self.operations.remove(operation)
        kind, *result = operation.outcome()
        if operation.fd in (1, 2):
            data = result[0] if kind == "returned" else result[2].get("partial", b"") if kind == "raised" else b""
            operation.child.received[operation.fd] += data

    def start(self, child: Child, fd: int | None, coroutine: Coroutine[Any, Any, Any]) -> Operation:
        """A task for this step."""
        operation = Operation(self.step, child, fd, coroutine)
        self.operations.append(operation)
        return operation

    def waiting(self, child: Child, *fds: int) -> list[Operation]:
        """What is under way on these streams of a child, or anywhere with it."""
        return [
            operation
            for operation in self.operations
            if operation.child is child and not operation.task.done() and (not fds or operation.fd in fds)
        ]

    # --- starting and ending ---------------------------------------------------------------------

    async def do_start(self, number: int, stdin: str, stdout: str, stderr: str, limit: int | None) -> None:
        options = {
            name: getattr(asyncio.subprocess, what)
            for name, what in zip(("stdin", "stdout", "stderr"), (stdin, stdout, stderr), strict=True)
        }
        if limit is not None:
            options["limit"] = limit
        child = Child()
        self.children.append(child)
        their_end = child.their_end.fileno()
        command = (*PYTHON, str(HELPERS / "puppet.py"), str(their_end))
        child.process = await self.create(*command, pass_fds=(their_end,), **options)
        child.their_end.close()
        child.pid = child.process.pid

    async def ended(self, child: Child) -> None:
        """Wait until the loop knows of the end."""
        await until(lambda: child.process.returncode is not None, "end of the child", DEADLINE)

    async def do_exit(self, number: int, code: int) -> None:
        child = self.children[number]
        self.note(await child.ask("exit", code))
        await self.ended(child)

    async def do_die(self, number: int, signal: int) -> None:
        child = self.children[number]
        self.note(await child.ask("die", signal))
        await self.ended(child)

    async def do_signal(self, number: int, how: str) -> None:
        child = self.children[number]
        try:
            getattr(child.process, how)(*((10,) if how == "send_signal" else ()))
        except ProcessLookupError as error:
            self.note(told(error))
        await self.ended(child)

    async def do_stop(self, number: int) -> None:
        suspend(self.children[number].pid)

    async def do_resume(self, number: int) -> None:
        resume(self.children[number].pid)

    async def do_wait(self, number: int) -> None:
        child = self.children[number]
        self.start(child, None, child.process.wait())

    async def give_up(self, operations: list[Operation]) -> None:
        """Cancel them and see them end."""
        for operation in operations:
            operation.task.cancel()
        await asyncio.wait([operation.task for operation in operations] or [asyncio.ensure_future(asyncio.sleep(0))])

    async def do_drop(self, number: int) -> None:
        child = self.children[number]
        await self.give_up(self.waiting(child))
        self.operations = [operation for operation in self.operations if operation.child is not child]
        self.drop(child)
        await until(lambda: gc.collect() is not None and state(child.pid) is None, "end of a dropped child", DEADLINE)

    def drop(self, child: Child) -> None:
        """Let go of a child."""
        child.process = None

    async def do_close_loop(self) -> None:
        """The coroutine returns, and the runner closes the loop."""

    # --- what the child does ---------------------------------------------------------------------

    async def do_say(self, number: int, fd: int, text: str, count: int) -> None:
        self.note(await self.children[number].ask("say", fd, f"{text}*{count}"))

    async def do_hear(self, number: int, count: int) -> None:
        self.note(await self.children[number].ask("hear", count))

    async def do_shut(self, number: int, fd: int) -> None:
        self.note(await self.children[number].ask("shut", fd))

    async def do_hold(self, number: int, *fds: int) -> None:
        child = self.children[number]
        child.holder = int(await child.ask("hold", *fds))

    async def do_release(self, number: int) -> None:
        child = self.children[number]
        os.kill(child.holder, 9)
        await until(lambda: dead(child.holder), "end of the holder", DEADLINE)
        child.holder = 0

    # --- reading ---------------------------------------------------------------------------------

    def read(self, child: Child, fd: int, kind: str, argument: Any) -> Coroutine[Any, Any, bytes]:
        """One of the ways to read."""
        stream = child.stream(fd)
        if kind == "all":
            return stream.read()
        if kind == "next":
            return self.next_line(stream)
        if kind == "read":
            return self.read_some(stream, argument)
        return getattr(stream, kind)(*(() if argument is None else (argument,)))

    async def read_some(self, stream: Any, size: int) -> bytes:
        """`read(n)` may give more or less than in the first run; then this asks for what that was given at once.

        How far has been read ahead is not the same: asyncio goes on when half of the buffer has been taken,
        procio at once.
        """
        wanted = None
        if self.expected is not None:
            kind, *result = self.expected.outcomes.get(self.step, ("pending",))
            wanted = result[0] if kind == "returned" else None
        if wanted and read_ahead(stream) > len(wanted):
            size = min(size, len(wanted))
        data: bytes = await stream.read(size)
        while data and wanted and len(data) < len(wanted) and wanted.startswith(data):
            data += await stream.read(len(wanted) - len(data))
        return data

    @staticmethod
    async def next_line(stream: Any) -> bytes:
        """A turn of `async for`."""
        async for line in stream:
            return line
        return b""

    def may_read(self, child: Child, fd: int) -> bool:
        """Whether both know what to do: asyncio lets a second reader take what a first one waits with."""
        return not self.waiting(child, fd) or (fd not in child.raced and child.stream(fd)._buffer == b"")

    async def do_read(self, number: int, fd: int, kind: str, argument: Any) -> None:
        child = self.children[number]
        if self.decide(lambda: self.may_read(child, fd)) and (fd not in child.raced or not self.waiting(child, fd)):
            self.start(child, fd, self.read(child, fd, kind, argument))

    async def do_cancelled_read(self, number: int, fd: int, kind: str, argument: Any, text: str, after: int) -> None:
        child = self.children[number]
        allowed = self.decide(lambda: not self.waiting(child, fd))
        # On a stream that was raced for, an operation may still wait in one run and not in the other.
        if not allowed or self.waiting(child, fd):
            if text:
                answer = await child.ask("say", fd, f"{text}*1")
                if not allowed:
                    self.note(answer)
            return
        child.raced.add(fd)
        operation = self.start(child, fd, self.read(child, fd, kind, argument))
        await turns(1)
        if text:
            child.ask_at_once("say", fd, f"{text}*1")
        await turns(after)
        await self.give_up([operation])

    async def do_cancel(self, number: int, which: float) -> None:
        child = self.children[number]
        waiting = self.waiting(child)
        step = self.decide(lambda: waiting[int(which * len(waiting))].step if waiting else None)
        await self.give_up([operation for operation in waiting if operation.step == step])

    # --- writing ---------------------------------------------------------------------------------

    async def do_write(self, number: int, size: int) -> None:
        child = self.children[number]
        try:
            child.process.stdin.write(child.input(size))
        except Exception as error:
            self.note(told(error))

    async def do_drain(self, number: int) -> None:
        child = self.children[number]
        self.start(child, 0, child.process.stdin.drain())

    async def do_close(self, number: int) -> None:
        self.children[number].process.stdin.close()

    async def do_write_eof(self, number: int) -> None:
        try:
            self.children[number].process.stdin.write_eof()
        except Exception as error:
            self.note(told(error))

    async def do_wait_closed(self, number: int) -> None:
        child = self.children[number]
        self.start(child, 0, child.process.stdin.wait_closed())

    # --- the end ---------------------------------------------------------------------------------

    async def end(self, child: Child) -> None:
        """The child reads what there is and ends."""
        if child.process.returncode is None:
            await child.ask("hear", 1 << 40)
            await child.ask("exit", 5)

    async def do_end_by_read(self, number: int, size: int) -> None:
        child = self.children[number]
        if child.process.stdin is not None:
            child.process.stdin.close()
        await self.end(child)
        await self.ended(child)
        await self.read_to_the_end(child)

    async def read_to_the_end(self, child: Child) -> None:
        """All that is left, and what came of the child."""
        await turns(SETTLE)
        for fd in (1, 2):
            if (stream := child.stream(fd)) is not None:
                async with asyncio.timeout(DEADLINE):
                    for operation in self.waiting(child, fd):
                        await asyncio.wait([operation.task])
                    for operation in [each for each in self.operations if each.child is child and each.fd == fd]:
                        self.collect(operation)
                    child.received[fd] += await stream.read()
                child.raced.discard(fd)
        async with asyncio.timeout(DEADLINE):
            self.note((bytes(child.received[1]), bytes(child.received[2]), await child.process.wait()))

    async def do_end_by_communicate(self, number: int, size: int) -> None:
        child = self.children[number]
        await self.give_up(self.waiting(child, 1, 2))
        await self.settle_operations(child)
        await self.communicated(child, self.communicate(child, child.input(size)))

    async def do_end_by_cancelled_communicate(self, number: int, size: int) -> None:
        child = self.children[number]
        await self.give_up(self.waiting(child, 1, 2))
        await self.settle_operations(child)
        task = self.communicate(child, child.input(size))
        await turns(SETTLE)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            for fd, data in enumerate(task.result()):
                child.received[fd + 1] += data or b""
        await self.communicated(child, self.communicate(child, b""))

    async def settle_operations(self, child: Child) -> None:
        """Take the bytes of what has ended meanwhile."""
        for operation in [each for each in self.operations if each.child is child and each.fd in (1, 2)]:
            self.collect(operation)

    def communicate(self, child: Child, data: bytes) -> asyncio.Task[Any]:
        """A task that does it."""
        return asyncio.ensure_future(child.process.communicate(data if child.process.stdin is not None else None))

    async def communicated(self, child: Child, task: asyncio.Task[Any]) -> None:
        """The child plays its part, and all the bytes are there."""
        await turns(SETTLE)
        await self.end(child)
        async with asyncio.timeout(DEADLINE):
            for fd, data in enumerate(await task):
                child.received[fd + 1] += data or b""
        child.raced.clear()
        self.note((bytes(child.received[1]), bytes(child.received[2]), child.process.returncode))

    async def do_end_by_drop(self, number: int, size: int) -> None:
        await self.do_drop(number)


class Record:
    """What was seen in a run."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.choices: dict[int, Any] = {}
        self.outcomes: dict[int, tuple[Any, ...]] = {}
        self.others: dict[str, Any] = {}


def contradicts(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether waiting any longer cannot help: something has come to another result."""
    return any(
        found[key][0] != "pending" and found[key] != expected.get(key) for key in found if key.startswith("operation")
    )


def short(value: Any) -> str:
    """A value as a line."""
    text = repr(value)
    return text if len(text) < 400 else f"{text[:300]}... ({len(text)} characters, sum {zlib.crc32(text.encode())})"


def differences(found: Any, expected: Any) -> list[str]:
    """A line for each entry that differs."""
    if not (isinstance(found, dict) and isinstance(expected, dict)):
        return [f"  found {short(found)}", f"  expected {short(expected)}"]
    return [
        f"  {key}: found {short(found.get(key))}, expected {short(expected.get(key))}"
        for key in dict.fromkeys((*found, *expected))
        if found.get(key) != expected.get(key)
    ]
