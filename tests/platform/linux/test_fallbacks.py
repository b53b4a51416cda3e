"""The behaviour tests once more on each fallback: a path that no test forces does not exist."""

from __future__ import annotations

import concurrent.futures
import os
import re
import subprocess
import sys

import pytest
import shim
from support import LOOPS, ROOT, TESTS, script_result

SWITCHES = [
    ("PROCIO_SPAWN", "vfork"),
    ("PROCIO_SPAWN", "fork"),
    ("PROCIO_PIDFD", "0"),
    ("PROCIO_POLL_THREAD", "1"),
    ("PROCIO_CLONE3", "0"),
    ("PROCIO_CLOSE_RANGE", "0"),
]
HOST_PATHS = ("PROCIO_PIDFD", "PROCIO_POLL_THREAD")
NAMES = ["=".join(switch) for switch in SWITCHES]


def run_suite(switch: tuple[str, str], loops: str) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Everything but stress, conformance and the checkout, in an interpreter with one switch set."""
    variable, value = switch
    chosen = os.environ.get("PROCIO_TEST_FORCED_ARGS", "").split()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--maxfail=10", "-p", "no:cacheprovider"),
            *("-m", "not stress and not forced and not conformance and not project"),
            *(chosen or [str(TESTS)]),
        ],
        cwd=ROOT,
        env={**os.environ, variable: value, "PROCIO_TEST_LOOPS": loops},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return f"{variable}={value} on {loops}", done


@pytest.mark.forced
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shim.ACTIVE, reason="asyncio has no such switches")
def test_suite_with_each_forced_path() -> None:
    """Two at a time. On every loop where loops differ to the path (and, full size, everywhere)."""
    everywhere = ",".join(LOOPS)
    full = float(os.environ.get("PROCIO_STRESS", "0.1")) >= 1
    runs = [(switch, everywhere if full or switch[0] in HOST_PATHS else LOOPS[0]) for switch in SWITCHES]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda run: run_suite(*run), runs))
    bad = []
    for name, done in results:
        print(f"{name}: {done.stdout.splitlines()[-1] if done.stdout else done.stderr}")
        if done.returncode != 0 or not re.search(r"\b[1-9]\d* passed", done.stdout):
            bad.append(f"{name}\n{done.stdout[-8000:]}{done.stderr[-2000:]}")
    assert not bad, "\n\n".join(bad)


RELAY = """
async def main():
    before = set(threads())
    async with cat() as proc:
        new = set(threads()) - before
        assert len(new) == (1 if args[0] == "1" else 0), new
        async with cat():
            assert set(threads()) - before == new
run(main())
"""


@pytest.mark.skipif(shim.ACTIVE, reason="asyncio has no such switches")
@pytest.mark.parametrize("relay", ["0", "1"])
def test_relay_is_one_thread(relay: str, loop_name: str) -> None:
    """Without it there is none; with it one, however many children there are."""
    assert script_result(RELAY, relay, loop=loop_name, env={"PROCIO_POLL_THREAD": relay, "PROCIO_PIDFD": "1"}) is None


PIDFD = """
async def main():
    async with cat() as proc:
        pidfds = [name for name in open_fds().values() if "pidfd" in name]
        assert len(pidfds) == int(args[0]), pidfds
run(main())
"""


@pytest.mark.skipif(shim.ACTIVE, reason="asyncio has no such switches")
@pytest.mark.parametrize("pidfd", ["0", "1"])
def test_pidfd_switch(pidfd: str) -> None:
    """The switch does what it says, so that the run above tests what it says."""
    assert script_result(PIDFD, pidfd, env={"PROCIO_PIDFD": pidfd}) is None


SPAWN = """
async def main():
    async with cat() as proc:
        assert proc.returncode is None
run(main())
"""


@pytest.mark.skipif(shim.ACTIVE, reason="asyncio has no such switches")
@pytest.mark.parametrize(("variable", "value"), SWITCHES, ids=NAMES)
def test_switch_is_accepted(variable: str, value: str, loop_name: str) -> None:
    assert script_result(SPAWN, loop=loop_name, env={variable: value}) is None


EXIT = """
async def main():
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await proc.communicate(b"x") == (b"x", None)
run(main())
"""


@pytest.mark.skipif(shim.ACTIVE, reason="asyncio has no such switches")
@pytest.mark.parametrize(("variable", "value"), SWITCHES, ids=NAMES)
def test_interpreter_ends_quietly(variable: str, value: str) -> None:
    """A thread of procio that still runs must not touch an interpreter that ends."""
    for _ in range(10):
        assert script_result(EXIT, env={variable: value}) is None
