"""Each switch forces the path that its name says, so that a run of the suite with it judges that path.

The runs themselves: `nox -s forced`, or by hand `PROCIO_SPAWN=fork pytest` (tests/README.md).
"""

from __future__ import annotations

import pytest
import shim
from support import script_result
from switches import FORCED_PATHS

NAMES = ["=".join(switch) for switch in FORCED_PATHS]

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason="asyncio has no such switches")


POLL_THREAD = """
async def main():
    before = set(threads())
    async with cat() as proc:
        # What a start of root's has wait for the exec ends soon.
        await until(lambda: len(set(threads()) - before) == int(args[0]), "threads")
        new = set(threads()) - before
        async with cat():
            await until(lambda: set(threads()) - before == new, "the same threads")
run(main())
"""


@pytest.mark.parametrize("switch", ["0", "1"])
def test_poll_thread_is_one_thread(switch: str, loop_name: str) -> None:
    """Without it there is none; with it one, however many children there are."""
    assert (
        script_result(POLL_THREAD, switch, loop=loop_name, env={"PROCIO_POLL_THREAD": switch, "PROCIO_PIDFD": "1"})
        is None
    )


PIDFD = """
async def main():
    async with cat() as proc:
        pidfds = [name for name in open_fds().values() if "pidfd" in name]
        assert len(pidfds) == int(args[0]), pidfds
run(main())
"""


@pytest.mark.parametrize("pidfd", ["0", "1"])
def test_pidfd_switch(pidfd: str) -> None:
    """With it no child has a descriptor of its own."""
    assert script_result(PIDFD, pidfd, env={"PROCIO_PIDFD": pidfd}) is None


SPAWN = """
async def main():
    async with cat() as proc:
        assert proc.returncode is None
run(main())
"""


@pytest.mark.parametrize(("variable", "value"), FORCED_PATHS, ids=NAMES)
def test_switch_is_accepted(variable: str, value: str, loop_name: str) -> None:
    assert script_result(SPAWN, loop=loop_name, env={variable: value}) is None


EXIT = """
async def main():
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await proc.communicate(b"x") == (b"x", None)
run(main())
"""


@pytest.mark.parametrize(("variable", "value"), FORCED_PATHS, ids=NAMES)
def test_interpreter_ends_quietly(variable: str, value: str) -> None:
    """A thread of procio that still runs must not touch an interpreter that ends."""
    for _ in range(10):
        assert script_result(EXIT, env={variable: value}) is None
