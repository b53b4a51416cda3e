"""Types as a user's checker sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import shim
import skips

PROGRAM = """
import asyncio
import asyncio.subprocess
import procio
from procio import subprocess as procio_subprocess

async def main() -> None:
    proc = await procio.create_subprocess_exec("cat", stdin=procio.PIPE, stdout=procio.PIPE, stderr=procio.STDOUT)
    as_asyncio: asyncio.subprocess.Process = proc
    code: int | None = proc.returncode
    pid: int = proc.pid
    status: int = await proc.wait()
    out, err = await proc.communicate(b"x")
    if proc.stdin is not None and proc.stdout is not None:
        writer: asyncio.StreamWriter = proc.stdin
        reader: asyncio.StreamReader = proc.stdout
        line: bytes = await proc.stdout.readline()
        async for line in proc.stdout:
            pass
        proc.stdin.write(bytearray(b"x"))
        await proc.stdin.drain()
    shell = await procio_subprocess.create_subprocess_shell("true", cwd="/", env={"A": "b"}, limit=100)
    shell.send_signal(9)
    with procio.installed():
        pass
    await procio.create_subprocess_exec("true", stdin="wrong")  # type: ignore[arg-type]
"""


@pytest.mark.project
@pytest.mark.timeout(300)
@skips.needs_mypy
@pytest.mark.skipif(shim.ACTIVE, reason="about procio's own types")
def test_program_passes_mypy_strict(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
