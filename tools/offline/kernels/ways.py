"""Run under a kernel: which ways procio takes there, compared with the table in docs/dev/design.md.

Each row of that table is asked of a program under strace: did the kernel do what procio asked for first, or
was it refused?
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

DESIGN = Path(__file__).resolve().parents[3] / "docs" / "dev" / "design.md"
ROW = re.compile(r"^\| `([\w.]+)` \|.*?\| (\d+)\.(\d+) \|", re.MULTILINE)
MOUNTED = re.search(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.MULTILINE)
CGROUP = f"{MOUNTED[1] if MOUNTED else '/sys/fs/cgroup'}/ways"
CALLS = "clone,clone3,close_range,ioctl,kill,madvise,openat,pidfd_send_signal,prctl,waitid,wait4"

START = """
import asyncio, os, signal, procio
async def main():
    process = await procio.create_subprocess_exec({arguments}, **{options!r})
    {then}
    await process.wait()
    print("status", process.returncode)
    print("threads", threads)
threads = 0
def note():
    global threads
    threads = len(os.listdir("/proc/self/task"))
asyncio.run(main())
"""


@dataclass
class Way:
    """How to see whether the kernel did one thing."""

    seen: str  # a pattern in what strace and the program have written
    arguments: str = "'true'"
    options: dict[str, object] | None = None
    then: str = "note()"
    refused: str = "$^"  # what the program ends with, if it cannot do without


GROUP = "process.send_signal_to_group(signal.SIGTERM)"
LEADER: dict[str, object] = {"start_new_session": True}
WAYS = {
    "CLONE_PIDFD": Way("^threads 1$", "'sleep', '0.3'"),
    "P_PIDFD": Way(r"waitid\(P_PIDFD, .*\)\s+= 0"),
    "CLONE_CLEAR_SIGHAND": Way(r"clone3\(.*CLONE_CLEAR_SIGHAND.*\)\s+= \d"),
    "CLONE_INTO_CGROUP": Way(r"clone3\(.*CLONE_INTO_CGROUP.*\)\s+= \d", options={"cgroup": CGROUP}),
    "close_range": Way(r"close_range\(.*\)\s+= 0"),
    "MADV_POPULATE_WRITE": Way(
        r"madvise\(.*MADV_POPULATE_WRITE\)\s+= 0",
        "'head', '-c', '4000000', '/dev/zero'",
        {"stdout": -1},
        "await process.communicate()",
    ),
    "cgroup.kill": Way(
        r'"/?[\w/]*cgroup\.kill".* = \d',
        "'sleep', '60'",
        {"cgroup": CGROUP, "cgroup_kill": True},
        "await process.stop(grace=0)",
        r"cgroup_kill is not to be had here",
    ),
    "PIDFD_SIGNAL_PROCESS_GROUP": Way(
        r"pidfd_send_signal\(.*(PIDFD_SIGNAL_PROCESS_GROUP|0x4|4)\)\s+= 0", "'sleep', '60'", LEADER, GROUP
    ),
    "PIDFD_INFO_EXIT": Way(
        # It ends while the loop does not run.
        "^status 7$",
        "'sh', '-c', 'read line; exit 7'",
        {"stdin": -1},
        "process.stdin.write(b'go\\n'); os.waitpid(process.pid, 0)",
    ),
    "CLONE_PIDFD_AUTOKILL": Way(r"clone3\(.*0x14\d{8}.*\)\s+= \d", options={"kill_on_parent_exit": True}),
}


def take(way: Way) -> str:
    """What strace and the program say while it is taken."""
    program = START.format(arguments=way.arguments, options=way.options or {}, then=way.then)
    with tempfile.TemporaryDirectory() as folder:
        # A file for each process: no line is interrupted by another.
        strace = ["strace", "-ff", "-q", "-e", f"trace={CALLS}", "-o", f"{folder}/trace"]
        done = subprocess.run([*strace, sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        calls = "".join(trace.read_text(errors="replace") for trace in sorted(Path(folder).iterdir()))
    if done.returncode and not re.search(way.refused, done.stderr):
        raise SystemExit(f"the program has failed:\n{program}\n{done.stderr}")
    return calls + done.stdout


def main() -> None:
    """Take each way and compare."""
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    os.makedirs(CGROUP, exist_ok=True)
    since = {name: (int(major), int(minor)) for name, major, minor in ROW.findall(DESIGN.read_text(encoding="utf-8"))}
    if since.keys() != WAYS.keys():
        raise SystemExit(f"the table of docs/dev/design.md has other rows: {since.keys() ^ WAYS.keys()}")
    passed = 0
    print(f"Linux {os.uname().release}")
    for name, way in WAYS.items():
        expected = release >= since[name]
        told = take(way)
        seen = re.search(way.seen, told, re.MULTILINE) is not None
        passed += seen == expected
        answer = "taken" if seen else "not there: what takes its place"
        print(f"{name:28} {answer}{'' if seen == expected else '; the table says otherwise'}")
        if seen != expected:
            print(*[f"    {line}" for line in told.splitlines() if not line.startswith("openat")][-60:], sep="\n")
    os.rmdir(CGROUP)
    print(f"{passed} passed, {len(WAYS) - passed} failed")
    sys.exit(passed != len(WAYS))


if __name__ == "__main__":
    main()
