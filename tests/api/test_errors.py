"""Failures: the same exception as subprocess.Popen for the same call, and nothing left behind."""

from __future__ import annotations

import inspect
import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import procio
import pytest
import shim
import skips
from support import PIPE, SH, STDOUT, children, open_fds, output, script_result

Call = tuple[tuple[Any, ...], dict[str, Any]]


def describe(error: BaseException) -> dict[str, Any]:
    """What a program can see of an exception; from 3.13 on Popen may give a path's name instead of the path."""
    if isinstance(error, OSError) and isinstance(error.filename, os.PathLike):
        error.filename = os.fspath(error.filename)
    fields = ("errno", "filename", "filename2", "strerror")
    return {"class": type(error), "text": str(error), **{name: getattr(error, name, None) for name in fields}}


def popen_error(*args: Any, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            subprocess.Popen(list(args), **options).communicate()
        except Exception as error:
            return describe(error)
    raise AssertionError("Popen accepts it")


async def procio_error(*args: Any, **options: Any) -> dict[str, Any]:
    before = open_fds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            proc = await procio.create_subprocess_exec(*args, **options)
        except Exception as error:
            assert children() == {}
            assert {fd: name for fd, name in open_fds().items() if fd not in before and "pipe" in name} == {}
            return describe(error)
    await proc.communicate()
    raise AssertionError("procio accepts it")


async def same(*args: Any, **options: Any) -> dict[str, Any]:
    theirs = popen_error(*args, **options)
    ours = await procio_error(*args, **options)
    assert ours == theirs
    piped = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, **options}
    assert await procio_error(*args, **piped) == theirs
    return ours


# --- programs that cannot be started -------------------------------------------------------------


def plain_file(folder: Path) -> Path:
    path = folder / "plain"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o644)
    return path


def empty_program(folder: Path) -> Path:
    path = folder / "empty"
    path.write_text("")
    path.chmod(0o755)
    return path


def lost_interpreter(folder: Path) -> Path:
    path = folder / "lost"
    path.write_text("#!/nonexistent/interpreter\n")
    path.chmod(0o755)
    return path


def loop_of_links(folder: Path) -> Path:
    path = folder / "link"
    path.symlink_to(path)
    return path


def below_a_file(folder: Path) -> Path:
    return plain_file(folder) / "program"


def long_name(folder: Path) -> Path:
    return folder / ("x" * 300)


def fifo(folder: Path) -> Path:
    path = folder / "fifo"
    os.mkfifo(path, 0o755)
    return path


PROGRAMS = [plain_file, empty_program, lost_interpreter, loop_of_links, below_a_file, long_name, fifo]


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
async def test_program_that_cannot_be_run(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    for program in (str(path), path, os.fsencode(path)):
        error = await same(program)
        assert error["filename"] == (os.fspath(program) if isinstance(program, Path) else program)


@pytest.mark.parametrize("program", ["/nonexistent/program", "nonexistent-program-of-procio", "./none", "", "/", "."])
async def test_missing_program(program: str) -> None:
    await same(program)
    await same(program, "argument")
    await same(os.fsencode(program))


async def test_missing_program_with_executable() -> None:
    """The name in the error is that of the file that was to be run."""
    error = await same("name", executable="/nonexistent/program")
    assert error["filename"] == "/nonexistent/program"


async def test_program_missing_in_the_path_of_env(tmp_path: Path) -> None:
    await same("sh", env={"PATH": str(tmp_path)})
    await same("sh", env={"PATH": ""})
    await same("plain", env={"PATH": str(plain_file(tmp_path).parent)})
    await same("plain", env={"PATH": f"{tmp_path}:/nonexistent"})
    await same("plain", env={"PATH": f"{tmp_path}/plain:/nonexistent"})


# --- other arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/nonexistent/folder", "plain", "", b"/nonexistent", Path("/nonexistent")])
async def test_bad_cwd(name: Any, tmp_path: Path) -> None:
    if name == "plain":
        name = str(plain_file(tmp_path))
    error = await same("true", cwd=name)
    assert error["filename"] == (os.fspath(name) if isinstance(name, Path) else name)


async def test_bad_cwd_and_missing_program() -> None:
    await same("/nonexistent/program", cwd="/nonexistent/folder")
    await same("nonexistent-program-of-procio", cwd="/nonexistent/folder")


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("true\0",), {}),
        (("true", "a\0b"), {}),
        (("true", b"a\0b"), {}),
        (("true",), {"cwd": "/\0"}),
        (("true",), {"env": {"NAME": "a\0b"}}),
        (("true",), {"env": {"NA\0ME": "b"}}),
    ],
)
async def test_nul(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """uvloop cuts at the NUL."""
    assert (await same(*arguments, **options))["class"] is ValueError


async def test_nul_in_executable() -> None:
    error = await procio_error("true", executable="/bin/true\0")
    assert (error["class"], error["text"]) == (ValueError, "embedded null byte")


@pytest.mark.parametrize("name", ["A=B", "=A", b"A=", "="])
async def test_equals_sign_in_the_name_of_a_variable(name: Any) -> None:
    assert (await same("true", env={name: "value"}))["text"] == "illegal environment variable name"


class Numbered:
    """A stream with a number of its choice."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


@pytest.mark.parametrize("number", [1 << 31, 1 << 40, 1 << 70, -(1 << 31) - 1, -(1 << 70)])
@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
async def test_numbers_that_are_no_int(name: str, number: int) -> None:
    for stream in (number, Numbered(number)):
        options: dict[str, Any] = {name: stream}
        ours, theirs = await procio_error("true", **options), popen_error("true", **options)
        assert ours["class"] is theirs["class"] is OverflowError


@pytest.mark.parametrize("options", [{}, {"executable": "true"}], ids=str)
async def test_two_paths_to_search(options: dict[str, Any]) -> None:
    """One as text, one as bytes: which of them holds?"""
    env: Any = {"PATH": os.environ["PATH"], b"PATH": os.environb[b"PATH"]}
    for program in ("true", b"true"):
        error = await same(program, env=env, **options)
        assert error["text"] == "env cannot contain 'PATH' and b'PATH' keys"
    # Other faults are found first, as by Popen.
    assert (await same("true", env={**env, "=": "x"}, **options))["text"] == "illegal environment variable name"


@pytest.mark.parametrize("options", [{}, {"executable": SH}], ids=str)
async def test_two_paths_and_nothing_to_search(options: dict[str, Any]) -> None:
    env: Any = {"PATH": "/text", b"PATH": b"/bytes"}
    program = "sh" if options else SH
    expected = subprocess.run([program, "-c", "echo $PATH"], env=env, capture_output=True, check=True, **options).stdout
    proc = await procio.create_subprocess_exec(program, "-c", "echo $PATH", env=env, stdout=PIPE, **options)
    assert (await proc.communicate())[0] == expected


async def test_lone_surrogate_that_cannot_be_encoded() -> None:
    assert (await same("true", "\ud800"))["class"] is UnicodeEncodeError
    assert (await same("true", env={"A": "\ud800"}))["class"] is UnicodeEncodeError


async def test_arguments_too_long() -> None:
    assert (await same("true", *["x" * 100_000] * 100))["errno"] == 7
    await same("true", "x" * (1 << 21))
    await same("true", env={"A": "x" * (1 << 21)})


@pytest.mark.parametrize("argument", [5, None, 1.5, ["x"], object])
async def test_arguments_of_a_wrong_type(argument: Any) -> None:
    assert (await same("true", argument))["class"] is TypeError


@pytest.mark.parametrize("program", [5, None, 1.5, ["true"]], ids=repr)
async def test_program_of_a_wrong_type(program: Any) -> None:
    assert (await same(program))["class"] is TypeError


@pytest.mark.parametrize(
    "options",
    [
        {"env": {"A": 5}},
        {"env": {5: "A"}},
        {"env": ["A=B"]},
        {"env": 5},
        {"cwd": 5.5},
        {"executable": 5},
        {"pass_fds": 5},
        {"pass_fds": ["x"]},
        {"pass_fds": [-1]},
        {"pass_fds": [99999]},
        {"pass_fds": [1 << 40]},
        {"umask": "x"},
        {"process_group": "x"},
        {"process_group": -5},
        {"start_new_session": True, "process_group": 99999999},
        {"preexec_fn": 5},
        {"pipesize": "x"},
        {"user": 1.5},
        {"user": -1},
        {"user": 1 << 40},
        {"user": "no-such-user-of-procio"},
        {"group": 1.5},
        {"group": -1},
        {"group": 1 << 40},
        {"group": "no-such-group-of-procio"},
        {"extra_groups": "wheel"},
        {"extra_groups": ["no-such-group-of-procio"]},
        {"extra_groups": [1.5]},
        {"extra_groups": [-1]},
        {"extra_groups": [1 << 40]},
        {"extra_groups": 5},
        {"extra_groups": [1] * 70000},
    ],
    ids=lambda options: str(options)[:40],
)
async def test_options_of_a_wrong_type_or_value(options: dict[str, Any]) -> None:
    try:
        theirs = popen_error("true", **options)
    except AssertionError:
        assert await output("true", **options) == b""
    else:
        ours = await procio_error("true", **options)
        if theirs["class"] in (TypeError, OverflowError) or "too many" in theirs["text"]:
            ours["text"] = theirs["text"]  # the words differ between versions of CPython
        assert ours == theirs


@skips.needs_root
async def test_user_and_group_that_do_not_exist_by_number() -> None:
    """Numbers need not be in any file."""
    assert await output("id", "-u", user=54321) == b"54321\n"
    assert await output("id", "-g", group=54321) == b"54321\n"


async def test_unknown_keyword() -> None:
    with pytest.raises(TypeError, match="no_such_keyword"):
        await procio.create_subprocess_exec("true", no_such_keyword=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no_such_keyword"):
        await procio.create_subprocess_shell("true", no_such_keyword=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        await procio.create_subprocess_exec()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("universal_newlines", True, "universal_newlines must be False"),
        ("shell", True, "shell must be False"),
        ("bufsize", 1, "bufsize must be 0"),
        ("bufsize", -1, "bufsize must be 0"),
        ("text", True, "text must be False"),
        ("encoding", "utf-8", "encoding must be None"),
        ("errors", "strict", "errors must be None"),
    ],
)
async def test_keywords_that_asyncio_refuses(keyword: str, value: Any, message: str) -> None:
    error = await procio_error("true", **{keyword: value})
    assert (error["class"], error["text"]) == (ValueError, message)


async def test_the_same_keywords_with_the_values_asyncio_accepts() -> None:
    proc = await procio.create_subprocess_exec(
        "true", universal_newlines=False, shell=False, bufsize=0, text=None, encoding=None, errors=None
    )
    assert await proc.wait() == 0


@pytest.mark.differs
@pytest.mark.parametrize("limit", [0, -1])
async def test_limit_must_be_positive(limit: int) -> None:
    """asyncio finds out when the program runs already, and its caller waits for ever."""
    error = await procio_error("true", stdout=PIPE, limit=limit)
    assert error["class"] is ValueError
    assert "Limit cannot be <= 0" in error["text"]


async def test_error_is_raised_where_the_creation_is_awaited() -> None:
    creation = procio.create_subprocess_exec("/nonexistent/program")
    assert inspect.isawaitable(creation)
    with pytest.raises(FileNotFoundError):
        await creation


async def test_loop_works_on_after_many_failures() -> None:
    for _ in range(200):
        with pytest.raises(FileNotFoundError):
            await procio.create_subprocess_exec("/nonexistent/program", stdin=PIPE, stdout=PIPE, stderr=STDOUT)
    assert await output(SH, "-c", "echo fine") == b"fine\n"


# --- no more descriptors, no more processes ------------------------------------------------------

EMFILE = """
import resource, errno

async def attempt(step, results):
    before = open_fds()
    highest = max(before) + 1
    free = [fd for fd in range(highest) if fd not in before]
    fill = [os.open("/dev/null", os.O_RDONLY) for _ in free]
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + step, hard))
    marker, proc = f"{args[0]}/{step}", None
    try:
        proc = await procio.create_subprocess_exec("touch", marker, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        results.append(0)
    except OSError as error:
        results.append(error.errno or repr(error))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in fill:
        os.close(fd)
    if proc is None:
        assert not children(), children()
    else:
        await proc.communicate()
        del proc
    gc.collect()
    await until(lambda: open_fds().keys() <= before.keys() or args[1] == "cold", "descriptors")

async def main():
    if args[1] == "warm":
        assert await output("echo", "hello") == b"hello\\n"
    results = []
    for step in range(20):
        await attempt(step, results)
        if args[1] == "cold" and results[-1] == 0:
            break
    for step, result in enumerate(results):
        assert os.path.exists(f"{args[0]}/{step}") == (result == 0), (step, results)
    while results and results[-1] == 0:
        results.pop()
    assert results, "no step failed"
    assert set(results) == {errno.EMFILE}, results
    assert await output("echo", "hello") == b"hello\\n"

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
run(main())
"""


@pytest.mark.differs
@pytest.mark.parametrize("start", ["warm", "cold"])
def test_emfile_at_every_step(tmp_path: Path, loop_name: str, start: str) -> None:
    """With 0, 1, 2 ... descriptors free: EMFILE and nothing was started, or it works (uvloop #185, gh-90493)."""
    script_result(EMFILE, tmp_path, start, loop=loop_name)


EAGAIN = """
import resource, errno

async def main():
    assert await output("echo", "hello") == b"hello\\n"
    before = open_fds()
    os.setuid(54322)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        await procio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE)
    except OSError as error:
        assert error.errno == errno.EAGAIN, error
    else:
        raise AssertionError("started")
    assert not children()
    gc.collect()
    await until(lambda: open_fds().keys() <= before.keys(), "descriptors")
run(main())
"""


@skips.needs_root
def test_eagain_when_there_are_too_many_processes(loop_name: str) -> None:
    """RLIMIT_NPROC."""
    script_result(EAGAIN, loop=loop_name)


@pytest.mark.parametrize("name", ["create_subprocess_exec", "create_subprocess_shell", "run_process", "open_process"])
async def test_a_wrong_keyword_names_the_function_that_was_called(name: str) -> None:
    if shim.ACTIVE:
        pytest.skip(skips.OWN_NAMES)
    command: Any = ["true"] if name in ("run_process", "open_process") else "true"
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'tiemout'$"):
        await getattr(procio, name)(command, tiemout=5)
