"""The counterpart of the module ``asyncio.subprocess``."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import subprocess
import weakref
from collections.abc import AsyncIterator
from signal import SIGTERM
from typing import TYPE_CHECKING, Any, Unpack, overload

from . import _core, _options
from ._coroutine import coroutine_function
from ._loops import is_debugged, logged, own_method, start_by_method
from ._options import checked_grace, checked_signal
from ._streams import StreamReader, StreamWriter

if TYPE_CHECKING:
    # What `__getattr__` below finds, by name, so that checkers know the type and find misspellings.
    from asyncio.subprocess import SubprocessStreamProtocol as SubprocessStreamProtocol

    from ._results import Usage
    from ._subprocess_transport import SubprocessTransport
    from ._types import ExecKeywords, File, ShellKeywords, StrOrBytesPath
else:
    # So that typing.get_type_hints() has an answer. The classes take longer to make than all else to import.
    ExecKeywords = File = ShellKeywords = StrOrBytesPath = SubprocessTransport = Usage = Any

    def __getattr__(name: str) -> object:
        """Look any other public ``name`` up in :mod:`asyncio.subprocess`, in whose place this may be imported."""
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(asyncio.subprocess, name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

    def __dir__() -> list[str]:
        """List the names of both."""
        return sorted({*globals(), *(name for name in dir(asyncio.subprocess) if name[0] != "_")})


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

    Attributes:
        pid (int): The process id. It stays readable after the end.
        returncode (int | None): The exit code, the negative number of the signal that ended the
            process, or None while it runs.
        stdin (StreamWriter | None): The pipe to its standard input; None if that is no pipe.
        stdout (StreamReader | None): The pipe from its standard output; None if that is no pipe.
        stderr (StreamReader | None): The pipe from its standard error; None if that is no pipe.
    """

    pid: int
    stdin: StreamWriter | None
    stdout: StreamReader | None
    stderr: StreamReader | None

    def __new__(cls, *args: Any) -> Process:
        return super().__new__(cls, *args)

    def __init__(self, *args: Any) -> None:
        """Do nothing: a process is made by the functions of this module."""

    if TYPE_CHECKING:  # `wait` and `communicate` are in _core.pyi

        async def stop(self, *, signal: int = SIGTERM, grace: float = 5.0) -> int: ...

    else:

        @coroutine_function
        def wait(self) -> int:
            """Wait for the end of the process.

            Returns ``returncode``. It does not wait for the pipes, which a grandchild may still hold.
            Raises OSError if the system refuses to tell of the end. Safe to cancel: call again.
            """
            return _wait(self)

        @coroutine_function
        def communicate(self, input: bytes | bytearray | memoryview | None = None) -> tuple[bytes, bytes]:
            """Write ``input`` to standard input, close it, and read both outputs to their ends.

            Returns ``(stdout, stderr)`` after the end of the process, with None for what is no pipe. A stream
            whose attribute was set to None is left alone; an object that was put in its place is served by its own
            methods, as asyncio does, and what was read then is lost if this is cancelled.
            A child that does not read its input is no error. Raises OSError if a pipe cannot be read, or
            cannot be written for another reason than that; MemoryError if there is no room for the
            output; RuntimeError while another task reads; TypeError for an ``input`` that is not
            bytes-like. Safe to cancel: nothing is lost, the next call returns everything.
            """
            return _communicate(self, input)

        @coroutine_function
        def stop(self, *, signal: int = SIGTERM, grace: float = 5.0) -> int:
            """End the process and the process group that it leads.

            Sends ``signal`` to the group, waits at most ``grace`` seconds for the process to end (0: not
            at all, ``math.inf``: as long as it takes), sends SIGKILL to what is left of the group, and
            reaps. Returns ``returncode``, and at once for a process that has ended. A process that leads
            no group, because it was started without ``start_new_session`` and ``process_group=0``, is
            ended alone.

            On Windows ``signal`` counts for nothing: the process is sent CTRL_BREAK if it leads a console
            process group, and is otherwise terminated at once.

            Raises ValueError for a negative ``grace`` or an unknown ``signal``, and gives a RuntimeWarning
            if the system refuses to signal the process, which is then waited for. Cancelled, it goes on:
            the first cancellation ends the grace, and CancelledError is raised once the process is gone.
            """
            return self._stop(checked_signal(signal), checked_grace(grace), False)

    @overload
    def merged(
        self, *, encoding: None = None, errors: str = "strict", keepends: bool = True
    ) -> AsyncIterator[tuple[int, bytes]]: ...

    @overload
    def merged(
        self, *, encoding: str, errors: str = "strict", keepends: bool = True
    ) -> AsyncIterator[tuple[int, str]]: ...

    def merged(self, *, encoding: str | None = None, errors: str = "strict", keepends: bool = True) -> Any:
        """Return an asynchronous iterator over the lines of both outputs as they arrive: ``(fd, line)``.

        ``fd`` is 1 for standard output and 2 for standard error. A line is whole, but for the last of a
        stream, which may have no line ending. ``encoding``, ``errors`` and ``keepends``, and the errors,
        are those of :meth:`procio.StreamReader.lines`. The order of two lines is that in which they were
        read: what both pipes hold at the same moment has none.

        While there is the iterator, other readers of the two streams raise RuntimeError, as it does at
        the call if there is one already. Raises ValueError if neither is a pipe, RuntimeError
        if another object was put in the place of one. Safe to cancel: nothing
        is lost, go on with the same iterator.
        """
        from ._lines import MergedLines
        from ._text import Codec

        codec = Codec.for_lines(encoding, errors)
        pipes = [stream for stream in (self.stdout, self.stderr) if stream is not None]
        if not pipes:
            raise ValueError("neither stdout nor stderr is a pipe")
        lines = self._merged()
        if codec is None and keepends:
            return lines
        return MergedLines(lines, codec, pipes[0]._limit, keepends)

    @property
    def usage(self) -> Usage | None:
        """What the process consumed; None until its end is known.

        Where the kernel or other code has reaped it, the times are 0.0 seconds and ``max_rss`` is None.
        """
        from ._results import Usage

        usage = self._usage()
        return None if usage is None else Usage.of(usage)

    @property
    def _transport(self) -> SubprocessTransport:
        """The transport that asyncio would have beneath: the same child by other names."""
        from ._subprocess_transport import SubprocessTransport

        known: Any = self.__dict__.get("_view")
        transport: SubprocessTransport | None = None if known is None else known()
        if transport is None:
            transport = SubprocessTransport(self, ())
            self.__dict__["_view"] = weakref.ref(transport)
        return transport

    @property
    def _protocol(self) -> _StreamProtocol:
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


async def create_subprocess_exec(
    program: StrOrBytesPath,
    *args: StrOrBytesPath,
    stdin: File = None,
    stdout: File = None,
    stderr: File = None,
    limit: int | None = None,
    **kwds: Unpack[ExecKeywords],
) -> Process:
    """Start ``program`` with the arguments ``args``, and wait until it is executed.

    Returns its :class:`Process`. The event loop goes on while the program is being started.

    Args:
        stdin, stdout, stderr: None to inherit, ``PIPE``, ``DEVNULL``, a descriptor or a file object;
            for ``stderr`` also ``STDOUT``.
        limit: How long, in bytes, a line may be (``readline``, ``readuntil``). Twice as much is read
            ahead of each pipe while no task reads. Not given, a line may be up to 1 GiB long, and
            128 KiB are read ahead.
        executable: The program to execute, where ``program`` is only to be its name in ``argv[0]``.
        cwd: The directory to start in; on POSIX systems also a descriptor of it.
        env: The environment, in place of the parent's.
        close_fds, pass_fds: Whether the child is left no descriptors but the standard ones, and
            those that it is left all the same.
        pipesize: The capacity of the pipes in bytes, on Linux.
        preexec_fn: A function to call in the child before the program is executed (POSIX). It
            makes the start much slower, and is not safe beside other threads.
        restore_signals: Whether signals that Python ignores are set back in the child (POSIX).
        start_new_session, process_group: Whether the child leads a session of its own, and which
            process group it joins: 0 for one of its own (POSIX).
        user, group, extra_groups, umask: The identity and the mask of the child: numbers or names
            for the first three (POSIX).
        startupinfo, creationflags: As of :class:`subprocess.Popen` (Windows).
        rlimits: Resource limits, ``{resource.RLIMIT_NOFILE: (soft, hard)}`` (POSIX).
        nice: The niceness, from -20 to 19 (POSIX).
        cpu_affinity: The numbers of the processors that it may run on (Linux).
        no_new_privs: Whether it forgoes privileges that a program could gain (Linux).
        cgroup, cgroup_kill: The directory of the control group that it is born in, as a path or a
            descriptor; and whether what is left there is killed wherever its session would be (Linux).
        kill_on_parent_exit: Whether it is killed when this program ends, however that comes (Linux, from
            the main thread before Linux 7.1; Windows).

    Raises what ``Popen`` raises: ValueError and TypeError for bad arguments, OSError with the
    file's name for a program that cannot be executed or a directory that cannot be entered.
    NotImplementedError is for what this platform does not have, RuntimeError for
    ``kill_on_parent_exit`` in a thread that may end before the program.
    Cancelled, it leaves nothing: no child, no zombie, no descriptor.
    """
    if (method := own_method("subprocess_exec")) is not None:
        own: Process = await start_by_method(method, (program, *args), (stdin, stdout, stderr), limit, kwds)
        return own
    options = _options.reject_fixed_keywords("create_subprocess_exec", kwds, shell=False)
    starting = _core.spawn(_options.prepare((program, *args), stdin, stdout, stderr, limit, options))
    if is_debugged():
        starting = logged(starting, f"execute program {program!r}", program, (stdin, stdout, stderr))
    return await starting


async def create_subprocess_shell(
    cmd: str | bytes,
    stdin: File = None,
    stdout: File = None,
    stderr: File = None,
    limit: int | None = None,
    **kwds: Unpack[ShellKeywords],
) -> Process:
    """Start the shell with the command line ``cmd``, and wait until it is executed.

    Returns the :class:`Process` of the shell. ``executable`` names another shell than ``/bin/sh``; all
    else is as with :func:`create_subprocess_exec`. Quote what goes into ``cmd``, for example with
    :func:`shlex.quote`.
    """
    if (method := own_method("subprocess_shell")) is not None:
        own: Process = await start_by_method(method, (cmd,), (stdin, stdout, stderr), limit, kwds)
        return own
    if not isinstance(cmd, bytes | str):
        raise ValueError("cmd must be a string")
    options = _options.reject_fixed_keywords("create_subprocess_shell", kwds, shell=True)
    args = _options.shell_args(cmd, options)
    starting = _core.spawn(_options.prepare(args, stdin, stdout, stderr, limit, options))
    if is_debugged():
        starting = logged(starting, f"run shell command {cmd!r}", args[0], (stdin, stdout, stderr))
    return await starting
