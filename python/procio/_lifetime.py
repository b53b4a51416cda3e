"""Processes that are owned by a block: however it ends, nothing of the process is left."""

import os
import subprocess
import sys
from collections.abc import Sequence
from signal import SIGTERM
from types import TracebackType
from typing import TypeAlias, Unpack

from . import _core, _options
from ._options import File, Request, StrOrBytesPath
from ._types import PopenOptions
from .subprocess import Process

__all__ = ["open_process"]

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
        # Its own group: without it no CTRL_BREAK could be sent to it alone.
        flags = popen.get("creationflags", 0)
        popen["creationflags"] = flags | subprocess.CREATE_NEW_PROCESS_GROUP
    elif popen.get("process_group") is None:
        # A session, and not only a group: a background group that reads the terminal is stopped, and
        # nothing would wake it.
        popen.setdefault("start_new_session", True)
    request = _options.prepare(args, stdin, stdout, stderr, limit, **popen)
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
