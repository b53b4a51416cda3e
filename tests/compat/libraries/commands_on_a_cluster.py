"""distributed: examples/cluster/fan_out.py, two workers, 200 commands, one of them cancelled, and one worker killed.

Prints what became of the commands, and of the processes by which they ran.
"""

import collections
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "cluster"))

import fan_out
from distributed import Client, LocalCluster

CANCELLED = 3


def until(condition: Any) -> None:
    """Wait, at most half a minute."""
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def main() -> None:
    lines: dict[int, list[str]] = collections.defaultdict(list)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        job = fan_out.FanOut(client, lambda number, line: lines[number].append(line))
        for number in range(200):
            end = "sleep 1000 & wait $!" if number == CANCELLED else f"sleep 0.05; echo done {number}"
            job.submit(f"echo $$; {end}")
        until(lambda: lines[CANCELLED])
        job.cancel(CANCELLED)
        until(lambda: sum(map(len, lines.values())) > 100)
        worker = next(iter(client.scheduler_info()["workers"]))
        os.kill(client.run(os.getpid, workers=[worker])[worker], signal.SIGKILL)
        results = job.results()
    pids = {int(line) for said in lines.values() for line in said if line.strip().isdigit()}
    until(lambda: not any(map(runs, pids)))
    report = {
        "returncodes": [result.returncode for result in results],
        "done": sum(result.output.endswith(f"done {number}\n") for number, result in enumerate(results)),
        "workers": len({result.worker for result in results}),
        "pids": len(pids),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
