"""Processes owned by a block: the job object that a child is in with everything that it starts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import procio
import pytest
import skips
from support import ASKED, DEVNULL, PIPE, PYTHON, TERMINATED, children, dead, run_script, running, script_result, until

if sys.platform != "win32":
    pytest.skip(skips.WINDOWS_ONLY, allow_module_level=True)

# A child and a grandchild, whose pids are printed. The first ends by itself if it is told so.
TREE = (
    "import subprocess, sys, time\n"
    "sleep = [sys.executable, '-c', 'import time; time.sleep(1000)']\n"
    "child = subprocess.Popen(sleep, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "import os; print(os.getpid(), child.pid, flush=True)\n"
    "sys.argv[1:] or time.sleep(1000)\n"
)


def tree(*args: str) -> tuple[str, ...]:
    """The command of such a child."""
    return (*PYTHON, "-c", TREE, *args)


async def all_dead(*pids: int) -> None:
    for pid in pids:
        await until(lambda pid=pid: dead(pid), f"end of {pid}")


async def test_a_timeout_ends_what_the_child_has_started() -> None:
    with pytest.raises(procio.TimeoutExpired) as info:
        await procio.run_process(tree(), timeout=5, grace=0.1)
    assert info.value.returncode in ASKED
    await all_dead(*map(int, info.value.stdout.split()))


async def test_a_normal_end_ends_what_the_child_has_left() -> None:
    done = await procio.run_process(tree("end"))
    assert done.returncode == 0
    await all_dead(*map(int, done.stdout.split()))


@pytest.mark.parametrize("how", ["raises", "stop", "ends"])
async def test_a_block_ends_what_the_child_has_started(how: str) -> None:
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError):
        async with procio.open_process(tree(*["end"] * (how == "ends")), stdout=PIPE, grace=0.1) as proc:
            pids.extend(map(int, (await proc.stdout.readline()).split()))
            assert len(pids) == 2
            if how == "stop":
                assert await proc.stop(grace=0.1) in ASKED
            if how == "ends":
                assert await proc.wait() == 0
            raise ZeroDivisionError
    await all_dead(*pids)


async def test_a_cancelled_run_ends_what_the_child_has_started() -> None:
    began = set(children())
    task = asyncio.create_task(procio.run_process(tree(), stdout=DEVNULL, grace=0.1))
    await until(lambda: set(children()) - began, "a start")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: set(children()) == began, "end of the child")


def test_a_program_that_is_killed_takes_its_children_along(loop_name: str) -> None:
    """The system closes the last handle of the job."""
    code = """
async def main():
    async with procio.open_process(args, stdout=PIPE) as proc:
        line = await proc.stdout.readline()
        print(json.dumps(list(map(int, line.split()))), flush=True)
        os._exit(0)

run(main())
"""
    pids = script_result(code, *tree(), loop=loop_name)
    assert len(pids) == 2
    asyncio.run(all_dead(*pids))


@pytest.mark.parametrize("how", ["one", "starting"])
def test_a_process_that_nothing_owns_ends_with_the_program_if_it_is_told_to(how: str, loop_name: str) -> None:
    """TerminateProcess, also while there are more on their way."""
    code = """
async def main():
    how, *command = args
    start = lambda: procio.create_subprocess_exec(*command, stdout=PIPE, kill_on_parent_exit=True)
    proc = await start()
    line = await proc.stdout.readline()
    print(json.dumps(list(map(int, line.split()))), flush=True)
    if how == "starting":
        started = [asyncio.ensure_future(start()) for _ in range(10)]
        await asyncio.wait(started, return_when=asyncio.FIRST_COMPLETED)
    os.kill(os.getpid(), signal.SIGTERM)

run(main())
"""
    done = run_script(code, how, *tree(), loop=loop_name, timeout=60)
    pids = json.loads(done.stdout.splitlines()[0])
    assert len(pids) == 2
    asyncio.run(all_dead(*pids))


@pytest.mark.parametrize(
    "options",
    [
        {"rlimits": {}},
        {"nice": 5},
        {"cpu_affinity": {0}},
        {"no_new_privs": True},
        {"cgroup": "x"},
        {"cgroup_kill": True},
        {"cwd": 3},
    ],
    ids=str,
)
async def test_what_windows_does_not_have(options: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError):
        await procio.create_subprocess_exec(*PYTHON, "-c", "", **options)


def test_a_process_that_ends_with_the_program_is_like_any_other(loop_name: str) -> None:
    """Also in the job of its own that a block gives it. The job of the program lasts as long as the program."""
    code = """
async def main():
    proc = await procio.create_subprocess_exec(*PYTHON, "-c", "raise SystemExit(3)", kill_on_parent_exit=True)
    assert await proc.wait() == 3
    done = await procio.run_process(args, kill_on_parent_exit=True)
    for pid in map(int, done.stdout.split()):
        await until(lambda pid=pid: dead(pid), f"end of {pid}")

run(main())
"""
    assert script_result(code, *tree("end"), loop=loop_name) is None


async def test_without_a_group_stop_ends_the_child_at_once() -> None:
    """There is no way to ask it."""
    proc: Any = await procio.create_subprocess_exec(*PYTHON, "-c", "import time; time.sleep(1000)")
    assert await proc.stop(grace=1000) == TERMINATED
    async with running(*PYTHON, "-c", "") as proc:
        with pytest.raises(NotImplementedError):
            proc.fileno()


@pytest.mark.parametrize("flag", ["CREATE_NEW_CONSOLE", "CREATE_NO_WINDOW", "DETACHED_PROCESS"])
async def test_a_process_that_has_not_our_console_is_not_asked(flag: str) -> None:
    """It would not hear it, and its grace would be for nothing."""
    flags = getattr(subprocess, flag)
    async with procio.open_process(["sleep", "1000"], creationflags=flags, grace=1000) as proc:
        assert await asyncio.wait_for(proc.stop(grace=1000), 30) == TERMINATED


async def test_results_and_lines() -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(int(sys.argv[1]))"
    done = await procio.run_process([*PYTHON, "-c", script, "0"], encoding="utf-8")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert done.usage is not None
    with pytest.raises(procio.CalledProcessError) as info:
        await procio.run_process([*PYTHON, "-c", script, "3"])
    assert (info.value.returncode, info.value.stderr.strip()) == (3, b"err")
    proc = await procio.create_subprocess_exec(*PYTHON, "-c", script, "0", stdout=PIPE, stderr=PIPE)
    lines = [line async for line in proc.merged(encoding="utf-8")]
    assert sorted(lines) == [(1, "out\n"), (2, "err\n")]
    await proc.wait()
