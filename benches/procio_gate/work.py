"""What is counted: a few operations, so arranged that their course does not depend on time.

What a child writes is in the pipe, and the child has ended, before it is read. What is written fits into the pipe. So a
read finds what it asks for, and a write does not wait. The program says on standard output which sections
it has gone through.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from subprocess import DEVNULL, PIPE
from time import sleep
from typing import Any

import procio

CHILDREN = 6
PAUSE = 0.05
LINES = 3000
PIECE = b"x" * 1024

# A path that strace shows; a function of libc's at which callgrind begins a new part.
MARKS: dict[str, Callable[[], object]] = {"calls": lambda: os.access("/procio-mark", 0), "instructions": os.getloadavg}


def forgo_other_identities() -> None:
    """As root, be one who cannot become another user: what a start has wait for that depends on the time.

    CAP_SETGID and CAP_SETUID go out of the sets of this thread, which makes the children: capset(2).
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        sets[0] &= ~(1 << 6 | 1 << 7)
        sets[1] &= ~(1 << 6 | 1 << 7)
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "cannot give up capabilities")


sections: list[tuple[str, int]] = []
mark = MARKS[sys.argv[1]]


@contextmanager
def section(name: str, operations: int) -> Iterator[None]:
    """Have what is inside counted: the instrument knows the mark before and after it."""
    sections.append((name, operations))
    mark()
    try:
        yield
    finally:
        mark()


class Paced:
    """Await a coroutine in two sections: until it waits, and from when it has nothing to wait for any more.

    Whether a child is faster than the loop is thereby the same each time.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], names: tuple[str, str]) -> None:
        self.coroutine = coroutine
        self.names = names

    def __await__(self) -> Generator[Any, Any, Any]:
        begin, rest = self.names
        try:
            with section(begin, 1):
                waits = self.coroutine.send(None)
            sleep(PAUSE)
            with section(rest, 1):
                while True:
                    waits = self.coroutine.send((yield waits))
        except StopIteration as done:
            return done.value


async def start(*command: str, stdin: int = DEVNULL, stdout: int = PIPE) -> Any:
    """Start a child."""
    return await procio.create_subprocess_exec(*command, stdin=stdin, stdout=stdout)


async def ended(*command: str) -> Any:
    """Start a child, and wait until all that it writes is in the pipe."""
    child = await start(*command)
    assert await child.wait() == 0
    return child


async def start_and_end() -> None:
    """Start a child that lives until it is told to end; then tell it."""
    for _ in range(CHILDREN):
        child: Any = await Paced(start("cat", stdin=PIPE), ("start", "start, when executed"))
        with section("close stdin", 1):
            child.stdin.close()
        assert await Paced(child.wait(), ("wait", "wait, when ended")) == 0


async def start_plain() -> None:
    """Start a child without pipes; kill it."""
    for _ in range(CHILDREN):
        starting = start("sleep", "1000", stdin=DEVNULL, stdout=DEVNULL)
        child: Any = await Paced(starting, ("start without pipes", "start without pipes, when executed"))
        with section("kill", 1):
            child.kill()
        assert await Paced(child.wait(), ("wait after kill", "wait after kill, when ended")) == -9


async def communicate() -> None:
    """Collect what is there."""
    for _ in range(CHILDREN):
        child = await ended("seq", "1000")
        with section("communicate", 1):
            out, _ = await child.communicate()
        assert len(out) == 3893


async def read() -> None:
    """Read chunks of what is there."""
    child = await ended("head", "-c", str(60 * 1024), "/dev/zero")
    with section("read", 60):
        for _ in range(60):
            assert len(await child.stdout.read(1024)) == 1024
    assert await child.stdout.read() == b""


async def exchange() -> None:
    """Send a message, and fetch the answer, which is in the pipe by then."""
    child = await start("cat", stdin=PIPE)
    for _ in range(CHILDREN):
        with section("send", 1):
            child.stdin.write(PIECE)
            await child.stdin.drain()
        sleep(PAUSE)
        with section("answer", 1):
            assert len(await child.stdout.readexactly(len(PIECE))) == len(PIECE)
    child.kill()
    assert await child.wait() == -9


async def readline() -> None:
    """Read lines by the method."""
    child = await ended("seq", str(LINES))
    with section("readline", LINES):
        for _ in range(LINES):
            await child.stdout.readline()
    assert await child.stdout.read() == b""


async def lines() -> None:
    """Read lines by the loop."""
    child = await ended("seq", str(LINES))
    count = 0
    with section("async for line", LINES):
        async for _ in child.stdout:
            count += 1
    assert count == LINES


async def write() -> None:
    """Write into an empty pipe."""
    child = await start("sleep", "1000", stdin=PIPE, stdout=DEVNULL)
    with section("write and drain", 48):
        for _ in range(48):
            child.stdin.write(PIECE)
            await child.stdin.drain()
    child.kill()
    assert await child.wait() == -9


WORK: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
    start_and_end,
    start_plain,
    communicate,
    read,
    exchange,
    readline,
    lines,
    write,
)


async def main() -> None:
    """Everything, several times."""
    # As a program does that goes on beside its children: the loop keeps its descriptor all the time.
    companion = await start("sleep", "1000", stdout=DEVNULL)
    for _ in range(int(sys.argv[2])):
        for work in WORK:
            await work()
    companion.kill()
    await companion.wait()


if __name__ == "__main__":
    subprocess.run(["true"], check=True)  # imports what is imported late
    forgo_other_identities()
    gc.disable()
    with asyncio.Runner() as runner:
        runner.run(main())
    print(json.dumps(sections))
