"""Other work: busy processes, beside which a case is measured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from . import system
from .model import Case, Target

# Each process ends itself: with the benchmark, after its time, and by the limit of processor time, which
# the kernel watches, whatever becomes of the other two.
BUSY = """
import os, sys, time
parent, seconds = int(sys.argv[1]), float(sys.argv[2])
try:
    import resource
except ImportError:
    pass
else:
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
sys.stdout.write("busy\\n")
sys.stdout.flush()
end = time.monotonic() + seconds
while time.monotonic() < end and os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy(each: int, seconds: float) -> Iterator[None]:
    """Keep every processor busy with ``each`` processes inside the block, which may take ``seconds``."""
    count = each * system.cpus()
    command = [sys.executable, "-I", "-S", "-c", BUSY, str(os.getpid()), str(seconds)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()


def ends_as_signalled(number: int, _frame: object) -> None:
    """End by an exception, so that what was started is ended too."""
    raise SystemExit(128 + number)


def end_with_what_was_started() -> None:
    """Let SIGTERM and SIGHUP end this program by way of its ``finally`` blocks."""
    for name in ("SIGTERM", "SIGHUP"):
        with suppress(AttributeError, ValueError):
            signal.signal(getattr(signal, name), ends_as_signalled)


def variants(cases: Sequence[Case], levels: Sequence[int]) -> list[Case]:
    """Each case once for each level: `held`, `held@1` and `held@3` for 0, 1 and 3."""
    return [beside(case, level) for case in cases for level in levels]


def beside(case: Case, level: int) -> Case:
    """The case beside that number of busy processes for each processor."""
    if level == 0:
        return case
    return replace(
        case,
        name=f"{case.name}@{level}",
        title=f"{case.title}, beside {level} busy for each processor",
        beside=level,
        targets=tuple(map(beside_others, case.targets)),
    )


def beside_others(target: Target) -> Target:
    """What is promised at any load: not to take longer than asyncio. All other limits are for a quiet machine."""
    promised = target.base == "asyncio" and target.limit is not None and not target.metric
    return replace(target, limit=1.0 if promised else None, stretch=None)


def levels(text: str) -> list[int]:
    """Read `0,1,3`."""
    found = [int(part) for part in text.split(",")]
    if not found or min(found) < 0 or max(found) > 16:
        raise ValueError(text)
    return list(dict.fromkeys(found))
