"""What the tests of `stop`, `open_process` and `run_process` share."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import procio
from support import PYTHON, dead, until

# A leader and a member of its group; both print their pids. What each does with SIGTERM is its first
# two arguments: "obey" or "ignore". The third: whether the leader ends by itself, once there is a byte or the end
# on its standard input, and the member stays.
FAMILY = """
import os, signal, sys, time
leader, member, ends = sys.argv[1:4]
def deaf(how):
    if how == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    deaf(member)
    os.write(write, b"x")
    time.sleep(1000)
deaf(leader)
os.read(read, 1)
os.write(1, b"%d %d\\n" % (os.getpid(), pid))
if ends == "stay":
    time.sleep(1000)
os.read(0, 1)
"""


def family(leader: str = "obey", member: str = "obey", ends: str = "stay") -> tuple[str, ...]:
    """The command of a process with a member in its group."""
    return (*PYTHON, "-c", FAMILY, leader, member, ends)


async def pids(process: procio.Process) -> tuple[int, int]:
    """The leader's and the member's, once both are ready."""
    leader, member = map(int, (await process.stdout.readline()).split())
    assert leader == process.pid
    return leader, member


async def all_dead(*processes: int) -> None:
    """Wait until none of them runs: a killed one that is not our child takes a moment to end."""
    for pid in processes:
        await until(lambda pid=pid: dead(pid), f"end of {pid}")


class CancelledAt:
    """Something to await: a coroutine that is thrown CancelledError at its `step`-th await, from 1 on.

    With `times`, at that many awaits in a row. The exception comes while it waits, or with `late` when
    what it waited for has come, and the loop has not resumed it yet. `steps` is how often it has waited.
    """

    def __init__(self, awaitable: Any, step: int, times: int = 1, *, late: bool = False) -> None:
        self.steps, self.late = 0, late
        self.coroutine, self.cancelled = awaitable, range(step, step + times)

    def __await__(self) -> Generator[Any, Any, Any]:
        throw = False
        while True:
            try:
                waited_for = self.coroutine.throw(asyncio.CancelledError()) if throw else self.coroutine.send(None)
            except StopIteration as stop:
                return stop.value
            self.steps += 1
            throw = self.steps in self.cancelled
            if self.late or not throw:
                yield waited_for
