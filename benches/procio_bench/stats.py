"""Medians of pairwise ratios, and how to write a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from .model import Case, Sample, Target


@dataclass(frozen=True)
class Spread:
    """A median and how far the rounds lie apart."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Sequence[float]) -> Spread | None:
    """Summarise; nothing for no values."""
    if not values:
        return None
    return Spread(median(values), min(values), max(values), len(values))


class Results:
    """All samples, to be asked for figures."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.by_key: dict[tuple[str, str], list[Sample]] = {}
        for sample in samples:
            self.by_key.setdefault((sample.case, sample.peer), []).append(sample)

    def rounds(self, case: str, peer: str, metric: str = "") -> dict[int, float]:
        """Give the figure of each round that worked."""
        found: dict[int, float] = {}
        for sample in self.by_key.get((case, peer), []):
            value = sample.extra.get(metric) if metric else sample.value
            if value is not None and not sample.reason:
                found[sample.round] = value
        return found

    def figure(self, case: str, peer: str, metric: str = "") -> Spread | None:
        """Summarise one figure over the rounds."""
        return spread(list(self.rounds(case, peer, metric).values()))

    def compare(self, case: str, target: Target) -> Spread | None:
        """Give subject / base per round, or the subject's own figure."""
        ours = self.rounds(case, target.subject, target.metric)
        if not target.base:
            return spread(list(ours.values()))
        theirs = self.rounds(case, target.base, target.base_metric or target.metric)
        both = ours.keys() & theirs.keys()
        return spread([ours[r] / theirs[r] for r in sorted(both) if theirs[r] > 0])

    def reason(self, case: str, peer: str) -> str:
        """Say why there is no figure."""
        reasons = [s.reason for s in self.by_key.get((case, peer), []) if s.reason]
        return reasons[0] if reasons else ""

    def metrics(self, case: str) -> list[str]:
        """Name the further figures of a case."""
        names: dict[str, None] = {}
        for (name, _), samples in self.by_key.items():
            if name == case:
                for sample in samples:
                    names.update(dict.fromkeys(sample.extra))
        return list(names)


def duration(seconds: float) -> str:
    """Write a time with three digits and a fitting unit."""
    for unit, factor in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def show(case: Case, value: float, quick: bool, metric: str = "") -> str:
    """Write a figure of a case in its unit."""
    if metric == "threads":
        return f"{value:.0f}"
    if metric.startswith("over_"):
        return f"{value:.2f}"
    if metric == "ms":
        return f"{value:.3g} ms"
    if metric == "mb_per_s":
        return f"{value:.0f} MB/s"
    if metric == "kb" or (case.unit == "kb" and not metric):
        return f"{value:.3g} KB"
    if case.size and not metric:
        size = (case.quick if quick else case.full)["bytes"]
        return f"{duration(value)} ({size / value / 1e6:.0f} MB/s)"
    return duration(value)
