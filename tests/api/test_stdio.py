"""What stdin, stdout and stderr may be."""

from __future__ import annotations

import io
import itertools
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import procio
import pytest
import skips
from support import DEVNULL, PIPE, STDOUT, output, running, script_result, sh


async def test_files(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "w") as err:
        proc = await sh("cat; echo err >&2", stdin=source, stdout=out, stderr=err)
        assert await proc.wait() == 0
        assert not source.closed
    assert (tmp_path / "out").read_bytes() == b"from a file"
    assert (tmp_path / "err").read_bytes() == b"err\n"
    assert (proc.stdin, proc.stdout, proc.stderr) == (None, None, None)


async def test_descriptors(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    try:
        proc = await sh("echo out; echo err >&2", stdout=fd, stderr=fd)
        assert await proc.wait() == 0
        os.fstat(fd)
    finally:
        os.close(fd)
    assert (tmp_path / "out").read_bytes() == b"out\nerr\n"


async def test_object_with_fileno(tmp_path: Path) -> None:
    class Thing:
        def __init__(self, fd: int) -> None:
            self.fd = fd

        def fileno(self) -> int:
            return self.fd

    with open(tmp_path / "out", "wb") as file:
        proc = await sh("echo out", stdout=Thing(file.fileno()))
        assert await proc.wait() == 0
    assert (tmp_path / "out").read_bytes() == b"out\n"


async def test_pipe_of_another_popen() -> None:
    """`echo | cat` across subprocess and procio."""
    with subprocess.Popen(["echo", "hello"], stdout=PIPE) as first:
        proc = await procio.create_subprocess_exec("cat", stdin=first.stdout, stdout=PIPE)
        assert (await proc.communicate())[0] == b"hello\n"


async def test_os_pipe_between_two_children() -> None:
    """The recipe of the documentation: connect two children by an os.pipe."""
    read_end, write_end = os.pipe()
    first = await procio.create_subprocess_exec("echo", "hello", stdout=write_end)
    os.close(write_end)
    second = await procio.create_subprocess_exec("tr", "a-z", "A-Z", stdin=read_end, stdout=PIPE)
    os.close(read_end)
    assert (await second.communicate())[0] == b"HELLO\n"
    assert await first.wait() == 0


async def test_stderr_to_stdout_pipe_keeps_the_order() -> None:
    proc = await sh("echo 1; echo 2 >&2; echo 3", stdout=PIPE, stderr=STDOUT)
    assert proc.stderr is None
    assert await proc.communicate() == (b"1\n2\n3\n", None)


async def test_stderr_to_stdout_file(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        proc = await sh("echo 1; echo 2 >&2", stdout=file, stderr=STDOUT)
        await proc.wait()
    assert (tmp_path / "out").read_bytes() == b"1\n2\n"


async def test_stderr_to_devnull_stdout() -> None:
    proc = await sh("echo 1; echo 2 >&2", stdout=DEVNULL, stderr=STDOUT)
    assert await proc.communicate() == (None, None)


def test_stderr_to_inherited_stdout(loop_name: str) -> None:
    """stderr=STDOUT with stdout=None is the parent's stdout."""
    code = """
async def main():
    proc = await procio.create_subprocess_exec(SH, "-c", "echo 1; echo 2 >&2; echo [3]", stderr=STDOUT)
    assert await proc.communicate() == (None, None)
run(main())
"""
    assert script_result(code, loop=loop_name) == [3]


async def test_devnull() -> None:
    proc = await sh("cat; echo lost; echo lost >&2; exit 4", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    assert (proc.stdin, proc.stdout, proc.stderr) == (None, None, None)
    assert await proc.communicate() == (None, None)
    assert proc.returncode == 4


async def test_pipes_are_pipes() -> None:
    """gh-90522, uvloop #532: /dev/stdin and /dev/stdout can be opened, which a socket refuses."""
    proc = await sh("cat /dev/stdin > /dev/stdout; cat </dev/null >/dev/stderr", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await proc.communicate(b"abc") == (b"abc", b"")
    assert proc.returncode == 0


@skips.needs_proc
async def test_child_ends_block() -> None:
    """The child must not find its streams in non-blocking mode."""
    script = "for i in 0 1 2; do sed -n 's/^flags:[^0-7]*//p' /proc/self/fdinfo/$i; done"
    proc = await sh(script, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, _ = await proc.communicate()
    flags = [int(line, 8) for line in out.split()]
    assert len(flags) == 3
    assert not any(flag & os.O_NONBLOCK for flag in flags)


async def test_our_ends_are_not_inherited() -> None:
    """python/asyncio #209: a second child must not hold the first one's stdin open."""
    async with running("cat", stdin=PIPE, stdout=PIPE) as first, running("cat", stdin=PIPE, close_fds=False) as second:
        first.stdin.close()
        assert await first.wait() == 0
        assert second.returncode is None


async def test_same_descriptor_three_times() -> None:
    read_end, write_end = os.pipe()
    try:
        proc = await sh("echo out; echo err >&2", stdin=write_end, stdout=write_end, stderr=write_end)
        assert await proc.wait() == 0
        assert os.read(read_end, 100) == b"out\nerr\n"
    finally:
        os.close(read_end)
        os.close(write_end)


SWAP = """
async def main():
    order = json.loads(args[0])
    files = [os.open(f"{args[1]}/{i}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for i in range(3)]
    saved = os.dup2(2, 50)
    for i in range(3):
        os.dup2(files[i], i)
    proc = await procio.create_subprocess_exec(
        SH, "-c", "echo zero >&0; echo one >&1; echo two >&2", stdin=order[0], stdout=order[1], stderr=order[2])
    await proc.wait()
    os.dup2(50, 2)
run(main())
"""


@pytest.mark.parametrize("order", [*list(itertools.permutations(range(3)))[1:], (0, 0, 1), (2, 1, 1), (1, 2, 2)])
def test_standard_descriptors_permuted(order: tuple[int, ...], tmp_path: Path) -> None:
    """0, 1 and 2 may be given as each other, as in test_swap_fds of Popen."""
    result = script_result(SWAP, list(order), tmp_path)
    assert result is None
    expected: dict[int, str] = {0: "", 1: "", 2: ""}
    for target, word in zip(order, ("zero\n", "one\n", "two\n"), strict=True):
        expected[target] += word
    assert {i: (tmp_path / str(i)).read_text() for i in range(3)} == expected


CLOSED = """
closed, early, result = json.loads(args[0]), args[1] == "early", os.open(args[2], os.O_WRONLY | os.O_CREAT)
os.dup2(result, 60)

async def main():
    if not early:
        for fd in closed:
            os.close(fd)
    proc = await procio.create_subprocess_exec(
        SH, "-c", "read word; echo out $word; echo err $word >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, err = await proc.communicate(b"in\\n")
    os.write(60, out + err)

if early:
    for fd in closed:
        os.close(fd)
run(main())
os._exit(0)
"""


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]])
def test_standard_descriptors_closed_in_parent(closed: list[int], when: str, loop_name: str, tmp_path: Path) -> None:
    """Pipes that the kernel puts at 0, 1 or 2 still arrive where they belong (also before the loop was made)."""
    if loop_name == "uvloop" and when == "early":
        pytest.skip(skips.UVLOOP_LOW_FDS)
    done = script_result(CLOSED, closed, when, tmp_path / "result", loop=loop_name)
    assert done is None
    assert (tmp_path / "result").read_text() == "out in\nerr in\n"


CROSSED = """
files = [os.open(f"{args[0]}/{number}", os.O_RDWR | os.O_CREAT) for number in range(3)]
for number, file in enumerate(files):
    os.dup2(file, number)
async def main():
    streams = [None if name == "-" else int(name) for name in args[1].split()]
    proc = await procio.create_subprocess_exec(
        "sh", "-c", "echo out; echo err >&2", stdin=streams[0], stdout=streams[1], stderr=streams[2])
    assert await proc.wait() == 0
run(main())
os._exit(0)
"""


@pytest.mark.parametrize(
    ("streams", "written"),
    [
        ("- 2 1", ["", "err\n", "out\n"]),
        ("- 0 1", ["out\n", "err\n", ""]),
        ("- 1 0", ["err\n", "out\n", ""]),
        ("1 0 0", ["out\nerr\n", "", ""]),
        ("2 0 1", ["out\n", "err\n", ""]),
        ("1 2 0", ["err\n", "", "out\n"]),
    ],
)
def test_standard_descriptors_change_places(streams: str, written: list[str], tmp_path: Path) -> None:
    """A stream that is one of 0, 1 and 2 is not overwritten before it has got to its place."""
    assert script_result(CROSSED, tmp_path, streams) is None
    assert [(tmp_path / str(number)).read_text() for number in range(3)] == written


class Numbered:
    """An object whose descriptor is that."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        return self.number


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize(
    "value",
    ["text", 1.5, object(), -7, 98765, io.BytesIO(), Numbered(None), Numbered("1"), Numbered(-2), Numbered(-3)],
    ids=["str", "float", "object", "negative", "closed", "memory", "none", "digit", "like-STDOUT", "like-DEVNULL"],
)
async def test_wrong_values_raise_as_popen(stream: str, value: Any) -> None:
    def ask_popen() -> BaseException:
        with pytest.raises(BaseException) as caught:  # noqa: PT011  (whatever it is, ours is compared with it)
            subprocess.Popen(["true"], **{stream: value})
        return caught.value

    theirs = ask_popen()
    with pytest.raises(type(theirs)) as caught:
        await procio.create_subprocess_exec("true", **{stream: value})
    assert getattr(caught.value, "errno", None) == getattr(theirs, "errno", None)


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
async def test_socket_that_is_closed_is_no_pipe(stream: str) -> None:
    """Its descriptor is -1, which is also PIPE; to Popen it is nothing."""
    closed: Any = socket.socket()
    closed.close()
    subprocess.run(["true"], check=True, **{stream: closed})
    proc = await procio.create_subprocess_exec("true", **{stream: closed})
    assert getattr(proc, stream) is None
    assert await proc.wait() == 0


@pytest.mark.differs
async def test_stdout_cannot_be_stdout() -> None:
    """subprocess.STDOUT is for stderr only, as newer versions of Popen say."""
    with pytest.raises(ValueError, match="STDOUT can only be used for stderr"):
        await procio.create_subprocess_exec("true", stdout=STDOUT)


async def test_output_goes_to_a_terminal_when_inherited() -> None:
    """A pseudo-terminal is an ordinary descriptor."""
    master, slave = os.openpty()
    try:
        proc = await sh("test -t 0 && test -t 1 && echo yes", stdin=slave, stdout=slave)
        assert await proc.wait() == 0
        assert os.read(master, 100) == b"yes\r\n"
    finally:
        os.close(master)
        os.close(slave)


async def test_stdin_of_one_child_is_stdout_of_another() -> None:
    async with running("cat", stdin=PIPE, stdout=PIPE) as sink:
        pipe = sink.stdin.get_extra_info("pipe")
        assert await output("echo", "across", stdin=DEVNULL) == b"across\n"
        proc = await sh("echo across", stdout=pipe.fileno())
        assert await proc.wait() == 0
        assert await sink.stdout.readline() == b"across\n"
