"""Run in the guest: the stages of a list, two at a time, and how each ended.

A stage is a line `SECONDS NAME COMMAND`. It passes when its command ends with 0 and reports at least one test that
passed, or that all are skipped, in the words of pytest or of Rust's tests; or when pytest says that the markers leave
out all that it was given. Of all stages at least one has to have tests that passed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COUNTED = {"passed": "passed", "failed": "failed", "error": "failed", "errors": "failed"}
COUNTED |= dict.fromkeys(("skipped", "ignored", "xfailed"), "left out")
LINE = re.compile(r"^(test result:|=*\s*\d+ (passed|failed|skipped|error)).*$", re.MULTILINE)
printing = threading.Lock()


def count(text: str) -> dict[str, int]:
    """What the closing lines of the test programs add up to."""
    counts = {"passed": 0, "failed": 0, "left out": 0}
    for line in LINE.finditer(text):
        for number, word in re.findall(r"(\d+) (\w+)", line.group()):
            if word in COUNTED:
                counts[COUNTED[word]] += int(number)
    return counts


def run(line: str) -> tuple[bool, dict[str, int]]:
    """Run one stage and say how it ended; with its output if it failed."""
    seconds, name, command = line.split(maxsplit=2)
    begin = time.monotonic()
    log = Path("/tmp", f"stage-{name.replace('/', '-')}.log")
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            status = str(child.wait(float(seconds)))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            status = f"none after {seconds} s"
    text = log.read_text(errors="replace")
    counts = count(text)
    passed = status == "0" and counts["passed"] + counts["left out"] > 0 and counts["failed"] == 0
    passed |= status == "5" and "deselected in " in text and "error" not in text
    told = ", ".join(f"{number} {what}" for what, number in counts.items())
    with printing:
        print(f"{'pass' if passed else 'FAIL'} {name}: {told}, {time.monotonic() - begin:.0f} s, status {status}")
        shown = text.splitlines() if name.startswith("ways") else [] if passed else text.splitlines()[-150:]
        print(*(f"  {row}" for row in shown), sep="\n", end="\n" if shown else "", flush=True)
    return passed, counts


def main() -> None:
    """Run the stages of the file that the first argument names."""
    print(f"guest: {' '.join(os.uname()[i] for i in (0, 2, 4))}, Python {sys.version.split()[0]}", flush=True)
    os.chdir("/srv/procio")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, Path(sys.argv[1]).read_text().splitlines()))
    total = {what: sum(counts[what] for _, counts in results) for what in ("passed", "failed", "left out")}
    good = all(passed for passed, _ in results) and total["passed"] > 0
    print(f"guest: {'all stages have passed' if good else 'a stage has failed'}")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['left out']} skipped", flush=True)


if __name__ == "__main__":
    main()
