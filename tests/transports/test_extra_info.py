"""get_extra_info("subprocess"): what programs expect of a transport, a subprocess.Popen."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import procio
import pytest
import skips
from protocols import start
from support import DEADLINE, KILLED, PIPE, running

pytestmark = pytest.mark.differs


def popen_of(proc: procio.Process) -> Any:
    transport = getattr(proc, "_transport", None)
    if transport is None:
        pytest.skip(skips.NO_LOW_LEVEL)
    return transport.get_extra_info("subprocess")


async def test_extra_info_subprocess() -> None:
    """Programs ask the transport for a subprocess.Popen."""
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        popen = popen_of(proc)
        assert isinstance(popen, subprocess.Popen)
        assert popen.pid == proc.pid
        assert popen.returncode is None
        assert popen.poll() is None
        popen.kill()
        assert await proc.wait() == KILLED
        assert popen.poll() == KILLED
        assert popen.wait() == KILLED
        assert popen.returncode == KILLED


async def test_extra_info_subprocess_may_be_waited_for() -> None:
    """popen.wait() in the loop's thread takes the status; proc.wait() has it all the same."""
    async with running("sh", "-c", "read x; exit 7", stdin=PIPE) as proc:
        popen = popen_of(proc)
        os.write(proc.stdin.get_extra_info("pipe").fileno(), b"\n")
        assert popen.wait(timeout=20) == 7
        assert await proc.wait() == 7


async def test_extra_info_subprocess_is_a_popen() -> None:
    transport, protocol = await start("sleep", "1000", stdin=None)
    popen = transport.get_extra_info("subprocess")
    assert isinstance(popen, subprocess.Popen)
    assert popen.args == ["sleep", "1000"]
    assert popen.pid == transport.get_pid()
    assert popen.poll() is popen.returncode is None
    with pytest.raises(subprocess.TimeoutExpired):
        popen.wait(timeout=0.01)
    popen.kill()
    assert popen.wait(timeout=DEADLINE) == popen.returncode == KILLED
    popen.kill()
    await protocol.end()
    assert transport.get_returncode() == KILLED
    assert transport.get_extra_info("nonsense", 5) == 5
    transport.close()
