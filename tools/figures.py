"""Write the tables of figures in the documentation from what the benchmark has measured.

python benches/run.py --json docs/figures/NAME.json     measure, on a quiet machine
python tools/figures.py                                 write each table anew
python tools/figures.py --check                         exit with 1 if a table is not what its file says

A page has a table where it says `<!-- figures: NAME -->`, up to `<!-- end of the figures -->`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
PLACE = re.compile(r"<!-- figures: ([\w-]+) -->\n.*?<!-- end of the figures -->", re.DOTALL)


def number(value: float) -> str:
    """Two digits after the point, three where they are all that there is."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def rows(cases: dict[str, Any]) -> Iterator[str]:
    """A row for each comparison that was measured."""
    for case in cases.values():
        for comparison in case["comparisons"]:
            reached = comparison["reached"]
            if reached is None:
                continue
            what = f"{comparison['subject']}: {comparison['metric'] or 'value'}"
            if comparison["base"]:
                what = f"{comparison['subject']} / {comparison['base']}"
            limit = "" if comparison["at_most"] is None else f"{comparison['at_most']:g}"
            median, low, high = (number(reached[name]) for name in ("median", "low", "high"))
            yield f"| {case['title']} | {what} | {median} ({low} to {high}) | {limit} |"


def table(document: dict[str, Any]) -> str:
    """The figures of one run, and where they are from. Lower is better."""
    if document["quick"]:
        raise ValueError("a run with --quick shows that everything works, and measures nothing")
    about = document["about"]
    versions = ", ".join(f"{name} {about[name]}" for name in ("uvloop", "anyio", "trio", "procio") if name in about)
    return "\n".join(
        [
            "| case | compared | median (spread) | at most |",
            "| --- | --- | --- | --- |",
            *rows(document["cases"]),
            "",
            f"{about['python']}, {about['system']}, {about['cpus']} processors, {versions};"
            f" {document['rounds']} rounds; load averages {about['load']}.",
        ]
    )


def renewed(page: str, figures: Path) -> str:
    """The page with each of its tables as its file has it."""

    def made(match: re.Match[str]) -> str:
        document = json.loads((figures / f"{match[1]}.json").read_text(encoding="utf-8"))
        return f"<!-- figures: {match[1]} -->\n\n{table(document)}\n\n<!-- end of the figures -->"

    return PLACE.sub(made, page)


def main() -> int:
    """Renew or check every page."""
    stale = []
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = renewed(text, DOCS / "figures")
        if new != text:
            stale.append(path.relative_to(DOCS.parent).as_posix())
            if "--check" not in sys.argv[1:]:
                path.write_text(new, encoding="utf-8")
    print(*stale, sep="\n", end="\n" if stale else "")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
