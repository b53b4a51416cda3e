"""create_subprocess_shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import procio
import pytest
from support import KILLED, PIPE, STDOUT, TERMINATED, running


async def test_command_runs_in_a_shell() -> None:
    proc = await procio.create_subprocess_shell("echo $((6*7)) | cat; exit 5", stdout=PIPE)
    assert await proc.communicate() == (b"42\n", None)
    assert proc.returncode == 5


async def test_command_may_be_bytes() -> None:
    proc = await procio.create_subprocess_shell(b"printf '\xff'", stdout=PIPE)
    assert (await proc.communicate())[0] == b"\xff"


@pytest.mark.parametrize("command", [["echo", "x"], None, 5, Path("echo")])
async def test_command_must_be_a_string(command: object) -> None:
    with pytest.raises(ValueError, match=r"^cmd must be a string$"):
        await procio.create_subprocess_shell(command)  # type: ignore[arg-type]


async def test_missing_command_is_the_shells_business() -> None:
    proc = await procio.create_subprocess_shell("/nonexistent/program", stderr=PIPE)
    _, err = await proc.communicate()
    assert proc.returncode == 127
    assert b"/nonexistent/program" in err


async def test_executable_replaces_the_shell(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\necho "$0|$1|$2"\n')
    shell.chmod(0o755)
    proc = await procio.create_subprocess_shell("the command", stdout=PIPE, executable=str(shell))
    assert (await proc.communicate())[0] == f"{shell}|-c|the command\n".encode()


async def test_streams() -> None:
    proc = await procio.create_subprocess_shell("cat; echo err >&2", stdin=PIPE, stdout=PIPE, stderr=STDOUT)
    assert await proc.communicate(b"in\n") == (b"in\nerr\n", None)


async def test_options_reach_the_shell(tmp_path: Path) -> None:
    proc = await procio.create_subprocess_shell("pwd; echo $WORD", stdout=PIPE, cwd=tmp_path, env={"WORD": "w"})
    assert (await proc.communicate())[0] == f"{tmp_path.resolve()}\nw\n".encode()


async def test_long_running_shell_is_killed() -> None:
    async with running("/bin/sh", "-c", "while :; do read line || exit; done", stdin=PIPE) as proc:
        proc.kill()
        assert await proc.wait() == KILLED


async def test_returncode_of_a_killed_shell() -> None:
    proc = await procio.create_subprocess_shell("kill -15 $$")
    assert await proc.wait() == TERMINATED


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("universal_newlines", True, "universal_newlines must be False"),
        ("shell", False, "shell must be True"),
        ("bufsize", 4096, "bufsize must be 0"),
        ("text", True, "text must be False"),
        ("encoding", "utf-8", "encoding must be None"),
        ("errors", "strict", "errors must be None"),
    ],
)
async def test_refused_keywords(keyword: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        await procio.create_subprocess_shell("true", **{keyword: value})
