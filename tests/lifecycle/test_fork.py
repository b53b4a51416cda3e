"""os.fork() in a program that uses procio: the child may use it anew and cannot disturb the parent."""

from __future__ import annotations

import pytest
from support import script_result

FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)

async def in_child():
    assert await output("echo", "from the child") == b"from the child\\n"
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await proc.communicate(b"x" * 1000000) == (b"x" * 1000000, None)

async def talk(proc, word):
    proc.stdin.write(word + b"\\n")
    assert await proc.stdout.readline() == word + b"\\n"

def fork(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid

async def main():
    global proc
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    await talk(proc, b"before")
    pending = asyncio.ensure_future(proc.stdout.readline())
    await turns(3)
    forked = fork(globals()[args[0]])
    _, status = await asyncio.to_thread(os.waitpid, forked, 0)
    assert status == 0, status
    proc.stdin.write(b"pending\\n")
    assert await pending == b"pending\\n"
    await talk(proc, b"after")
    assert await output("echo", "parent") == b"parent\\n"
    assert proc.returncode is None
    proc.stdin.close()
    assert await proc.wait() == 0
    assert not children()

def use_a_fresh_loop():
    run(in_child())
    run(in_child())

def drop_everything():
    global proc
    del proc
    gc.collect()

run(main())
"""


def test_forked_child_uses_a_fresh_loop(loop_name: str) -> None:
    assert script_result(FORK, "use_a_fresh_loop", loop=loop_name) is None


def test_forked_child_drops_the_parents_processes(loop_name: str) -> None:
    """Garbage collection in the child does not kill what belongs to the parent."""
    assert script_result(FORK, "drop_everything", loop=loop_name) is None


EXIT = """
import warnings
warnings.simplefilter("ignore")

async def main():
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    return proc

loop = new_loop()
proc = loop.run_until_complete(main())
pid = os.fork()
if pid == 0:
    if args[0] == "kept":
        import ctypes
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(loop))
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7

async def rest():
    proc.stdin.write(b"still there\\n")
    assert await proc.stdout.readline() == b"still there\\n"
    proc.stdin.close()
    assert await proc.wait() == 0

loop.run_until_complete(rest())
loop.close()
"""


@pytest.mark.differs
def test_forked_child_that_exits_leaves_the_parents_process_alone(loop_name: str) -> None:
    """A whole interpreter exit in the child, with the parent's Process and loop among its globals."""
    assert script_result(EXIT, "dropped", loop=loop_name) is None


@pytest.mark.differs
def test_forked_child_that_exits_with_its_loop_kept(loop_name: str) -> None:
    """The same, but the loop is not collected in the child, whose loop would disturb the parent's by itself."""
    assert script_result(EXIT, "kept", loop=loop_name) is None


MULTIPROCESSING = """
import multiprocessing

def work(number):
    async def main():
        return await output("echo", str(number))
    return run(main())

async def main():
    assert await output("echo", "x") == b"x\\n"
    with multiprocessing.get_context(args[0]).Pool(2) as pool:
        assert pool.map(work, range(6)) == [b"%d\\n" % number for number in range(6)]
    assert await output("echo", "x") == b"x\\n"

import warnings
warnings.simplefilter("ignore", DeprecationWarning)
run(main())
"""


def test_multiprocessing_with_fork(loop_name: str) -> None:
    assert script_result(MULTIPROCESSING, "fork", loop=loop_name) is None
