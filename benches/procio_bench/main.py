"""The command line."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence

from . import beside, limit, peers, plot, report, system
from .cases import SCALE, TABLE, select
from .model import Peer
from .progress import Progress
from .runner import Plan, run
from .stats import Results


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    made = argparse.ArgumentParser(prog="run.py", description="procio and its peers, measured side by side")
    add = made.add_argument
    add("--case", action="append", default=[], help="name or pattern ('scale-*')")
    add("--peer", action="append", default=[], help="only these peers")
    add("--rounds", type=int, help="rounds (default 5; with --quick 1)")
    add(
        "--beside",
        type=beside.levels,
        metavar="N,N",
        default=[0],
        help="beside that number of busy processes per processor",
    )
    add("--quick", action="store_true", help="small sizes: does everything work?")
    add("--json", metavar="FILE", help="write everything measured")
    add("--plot", metavar="FILE", help="draw a picture (needs matplotlib)")
    add("--list", action="store_true", help="name the cases and peers")
    return made


def show_list() -> None:
    """Print what there is."""
    for head, cases in (("cases", TABLE), ("scaling cases (--case)", SCALE)):
        print(f"{head}:")
        for case in cases:
            print(f"  {case.name:<22} {case.title}")
    print("peers:")
    for peer in peers.PEERS:
        print(f"  {peer.name:<22} {peer.about}")


def choose(names: Sequence[str]) -> list[Peer]:
    """Pick the peers, always in the same order."""
    for name in names:
        if name not in peers.BY_NAME:
            raise SystemExit(f"no peer {name!r}; try --list")
    return [peer for peer in peers.PEERS if not names or peer.name in names]


def refuse_debug(chosen: Sequence[Peer], found: dict[str, dict[str, str]]) -> None:
    """End here if procio was built without optimisation."""
    build = found["procio"].get("build")
    wanted = any(peer.module == "procio" for peer in chosen)
    if wanted and build is not None and build != "release":
        raise SystemExit(
            f"procio is a {build} build, its times mean nothing: build it with "
            "`maturin develop --release` (or `pip install .`)"
        )


def main() -> int:
    """Measure and report; 1 if a measurement failed."""
    args = parser().parse_args()
    if args.list:
        show_list()
        return 0
    cases, chosen = beside.variants(select(args.case), args.beside), choose(args.peer)
    beside.end_with_what_was_started()
    found = peers.probe()
    refuse_debug(chosen, found)
    rounds = args.rounds or (1 if args.quick else 5)
    with tempfile.TemporaryDirectory(prefix="procio-bench-") as folder:
        binary = limit.build(folder)
        about = system.describe(found, binary)
        plan = Plan(cases, chosen, rounds, args.quick, binary)
        for peer in chosen:
            reason = peers.missing(peer, found)
            if reason:
                plan.absent[peer.name] = reason
        bar = Progress(plan.steps())
        samples = run(plan, bar.step, bar.complain)
        bar.clear()
    results = Results(samples)
    print(report.render(plan, results, about))
    if args.json:
        report.save(args.json, plan, samples, about)
    if args.plot:
        print(plot.save(args.plot, plan, results, about))
    measured = sum(sample.value is not None for sample in samples)
    failed = sum(sample.failed for sample in samples)
    print(f"{measured} measurements, {failed} failures", file=sys.stderr)
    return 1 if failed else 0
