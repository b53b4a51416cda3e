"""Run many commands at once, show how far they are, and list the failures at the end.

    python examples/many.py -n 8 --timeout 60 < commands.txt

Each line of standard input is a command line of the shell. Ctrl-C ends all that runs, with everything it started.
With the package `rich` the display is a live table, otherwise lines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

import procio


@dataclass
class Run:
    """All commands, and what has become of them."""

    commands: list[str]
    running: list[tuple[str, float]] = field(default_factory=list)
    done: list[procio.CompletedProcess] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """One line."""
        waiting = len(self.commands) - len(self.done) - len(self.failures) - len(self.running)
        return f"{len(self.done)} done, {len(self.failures)} failed, {len(self.running)} running, {waiting} waiting"


async def run_one(command: str, run: Run, turns: asyncio.Semaphore, timeout: float, show: Callable[[], None]) -> None:
    """Run a command when it is its turn. It keeps the last few lines of the output."""
    async with turns:
        entry = (command, monotonic())
        run.running.append(entry)
        show()
        try:
            done = await procio.run_process(
                command,
                shell=True,
                stderr=procio.subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
                max_output=(0, 2000),
            )
            run.done.append(done)
        except procio.CalledProcessError as error:
            run.failures.append((command, f"return code {error.returncode}", error.stdout))
        except procio.TimeoutExpired as error:
            run.failures.append((command, f"not done after {timeout:g} s", error.stdout))
        finally:
            run.running.remove(entry)
            show()


@contextlib.contextmanager
def display(run: Run) -> Iterator[Callable[[], None]]:
    """Give a function that shows the state of the run."""
    try:
        from rich.live import Live
        from rich.table import Table
    except ImportError:
        yield lambda: print(run.summary(), file=sys.stderr)
        return

    def table() -> Table:
        view = Table("seconds", "command", title=run.summary())
        for command, began in run.running:
            view.add_row(f"{monotonic() - began:.0f}", command)
        return view

    with Live(get_renderable=table, refresh_per_second=4, transient=True):
        yield lambda: None


async def main(commands: list[str], at_once: int, timeout: float) -> int:
    """Run them all; return how many have failed."""
    run, turns = Run(commands), asyncio.Semaphore(at_once)
    with display(run) as show:
        async with asyncio.TaskGroup() as group:
            for command in commands:
                group.create_task(run_one(command, run, turns, timeout, show))
    print(run.summary())
    for command, reason, output in run.failures:
        print(f"\n{command}: {reason}")
        for line in output.splitlines()[-5:]:
            print(f"    {line}")
    return len(run.failures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the commands on standard input.")
    parser.add_argument("-n", type=int, default=8, dest="at_once", help="how many at once (default: 8)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for each (default: 600)")
    options = parser.parse_args()
    lines = [line.strip() for line in sys.stdin if line.strip()]
    sys.exit(min(asyncio.run(main(lines, options.at_once, options.timeout)), 1))
