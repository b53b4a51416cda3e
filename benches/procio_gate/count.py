"""The two instruments: strace and Valgrind's callgrind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median_low

WORK = Path(__file__).with_name("work.py")
MARK = "/procio-mark"
TIMEOUT = 600.0
REPEAT = 4
# A start copies the environment and looks along PATH, so both are the same everywhere.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    **{name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
}

Counts = dict[str, dict[str, float]]  # case -> what -> how many for one operation


def program(prefix: list[str], mark: str, folder: Path, **env: str) -> list[tuple[str, int]]:
    """Run the work under an instrument; the sections that it went through."""
    done = subprocess.run(
        [*prefix, sys.executable, "-s", str(WORK), mark, str(REPEAT)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        env={**ENVIRONMENT, **env},
        timeout=TIMEOUT,
    )
    if done.returncode:
        raise SystemExit(f"{prefix[0]}: exit status {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
    found: list[tuple[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return found


def usual(sections: list[tuple[str, int]], counted: list[dict[str, float]]) -> Counts:
    """For each case the median of its repetitions: what other work has caused in one of them is not the case's."""
    if len(sections) != len(counted):
        raise SystemExit(f"{len(counted)} sections were counted, {len(sections)} were run")
    runs: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (name, operations), counts in zip(sections, counted, strict=True):
        runs[name].append({what: number / operations for what, number in counts.items()})
    result: Counts = {}
    for name, found in runs.items():
        warm = found[len(found) // REPEAT :]  # the first time everything is cold
        whats = sorted({what for counts in warm for what in counts})
        medians = {what: median_low([counts.get(what, 0.0) for counts in warm]) for what in whats}
        result[name] = {what: number for what, number in medians.items() if number}
    return result


def system_calls(folder: Path) -> Counts:
    """Count each system call of this process, and those of a child until its program runs."""
    log = folder / "strace.log"
    sections = program(["strace", "-f", "-qq", "-e", "signal=none", "-o", str(log)], "calls", folder)
    return usual(sections, calls_between_marks(log))


def calls_between_marks(log: Path) -> list[dict[str, float]]:
    """The calls of each section. Those of a child belong to the section that made it, whenever it comes to them."""
    ours = None
    found: list[Counter[str]] = []
    inside = False
    born_in: dict[str, Counter[str] | None] = {}  # until the child has executed its program
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            made = re.match(r"(\d+)\s+(?:<\.\.\. )?(?:clone3?|v?fork)\b.* = (\d+)$", line)
            if made is not None and made[1] == ours:
                born_in.setdefault(made[2], found[-1] if inside else None)
            match = re.match(r"(\d+)\s+(\w+)\((.*)", line)
            if match is None:
                continue  # the end of a call that was interrupted by another's, or of a process
            pid, call, rest = match.groups()
            ours = ours or pid
            if pid == ours:
                if MARK in rest:
                    inside = not inside
                    found += [Counter()] if inside else []
                elif inside:
                    found[-1][call] += 1
                continue
            counts = born_in.setdefault(pid, found[-1] if inside else None)
            if counts is not None:
                counts[f"child: {call}"] += 1
            if call == "execve" and not re.search(r"= -1 E\w+", rest):
                born_in[pid] = None
    return [dict(counts) for counts in found]


def instructions(folder: Path) -> Counts:
    """Count the instructions: of procio's own code, of everything, and the calls that take memory."""
    out = folder / "callgrind.out"
    options = [f"--callgrind-out-file={out}", "--dump-before=getloadavg", "--combine-dumps=no", "--quiet"]
    sections = program(["valgrind", "--tool=callgrind", *options], "instructions", folder, PYTHONMALLOC="malloc")
    parts = sorted(folder.glob("callgrind.out.*"), key=lambda path: int(path.suffix[1:]))
    # The marks come in pairs, and each ends a part: every other one is a section.
    return usual(sections, [costs(path) for path in parts[1 : 2 * len(sections) : 2]])


def costs(part: Path) -> dict[str, float]:
    """What one part of callgrind's output says."""
    names: dict[tuple[str, str], str] = {}
    counts: Counter[str] = Counter()
    own, inclusive, called = False, False, ""
    for line in part.read_text(encoding="utf-8", errors="replace").splitlines():
        if inclusive:
            inclusive = False  # the costs of a call are counted where they arise
        elif match := re.match(r"(c?)(fn|ob)=\((\d+)\)(?: (.*))?", line):
            of_callee, kind, number, name = match.groups()
            if name is not None:
                names[kind, number] = name
            name = names[kind, number]
            if kind == "ob" and not of_callee:
                own = "/procio/_core" in name
            elif kind == "fn" and of_callee:
                called = name
        elif line.startswith("calls="):
            inclusive = True
            if called in ("malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"):
                counts["allocations"] += int(line[6:].split()[0])
        elif match := re.match(r"[+*\-\d]\S* (\d+)$", line):
            counts["instructions"] += int(match[1])
            if own:
                counts["instructions of procio's own"] += int(match[1])
    return dict(counts)
