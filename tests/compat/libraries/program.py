"""The frame of every program in this folder, imported before the library it is about.

It puts procio in asyncio's place, counts what procio starts and opens, and at the end prints one
line of JSON: the counts, what the task returned, and the children that are still there. With
PROCIO_TEST_IMPL=asyncio the same program runs on asyncio alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
SUPPORT = FOLDER.parent.parent / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(1, str(SUPPORT))

import shim  # noqa: E402

shim.load()

import procio  # noqa: E402
import support  # noqa: E402

# A worker process that a library makes imports its program again, without arguments.
LOOP, *ARGS = sys.argv[1:] or ["asyncio"]
SETTLE = 10.0

counts = {"spawned": 0, "opened": 0}


def _counted(name: str, key: str) -> None:
    import procio._core as core

    real = getattr(core, name)

    def function(*args: Any) -> Any:
        counts[key] += 1
        return real(*args)

    setattr(core, name, function)


if not shim.ACTIVE:
    for name, key in (("spawn", "spawned"), ("open_reader", "opened"), ("open_writer", "opened")):
        _counted(name, key)
    procio.install()

if LOOP == "uvloop":
    # For the libraries that make their own loop, too.
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def _left() -> list[str]:
    end = time.monotonic() + SETTLE
    while (left := support.children()) and time.monotonic() < end:
        time.sleep(0.01)
    return list(left.values())


def report(result: Any) -> None:
    """Print the line that the test reads."""
    print(json.dumps({**counts, "result": result, "left": _left()}), flush=True)


def run(task: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run the task on a loop of the kind that was asked for, and report."""
    with asyncio.Runner() as runner:
        result = runner.run(task())
    report(result)


def child(name: str, *args: object) -> list[str]:
    """The command line of another program of this folder."""
    return [sys.executable, str(FOLDER / f"{name}.py"), *map(str, args)]
