"""connect_read_pipe of ends that have nothing to read yet: a read is not the way to find that out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pipe_ends import pty, reading, tty
from support import script_result, turns, until


async def test_a_fifo_whose_writer_is_still_to_come(tmp_path: Path) -> None:
    """A read of it finds the end, and is not the end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    _, protocol = await reading(open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0))
    await turns(20)
    assert protocol.names() == ["connection_made"]
    with open(path, "wb", 0) as writer:
        writer.write(b"x")
        await until(lambda: protocol.data == b"x", "data")
        await turns(20)
        assert "eof_received" not in protocol.names()
    assert await protocol.end() is None


@pytest.mark.parametrize("held", [b"", b"a"])
async def test_a_terminal_that_reads_nothing_where_there_is_nothing(held: bytes) -> None:
    """VMIN and VTIME of 0 (termios(3)), as for a serial line."""
    master, terminal = pty.openpty()
    tty.setraw(terminal)
    modes = tty.tcgetattr(terminal)
    modes[6][tty.VMIN] = modes[6][tty.VTIME] = 0
    tty.tcsetattr(terminal, tty.TCSANOW, modes)
    with open(master, "wb", 0) as keyboard:
        keyboard.write(held)
        transport, protocol = await reading(open(terminal, "rb", 0))
        for piece in (held, b"b", b"c"):
            keyboard.write(b"" if piece == held else piece)
            await until(lambda piece=piece: protocol.data.endswith(piece), "data")
            await turns(20)
        assert protocol.data == held + b"bc"
        assert protocol.names() == ["connection_made", *["data_received"] * len(protocol.data)]
        transport.close()
        await protocol.end()


BACKGROUND = """
import fcntl, pty, termios

procio.install()

async def main():
    with open(terminal, "rb", 0) as file:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(asyncio.Protocol, file)
        for _ in range(20):
            await asyncio.sleep(0)
        transport.close()

def job():
    os.setpgid(0, 0)
    run(main())
    os._exit(7)

def leader():
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    background = os.fork() or job()
    _, status = os.waitpid(background, os.WUNTRACED)
    os.kill(background, signal.SIGKILL) if os.WIFSTOPPED(status) else None
    os._exit(0 if status == 7 << 8 else 1)

master, terminal = pty.openpty()
_, status = os.waitpid(os.fork() or leader(), 0)
assert status == 0, status
"""


def test_a_job_in_the_background_may_connect_its_terminal(loop_name: str) -> None:
    """Only to read from it stops the job (SIGTTIN)."""
    assert script_result(BACKGROUND, loop=loop_name) is None
