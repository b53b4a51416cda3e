"""`python -m asyncio ps` and `pstree`, by which another process is looked at."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
from typing import Any

import pytest
from support import PIPE, output, script_source

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio has no such command")

PROGRAM = """
import json, sys

async def reads(proc):
    await proc.stdout.readexactly(1)

async def main():
    procs = [await procio.create_subprocess_exec("sleep", "1000", stdout=PIPE) for _ in range(3)]
    print(json.dumps(os.getpid()), flush=True)
    waits = [procs[0].wait(), procs[0].stdout.readline(), procs[1].communicate(), procs[2].wait(), reads(procs[2])]
    tasks = [asyncio.create_task(wait, name=f"task-{number}") for number, wait in enumerate(waits)]
    await turns(3)
    print("waiting", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for proc in procs:
        proc.kill()
    await asyncio.gather(*tasks, return_exceptions=True)

run(main())
"""


def _may_look() -> bool:
    """Whether this machine lets a process read memory so (containers need not)."""
    byte, there = ctypes.c_char(), ctypes.c_char()
    libc = ctypes.CDLL(None, use_errno=True)

    class Part(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    here, other = (Part(ctypes.addressof(place), 1) for place in (byte, there))
    return bool(libc.process_vm_readv(os.getpid(), ctypes.byref(here), 1, ctypes.byref(other), 1, 0) == 1)


@pytest.mark.parametrize("command", ["ps", "pstree"])
async def test_tasks_of_a_program_are_shown(command: str) -> None:
    """Those that run procio's awaitables do not keep the tool from showing the others."""
    if not _may_look():
        pytest.skip("memory of other processes cannot be read here")
    program: Any = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script_source(PROGRAM), stdin=PIPE, stdout=PIPE
    )
    try:
        pid = json.loads(await program.stdout.readline())
        assert await program.stdout.readline() == b"waiting\n"
        shown = (await output(sys.executable, "-m", "asyncio", command, str(pid))).decode()
    finally:
        program.stdin.write(b"\n")
        await program.communicate()
    names = [f"task-{number}" for number in range(5)]
    assert [name for name in (*names, "reads", "main") if name not in shown] == []
    assert program.returncode == 0
