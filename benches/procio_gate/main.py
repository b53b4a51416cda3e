"""The command line of the gate."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import count, figures
from .count import Counts


def counted(calls_only: bool) -> Counts:
    """System calls of every case, and unless these alone are wanted instructions and allocations."""
    with tempfile.TemporaryDirectory(prefix="procio-gate-") as folder:
        calls = count.system_calls(Path(folder))
        if calls_only:
            return calls
        costs = count.instructions(Path(folder))
    return {case: {**calls.get(case, {}), **costs.get(case, {})} for case in costs}


def refuse(calls_only: bool) -> None:
    """End here if nothing can be counted that means anything."""
    for program in ("strace",) if calls_only else ("strace", "valgrind"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed")
    build = importlib.import_module("procio._core").build_profile
    if build != "release":
        raise SystemExit(f"procio is a {build} build: build it with `maturin develop --release` (or `pip install .`)")


def judge(last: dict[str, Any], counts: Counts) -> int:
    """Say what has changed; 1 if something costs more."""
    worse, better, unjudged = 0, 0, 0
    reasons: dict[str, None] = {}
    for case, what, was, now in figures.differences(last, counts):
        change = f"{now / was - 1:+.1%}" if was else "new"
        other = figures.other_conditions(last, what)
        if other:
            unjudged += 1
            reasons.update(dict.fromkeys(other))
        elif now > was:
            worse += 1
        else:
            better += 1
        verdict = "not judged" if other else "MORE" if now > was else "less"
        print(f"{verdict:<10} {case}: {what}: {now:.5g}, was {was:.5g} ({change})")
    if unjudged:
        print(f"{unjudged} figures are not judged, since they were counted with other things:", *reasons, sep="\n  ")
    if better:
        print(f"{better} figures are lower: `python benches/gate.py --accept` keeps what was gained")
    if worse:
        here, there = figures.conditions()["kernel"], last["counted with"]["kernel"]
        if here != there:
            print(f"the kernel is {here}, was {there}: it may offer other system calls")
        print(f"{worse} figures are higher; where that is wanted, `python benches/gate.py --accept` and say why")
    return 1 if worse else 0


def main() -> int:
    """Count and compare; 1 if something costs more than the last figures say, or there are none."""
    parser = argparse.ArgumentParser(prog="gate.py", description="what operations cost, against the last figures")
    parser.add_argument("--accept", action="store_true", help="make what is counted the last figures")
    parser.add_argument("--calls", action="store_true", help="count system calls alone, which takes no Valgrind")
    parser.add_argument("--show", action="store_true", help="print everything that was counted, as JSON")
    args = parser.parse_args()
    if args.accept and args.calls:
        parser.error("--accept takes all figures")
    refuse(args.calls)
    counts = counted(args.calls)
    if args.show:
        print(json.dumps(counts, indent=1))
    if args.accept:
        figures.accept(counts)
        return 0
    last = figures.load().get(figures.interpreter())
    if last is None:
        print(f"there are no figures for Python {figures.interpreter()}: `python benches/gate.py --accept` makes them")
        return 1
    result = judge(figures.calls_of(last) if args.calls else last, counts)
    print(f"{sum(map(len, counts.values()))} figures of {len(counts)} cases", file=sys.stderr)
    return result
