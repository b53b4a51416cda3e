"""Processes that are owned by a block: however it ends, nothing of the process is left."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from signal import SIGTERM
from types import TracebackType
from typing import Any, TypeAlias, Unpack, overload

from . import _core, _options
from ._coroutine import coroutine_function
from ._results import CalledProcessError, CompletedProcess, TimeoutExpired, Usage
from ._text import Codec
from ._types import File, PopenOptions, Request, StrOrBytesPath
from .subprocess import DEVNULL, PIPE, Process

__all__ = ["open_process", "run_process"]

Command: TypeAlias = StrOrBytesPath | Sequence[StrOrBytesPath]


def _request(
    function: str,
    command: Command,
    stdin: File,
    stdout: File,
    stderr: File,
    limit: int | None,
    shell: bool,
    popen: PopenOptions,
) -> Request:
    """Check what a process is to be started with, which its caller will own."""
    args: Sequence[StrOrBytesPath]
    if shell:
        if not isinstance(command, str | bytes):
            raise TypeError("with shell=True the command is a str, not a sequence of arguments")
        args = _options.shell_args(command, popen)
    elif isinstance(command, str | bytes):
        raise TypeError(
            "the command is a sequence of arguments, such as ['ls', '-l']; for a shell's command line say shell=True"
        )
    elif isinstance(command, os.PathLike):
        args = (command,)
    else:
        args = tuple(command)
        if not args:
            raise ValueError("the command is empty")
    popen = _options.reject_fixed_keywords(function, popen, shell=False)
    if sys.platform == "win32":
        # Its own group: without it no CTRL_BREAK could be sent to it alone. But a new group does not heed
        # Ctrl-C, which an interactive program is to get as this one does.
        if popen.get("start_new_session", True):
            flags = popen.get("creationflags", 0)
            popen["creationflags"] = flags | subprocess.CREATE_NEW_PROCESS_GROUP
    elif popen.get("process_group") is None:
        # A session, and not only a group: a background group that reads the terminal is stopped, and
        # nothing would wake it.
        popen.setdefault("start_new_session", True)
    request = _options.prepare(args, stdin, stdout, stderr, limit, popen)
    request["owned"] = True
    return request


class _OpenProcess:
    """The context manager that :func:`open_process` returns."""

    def __init__(self, request: Request, grace: float) -> None:
        self._request: Request | None = request
        self._grace = grace

    async def __aenter__(self) -> Process:
        request, self._request = self._request, None
        if request is None:
            raise RuntimeError("a process was started by this already")
        self._process = await _core.spawn(request)
        return self._process

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process = self._process
        try:
            if kind is None:
                self._close()
                await process._stop(SIGTERM, self._grace, True)
            elif issubclass(kind, GeneratorExit):
                # The coroutine is closed, by a loop that has ended or by the garbage collector:
                # it cannot wait.
                process._kill_with_group()
            else:
                await process._stop(SIGTERM, self._grace, False)
        finally:
            self._close()
            if process.stdin is not None:
                process.stdin.abort()

    def _close(self) -> None:
        for stream in (self._process.stdout, self._process.stderr, self._process.stdin):
            if stream is not None:
                stream.close()


def open_process(
    command: Command,
    *,
    stdin: File = None,
    stdout: File = None,
    stderr: File = None,
    grace: float = 5.0,
    shell: bool = False,
    limit: int | None = None,
    **popen: Unpack[PopenOptions],
) -> _OpenProcess:
    """Start ``command`` for the time of a block: ``async with open_process(...) as process``.

    ``command`` is a sequence of arguments, a path for a program without arguments, or, with
    ``shell=True``, a command line. The block is given a :class:`procio.Process`; ``limit`` and
    ``popen`` are those of :func:`procio.create_subprocess_exec`.

    The process leads a session of its own, unless ``start_new_session=False`` or ``process_group``
    says otherwise, and the block owns all of it. At the end of the block the pipes are closed, and
    the process is waited for. If the block raises, is cancelled, or the wait is, the group is sent
    SIGTERM, and SIGKILL when the process has ended or ``grace`` seconds have passed; a further
    cancellation ends the grace. The exception goes on when the process has been reaped. What else
    is left of the group is killed however the block ends.

    Raises TypeError for a ``str`` without ``shell=True``, ValueError for a negative ``grace``, at the
    call; what ``create_subprocess_exec`` raises, when the block begins.
    """
    request = _request("open_process", command, stdin, stdout, stderr, limit, shell, popen)
    return _OpenProcess(request, _options.checked_grace(grace))


@overload
async def run_process(
    command: Command,
    *,
    input: bytes | bytearray | memoryview | None = None,
    stdin: File = None,
    stdout: File = PIPE,
    stderr: File = PIPE,
    check: bool = True,
    timeout: float | None = None,
    grace: float = 5.0,
    encoding: None = None,
    errors: None = None,
    max_output: int | tuple[int, int] | None = None,
    shell: bool = False,
    **popen: Unpack[PopenOptions],
) -> CompletedProcess[bytes]: ...


@overload
async def run_process(
    command: Command,
    *,
    input: str | None = None,
    stdin: File = None,
    stdout: File = PIPE,
    stderr: File = PIPE,
    check: bool = True,
    timeout: float | None = None,
    grace: float = 5.0,
    encoding: str,
    errors: str | None = None,
    max_output: int | tuple[int, int] | None = None,
    shell: bool = False,
    **popen: Unpack[PopenOptions],
) -> CompletedProcess[str]: ...


@coroutine_function
def run_process(
    command: Command,
    *,
    input: bytes | bytearray | memoryview | str | None = None,
    stdin: File = None,
    stdout: File = PIPE,
    stderr: File = PIPE,
    check: bool = True,
    timeout: float | None = None,
    grace: float = 5.0,
    encoding: str | None = None,
    errors: str | None = None,
    max_output: int | tuple[int, int] | None = None,
    shell: bool = False,
    **popen: Unpack[PopenOptions],
) -> Coroutine[Any, Any, CompletedProcess[Any]]:
    """Run ``command`` to its end and return a :class:`procio.CompletedProcess`.

    ``command``, ``shell`` and ``popen`` are those of :func:`procio.open_process`, and so is the session
    that the process leads. ``input`` is written to its standard input, which is otherwise ``stdin``, or
    nothing at all. Standard output and error are collected to their ends unless they are sent elsewhere.
    With an ``encoding``, ``input`` is a str and so are the outputs, with ``\\n`` for every line ending;
    ``"locale"`` is the encoding of the locale.

    ``max_output`` bounds what is kept of each output, in bytes: the first quarter and the last three
    quarters of that many, or the first and the last of a pair. Reading goes on, and ``dropped`` tells how
    many bytes were left out.

    Raises :class:`procio.CalledProcessError` for another return code than 0 if ``check`` is true;
    :class:`procio.TimeoutExpired`, with what was written so far, if it has not ended within ``timeout``
    seconds. The process is then ended as by :meth:`procio.Process.stop` with ``grace``; so it is if the
    caller is cancelled. What is left of its session is killed in any case. What is still in a pipe after
    such an end is read for 50 ms at most, so a descendant that has left the session and holds the pipe
    delays nothing. Outputs that ``errors`` does not let decode raise UnicodeDecodeError, but do not hide the
    other two errors: there they have replacement characters. Bad arguments raise TypeError, ValueError or LookupError
    at the call, a program that cannot be executed raises what ``create_subprocess_exec`` raises.
    """
    codec = Codec.checked(encoding, errors)
    if input is not None:
        if stdin is not None:
            raise ValueError("stdin and input cannot both be given")
        input, stdin = _input(input, codec), PIPE
    elif stdin is None:
        stdin = DEVNULL
    limits = None if max_output is None else _limits(max_output)
    seconds = _options.checked_timeout(timeout)
    grace = _options.checked_grace(grace)
    request = _request("run_process", command, stdin, stdout, stderr, None, shell, popen)
    return _completed(request, input, seconds, grace, limits, command, check, codec)


async def _completed(
    request: Request,
    input: bytes | None,
    timeout: float,
    grace: float,
    limits: tuple[int, int] | None,
    command: Command,
    check: bool,
    codec: Codec | None,
) -> CompletedProcess[Any]:
    returncode, out, err, usage, duration, timed_out = await _core.run(request, input, timeout, grace, limits)
    if returncode is None:  # it was not even started in time
        nothing = (b"", 0, 0)
        out = nothing if request["stdout"] == PIPE else None
        err = nothing if request["stderr"] == PIPE else None
    stdout: bytes | str | None = None
    stderr: bytes | str | None = None
    dropped = [0, 0]
    # An error of the encoding would hide that of the process, with the outputs.
    lenient = timed_out or (check and returncode != 0)
    if out is not None:
        stdout, dropped[0] = (out[0], out[2]) if codec is None else codec.collected(out, lenient)
    if err is not None:
        stderr, dropped[1] = (err[0], err[2]) if codec is None else codec.collected(err, lenient)
    about: dict[str, Any] = {
        "duration": duration,
        "usage": None if usage is None else Usage.of(usage),
        "dropped": tuple(dropped),
    }
    if timed_out:
        raise TimeoutExpired(command, timeout, stdout, stderr, returncode=returncode, **about)
    assert returncode is not None
    if returncode and check:
        raise CalledProcessError(returncode, command, stdout, stderr, **about)
    return CompletedProcess(command, returncode, stdout, stderr, **about)


def _input(data: bytes | bytearray | memoryview | str, codec: Codec | None) -> bytes:
    if isinstance(data, str):
        if codec is None:
            raise TypeError("input must be bytes-like; for a str say encoding=")
        return codec.encode(data)
    if codec is not None:
        raise TypeError(f"input must be a str when an encoding is given, not {type(data).__name__}")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"input must be bytes-like, not {type(data).__name__}")
    return bytes(data)


def _limits(max_output: int | tuple[int, int]) -> tuple[int, int]:
    """How many bytes are kept of the beginning and of the end of an output."""
    if isinstance(max_output, tuple):
        if len(max_output) != 2:
            raise ValueError("max_output is a number of bytes, or a pair of such numbers: the first and the last")
        head, tail = (operator.index(part) for part in max_output)
    else:
        count = operator.index(max_output)
        head = count // 4
        tail = count - head
    if head < 0 or tail < 0:
        raise ValueError("max_output must not be negative")
    return min(head, sys.maxsize // 2), min(tail, sys.maxsize // 2)
