"""The behaviour tests once more on each fallback: a path that no test forces does not exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import shim
from support import ROOT, TESTS, script_result

SWITCHES = [
    ("PROCIO_SPAWN", "vfork"),
    ("PROCIO_SPAWN", "fork"),
    ("PROCIO_PIDFD", "0"),
    ("PROCIO_RELAY", "1"),
    ("PROCIO_CLOSE_RANGE", "0"),
]
NAMES = ["=".join(switch) for switch in SWITCHES]


@pytest.mark.forced
@pytest.mark.timeout(900)
@pytest.mark.skipif(shim.ACTIVE, reason="asyncio has no such switches")
@pytest.mark.parametrize(("variable", "value"), SWITCHES, ids=NAMES)
def test_suite_with_a_forced_path(variable: str, value: str) -> None:
    """Everything but stress, conformance and the checkout, under one switch."""
    chosen = os.environ.get("PROCIO_TEST_FORCED_ARGS", "").split()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "--maxfail=10", "-p", "no:cacheprovider"),
            *("-m", "not stress and not forced and not conformance and not project"),
            *(chosen or [str(TESTS)]),
        ],
        cwd=ROOT,
        env={**os.environ, variable: value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=880,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    print(f"{variable}={value}: {done.stdout.splitlines()[-1]}")


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
    assert script_result(RELAY, relay, loop=loop_name, env={"PROCIO_RELAY": relay, "PROCIO_PIDFD": "1"}) is None


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
