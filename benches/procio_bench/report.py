"""The tables at the end, in markdown, and the JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from .model import Case, Sample, Target
from .runner import Plan
from .stats import Results, Spread, show

SHOWN = {
    "ms": "the time itself, in ms",
    "kb": "the memory itself",
    "over_communicate": "run_process / create + communicate",
    "over_lines": "a line of two streams / a line of one",
    "over_small": "large parent / small parent",
}
OF_BASE = {"pipe_1m": "pipes of the same size"}


def row(cells: Sequence[str]) -> str:
    """Write one line of a markdown table."""
    return "| " + " | ".join(cells) + " |"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a markdown table."""
    return [row(head), row(["---"] * len(head)), *map(row, rows), ""]


def number(value: float) -> str:
    """Write a ratio."""
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def verdict(target: Target, reached: Spread | None) -> str:
    """Say whether a target is reached."""
    if reached is None or target.limit is None:
        return ""
    if target.stretch is not None and reached.median <= target.stretch:
        return "yes (stretch)"
    return "yes" if reached.median <= target.limit else "**no**"


def what(target: Target) -> str:
    """Name a comparison."""
    if not target.base:
        return f"{target.subject}: {SHOWN.get(target.metric, target.metric)}"
    metric = OF_BASE.get(target.base_metric, target.metric)
    metric = f", {metric}" if metric else ""
    return f"{target.subject} / {target.base}{metric}"


def at_most(target: Target) -> str:
    """Write the limit of a target."""
    if target.limit is None:
        return ""
    stretch = "" if target.stretch is None else f" (stretch {target.stretch:g})"
    return f"{target.limit:g}{stretch}"


def targets(plan: Plan, results: Results) -> list[str]:
    """The table that counts: ratios reached and wanted."""
    rows = []
    for case in plan.cases:
        for target in case.targets:
            reached = results.compare(case.name, target)
            if reached is None and target.limit is None:
                continue
            if reached is None:
                ratio, span = "-", ""
            else:
                ratio = number(reached.median)
                span = f"{number(reached.low)} to {number(reached.high)}"
            cells = [case.name, what(target), ratio, span, at_most(target)]
            rows.append([*cells, verdict(target, reached)])
    head = ["case", "comparison", "reached", "spread", "at most", "within"]
    return ["## Ratios (medians of pairwise ratios; lower is better)", "", *table(head, rows)]


def cell(case: Case, peer: str, plan: Plan, results: Results, metric: str = "") -> str:
    """Write one absolute figure."""
    figure = results.figure(case.name, peer, metric)
    return "-" if figure is None else show(case, figure.median, plan.quick, metric)


def absolutes(plan: Plan, results: Results) -> list[str]:
    """What every peer took."""
    names = [peer.name for peer in plan.peers]
    rows = [[case.title, *(cell(case, name, plan, results) for name in names)] for case in plan.cases]
    return ["## Medians", "", *table(["case", *names], rows)]


def further(plan: Plan, results: Results) -> list[str]:
    """Figures besides the main one."""
    names = [peer.name for peer in plan.peers]
    rows = [
        [case.name, metric, *(cell(case, n, plan, results, metric) for n in names)]
        for case in plan.cases
        for metric in results.metrics(case.name)
    ]
    if not rows:
        return []
    return ["## Further figures", "", *table(["case", "figure", *names], rows)]


def reasons(plan: Plan, results: Results) -> list[str]:
    """Why there is a dash."""
    who: dict[tuple[str, str], list[str]] = {}
    for case in plan.cases:
        for peer in plan.peers:
            reason = results.reason(case.name, peer.name)
            if reason:
                who.setdefault((peer.name, reason), []).append(case.name)
    if not who:
        return []
    lines = []
    for (name, reason), cases in who.items():
        every = len(cases) == len(plan.cases) and len(cases) > 1
        lines.append(f"- {name}, {'all' if every else ', '.join(cases)}: {reason}")
    return ["## No figure (-)", "", *lines, ""]


def bars(plan: Plan, results: Results) -> Iterator[str]:
    """A plot for the terminal: procio's time as a share of asyncio's."""
    found = []
    for case in plan.cases:
        reached = results.compare(case.name, Target("procio", "asyncio", None))
        if reached is not None:
            found.append((case.name, reached.median))
    if not found:
        return
    yield "procio / asyncio, same loop (a full bar is as slow as asyncio):"
    yield ""
    for name, ratio in found:
        bar = "#" * round(40 * min(1.0, ratio)) + ("+" if ratio > 1 else "")
        yield f"    {name:<22} {bar:<41} {number(ratio)}"
    yield ""


def render(plan: Plan, results: Results, about: Mapping[str, str]) -> str:
    """Everything as markdown."""
    facts = [f"{name}: {value}" for name, value in about.items()]
    size = "quick sizes, not for conclusions" if plan.quick else "full sizes"
    lines = ["# procio and its peers", "", "; ".join(facts) + "."]
    lines += [f"{plan.rounds} rounds, {size}.", ""]
    lines += targets(plan, results) + absolutes(plan, results)
    lines += further(plan, results) + reasons(plan, results)
    lines += bars(plan, results)
    return "\n".join(lines)


def summary(spread: Spread | None) -> dict[str, float] | None:
    """A spread for JSON."""
    if spread is None:
        return None
    return {"median": spread.median, "low": spread.low, "high": spread.high}


def save(path: str, plan: Plan, samples: Sequence[Sample], about: Mapping[str, str]) -> None:
    """Write everything that was measured."""
    results = Results(samples)
    document = {
        "about": dict(about),
        "rounds": plan.rounds,
        "quick": plan.quick,
        "cases": {
            case.name: {
                "title": case.title,
                "beside": case.beside,
                "parameters": dict(case.quick if plan.quick else case.full),
                "comparisons": [
                    {
                        "subject": target.subject,
                        "base": target.base,
                        "metric": target.metric,
                        "what": what(target),
                        "at_most": target.limit,
                        "reached": summary(results.compare(case.name, target)),
                    }
                    for target in case.targets
                ],
            }
            for case in plan.cases
        },
    }
    lines = ",\n".join(f"  {json.dumps(asdict(sample))}" for sample in samples)
    head = json.dumps(document, indent=1).removesuffix("\n}")
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(f'{head},\n "samples": [\n{lines}\n ]\n}}\n')
