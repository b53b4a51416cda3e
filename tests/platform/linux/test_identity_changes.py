"""A program that gives up its privileges while a start is under way: docs/dev/decisions/0006.

Until its exec the child reads from our memory, and is who we were. Another process withholds the program from it, by a
lease on its file, until a change of identity waits for it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import shim
import skips
from support import NOBODY, script_result
from test_refused_system_calls import CLONE_THREAD, EAGAIN, EPERM, FIRST_WAY, NO_CLONE3, refusing

# The start waits for the exec by itself, or the child has memory of its own.
waits_anyway = any(os.environ.get(name) for name in ("PROCIO_SPAWN", "PROCIO_EXEC", "PROCIO_SETXID_BARRIER"))

pytestmark = [
    skips.needs_root,
    skips.needs_proc,
    pytest.mark.skipif(shim.ACTIVE, reason="asyncio waits for the exec"),
    pytest.mark.skipif(waits_anyway, reason=skips.WAITS_FOR_EXEC),
]

# Holds the lease until a thread of its parent has a signal pending by which the C library asks it to follow, or until
# it is told.
HOLDER = """
import fcntl, glob, os, select, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)

def is_asked():
    for name in glob.glob(f"/proc/{os.getppid()}/task/*/status"):
        try:
            pending = next(line for line in open(name) if line.startswith("SigPnd"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pending.split()[1], 16) & (1 << 32 | 1 << 33):
            return True
    return False

while not is_asked() and not select.select([0], [], [], 0.002)[0]:
    pass
"""

# Whether a child is not "forked, but did not exec" any more (PF_FORKNOEXEC in proc(5)), or has gone.
HAS_EXECUTED = """
from kernel_linux import stat_fields

def has_executed(pid):
    fields = stat_fields(pid)
    return fields is None or not int(fields[6]) & 0x40
"""

PRELUDE = f"""
{HAS_EXECUTED}
import ctypes, subprocess, threading
libc = ctypes.CDLL(None)  # a call lets go of the interpreter's lock
program, *_ = args
holder = subprocess.Popen([sys.executable, "-c", {HOLDER!r}, program], stdin=-1, stdout=-1)
assert holder.stdout.readline() == b"held\\n"

def the_child():
    return next((pid for pid in children() if pid != holder.pid), None)

async def start():
    return await procio.create_subprocess_exec(program, "late", stdout=PIPE)

async def main():
    task = asyncio.ensure_future(start())
    await until(the_child, "child")
    pid = the_child()
    assert not has_executed(pid) and not task.done()
    await change()
    # The holder waits for ever, if no change waits for the child.
    await until(lambda: has_executed(pid), "exec")
    assert (await (await task).communicate())[0] == b"late\\n"
"""

END = """
run(main())
holder.communicate()
"""

CHANGES = {
    "by the loop's thread": f"""
async def change():
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
""",
    "of the groups": """
async def change():
    os.setgroups([1])
""",
    "by another thread": """
async def change():
    thread = threading.Thread(target=libc.setresuid, args=(-1, -1, -1))
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0)
""",
    "by two threads": """
async def change():
    threads = [threading.Thread(target=libc.setresgid, args=(-1, -1, -1)) for _ in range(2)]
    for thread in threads:
        thread.start()
    # What is started meanwhile is not waited for by them.
    assert await output("echo", "x") == b"x\\n"
    for thread in threads:
        while thread.is_alive():
            await asyncio.sleep(0)
""",
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    return Path(shutil.copy("/bin/echo", tmp_path / "program"))


@pytest.mark.parametrize("clone3", ["0", ""])
@pytest.mark.parametrize("how", CHANGES)
def test_a_change_of_identity_waits_for_the_exec(program: Path, loop_name: str, how: str, clone3: str) -> None:
    assert script_result(PRELUDE + CHANGES[how] + END, program, loop=loop_name, env={"PROCIO_CLONE3": clone3}) is None


def test_a_program_that_is_two_users_at_once(program: Path, loop_name: str) -> None:
    """It starts children without waiting for them, and becomes one user."""
    code = f"""
new_loop().close()  # everything is imported
os.setresuid({NOBODY}, {NOBODY}, 0)
async def change():
    os.setresuid(0, 0, 0)
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""
    assert script_result(PRELUDE + code + END, program, loop=loop_name) is None


def test_in_a_forked_copy(program: Path) -> None:
    """Which has no such thread, and none of the children that are being started."""
    code = """
def in_the_copy():
    assert run(output("echo", "x")) == b"x\\n"
    libc.setresuid(-1, -1, -1)

async def change():
    pid = os.fork()
    if pid == 0:
        asyncio._set_running_loop(None)
        try:
            in_the_copy()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    holder.stdin.write(b"x")
    holder.stdin.flush()
"""
    if sys.version_info >= (3, 12):
        code = "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n" + code
    assert script_result(PRELUDE + code + END, program) is None


def test_the_thread_ends_when_nothing_is_started(loop_name: str) -> None:
    """Programs fork, and enter namespaces."""
    code = """
import errno

async def main():
    for _ in range(3):
        await asyncio.gather(*(output("echo", "x") for _ in range(100)))
        await until(lambda: "procio-setxid" not in threads().values(), "end of the thread")
    if len(threads()) == 1 and hasattr(os, "unshare"):
        try:
            os.unshare(os.CLONE_NEWUSER)
        except OSError as error:  # a container may refuse it to all
            assert error.errno != errno.EINVAL

run(main())
"""
    assert script_result(code, loop=loop_name) is None


def test_a_fork_does_not_meet_the_thread(loop_name: str) -> None:
    """Python warns of it where it counts the threads that the kernel has: after a fork, in the parent."""
    code = """
met = []
os.register_at_fork(after_in_parent=lambda: met.append("procio-setxid" in threads().values()))

async def main():
    for _ in range(20):
        assert await output("echo", "x") == b"x\\n"
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

run(main())
assert met == [False] * 20, met
"""
    if sys.version_info >= (3, 12):
        code = "import warnings\nwarnings.simplefilter('error')\n" + code
    assert script_result(code, loop=loop_name) is None


# Holds the lease until its parent, who makes a child meanwhile, waits in the kernel.
HOLDER_UNTIL_THE_START_WAITS = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
thread = f"/proc/{os.getppid()}/task/{os.getppid()}"

def start_waits():
    # In this order: before there is a child its parent may wait for something else.
    has_child = open(f"{thread}/children").read().split() != [str(os.getpid())]
    return has_child and open(f"{thread}/stat").read().rpartition(")")[2].split()[0] in "SD"

while not start_waits():
    os.sched_yield()
print("released", flush=True)
"""

# A start that goes on finds the lease still held: nothing lets its thread wait before it looks.
WAITS = f"""
import select, subprocess

async def main():
    for _ in range(3):
        holder = [sys.executable, "-c", {HOLDER_UNTIL_THE_START_WAITS!r}, program]
        with subprocess.Popen(holder, stdout=subprocess.PIPE) as holder:
            assert holder.stdout.readline() == b"held\\n"
            task = asyncio.ensure_future(procio.create_subprocess_exec(program, "late", stdout=PIPE))
            await asyncio.sleep(0)
            assert select.select([holder.stdout], [], [], 0)[0], "the start was to wait for the exec"
            assert (await (await task).communicate())[0] == b"late\\n"

run(main())
"""


@pytest.mark.parametrize(
    "calls",
    [
        [NO_CLONE3, ("clone", CLONE_THREAD, EAGAIN)],
        [("rt_sigtimedwait", 0, EPERM)],
        [("rt_sigtimedwait", 0, EPERM), ("capget", 0, EPERM)],
        [("getgroups", 0, EPERM)],
    ],
    ids=lambda calls: " ".join(name for name, _, _ in calls),
)
def test_without_the_thread_a_start_waits_for_the_exec(
    program: Path, calls: list[tuple[str, int, int]], loop_name: str
) -> None:
    """It cannot be made, or not wait for the signal; or it is not known who it is."""
    refusing(calls, f"program = {str(program)!r}" + WAITS, loop_name, **FIRST_WAY)
