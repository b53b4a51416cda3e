"""The counterpart of the module ``asyncio.subprocess``."""

import asyncio
import asyncio.subprocess
import subprocess
import weakref
from signal import SIGTERM
from typing import Any

from . import _core, _options
from ._coroutine import coroutine_function
from ._options import File, StrOrBytesPath, checked_grace, checked_signal
from ._results import Usage
from ._subprocess_transport import SubprocessTransport
from .streams import StreamReader, StreamWriter

__all__ = ["create_subprocess_exec", "create_subprocess_shell"]

PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT
DEVNULL = subprocess.DEVNULL

_wait = _core.Process.wait
_communicate = _core.Process.communicate


class Process(_core.Process, asyncio.subprocess.Process):
    """A child process, made by the functions of this module.

    It has every method and attribute of :class:`asyncio.subprocess.Process`. When the last
    reference to it and to its streams is dropped while it runs, the child is killed and reaped,
    with or without a running loop, and a ResourceWarning is given.
    """

    def __new__(cls, *args: Any) -> "Process":
        return super().__new__(cls, *args)

    def __init__(self, *args: Any) -> None:
        """Made by the functions of this module only."""

    @coroutine_function
    def wait(self) -> _core.Awaitable[int]:
        """Wait for the end of the process, whoever still holds its pipes; return ``returncode``.

        Cancelled, it loses nothing.
        """
        return _wait(self)

    @coroutine_function
    def communicate(self, input: bytes | bytearray | memoryview | None = None) -> _core.Awaitable[tuple[bytes, bytes]]:
        """Write ``input`` to standard input, close it, and read both outputs to their ends.

        Returns ``(stdout, stderr)`` after the end of the process, with None for what is no pipe. That
        the child does not read its input is no error. Cancelled, it loses nothing: the next call
        returns everything.
        """
        return _communicate(self, input)

    @coroutine_function
    def stop(self, *, signal: int = SIGTERM, grace: float = 5.0) -> _core.Awaitable[int]:
        """End the process and the process group that it leads; return ``returncode``.

        Sends ``signal`` to the group, waits at most ``grace`` seconds for the process to end (0: not
        at all, ``math.inf``: as long as it takes), sends SIGKILL to what is left of the group, and
        reaps. A process that leads no group, because it was started without ``start_new_session``
        and ``process_group=0``, is ended alone. Returns at once for a process that has ended.

        On Windows ``signal`` counts for nothing: the process is sent CTRL_BREAK if it leads a console
        process group, and is otherwise terminated at once.

        Raises ValueError for a negative ``grace`` or an unknown ``signal``, and gives a RuntimeWarning
        if the system refuses to signal the process, which is then waited for. Cancelled, it goes on:
        the first cancellation ends the grace, and CancelledError is raised once the process is gone.
        """
        return self._stop(checked_signal(signal), checked_grace(grace), False)

    @property
    def usage(self) -> Usage | None:
        """What the process consumed, as a :class:`Usage`; None until its end is known."""
        usage = self._usage()
        return None if usage is None else Usage.of(usage)

    @property
    def _transport(self) -> SubprocessTransport:
        """The transport that asyncio would have beneath: the same child by other names."""
        known: Any = self.__dict__.get("_view")
        transport: SubprocessTransport | None = None if known is None else known()
        if transport is None:
            transport = SubprocessTransport(self, ())
            self.__dict__["_view"] = weakref.ref(transport)
        return transport

    @property
    def _protocol(self) -> "_StreamProtocol":
        return _StreamProtocol(self)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


class _StreamProtocol(asyncio.subprocess.SubprocessStreamProtocol):
    """What ``Process._protocol`` is to those who look at it."""

    def __init__(self, process: Process) -> None:
        self._transport = process._transport
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    @property
    def _process_exited(self) -> bool:
        return self._transport.get_returncode() is not None


_core._register_classes(Process, StreamReader, StreamWriter)


async def create_subprocess_exec(
    program: StrOrBytesPath,
    *args: StrOrBytesPath,
    stdin: File = None,
    stdout: File = None,
    stderr: File = None,
    limit: int | None = None,
    **kwds: Any,
) -> Process:
    """Run ``program`` with ``args`` and return its :class:`Process` once it was executed.

    The parameters are those of :func:`asyncio.create_subprocess_exec`, and ``kwds`` those of
    :class:`subprocess.Popen`. The loop goes on while the program is being started.

    ``limit`` in bytes bounds a line (``readline``, ``readuntil``) and, twice over, what is read
    ahead of each pipe while nobody asks. Not given, lines may have any length up to 1 GiB, and
    twice 64 KiB are read ahead.

    Raises what ``Popen`` raises: ValueError and TypeError for bad arguments, OSError with the
    file's name for a program that cannot be executed or a directory that cannot be entered.
    Cancelled, it leaves nothing: no child, no zombie, no descriptor.
    """
    _options.reject_fixed_keywords(kwds, shell=False)
    request = _options.prepare((program, *args), stdin, stdout, stderr, limit, **kwds)
    process: Process = await _core.spawn(request)
    return process


async def create_subprocess_shell(
    cmd: str | bytes,
    stdin: File = None,
    stdout: File = None,
    stderr: File = None,
    limit: int | None = None,
    **kwds: Any,
) -> Process:
    """Run the shell command ``cmd`` and return the :class:`Process` of the shell.

    Everything else is as with :func:`create_subprocess_exec`. Quote what goes into ``cmd``, for
    example with :func:`shlex.quote`.
    """
    if not isinstance(cmd, bytes | str):
        raise ValueError("cmd must be a string")
    _options.reject_fixed_keywords(kwds, shell=True)
    args = _options.shell_args(cmd, kwds)
    request = _options.prepare(args, stdin, stdout, stderr, limit, **kwds)
    process: Process = await _core.spawn(request)
    return process
