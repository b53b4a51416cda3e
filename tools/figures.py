"""Write the tables of figures in the documentation from what the benchmark has measured.

python benches/run.py --json docs/figures/NAME.json     measure, on a quiet machine
tools/offline/windows/bench --json FILE                 the same under Wine; FILE is in the checkout
cargo bench ... --bench tokio -- --json FILE            the crate's: docs/dev/benchmarks-rust.md
python tools/figures.py                                 write each table anew, and the pictures
python tools/figures.py --check                         exit with 1 if a table is not what its file says

A page has a table where it says `<!-- figures: KIND NAME... -->`, up to `<!-- end of the figures -->`. The kinds
are the functions in `KINDS`. What procio has to reach is in `benches/procio_bench/cases.py`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))

from procio_bench import plot, report  # noqa: E402
from procio_bench.cases import POSIX_SCALE as SCALE  # noqa: E402
from procio_bench.cases import POSIX_TABLE as TABLE  # noqa: E402
from procio_bench.cases import WINDOWS_TABLE as WINDOWS  # noqa: E402
from procio_bench.model import Case, Peer, Sample, Target  # noqa: E402
from procio_bench.peers import POSIX  # noqa: E402
from procio_bench.peers import WINDOWS as WINDOWS_PEERS  # noqa: E402
from procio_bench.runner import Plan  # noqa: E402
from procio_bench.stats import Results, Spread, duration, show  # noqa: E402

FIGURES = ROOT / "docs" / "figures"
PLACE = re.compile(r"<!-- figures: ([\w-]+) ([\w. -]+?) -->\n.*?<!-- end of the figures -->", re.DOTALL)

# Whose versions are told, where they took part.
NAMED = ("rustc", "uvloop", "anyio", "trio", "tokio", "procio")
ABSENT = "not installed"

# What the first page shows: a case, whom it is compared with, and what it is called there.
FEW = (
    ("spawn", "asyncio", "start `true` and wait for it"),
    ("held", "asyncio", "event-loop stall for each start"),
    ("spawn-heap", "uvloop", "the same start on uvloop from a parent with 1.5 GB, compared with uvloop's own"),
    ("echo-32", "asyncio", "600 times `echo hi` and `communicate`, 32 at once"),
    ("communicate", "asyncio", "`communicate`, 512 MB"),
    ("read", "asyncio", "`read(65536)`, 512 MB"),
    ("lines", "asyncio", "`async for line in proc.stdout`, for a short line"),
    ("pingpong", "asyncio", "64 bytes to a child and back"),
    ("write", "asyncio", "`write` and `drain`, 256 MB"),
)


class Run:
    """One run of the benchmark, as its file has it."""

    def __init__(self, name: str, folder: Path) -> None:
        document: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if document.get("quick"):
            raise ValueError("a run with --quick shows that everything works, and measures nothing")
        self.about: dict[str, str] = document["about"]
        self.rounds: int = document.get("rounds", 0)
        self.measured: dict[str, Any] = document.get("cases", {})
        self.results = Results(Sample(**sample) for sample in document.get("samples", ()))
        self.rows: list[dict[str, Any]] = document.get("rows", [])  # of the crate

    @property
    def python(self) -> str:
        """The interpreter, as a heading."""
        return self.about["python"]

    def facts(self) -> str:
        """Where the figures are from."""
        about = [self.about[name] for name in ("python", "system") if name in self.about]
        about += [f"{self.about['cpus']} processors"]
        about += [f"{name} {self.about[name]}" for name in NAMED if self.about.get(name, ABSENT) != ABSENT]
        rounds = f"{self.rounds} rounds; " if self.rounds else ""
        return f"{', '.join(about)}; {rounds}load averages at the start {self.about['load']}."

    def cases(self, cases: Iterable[Case] = TABLE) -> Iterator[Case]:
        """Those that were measured."""
        return (case for case in cases if case.name in self.measured)

    def medians(self, case: Case, peers: Iterable[Peer] = POSIX) -> list[str]:
        """What each peer took; a dash where there is no figure."""
        figures = [self.results.figure(case.name, peer.name) for peer in peers]
        return ["-" if figure is None else show(case, figure.median, False) for figure in figures]


def spread(reached: Spread | None) -> str:
    """A median, and how far the rounds lie apart."""
    if reached is None:
        return "-"
    median, low, high = map(report.number, (reached.median, reached.low, reached.high))
    return f"{median} ({low} to {high})"


def kept(target: Target, reached: list[Spread | None]) -> str:
    """Whether a target is reached in each of the runs."""
    if target.limit is None:
        return ""
    there = [one.median <= target.limit for one in reached if one is not None]
    return "" if not there else "yes" if all(there) else "in part" if any(there) else "no"


def ratios(runs: list[Run]) -> list[str]:
    """Every comparison, a column for each run. Lower is better."""
    rows = []
    for case in TABLE:
        title = case.title
        for target in case.targets:
            reached = [run.results.compare(case.name, target) for run in runs]
            if any(reached):
                cells = [title, report.what(target), report.at_most(target), *map(spread, reached)]
                rows.append([*cells, kept(target, reached)])
                title = ""
    return [*report.table(["case", "comparison", "at most", *(run.python for run in runs), "kept"], rows), *facts(runs)]


def facts(runs: list[Run]) -> list[str]:
    """Where the figures are from, a line for each run."""
    return [f"- {run.facts()}" for run in runs]


def few(runs: list[Run]) -> list[str]:
    """What the first page shows."""
    rows = []
    for name, base, text in FEW:
        target = Target("procio-uvloop" if base == "uvloop" else "procio", base, None)
        reached = [run.results.compare(name, target) for run in runs]
        rows.append([text, *("-" if one is None else report.number(one.median) for one in reached)])
    return report.table(["", *(run.python for run in runs)], rows)[:-1]


def medians(runs: list[Run]) -> list[str]:
    """What each peer took, of one run."""
    (run,) = runs
    rows = [[case.name, *run.medians(case)] for case in run.cases()]
    return report.table(["case", *(peer.name for peer in POSIX)], rows)[:-1]


def fairness(runs: list[Run]) -> list[str]:
    """What a second task notices of a flood, of one run."""
    (run,) = runs
    rows = []
    for case in run.cases():
        if case.kind != "fairness":
            continue
        for metric in ("", *run.results.metrics(case.name)):
            figures = [run.results.figure(case.name, peer.name, metric) for peer in POSIX]
            cells = ["-" if one is None else show(case, one.median, False, metric) for one in figures]
            rows.append([case.name, metric or "worst gap", *cells])
    return report.table(["case", "figure", *(peer.name for peer in POSIX)], rows)[:-1]


def scale(runs: list[Run]) -> list[str]:
    """What each peer takes as there is more of something, of one run."""
    (run,) = runs
    rows = [[case.title, *run.medians(case)] for case in run.cases(SCALE)]
    return [*report.table(["case", *(peer.name for peer in POSIX)], rows), *facts(runs)]


def beside(runs: list[Run]) -> list[str]:
    """procio against asyncio beside busy processes, of one run."""
    (run,) = runs
    names = list(dict.fromkeys(name.partition("@")[0] for name in run.measured))
    numbers = sorted({int(name.partition("@")[2] or 0) for name in run.measured})
    target = Target("procio", "asyncio", None)
    rows = []
    for case in (case for case in TABLE if case.name in names):
        measured = [f"{case.name}@{number}" if number else case.name for number in numbers]
        rows.append([case.title, *(spread(run.results.compare(name, target)) for name in measured)])
    return [*report.table(["procio / asyncio", *(f"beside {number}" for number in numbers)], rows), *facts(runs)]


def windows(runs: list[Run]) -> list[str]:
    """What was measured on Windows, of one run; every case has the same three comparisons."""
    (run,) = runs
    rows = []
    for case in run.cases(WINDOWS):
        compared = [spread(run.results.compare(case.name, target)) for target in case.targets]
        taken = run.medians(case, (peer for peer in WINDOWS_PEERS if peer.name in ("procio", "asyncio")))
        rows.append([case.title, *compared, report.at_most(case.targets[0]), *taken])
    heads = ["procio / asyncio", "on the Selector loop", "procio / limit", "at most", "procio", "asyncio"]
    return [*report.table(["case", *heads], rows), *facts(runs)]


def crate(runs: list[Run]) -> list[str]:
    """The crate beside tokio's own processes, of one run of its benchmark."""
    (run,) = runs

    def figure(row: dict[str, Any], whose: str) -> str:
        return duration(row[whose]) if row["unit"] == "s" else f"{row[whose]:.0f} {row['unit']}"

    rows = []
    for row in run.rows:
        to_limit = "" if row["to_limit"] is None else f"{row['to_limit']:.2f}"
        times = [figure(row, "procio"), figure(row, "tokio")]
        rows.append([row["runtime"], row["what"], *times, f"{row['ratio']:.2f}", to_limit, str(row["rounds"])])
    heads = ["runtime", "what", "procio", "tokio::process", "ratio", "to the limit", "rounds"]
    return [*report.table(heads, rows), *facts(runs)]


KINDS: dict[str, Callable[[list[Run]], list[str]]] = {
    "ratios": ratios,
    "few": few,
    "medians": medians,
    "fairness": fairness,
    "scale": scale,
    "beside": beside,
    "windows": windows,
    "crate": crate,
}


def renewed(page: str, folder: Path) -> str:
    """The page with each of its tables as its files have it."""

    def made(match: re.Match[str]) -> str:
        kind, names = match[1], match[2].split()
        table = "\n".join(KINDS[kind]([Run(name, folder) for name in names])).strip()
        return f"<!-- figures: {kind} {' '.join(names)} -->\n\n{table}\n\n<!-- end of the figures -->"

    return PLACE.sub(made, page)


def pages() -> list[Path]:
    """Every page that may have such a table."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def draw(name: str, cases: Iterable[Case], picture: str) -> str:
    """The picture of a run; a sentence about how that went."""
    run = Run(name, FIGURES)
    plan = Plan(list(run.cases(cases)), POSIX, run.rounds, quick=False, limit="")
    return plot.save(str(ROOT / "docs" / "img" / picture), plan, run.results, run.about)


def main() -> int:
    """Renew or check every page."""
    check = "--check" in sys.argv[1:]
    stale = []
    for path in pages():
        text = path.read_text(encoding="utf-8")
        new = renewed(text, FIGURES)
        if new != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(new, encoding="utf-8")
    print(*stale, sep="\n", end="\n" if stale else "")
    if not check:
        print(draw("3.11", TABLE, "benchmarks.svg"))
        print(draw("scale", SCALE, "scale.svg"))
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
