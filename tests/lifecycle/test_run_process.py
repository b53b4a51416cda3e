"""`run_process`: a command to its end, with what it wrote, and nothing of it left."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import locale
import math
import os
import pickle
import subprocess
import sys
import time
import traceback
from typing import Any

import procio
import pytest
from blocks import CancelledAt, all_dead, family
from support import DEVNULL, KILLED, PIPE, PYTHON, STDOUT, TERMINATED, children, dead, kill_stray, until


def python(code: str, *args: str) -> tuple[str, ...]:
    """The command of a Python program."""
    return (*PYTHON, "-c", code, *args)


# --- results -------------------------------------------------------------------------------------


async def test_a_command_that_ends_well() -> None:
    began = time.monotonic()
    done = await procio.run_process(["sh", "-c", "echo out; echo err >&2"])
    assert isinstance(done, subprocess.CompletedProcess)
    assert isinstance(done, procio.CompletedProcess)
    assert (done.args, done.returncode) == (["sh", "-c", "echo out; echo err >&2"], 0)
    assert (done.stdout, done.stderr, done.dropped) == (b"out\n", b"err\n", (0, 0))
    assert 0 < done.duration < time.monotonic() - began
    assert isinstance(done.usage, procio.Usage)
    done.check_returncode()


async def test_a_return_code_is_an_error_that_tells_the_end_of_stderr() -> None:
    script = "import sys; print('out'); sys.stderr.writelines('l%d\\n' % i for i in range(1000)); sys.exit(3)"
    with pytest.raises(subprocess.CalledProcessError) as info:
        await procio.run_process(python(script))
    error = info.value
    assert isinstance(error, procio.CalledProcessError)
    assert (error.returncode, error.cmd, error.stdout) == (3, python(script), b"out\n")
    assert error.stderr.endswith(b"l999\n")
    assert "l999" not in str(error)
    assert "l999" in "".join(traceback.format_exception(error))
    assert len(error.__notes__[0]) < 2100
    assert error.duration > 0
    assert error.usage is not None


async def test_without_check_a_return_code_is_a_result() -> None:
    done = await procio.run_process(["sh", "-c", "kill -9 $$"], check=False)
    assert done.returncode == KILLED
    with pytest.raises(procio.CalledProcessError):
        done.check_returncode()


async def test_where_the_streams_go(tmp_path: Any) -> None:
    both = ["sh", "-c", "echo out; echo err >&2"]
    done = await procio.run_process(both, stderr=STDOUT)
    assert (done.stdout, done.stderr) == (b"out\nerr\n", None)
    done = await procio.run_process(both, stdout=DEVNULL)
    assert (done.stdout, done.stderr) == (None, b"err\n")
    with (tmp_path / "file").open("wb") as file:
        done = await procio.run_process(both, stdout=file)
    assert (done.stdout, (tmp_path / "file").read_bytes()) == (None, b"out\n")
    assert (await procio.run_process(["cat"])).stdout == b""  # standard input is nothing
    with (tmp_path / "file").open("rb") as file:
        assert (await procio.run_process(["cat"], stdin=file)).stdout == b"out\n"


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_input(size: int) -> None:
    data = os.urandom(1000) * (size // 1000) + b"x" * (size % 1000)
    for kind in (bytes, bytearray, memoryview):
        assert (await procio.run_process(["cat"], input=kind(data))).stdout == data
    assert (await procio.run_process(["true"], input=data)).returncode == 0


async def test_text() -> None:
    done = await procio.run_process(["cat"], input="é\r\nb\rc\n", encoding="utf-8")
    assert done.stdout == "é\nb\nc\n"
    done = await procio.run_process(["cat"], input="é", encoding="latin-1")
    assert done.stdout == "é"
    done = await procio.run_process(["printf", r"a\377b"], encoding="utf-8", errors="replace")
    assert done.stdout == "a\ufffdb"
    with pytest.raises(UnicodeDecodeError):
        await procio.run_process(["printf", r"a\377b"], encoding="utf-8")


@pytest.mark.parametrize("errors", [None, "strict", "surrogateescape"])
@pytest.mark.parametrize("limit", [None, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "utf-16"])
async def test_output_that_cannot_be_decoded_does_not_hide_a_failure(
    encoding: str, errors: str | None, limit: int | None
) -> None:
    script = r"printf 'a\377b\000\330\001'; printf '\377\000\330c\000' >&2; exit 3"
    run = functools.partial(procio.run_process, script, shell=True, encoding=encoding, errors=errors, max_output=limit)
    with pytest.raises(procio.CalledProcessError) as info:
        await run()
    assert info.value.returncode == 3
    assert info.value.stdout
    assert info.value.stderr
    if errors != "surrogateescape":
        with pytest.raises(UnicodeDecodeError):
            await run(check=False)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "ascii"])
async def test_the_encoding_of_the_locale(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a name of its own (PEP 597), as for `subprocess.run`; Python's UTF-8 mode does not change it."""
    monkeypatch.setattr(locale, "getencoding", lambda: encoding)
    if encoding == "ascii":
        with pytest.raises(UnicodeEncodeError):
            procio.run_process(["cat"], input="é\n", encoding="locale")  # type: ignore[unused-coroutine]
        return
    done = await procio.run_process(["cat"], input="é\n", encoding="locale")
    assert done.stdout == "é\n"
    data = "é\n".encode(encoding)
    async with procio.open_process(["cat"], stdin=PIPE, stdout=PIPE) as proc:
        proc.stdin.write(data)
        proc.stdin.close()
        assert [line async for line in proc.stdout.lines(encoding="locale")] == ["é\n"]
    async with procio.open_process(["cat"], stdin=PIPE, stdout=PIPE) as proc:
        proc.stdin.write(data)
        proc.stdin.close()
        assert [line async for line in proc.merged(encoding="locale")] == [(1, "é\n")]


async def test_the_encoding_of_the_locale_is_that_of_subprocess() -> None:
    text = "x\n"
    done = await procio.run_process(["cat"], input=text, encoding="locale")
    assert done.stdout == subprocess.run(["cat"], input=text, encoding="locale", stdout=subprocess.PIPE).stdout


# --- how much is kept ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "head", "tail"),
    [(8, 2, 6), (1, 0, 1), (0, 0, 0), ((3, 5), 3, 5), ((0, 7), 0, 7), ((7, 0), 7, 0), (400_000, 100_000, 300_000)],
)
@pytest.mark.parametrize("size", [0, 7, 8, 9, 100_000, 1_000_003])
async def test_max_output(limit: Any, head: int, tail: int, size: int) -> None:
    data = (b"%07d\n" % 0) + b"".join(b"%07d\n" % i for i in range(size // 8 + 1))
    data = data[:size]
    done = await procio.run_process(["cat"], input=data, max_output=limit)
    left_out = max(0, size - head - tail)
    assert done.stdout == (data if not left_out else data[:head] + data[size - tail :])
    assert done.dropped == (left_out, 0)


async def test_memory_is_bounded_by_max_output() -> None:
    """A gigabyte of output; the peak of this process's memory grows by little."""
    import resource  # which Windows has not

    await procio.run_process(["true"], max_output=1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = await procio.run_process(["head", "-c", "1000000000", "/dev/zero"], max_output=1_000_000)
    assert len(done.stdout) == 1_000_000
    assert done.dropped == (999_000_000, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
async def test_max_output_does_not_cut_characters(encoding: str) -> None:
    text = "aé€😀" * 100
    size = len(text.encode(encoding))
    for limit in range(4, 60):
        done = await procio.run_process(["cat"], input=text, encoding=encoding, max_output=limit)
        kept = done.stdout
        assert set(kept) <= set(text)
        assert len(kept.encode(encoding)) + done.dropped[0] == size
        if limit > 20:
            assert text.startswith(kept[:1])
            assert text.endswith(kept[-2:])


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
async def test_the_end_of_an_output_has_the_byte_order_of_its_beginning(encoding: str, order: str) -> None:
    """And is cut at its characters, although bytes that are taken from any place on make characters too."""
    text = "".join(chr(0x4E00 + i) for i in range(100))
    data = f"\ufeff{text}".encode(f"{encoding}-{order}")
    write = python("import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))", data.hex())
    unit = 2 if encoding == "utf-16" else 4
    for limit in range(4 * unit, 8 * unit):
        for errors in ("strict", "replace"):
            done = await procio.run_process(write, encoding=encoding, errors=errors, max_output=limit)
            head = limit // 4 // unit - 1  # without the mark
            tail = (limit - limit // 4) // unit
            assert done.stdout == text[:head] + text[-tail:]
            assert done.dropped == (len(data) - (head + 1 + tail) * unit, 0)


# --- too long, and cancelled ---------------------------------------------------------------------


@pytest.mark.parametrize("leader", ["obey", "ignore"])
async def test_a_timeout_ends_the_group_and_tells_what_was_written(leader: str) -> None:
    both: list[bytes] = []
    for timeout in (0.3, 3, 30):
        with pytest.raises(TimeoutError) as info:
            await procio.run_process(family(leader, "ignore"), timeout=timeout, grace=0.05)
        error = info.value
        assert isinstance(error, subprocess.TimeoutExpired)
        assert isinstance(error, procio.TimeoutExpired)
        assert error.timeout == timeout
        both = error.stdout.split()
        await all_dead(*map(int, both))
        if both:  # they were ready in time
            assert error.returncode == (TERMINATED if leader == "obey" else KILLED)
            break
    assert len(both) == 2
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("timeout", [0, -1, 1e-9, -math.inf])
async def test_no_time_at_all(timeout: float) -> None:
    with pytest.raises(procio.TimeoutExpired) as info:
        await procio.run_process(["sleep", "1000"], timeout=timeout)
    assert info.value.stdout in (b"",)


@pytest.mark.parametrize("timeout", [None, math.inf, 1e300, 365 * 86400.0, 10**400])
async def test_any_amount_of_time(timeout: float | None) -> None:
    if timeout == 10**400:
        with pytest.raises(OverflowError):
            procio.run_process(["true"], timeout=timeout)  # type: ignore[unused-coroutine]
        return
    assert (await procio.run_process(["echo", "x"], timeout=timeout)).stdout == b"x\n"


async def test_the_errors_can_be_pickled() -> None:
    with pytest.raises(procio.TimeoutExpired) as info:
        await procio.run_process(["sh", "-c", "echo x; sleep 1000"], timeout=0.2)
    again = pickle.loads(pickle.dumps(info.value))
    assert (str(again), again.stdout, again.returncode) == (str(info.value), b"x\n", TERMINATED)
    with pytest.raises(procio.CalledProcessError) as failed:
        await procio.run_process(["false"])
    assert pickle.loads(pickle.dumps(failed.value)).dropped == (0, 0)


async def test_a_descendant_that_left_the_session_holds_up_nothing() -> None:
    """It holds the pipes, and is not ours to kill: it is waited for 50 ms, and not until it ends."""
    script = "import os, time; os.fork() or (os.setsid(), os.write(1, b'%d\\n' % os.getpid())); time.sleep(1000)"
    with pytest.raises(procio.TimeoutExpired) as info:
        await procio.run_process(python(script), timeout=0.5)
    escaped = int(info.value.stdout)
    assert not dead(escaped)
    kill_stray(escaped)


async def test_what_is_left_after_a_normal_end_is_killed() -> None:
    script = "sleep 1000 >/dev/null 2>&1 & echo $!"
    done = await procio.run_process(["sh", "-c", script])
    await all_dead(int(done.stdout))


async def test_output_is_read_to_its_end_after_a_normal_end() -> None:
    """As `subprocess.run`: a member of the group that goes on writing is waited for."""
    done = await procio.run_process(["sh", "-c", "(sleep 0.1; echo late) & echo early"])
    assert done.stdout == b"early\nlate\n"


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("timeout", [None, 0.05])
async def test_a_run_cancelled_at_every_await(times: int, late: bool, timeout: float | None, tmp_path: Any) -> None:
    script = "echo $$ > $0; trap '' TERM; sleep 0.1 & echo x; wait"
    for step in range(1, 30):
        file = tmp_path / str(step)
        run = procio.run_process(["sh", "-c", script, str(file)], timeout=timeout, grace=0.01)
        driver = CancelledAt(run, step, times, late=late)
        with contextlib.suppress(asyncio.CancelledError, procio.TimeoutExpired):
            await driver
        assert children() == {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            await all_dead(int(file.read_text()))
        if driver.steps < step:
            return
    raise AssertionError("it never ends by itself")


async def test_an_outer_timeout_has_the_same_end() -> None:
    began = set(children())
    with pytest.raises(TimeoutError) as info:
        async with asyncio.timeout(0.2):
            await procio.run_process(family("ignore", "ignore"), grace=0.05)
    assert not isinstance(info.value, procio.TimeoutExpired)
    assert asyncio.current_task().cancelling() == 0
    assert set(children()) == began


async def test_a_hundred_runs_at_once_of_which_some_are_cancelled() -> None:
    async def one(i: int) -> bytes:
        return (await procio.run_process(["sh", "-c", f"echo {i}; sleep {0 if i % 2 else 1000}"])).stdout

    tasks = [asyncio.create_task(one(i)) for i in range(100)]
    assert await asyncio.gather(*tasks[1::2]) == [b"%d\n" % i for i in range(1, 100, 2)]
    for task in tasks[::2]:
        task.cancel()
    done, pending = await asyncio.wait(tasks)
    assert not pending
    assert sum(task.cancelled() for task in done) == 50
    assert children() == {}


def test_the_loop_is_closed_during_a_run(loop_factory: Any) -> None:
    loop = loop_factory()
    task = loop.create_task(procio.run_process(["sleep", "1000"]))
    loop.run_until_complete(until(lambda: children(), "a start"))
    loop.run_until_complete(asyncio.sleep(0.02))
    loop.close()
    task._log_destroy_pending = False
    assert children() == {}


# --- bad arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "command", "options"),
    [
        (TypeError, "ls -l", {}),
        (TypeError, b"ls", {}),
        (TypeError, ["ls"], {"shell": True}),
        (ValueError, [], {}),
        (ValueError, ["cat"], {"input": b"", "stdin": DEVNULL}),
        (TypeError, ["cat"], {"input": "text"}),
        (TypeError, ["cat"], {"input": b"bytes", "encoding": "utf-8"}),
        (TypeError, ["cat"], {"input": 3}),
        (LookupError, ["cat"], {"encoding": "no such encoding"}),
        (LookupError, ["cat"], {"encoding": "utf-8", "errors": "no such way"}),
        (LookupError, ["cat"], {"encoding": "hex"}),
        (ValueError, ["cat"], {"errors": "strict"}),
        (ValueError, ["cat"], {"max_output": -1}),
        (TypeError, ["cat"], {"max_output": 1.5}),
        (TypeError, ["cat"], {"max_output": "1"}),
        (ValueError, ["cat"], {"max_output": (1, 2, 3)}),
        (ValueError, ["cat"], {"max_output": (1, -2)}),
        (ValueError, ["cat"], {"grace": -1}),
        (ValueError, ["cat"], {"timeout": math.nan}),
        (TypeError, ["cat"], {"timeout": "1"}),
        (TypeError, ["cat"], {"nonsense": 1}),
        (ValueError, ["cat"], {"text": True}),
        (ValueError, ["cat"], {"stdout": STDOUT}),
    ],
)
def test_bad_arguments_raise_when_it_is_called(error: type[Exception], command: Any, options: dict[str, Any]) -> None:
    async def call() -> None:
        with pytest.raises(error):
            procio.run_process(command, **options)  # type: ignore[unused-coroutine]

    asyncio.run(call())


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError) as info:
        await procio.run_process(["/no/such/program"])
    assert info.value.filename == "/no/such/program"
    with pytest.raises(NotADirectoryError):
        await procio.run_process(["true"], cwd="/etc/passwd")


def test_it_is_a_coroutine_function() -> None:
    assert inspect.iscoroutinefunction(procio.run_process)
    if sys.version_info >= (3, 12):
        assert not inspect.iscoroutinefunction(procio.open_process)


async def test_stdin_can_be_a_pipe_that_is_closed() -> None:
    assert (await procio.run_process(["cat"], stdin=PIPE)).stdout == b""
