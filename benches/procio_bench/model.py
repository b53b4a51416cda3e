"""The few types that the other modules share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class Unsupported(Exception):
    """A peer cannot do a case; the text says why."""


class Wrong(Exception):
    """A case came to a wrong result, so its time means nothing."""


def check(condition: bool, text: str) -> None:
    """Fail the measurement unless ``condition`` holds."""
    if not condition:
        raise Wrong(text)


@dataclass(frozen=True)
class Peer:
    """One contestant: an interface on an event loop."""

    name: str
    kit: str  # which module does the work: asyncio, anyio, trio, limit
    module: str  # what has to be importable
    loop: str = ""  # asyncio, uvloop, or nothing
    about: str = ""


@dataclass(frozen=True)
class Target:
    """``subject`` may take at most ``limit`` times what ``base`` takes.

    Without a base, the figure ``metric`` of the subject itself is compared. ``base_metric`` is a figure of the
    base's that takes the place of the same one.
    """

    subject: str
    base: str
    limit: float | None
    metric: str = ""
    stretch: float | None = None
    base_metric: str = ""


@dataclass(frozen=True)
class Case:
    """One row of the table: a kind of work and how much of it."""

    name: str
    title: str
    kind: str
    full: Mapping[str, int]
    quick: Mapping[str, int]
    unit: str = "s"  # s: seconds per operation; kb: KB per child
    size: int = 0  # bytes moved by one full operation, to show MB/s
    targets: tuple[Target, ...] = ()
    group: str = ""  # scaling cases that make one line of a plot
    x: int = 0
    beside: int = 0  # busy processes for each processor, beside which it is measured


@dataclass
class Outcome:
    """What one worker measured; lower is better."""

    value: float
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a workload gets to know."""

    params: Mapping[str, int]
    limit_binary: str
    commands: Mapping[str, str]

    def __getitem__(self, name: str) -> int:
        return self.params[name]

    def command(self, name: str, *args: object) -> list[str]:
        """Give the argument vector of a program found on PATH."""
        path = self.commands.get(name)
        if path is None:
            raise Unsupported(f"no program {name!r} on PATH")
        return [path, *map(str, args)]


@dataclass(frozen=True)
class Sample:
    """One measurement as the runner keeps it."""

    case: str
    peer: str
    round: int
    value: float | None
    extra: Mapping[str, float]
    reason: str = ""
    failed: bool = False
