"""Commands fan out over a cluster: dask.distributed hands them to its workers, and procio owns their processes there.

    pip install distributed
    python examples/cluster/fan_out.py < commands.txt                       # on a local cluster of two workers
    python examples/cluster/fan_out.py tcp://scheduler:8786 < commands.txt

A worker runs coroutines on the event loop that it has anyway, so `open_process` works there as it is. What is added
here is little: a limit for each worker, output that streams back while a command runs, cancellation that reaches the
process, and an end of the processes when their worker dies; the scheduler then gives the commands to another one.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from signal import SIGTERM
from typing import Any

import procio
from distributed import Client, LocalCluster, get_worker

# How many commands run at once on each worker.
AT_ONCE = 4

# A command is one session, with a process that waits for the end of a pipe which only the worker holds. If the worker
# dies, whatever kills it, that process kills the session.
WITH_ITS_WORKER = "exec 3<&0 </dev/null; (cat; kill -9 0) <&3 >/dev/null 2>&1 & exec 3<&-; "


@dataclass
class Result:
    """What has become of a command: its return code is negative if it was ended by a signal."""

    command: str
    returncode: int
    output: str
    worker: str


class Share:
    """What a worker knows of the commands of a job."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(AT_ONCE)
        self.running: dict[int, procio.Process] = {}
        self.cancelled: set[int] = set()

    @staticmethod
    def on(worker: Any, job: str) -> Share:
        """The worker's."""
        share: Share = worker.__dict__.setdefault("_fan_out", {}).setdefault(job, Share())
        return share


async def run_on_worker(job: str, number: int, command: str) -> Result:
    """Run on a worker: one command, whose lines go to the client as they come."""
    worker: Any = get_worker()
    share = Share.on(worker, job)
    async with share.turns:
        if number in share.cancelled:
            return Result(command, -SIGTERM, "", worker.address)
        lines = []
        async with procio.open_process(
            WITH_ITS_WORKER + command,
            shell=True,
            stdin=procio.PIPE,
            stdout=procio.PIPE,
            stderr=procio.subprocess.STDOUT,
        ) as process:
            assert process.stdout is not None  # for type checkers: it was asked for
            share.running[number] = process
            try:
                async for line in process.stdout.lines(encoding="utf-8", errors="replace"):
                    lines.append(line)
                    worker.log_event(job, (number, line))
                returncode = await process.wait()
            finally:
                del share.running[number]
    return Result(command, returncode, "".join(lines), worker.address)


async def cancel_on_worker(job: str, number: int, dask_worker: Any) -> None:
    """Run on every worker: stop the process, with all that it has started, or see to it that it is not started."""
    share = Share.on(dask_worker, job)
    share.cancelled.add(number)
    if number in share.running:
        await share.running[number].stop(grace=1)


class FanOut:
    """The commands of one client."""

    def __init__(self, client: Client, on_line: Callable[[int, str], None] = lambda number, line: None) -> None:
        self.client, self.job = client, f"fan-out-{uuid.uuid4().hex}"
        self.futures: list[Any] = []
        client.subscribe_topic(self.job, lambda event: on_line(*event[1]))

    def submit(self, command: str) -> int:
        """Hand a command to the cluster; return its number."""
        number = len(self.futures)
        # Not pure: the same command twice is two runs.
        self.futures.append(self.client.submit(run_on_worker, self.job, number, command, pure=False))
        return number

    def cancel(self, number: int) -> None:
        """End a command that runs, as `Process.stop` does; it has a result all the same."""
        self.client.run(cancel_on_worker, self.job, number)

    def results(self) -> list[Result]:
        """Wait for all commands."""
        results: list[Result] = self.client.gather(self.futures)
        self.client.unsubscribe_topic(self.job)
        return results


def main() -> int:
    """Run the commands on standard input."""
    commands = [line.strip() for line in sys.stdin if line.strip()]
    address = sys.argv[1] if len(sys.argv) > 1 else None
    cluster = address or LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with Client(cluster) as client:
        fan_out = FanOut(client, lambda number, line: print(f"[{number}] {line}", end=""))
        for command in commands:
            fan_out.submit(command)
        failed = [result for result in fan_out.results() if result.returncode]
    for result in failed:
        print(f"{result.command}: return code {result.returncode} on {result.worker}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
