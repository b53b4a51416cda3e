"""The table of cases: what is done, how often, and what procio has to reach."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from .model import Case, Target

MB = 1 << 20


def on_asyncio(limit: float | None, stretch: float | None = None) -> Target:
    """Compare procio with asyncio, both on asyncio's loop."""
    return Target("procio", "asyncio", limit, stretch=stretch)


def on_uvloop(limit: float | None = None) -> Target:
    """Compare procio with uvloop's own subprocesses, both on uvloop."""
    return Target("procio-uvloop", "uvloop", limit)


def to_limit(limit: float | None = None) -> Target:
    """Compare procio with the same work in synchronous code."""
    return Target("procio", "limit", limit)


def on_like_pipes(limit: float) -> Target:
    """Compare procio, which enlarges a busy pipe, with synchronous code on a pipe of that size."""
    return Target("procio", "limit", limit, base_metric="pipe_1m")


def against_all(limit: float | None, to: float | None = None) -> tuple[Target, ...]:
    """Give the usual three comparisons, two of them with a target: against asyncio, and to the limit."""
    return on_asyncio(limit), on_uvloop(), to_limit(to)


SPAWNING = (
    Case(
        "spawn",
        "`true`: spawn + wait, one after the other",
        "spawn",
        {"count": 400},
        {"count": 40},
        targets=(on_asyncio(0.80), on_uvloop(), to_limit(1.10)),
    ),
    Case(
        "echo",
        "`echo hi`, stdout and stderr piped, communicate",
        "echo",
        {"count": 400, "width": 1},
        {"count": 40, "width": 1},
        targets=against_all(0.75, 1.10),
    ),
    Case(
        "echo-32",
        "the same, 600 children, 32 at a time",
        "echo",
        {"count": 600, "width": 32},
        {"count": 96, "width": 32},
        targets=against_all(0.60),
    ),
    Case(
        "run-process",
        "`echo hi` by `run_process`, or by start and communicate",
        "run-process",
        {"count": 400},
        {"count": 40},
        targets=(
            Target("procio", "", 1.15, "over_communicate"),
            Target("procio-uvloop", "", 1.15, "over_communicate"),
            Target("procio", "anyio", 1.0),
            Target("procio", "trio", 1.0),
            on_asyncio(None),
            to_limit(),
        ),
    ),
    Case(
        "stop",
        "100 process groups asked to end at once, and reaped (per group)",
        "stop",
        {"count": 100},
        {"count": 20},
        targets=(to_limit(1.5), on_asyncio(None), on_uvloop()),
    ),
    Case(
        "held",
        "time the loop is held per spawn (median gap of a ticking task)",
        "held",
        {"count": 300},
        {"count": 40},
        targets=against_all(0.25),
    ),
    Case(
        "spawn-heap",
        "`true`: spawn + wait from a parent with 1.5 GB of heap",
        "spawn-heap",
        {"count": 40, "small": 80, "megabytes": 1536},
        {"count": 10, "small": 20, "megabytes": 384},
        targets=(
            on_uvloop(0.02),
            on_asyncio(None),
            to_limit(),
            Target("procio-uvloop", "", 1.1, "over_small"),
            Target("procio", "", 1.1, "over_small"),
        ),
    ),
    Case(
        "kill",
        "kill and reap 1,500 children at once (per child)",
        "kill",
        {"count": 1500},
        {"count": 100},
        targets=against_all(0.30, 1.15),
    ),
    Case(
        "memory",
        "resident memory of an idle child with two pipes",
        "memory",
        {"count": 1000},
        {"count": 100},
        unit="kb",
        targets=(
            Target("procio", "", 4.0, "kb"),
            Target("procio", "", 0.0, "threads"),
            Target("procio-uvloop", "", 4.0, "kb"),
            Target("procio-uvloop", "", 0.0, "threads"),
            on_asyncio(None),
            on_uvloop(),
        ),
    ),
)

STREAMS = (
    Case(
        "communicate",
        "communicate, 512 MB out",
        "communicate",
        {"bytes": 512 * MB, "count": 1},
        {"bytes": 64 * MB, "count": 1},
        size=512 * MB,
        targets=(on_asyncio(0.25), on_uvloop(), to_limit(1.10)),
    ),
    Case(
        "give-up",
        "a communicate that has collected 512 MB is cancelled: until that is over",
        "give-up",
        {"bytes": 512 * MB},
        {"bytes": 64 * MB},
        targets=(Target("procio", "", 1.0, "ms"), Target("procio-uvloop", "", 1.0, "ms")),
    ),
    Case(
        "read",
        "`read(65536)` until the end, 512 MB",
        "read",
        {"bytes": 512 * MB},
        {"bytes": 64 * MB},
        size=512 * MB,
        targets=(on_asyncio(0.25), on_uvloop(0.50), to_limit(), on_like_pipes(1.10)),
    ),
    Case(
        "cat",
        "128 MB through `cat`, both directions",
        "cat",
        {"bytes": 128 * MB},
        {"bytes": 16 * MB},
        size=128 * MB,
        targets=(*against_all(0.30), on_like_pipes(1.10)),
    ),
    Case(
        "write",
        "256 MB written with `write` + `drain`",
        "write",
        {"bytes": 256 * MB, "chunk": 65536},
        {"bytes": 32 * MB, "chunk": 65536},
        size=256 * MB,
        targets=(on_asyncio(0.50), on_uvloop(0.90), to_limit(), on_like_pipes(1.10)),
    ),
    Case(
        "lines",
        "`async for line`, 500,000 short lines (per line)",
        "lines",
        {"lines": 500_000},
        {"lines": 50_000},
        targets=(on_asyncio(0.20, 0.12), on_uvloop(), to_limit(1.7)),
    ),
    Case(
        "readline",
        "`await readline()`, 300,000 lines (per line)",
        "readline",
        {"lines": 300_000},
        {"lines": 30_000},
        targets=against_all(0.30, 1.9),
    ),
    Case(
        "merged",
        "the lines of stdout and stderr in one loop, 300,000 lines (per line)",
        "merged",
        {"lines": 300_000},
        {"lines": 30_000},
        targets=(
            Target("procio", "", 2.0, "over_lines"),
            Target("procio-uvloop", "", 2.0, "over_lines"),
            on_asyncio(None),
            on_uvloop(),
        ),
    ),
    Case(
        "pingpong",
        "64-byte ping-pong through `cat`",
        "pingpong",
        {"children": 1, "rounds": 20_000, "bytes": 64},
        {"children": 1, "rounds": 2_000, "bytes": 64},
        targets=(on_asyncio(0.55), on_uvloop(1.0), to_limit()),
    ),
    Case(
        "pingpong-64",
        "64 children ping-ponging at once (per operation)",
        "pingpong",
        {"children": 64, "rounds": 400, "bytes": 64},
        {"children": 64, "rounds": 50, "bytes": 64},
        targets=(on_asyncio(0.35), on_uvloop(1.0), to_limit()),
    ),
)

FAIRNESS = tuple(
    Case(
        f"fairness-{how}",
        f"worst gap of a ticking task while a child floods ({what})",
        "fairness",
        {"how": index, "milliseconds": 2000, "bytes": 512 * MB},
        {"how": index, "milliseconds": 300, "bytes": 64 * MB},
        targets=(
            on_asyncio(1.0 if how == "read" else None),
            on_uvloop(),
            Target("procio", "asyncio", None, "median"),
            Target("procio-uvloop", "uvloop", None, "median"),
        ),
    )
    for index, (how, what) in enumerate(
        (
            ("read", "`read(65536)`"),
            ("lines", "`async for line`"),
            ("communicate", "communicate"),
        )
    )
)


def alive_cases() -> Iterator[Case]:
    """Cost per child as more of them are alive."""
    for count in (1, 10, 100, 1000, 5000):
        few = max(1, 1000 // count)
        yield Case(
            f"scale-alive-{count}",
            f"{count:,} children alive: start, one ping-pong, end (per child)",
            "alive",
            {"count": count, "repeat": min(few, 200)},
            {"count": min(count, 200), "repeat": max(1, min(few, 200) // 10)},
            targets=against_all(None),
            group="alive",
            x=count,
        )


def output_cases() -> Iterator[Case]:
    """Cost of communicate as the output grows."""
    names = ("1k", "10k", "100k", "1m", "10m", "100m", "1g")
    sizes = (1 << 10, 10 << 10, 100 << 10, MB, 10 * MB, 100 * MB, 1024 * MB)
    for name, size in zip(names, sizes, strict=True):
        count = max(1, min(100, 200 * MB // size))
        yield Case(
            f"scale-output-{name}",
            f"communicate, {name.upper()}B out",
            "communicate",
            {"bytes": size, "count": count},
            {"bytes": min(size, 64 * MB), "count": max(1, count // 10)},
            targets=against_all(None),
            group="output",
            x=size,
        )


def loop_cases() -> Iterator[Case]:
    """Cost per spawn as more loops run, each in a thread of its own."""
    for loops in (1, 2, 4, 8):
        yield Case(
            f"scale-loops-{loops}",
            f"{loops} loop(s) in threads: spawn + wait `true` (per child)",
            "loops",
            {"loops": loops, "count": 400},
            {"loops": loops, "count": 48},
            targets=against_all(None),
            group="loops",
            x=loops,
        )


def on_windows() -> Iterator[Case]:
    """What Windows is compared by, in sizes for Wine, where a system call takes long."""
    sizes: dict[str, tuple[str, float, dict[str, int]]] = {
        "spawn": ("", 1.0, {"count": 100}),
        "communicate": ("communicate, 64 MB out", 1.0, {"bytes": 64 * MB, "count": 1}),
        "read": ("`read(65536)` until the end, 64 MB", 0.5, {"bytes": 64 * MB}),
        "cat": ("64 MB through `cat`, both directions", 1.0, {"bytes": 64 * MB}),
        "write": (
            "64 MB written with `write` + `drain`",
            1.0,
            {"bytes": 64 * MB, "chunk": 65536},
        ),
        "lines": (
            "`async for line`, 200,000 short lines (per line)",
            0.5,
            {"lines": 200_000},
        ),
        "readline": (
            "`await readline()`, 200,000 lines (per line)",
            0.5,
            {"lines": 200_000},
        ),
        "pingpong": ("", 1.0, {"children": 1, "rounds": 2_000, "bytes": 64}),
        "pingpong-64": ("", 1.0, {"children": 64, "rounds": 40, "bytes": 64}),
    }
    for case in SPAWNING + STREAMS:
        if case.name in sizes:
            title, limit, full = sizes[case.name]
            yield replace(
                case,
                title=title or case.title,
                full=full,
                targets=(
                    on_asyncio(limit),
                    Target("procio-selector", "asyncio", limit),
                    to_limit(),
                ),
            )


POSIX_TABLE: tuple[Case, ...] = SPAWNING + STREAMS + FAIRNESS
POSIX_SCALE: tuple[Case, ...] = (*alive_cases(), *output_cases(), *loop_cases())
WINDOWS_TABLE: tuple[Case, ...] = tuple(on_windows())
TABLE, SCALE = POSIX_TABLE, POSIX_SCALE
if sys.platform == "win32":
    TABLE, SCALE = WINDOWS_TABLE, ()


def select(patterns: list[str]) -> list[Case]:
    """Pick cases by name or shell pattern; without any, the whole table."""
    if not patterns:
        return list(TABLE)
    every = TABLE + SCALE
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in every):
            raise SystemExit(f"no case matches {pattern!r}; try --list")
    return [c for c in every if any(fnmatchcase(c.name, p) for p in patterns)]
