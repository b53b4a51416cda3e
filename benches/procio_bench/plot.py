"""The picture, if matplotlib is there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from .model import Case
from .runner import Plan
from .stats import Results, Spread, spread

COLOURS = {
    "procio": "#c1272d",
    "procio-uvloop": "#e98a15",
    "asyncio": "#2f4858",
    "uvloop": "#33658a",
    "anyio": "#86bbd8",
    "trio": "#758e4f",
    "limit": "#999999",
}
LABELS = {
    "alive": ("children alive", "seconds per child"),
    "output": ("bytes of output", "seconds per communicate"),
    "loops": ("loops in threads", "seconds per child"),
}


def relative(results: Results, case: str, peer: str) -> Spread | None:
    """Give the ratio of a peer to asyncio, round by round."""
    base, ours = results.rounds(case, "asyncio"), results.rounds(case, peer)
    both = base.keys() & ours.keys()
    return spread([ours[r] / base[r] for r in sorted(both) if base[r] > 0])


def draw_cases(axes: Any, cases: list[Case], plan: Plan, results: Results) -> None:
    """One line per case, one dot per peer, asyncio at 1."""
    for index, peer in enumerate(plan.peers):
        offset = 0.3 - 0.6 * index / max(1, len(plan.peers) - 1)
        points = []
        for y, case in enumerate(reversed(cases)):
            found = relative(results, case.name, peer.name)
            if found is not None and found.low > 0:
                points.append((y + offset, found))
        axes.errorbar(
            [found.median for _, found in points],
            [y for y, _ in points],
            xerr=[
                [found.median - found.low for _, found in points],
                [found.high - found.median for _, found in points],
            ],
            fmt="o",
            markersize=6 if peer.name.startswith("procio") else 4,
            color=COLOURS[peer.name],
            label=peer.name,
        )
    axes.set_yticks(range(len(cases)), [case.name for case in reversed(cases)])
    axes.set_xscale("log")
    axes.axvline(1, color=COLOURS["asyncio"], linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("cost relative to asyncio on its own loop (lower is better)")
    axes.legend(loc="best", fontsize="small")


def draw_group(axes: Any, group: str, cases: list[Case], plan: Plan, results: Results) -> None:
    """How the cost grows, one line per peer."""
    for peer in plan.peers:
        points = []
        for case in cases:
            found = results.figure(case.name, peer.name)
            if found is not None:
                points.append((case.x, found.median))
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            marker="o",
            color=COLOURS[peer.name],
            label=peer.name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    x_label, y_label = LABELS[group]
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(fontsize="small")


def save(path: str, plan: Plan, results: Results, about: Mapping[str, str]) -> str:
    """Draw everything into a file; give a sentence about how it went."""
    try:
        matplotlib = importlib.import_module("matplotlib")
        figure_module = importlib.import_module("matplotlib.figure")
    except ImportError:
        return "no plot: matplotlib is not installed"
    plain = [case for case in plan.cases if not case.group]
    groups = list(dict.fromkeys(case.group for case in plan.cases if case.group))
    panels = bool(plain) + len(groups)
    heights = ([0.55 * len(plain) + 1.5] if plain else []) + [4.0] * len(groups)
    figure = figure_module.Figure(figsize=(9, sum(heights)), layout="constrained")
    axes = figure.subplots(panels, 1, squeeze=False, height_ratios=heights)[:, 0]
    if plain:
        draw_cases(axes[0], plain, plan, results)
    for one, group in zip(axes[bool(plain) :], groups, strict=True):
        cases = [case for case in plan.cases if case.group == group]
        draw_group(one, group, cases, plan, results)
    about_text = f"{about['python']}, {about['system']}, {about['cpus']} CPUs"
    figure.suptitle(f"procio and its peers\n{about_text}", fontsize="medium")
    # The same figures make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "procio"
    figure.savefig(path, dpi=130, metadata={"Date": None} if path.endswith(".svg") else None)
    return f"plot written to {path}"
