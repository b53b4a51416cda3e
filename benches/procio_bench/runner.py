"""Run the measurements: A B A B ..., each in a fresh process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .beside import busy
from .model import Case, Peer, Sample

TIMEOUT = 300.0
HERE = Path(__file__).resolve().parent.parent


@dataclass
class Plan:
    """What is to be measured."""

    cases: Sequence[Case]
    peers: Sequence[Peer]
    rounds: int
    quick: bool
    limit: str
    absent: dict[str, str] = field(default_factory=dict)

    def steps(self) -> int:
        """Count the measurements."""
        return len(self.cases) * self.rounds * len(self.present())

    def present(self) -> list[Peer]:
        """Leave out the peers that cannot be imported."""
        return [peer for peer in self.peers if peer.name not in self.absent]


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker and all children that it may have left."""
    if sys.platform == "win32":
        process.kill()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def run_worker(case: Case, peer: Peer, plan: Plan) -> dict[str, Any]:
    """Measure one case of one peer in a fresh process."""
    params = dict(case.quick if plan.quick else case.full)
    job = {
        "kind": case.kind,
        "peer": peer.name,
        "params": params,
        "limit": plan.limit,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "procio_bench.worker", json.dumps(job)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=HERE,
        env=dict(os.environ, LC_ALL="C", PYTHONDONTWRITEBYTECODE="1"),
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        end_group(process)
        process.communicate()
        return {"error": f"no result within {TIMEOUT:.0f} s"}
    except BaseException:
        end_group(process)
        raise
    end_group(process)
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-1:]
        return {"error": f"exit status {process.returncode}", "traceback": str(last)}
    try:
        result: dict[str, Any] = json.loads(out)
    except ValueError:
        return {"error": f"no result: {out[:100]!r}"}
    return result


def run(plan: Plan, progress: Callable[[str], None], complain: Callable[[str], None]) -> list[Sample]:
    """Run the plan; after an interruption give what there is."""
    samples: list[Sample] = []
    try:
        for case in plan.cases:
            samples.extend(run_case(case, plan, progress, complain))
    except KeyboardInterrupt:
        complain("interrupted; this is what has been measured so far")
    return samples


def run_case(
    case: Case,
    plan: Plan,
    progress: Callable[[str], None],
    complain: Callable[[str], None],
) -> list[Sample]:
    """All rounds of one case, the peers taking turns."""
    samples = [
        Sample(case.name, peer.name, 0, None, {}, plan.absent[peer.name])
        for peer in plan.peers
        if peer.name in plan.absent
    ]
    given_up: set[str] = set()
    for turn in range(1, plan.rounds + 1):
        with busy(case.beside, TIMEOUT * len(plan.present())):
            for peer in plan.present():
                progress(f"{case.name} {peer.name} {turn}/{plan.rounds}")
                if peer.name not in given_up:
                    sample = measured(case, peer, plan, turn, complain)
                    samples.append(sample)
                    if sample.reason:
                        given_up.add(peer.name)
    return samples


def measured(case: Case, peer: Peer, plan: Plan, turn: int, complain: Callable[[str], None]) -> Sample:
    """One measurement; what failed is said at once."""
    result = run_worker(case, peer, plan)
    reason = str(result.get("unsupported") or result.get("error") or "")
    failed = "error" in result
    if failed:
        complain(f"{case.name}, {peer.name}: {reason}")
        complain(str(result.get("traceback", "")))
    value, extra = result.get("value"), result.get("extra", {})
    return Sample(case.name, peer.name, turn, value, extra, reason, failed)
