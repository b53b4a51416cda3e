"""The last figures, and what has changed since."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .count import Counts

FILE = Path(__file__).resolve().parent.parent / "gate.json"
TOLERANCE = 0.03

OWN = "instructions of procio's own"
# What a figure depends on beside procio. With another one of these it is shown, and not judged.
DEPENDS = {
    OWN: ("machine", "rustc", "valgrind"),
    "instructions": ("machine", "rustc", "valgrind", "python", "libc"),
    "allocations": ("machine", "python", "libc"),
}


def first_line(*command: str) -> str:
    """What a program says of its version."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError:
        return "not installed"
    return (done.stdout.strip().splitlines() or ["?"])[0]


def instructions_of_the_processor() -> str:
    """The widest registers that libraries choose by, and Valgrind knows."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    return " with avx2" if "avx2" in flags.split() else ""


def conditions() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "python": f"{platform.python_version()}, {platform.python_compiler()}",
        "libc": " ".join(platform.libc_ver()),
        "kernel": platform.release().split("-")[0],
        "machine": platform.machine() + instructions_of_the_processor(),
        "rustc": first_line("rustc", "--version"),
        "valgrind": first_line("valgrind", "--version"),
    }


def interpreter() -> str:
    """The key of the figures: 3.11, 3.14."""
    return ".".join(platform.python_version_tuple()[:2])


def load() -> dict[str, Any]:
    """All figures, by interpreter."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return found


def calls_of(last: dict[str, Any]) -> dict[str, Any]:
    """The system calls alone."""
    cases = {
        case: {what: number for what, number in figures.items() if what not in DEPENDS}
        for case, figures in last["cases"].items()
    }
    return {**last, "cases": cases}


def accept(counts: Counts) -> None:
    """Make these the figures of this interpreter."""
    rounded = {
        case: {what: round(number, 3) for what, number in sorted(figures.items())} for case, figures in counts.items()
    }
    figures = {**load(), interpreter(): {"counted with": conditions(), "cases": rounded}}
    FILE.write_text(json.dumps(dict(sorted(figures.items())), indent=1) + "\n", encoding="utf-8")


def differences(last: dict[str, Any], counts: Counts) -> Iterator[tuple[str, str, float, float]]:
    """Each figure that has changed by more than is allowed, as (case, what, before, now)."""
    before = last["cases"]
    for case in sorted(before.keys() | counts.keys()):
        old, new = before.get(case, {}), counts.get(case, {})
        for what in sorted(old.keys() | new.keys()):
            was, now = old.get(what, 0.0), new.get(what, 0.0)
            # The half of a thousandth is what the file has rounded.
            if abs(now - was) > TOLERANCE * was + 0.0005:
                yield case, what, was, now


def other_conditions(last: dict[str, Any], what: str) -> list[str]:
    """Why a figure cannot be judged here: `libc glibc 2.36, was glibc 2.31`."""
    here, there = conditions(), last["counted with"]
    names = DEPENDS.get(what, ())
    return [f"{name} {here[name]}, was {there.get(name)}" for name in names if here[name] != there.get(name)]
