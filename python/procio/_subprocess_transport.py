"""``asyncio.SubprocessTransport`` over procio's process, and the ``Popen`` that it shows."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import subprocess
import time
import warnings
import weakref
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from . import _core
from ._transports import ReadPipeTransport, WritePipeTransport, _PipeTransport, view


class Popen(subprocess.Popen[bytes]):
    """What ``get_extra_info("subprocess")`` gives: the same child for code that expects a Popen.

    It owns nothing: signals and reaping go through procio, so it cannot hit another process and
    cannot take the status away from the event loop.
    """

    def __init__(self, process: _core.Process, args: Any) -> None:
        self._process = process
        self.args = args
        self.pid = process.pid
        # The pipes belong to procio.
        self.stdin = self.stdout = self.stderr = None
        self.text_mode = self.encoding = self.errors = None

    @property
    def returncode(self) -> Any:
        """The exit code, the negative number of a signal, or None as far as is known."""
        return self._process.returncode

    @returncode.setter
    def returncode(self, value: Any) -> None:
        """Ignore what a program sets: only procio knows it."""

    def poll(self) -> int | None:
        """Look whether the child has ended, without waiting. Return ``returncode``."""
        return self._process._poll()

    def wait(self, timeout: float | None = None) -> int:
        """Block until the child has ended, for at most ``timeout`` seconds. Return ``returncode``.

        Raises TimeoutExpired. The event loop stands still meanwhile: await the process's ``wait()`` instead.
        """
        end = None if timeout is None else time.monotonic() + timeout
        delay = 0.0005
        while (returncode := self._process._poll()) is None:
            if end is not None:
                left = end - time.monotonic()
                if left <= 0:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
                delay = min(delay, left)
            time.sleep(delay)
            delay = min(delay * 2, 0.05)
        return returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> Any:
        """Block as :meth:`wait` does, and return ``(None, None)``: the pipes are procio's.

        Raises ValueError if there is input, and TimeoutExpired.
        """
        if input:
            raise ValueError("the pipes of this process belong to its transport")
        self.wait(timeout)
        return (None, None)

    def send_signal(self, sig: int) -> None:
        """Send a signal; do nothing after the end, as Popen does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(sig)

    def terminate(self) -> None:
        """Send SIGTERM; do nothing after the end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL; do nothing after the end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def __exit__(self, *exc: object) -> None:
        self.wait()

    def __del__(self, *_: Any) -> None:
        """Do nothing: the process is procio's to end."""

    def __repr__(self) -> str:
        return f"<Popen: returncode: {self.returncode} args: {self.args!r}>"


class _Pipe(asyncio.Protocol):
    """Passes on what one pipe of a child tells to the protocol of the whole."""

    def __init__(self, owner: SubprocessTransport, fd: int) -> None:
        self._owner = owner
        self._fd = fd

    def data_received(self, data: bytes) -> None:
        self._owner._call(self._owner._protocol.pipe_data_received, self._fd, data)

    def connection_lost(self, exc: BaseException | None) -> None:
        # In a turn of its own, as in asyncio: a program that closes the input and then drains it once meets no error.
        owner = self._owner
        owner._loop.call_soon(owner._pipe_lost, self._fd, exc, context=owner._context.copy())

    def pause_writing(self) -> None:
        self._owner._call(self._owner._protocol.pause_writing)

    def resume_writing(self) -> None:
        self._owner._call(self._owner._protocol.resume_writing)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self._fd}>"


class SubprocessTransport(asyncio.SubprocessTransport):
    """A child with the methods of :class:`asyncio.SubprocessTransport`.

    Given a protocol it delivers by callbacks: ``connection_made``; ``pipe_data_received`` and then
    ``pipe_connection_lost`` for each pipe; ``process_exited``, which may come before or after those;
    at last ``connection_lost``. They run in the context in which the child was started. Without one
    it is a view of a :class:`procio.Process`, whose streams own the pipes.
    """

    _callback_mode = False

    def __init__(self, process: Any, args: Any, loop: Any = None, protocol: Any = None) -> None:
        super().__init__()
        self._process = process
        self._popen = Popen(process, args)
        self._loop = loop
        self._protocol = protocol
        self._callback_mode = protocol is not None
        self._streams = protocol is None
        # The view of a Process may not be the first one.
        self._closed = process.__dict__.get("_closed", False)
        # The protocol has been told, and those who wait for that.
        self._exited = False
        self._exit_waiters: list[asyncio.Future[None]] = []
        self._operation: Any = None
        self._context = contextvars.copy_context()
        self._pipes: dict[int, Any] = {}
        self._open: set[int] = set()
        for fd, stream in enumerate((process.stdin, process.stdout, process.stderr)):
            if stream is not None:
                self._pipes[fd] = self._pipe(fd, stream) if self._callback_mode else view(stream)

    @property
    def _proc(self) -> Popen:  # the names by which programs reach through asyncio's transport
        return self._popen

    @property
    def _pid(self) -> int:
        return self.get_pid()

    @property
    def _returncode(self) -> int | None:
        return self.get_returncode()

    def _pipe(self, fd: int, stream: Any) -> _PipeTransport:
        kind: type[_PipeTransport] = ReadPipeTransport if fd else WritePipeTransport
        self._open.add(fd)
        return kind(self._loop, stream, _Pipe(self, fd), None, self._context)

    def _start(self) -> None:
        """Begin to deliver. ``connection_made`` runs now: no task can be cancelled half-way."""
        self._context.copy().run(self._call, self._protocol.connection_made, self)
        for pipe in self._pipes.values():
            pipe._start()
        self._operation = self._process.wait()
        self._watch()

    def _call(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call the protocol. What it raises goes to the loop's exception handler, as in asyncio."""
        try:
            callback(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            name = getattr(callback, "__qualname__", "callback")
            context = {"message": f"Exception in callback {name}", "exception": exc}
            self._loop.call_exception_handler({**context, "transport": self, "protocol": self._protocol})

    def _watch(self, _done: object = None) -> None:
        """Wait for the end of the process."""
        try:
            self._operation.send(None).add_done_callback(self._watch, context=self._context.copy())
        except StopIteration as stop:
            self._operation = None
            self._loop.call_soon(self._process_exited, stop.value, context=self._context.copy())

    def _process_exited(self, returncode: int) -> None:
        if self._loop.get_debug():
            logger.info("%r exited with return code %r", self, returncode)
        self._exited = True
        try:
            self._call(self._protocol.process_exited)
        finally:
            waiters, self._exit_waiters = self._exit_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._finish()

    def _pipe_lost(self, fd: int, exc: BaseException | None) -> None:
        self._open.discard(fd)
        try:
            self._call(self._protocol.pipe_connection_lost, fd, exc)
        finally:
            self._finish()

    def _finish(self) -> None:
        if self._exited and not self._open and self._callback_mode:
            self._callback_mode = False
            self._loop.call_soon(self._connection_lost, context=self._context.copy())

    def _connection_lost(self) -> None:
        try:
            self._protocol.connection_lost(None)
        finally:
            # A reference to the transport keeps nothing else alive.
            self._protocol = self._loop = None

    async def _wait(self) -> int:
        """Wait for the end, and return the return code, after the protocol was told. asyncio's Process calls it."""
        if self._callback_mode and not self._exited:
            waiter = self._loop.create_future()
            self._exit_waiters.append(waiter)
            await waiter
        returncode: int = await self._process.wait()
        return returncode

    def get_pid(self) -> int:
        """Return the process id. It stays readable after the end."""
        pid: int = self._process.pid
        return pid

    def get_returncode(self) -> int | None:
        """Return the exit code, the negative number of a signal, or None while the child runs.

        It is known just before ``process_exited`` is called, and not earlier.
        """
        if self._callback_mode and not self._exited:
            return None
        returncode: int | None = self._process.returncode
        return returncode

    def get_pipe_transport(self, fd: int) -> Any:
        """Return the transport of standard input (0), output (1) or error (2); None if that is no pipe."""
        return self._pipes.get(fd)

    def get_protocol(self) -> Any:
        """Return the protocol; None after ``connection_lost``."""
        protocol = self._protocol
        return protocol() if isinstance(protocol, weakref.ref) else protocol

    def set_protocol(self, protocol: Any) -> None:
        """Deliver to another protocol from now on."""
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known by a name: for ``"subprocess"`` a :class:`subprocess.Popen` of the same child."""
        if name == "subprocess":
            return self._popen
        return super().get_extra_info(name, default)

    def send_signal(self, signal: int) -> None:
        """Send a signal to the child, and to no other process.

        Raises ProcessLookupError once its return code is known, and PermissionError if it belongs to another user.
        """
        with self._allowing_for_the_end():
            self._process.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM. Raises as :meth:`send_signal`."""
        with self._allowing_for_the_end():
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL. Raises as :meth:`send_signal`."""
        with self._allowing_for_the_end():
            self._process.kill()

    def _allowing_for_the_end(self) -> contextlib.AbstractContextManager[None]:
        """Let a signal to a process that has ended be no error until the protocol was told of the end."""
        told = self._exited or not self._callback_mode
        return contextlib.nullcontext() if told else contextlib.suppress(ProcessLookupError)

    def is_closing(self) -> bool:
        """Return whether :meth:`close` was called; for the view of a process, also whether it would do nothing."""
        return bool(self._closed) or (self._streams and self._has_ended())

    def _has_ended(self) -> bool:
        """Whether the process and both of its outputs have ended: then asyncio's own stream protocol closes."""
        outputs = (pipe for fd, pipe in self._pipes.items() if fd)
        return self.get_returncode() is not None and all(pipe._stream._fileno() == -1 for pipe in outputs)

    def close(self) -> None:
        """Close the pipes, and kill the child if it still runs. A second call does nothing.

        It does not wait for the end: ``process_exited`` and ``connection_lost`` follow.
        """
        if self._closed:
            return
        self._closed = self._process.__dict__["_closed"] = True
        running = self._popen.poll() is None
        if running:
            if self._loop is not None and self._loop.get_debug():
                logger.warning("Close running child process: kill %r", self)
            # Before the pipes are closed: by an end of its input it could exit as if all were well.
            with contextlib.suppress(PermissionError):
                self._popen.kill()
        for fd, pipe in self._pipes.items():
            if fd == 0 and running:
                # No process is left that reads what is queued.
                pipe.abort()
            else:
                pipe.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # Of a child that still runs its process tells.
        if self._callback_mode and not self._closed and self._process.returncode is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._closed:
            info.append("closed")
        info.append(f"pid={self.get_pid()}")
        returncode = self.get_returncode()
        info.append("running" if returncode is None else f"returncode={returncode}")
        names = ("stdin", "stdout", "stderr")
        info.extend(f"{names[fd]}={pipe._stream!r}" for fd, pipe in self._pipes.items())
        return f"<{' '.join(info)}>"
