"""The loop's low-level methods, for loops that are procio's by class or by installation."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import os
import stat
import subprocess
import sys
import types
import weakref
from asyncio.log import logger
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from . import _core, _options

if TYPE_CHECKING:
    from ._types import File, PopenOptions, StrOrBytesPath
else:
    File = PopenOptions = StrOrBytesPath = Any  # so that typing.get_type_hints() has an answer

_T = TypeVar("_T")


class _StartLog:
    """Says of a start in debug mode what asyncio says, step by step."""

    def __init__(self, loop: Any, text: str, program: Any, streams: tuple[File, File, File]) -> None:
        """Say what is about to be run, in asyncio's own words where the loop has them."""
        self._text = text
        self._program = program
        say = getattr(loop, "_log_subprocess", None)
        if say is None:
            logger.debug(text)
        else:
            say(text, *streams)

    def created(self, process: Any) -> None:
        logger.debug("process %r created: pid %s", self._program, process.pid)

    def connected(self, transport: Any) -> None:
        logger.info("%s: %r", self._text, transport)


async def logged(starting: Any, text: str, program: Any, streams: tuple[File, File, File]) -> Any:
    """Wait for a start, with a log of it as asyncio writes it in debug mode."""
    log = _StartLog(asyncio.get_running_loop(), text, program, streams)
    process = await starting
    log.created(process)
    log.connected(process._transport)
    return process


def is_debugged() -> bool:
    """Whether there is a running loop, in debug mode."""
    loop = asyncio._get_running_loop()
    return loop is not None and loop.get_debug()


async def _start(
    text: str,
    protocol_factory: Callable[[], Any],
    args: list[StrOrBytesPath],
    streams: tuple[File, File, File],
    options: PopenOptions,
) -> tuple[Any, Any]:
    """Start a child and connect it to a protocol: the two halves of the loop's methods."""
    from ._subprocess_transport import SubprocessTransport

    # Not always the object whose method was called: there are loops that wrap another.
    loop = asyncio.get_running_loop()
    protocol = protocol_factory()
    log = _StartLog(loop, text, args[0], streams) if loop.get_debug() else None
    # asyncio's own stream protocol does nothing but fill asyncio's own streams. A subclass may do
    # anything else, so it gets its callbacks.
    plain = type(protocol) is asyncio.subprocess.SubprocessStreamProtocol
    limit = protocol._limit if plain and not getattr(protocol, "_limit_not_given", False) else None
    request = _options.prepare(args, *streams, limit, options)
    request["read_ahead"] = plain
    process = await _core.spawn(request)
    if log is not None:
        log.created(process)
    if plain:
        transport = SubprocessTransport(process, args, loop)
        transport.set_protocol(weakref.ref(protocol))
        protocol._transport = transport
        protocol.stdin, protocol.stdout, protocol.stderr = process.stdin, process.stdout, process.stderr
    else:
        transport = SubprocessTransport(process, args, loop, protocol)
        transport._start()
    if log is not None:
        log.connected(transport)
    return transport, protocol


class _Routing:
    """Whether :func:`procio.install` has its methods in asyncio's loops."""

    installed = False


routing = _Routing()


def own_method(name: str) -> Callable[..., Any] | None:
    """Return the running loop's method ``name``, if the loop or its class has one of its own, which asyncio would call.

    A loop class overrides ``subprocess_exec`` to audit children, to refuse them or to change their
    arguments, and a program may put a function in the place of the method. Of methods only those written in Python
    count: that of a compiled loop starts a child itself.
    """
    loop = asyncio._get_running_loop()
    if loop is None or not (routing.installed or isinstance(loop, SubprocessLoopMixin)):
        return None
    # Not by the loop's `__dict__`: to look at that makes each access to its attributes slower from then on.
    bound: Any = getattr(loop, name, None)
    function = getattr(bound, "__func__", None)
    is_compiled = getattr(bound, "__self__", None) is loop and not isinstance(function, types.FunctionType)
    if bound is None or is_compiled or function is METHODS[name]:
        return None
    own: Callable[..., Any] = bound
    return own


async def start_by_method(
    method: Callable[..., Any],
    args: tuple[StrOrBytesPath, ...],
    streams: tuple[File, File, File],
    limit: int | None,
    kwds: Any,
) -> Any:
    """Start a child by the loop's own method, as asyncio does; return its process.

    It is procio's if the method ends in procio's, and otherwise asyncio's.
    """
    from ._subprocess_transport import SubprocessTransport

    loop = asyncio.get_running_loop()

    def factory() -> Any:
        protocol: Any = asyncio.subprocess.SubprocessStreamProtocol(2**16 if limit is None else limit, loop)
        protocol._limit_not_given = limit is None
        return protocol

    stdin, stdout, stderr = streams
    transport, protocol = await method(factory, *args, stdin=stdin, stdout=stdout, stderr=stderr, **kwds)
    if type(transport) is SubprocessTransport and not transport._callback_mode:
        return transport._process
    return asyncio.subprocess.Process(transport, protocol, loop)


def _check_pipe(fd: int, text: str) -> None:
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
        raise ValueError(text)


class SubprocessLoopMixin:
    """Gives a loop class procio's subprocesses and pipes. Put it before the loop among the bases.

    ``class Loop(procio.SubprocessLoopMixin, uvloop.Loop): ...``

    On Windows there are no methods for pipes: those of the loop stay asyncio's.
    """

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], Any],
        program: StrOrBytesPath,
        *args: StrOrBytesPath,
        stdin: File = subprocess.PIPE,
        stdout: File = subprocess.PIPE,
        stderr: File = subprocess.PIPE,
        **kwds: Any,
    ) -> tuple[Any, Any]:
        """Run ``program`` with its streams served by a protocol.

        The parameters are those of :meth:`asyncio.loop.subprocess_exec`, ``kwds`` those of
        :class:`subprocess.Popen`. Returns ``(transport, protocol)`` once ``connection_made`` has run.
        Raises what ``Popen`` raises. If it is cancelled, the child that was being started is killed.
        """
        options = _options.reject_fixed_keywords("subprocess_exec", kwds, shell=False)
        # Not the arguments: they may be long, and hold passwords.
        text = f"execute program {program!r}"
        return await _start(text, protocol_factory, [program, *args], (stdin, stdout, stderr), options)

    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], Any],
        cmd: str | bytes,
        *,
        stdin: File = subprocess.PIPE,
        stdout: File = subprocess.PIPE,
        stderr: File = subprocess.PIPE,
        **kwds: Any,
    ) -> tuple[Any, Any]:
        """Run ``cmd`` by the shell with its streams served by a protocol.

        Returns, raises and is cancelled as :meth:`subprocess_exec`; ValueError if ``cmd`` is no string.
        """
        if not isinstance(cmd, bytes | str):
            raise ValueError("cmd must be a string")
        options = _options.reject_fixed_keywords("subprocess_shell", kwds, shell=True)
        text = f"run shell command {cmd!r}"
        args = _options.shell_args(cmd, options)
        return await _start(text, protocol_factory, args, (stdin, stdout, stderr), options)

    if sys.platform != "win32":  # where only asyncio can connect pipes, and only those that it opened

        async def connect_read_pipe(self, protocol_factory: Callable[[], Any], pipe: Any) -> tuple[Any, Any]:
            """Read a pipe, FIFO, socket or terminal by a protocol.

            ``pipe`` is a file object. It becomes non-blocking, and is closed with the transport. Returns
            ``(transport, protocol)`` once ``connection_made`` has run. Raises ValueError for a regular
            file. It does not wait, so it cannot be cancelled.
            """
            from ._transports import ReadPipeTransport

            loop = asyncio.get_running_loop()
            protocol = protocol_factory()
            _check_pipe(pipe.fileno(), "Pipe transport is for pipes/sockets only.")
            transport = ReadPipeTransport(loop, _core.open_reader(pipe.fileno()), protocol, pipe)
            transport._connect()
            transport._start()
            if loop.get_debug():
                logger.debug("Read pipe %r connected: (%r, %r)", pipe.fileno(), transport, protocol)
            return transport, protocol

        async def connect_write_pipe(self, protocol_factory: Callable[[], Any], pipe: Any) -> tuple[Any, Any]:
            """Write to a pipe, FIFO, socket or terminal by a protocol.

            ``pipe``, the result and the errors are those of :meth:`connect_read_pipe`.
            """
            from ._transports import WritePipeTransport

            loop = asyncio.get_running_loop()
            protocol = protocol_factory()
            text = "Pipe transport is only for pipes, sockets and character devices"
            _check_pipe(pipe.fileno(), text)
            transport = WritePipeTransport(loop, _core.open_writer(pipe.fileno()), protocol, pipe)
            transport._connect()
            transport._start()
            if loop.get_debug():
                logger.debug("Write pipe %r connected: (%r, %r)", pipe.fileno(), transport, protocol)
            return transport, protocol


class EventLoop(SubprocessLoopMixin, asyncio.SelectorEventLoop):
    """asyncio's selector loop with procio's subprocesses and pipes, without any patching."""


def _class_with(loop_class: type) -> type:
    """Return the same class with procio's methods, made once for each class."""
    if issubclass(loop_class, SubprocessLoopMixin):
        return loop_class
    if loop_class is asyncio.SelectorEventLoop:
        return EventLoop
    if (known := _classes.get(loop_class)) is None:
        space = {"__module__": __name__, "__doc__": f"{loop_class.__name__} with procio's subprocesses."}
        known = type(f"Procio{loop_class.__name__}", (SubprocessLoopMixin, loop_class), space)
        _classes[loop_class] = known
    return known


_classes: dict[type, type] = {}


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop with procio's subprocesses and pipes, without any patching.

    The loop is of the class that :func:`asyncio.new_event_loop` makes, with procio's methods: an :class:`EventLoop`
    on POSIX systems and a Proactor loop on Windows, unless other code has set another event loop policy. For
    ``asyncio.Runner(loop_factory=procio.new_event_loop)``.
    """
    loop = asyncio.new_event_loop()
    # Nothing is added to the object but methods, so it may change its class.
    loop.__class__ = _class_with(type(loop))
    return loop


def new_uvloop_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new uvloop with procio's subprocesses and pipes.

    Raises ImportError where uvloop is not installed.
    """
    import uvloop

    loop: asyncio.AbstractEventLoop = _class_with(uvloop.Loop)()
    return loop


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T:
    """Run a coroutine to its end on a new event loop, as :func:`asyncio.run` does.

    ``loop_factory`` makes the loop; the default is :func:`new_event_loop`. ``debug`` sets the loop's debug
    mode. Returns what ``main`` returns, and raises what it raises; RuntimeError within a running event
    loop. At the end the tasks that are left are cancelled and the loop is closed.
    """
    if asyncio._get_running_loop() is not None:
        main.close()
        raise RuntimeError("run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=loop_factory or new_event_loop) as runner:
        return runner.run(main)


# What a loop class is given, by name.
METHODS = {
    name: vars(SubprocessLoopMixin)[name]
    for name in ("subprocess_exec", "subprocess_shell", "connect_read_pipe", "connect_write_pipe")
    if name in vars(SubprocessLoopMixin)
}
