"""Programs that become another user's: the system refuses to signal them, and they end when they like."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
import skips
from support import script_result

PROGRAM = """
#include <unistd.h>
int main(void) { char c; setgid(0); setuid(0); write(1, "ready\\n", 6); read(0, &c, 1); return 3; }
"""

# The parent gives up its privileges; everything is imported before.
PRELUDE = """
import warnings
new_loop().close()
_ = procio.open_process  # is imported when it is used
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
(program,) = args
caught = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *rest: caught.append(f"{category.__name__}: {message}")
"""


@pytest.fixture
def program() -> Iterator[str]:
    """A set-user-ID program of root's that says when it has become root, and ends when it has read a byte."""
    folder = Path(mkdtemp(dir="/var/tmp"))  # where such programs may be executed
    folder.chmod(0o755)
    source = folder / "program.c"
    source.write_text(PROGRAM)
    subprocess.run(["cc", "-o", folder / "program", source], check=True)
    (folder / "program").chmod(0o4755)
    yield str(folder / "program")
    rmtree(folder)


@skips.needs_root
@skips.needs_compiler
@pytest.mark.parametrize("how", ["stop", "block", "cancelled"])
def test_a_process_that_may_not_be_signalled_is_waited_for(program: str, how: str, loop_name: str) -> None:
    """With a warning, and however often the wait is cancelled."""
    code = """
async def main():
    how = HOW
    later = asyncio.get_running_loop().call_later
    if how == "block":
        try:
            async with procio.open_process([program], stdin=PIPE, stdout=PIPE, grace=0.05) as proc:
                await proc.stdout.readline()
                later(0.3, proc.stdin.write, b"x")
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
    else:
        proc = await procio.create_subprocess_exec(program, stdin=PIPE, stdout=PIPE, start_new_session=True)
        await proc.stdout.readline()
        later(0.3, proc.stdin.write, b"x")
        task = asyncio.ensure_future(proc.stop(grace=0.05))
        if how == "cancelled":
            for _ in range(3):
                await asyncio.sleep(0.02)
                task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            caught.append("cancelled")
    print(json.dumps([proc.returncode, caught]))

run(main())
"""
    returncode, caught = script_result(PRELUDE + code.replace("HOW", repr(how)), program, loop=loop_name)
    assert returncode == 3
    assert [text for text in caught if "RuntimeWarning" in text and "signalled" in text]
    assert ("cancelled" in caught) is (how == "cancelled")


CANCELLED_START = """
def became_root():
    return [pid for pid in children() if os.stat(f"/proc/{pid}").st_uid == 0 and state(pid) == "S"]

async def main():
    reader, writer = os.pipe()
    task = asyncio.ensure_future(procio.create_subprocess_exec(program, stdin=reader, stdout=DEVNULL))
    await asyncio.sleep(0)
    until_sync(became_root, "the program as root")  # and the loop has not turned
    task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.cancelled()
    assert became_root()
    os.write(writer, b"x")
    await until(lambda: not children(), "reaped")
    os.close(reader)
    os.close(writer)

run(main())
"""


@skips.needs_root
@skips.needs_compiler
def test_a_cancelled_start_does_not_wait_for_it(program: str, loop_name: str) -> None:
    """The cancellation goes through at once; the reactor reaps the program whenever it ends."""
    assert script_result(PRELUDE + CANCELLED_START, program, loop=loop_name) is None
