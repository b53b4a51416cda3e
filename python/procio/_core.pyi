"""The compiled half of procio. Private: import ``procio``."""

from collections.abc import Callable, Generator, Iterable
from types import FrameType, TracebackType
from typing import Any, Generic, Self, SupportsIndex, TypeAlias, TypeVar, final

from typing_extensions import Buffer, disjoint_base

from . import _streams, subprocess
from ._types import Request

_T = TypeVar("_T")
_Data: TypeAlias = bytes | bytearray | memoryview

__all__ = [
    "Awaitable",
    "MergedLines",
    "Process",
    "StreamReader",
    "StreamWriter",
    "__version__",
    "_attach",
    "_register_classes",
    "build_profile",
    "open_reader",
    "open_writer",
    "run",
    "spawn",
]

__version__: str
build_profile: str

@final
class Awaitable(Generic[_T]):
    """A coroutine implemented in Rust. Nothing happens before it is awaited."""

    @classmethod
    def __class_getitem__(cls, item: Any) -> Any: ...
    def __await__(self) -> Generator[Any, None, _T]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(self, value: None, /) -> Any:
        """Resume it, as a coroutine's ``send``; the value must be None."""
    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object | None = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        """Raise an exception where it waits, as a coroutine's ``throw``."""
    def close(self) -> None:
        """Give it up, as a coroutine's ``close``."""
    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def cr_running(self) -> bool:
        """False: it never runs when other code can ask."""
    @property
    def cr_suspended(self) -> bool:
        """Whether it waits."""
    @property
    def cr_frame(self) -> FrameType | None:
        """A frame without code of its own; None once it is done."""
    @property
    def cr_state(self) -> str:
        """The state in the words of ``inspect``."""
    @property
    def cr_await(self) -> Any:
        """The future that it waits for, or None."""
    @property
    def cr_origin(self) -> tuple[tuple[str, int, str], ...] | None:
        """Where it was created, if that is tracked."""

@final
class _ConstructorToken:
    """What makes one object. A program cannot make it."""

@disjoint_base
class Process:
    """A child process."""

    pid: int
    stdin: _streams.StreamWriter | None
    stdout: _streams.StreamReader | None
    stderr: _streams.StreamReader | None
    def __new__(cls, token: _ConstructorToken) -> Self: ...
    @property
    def returncode(self) -> int | None:
        """The exit code, the negative number of a signal, or None while the process runs."""
    async def wait(self) -> int:
        """Wait for the end of the process and return ``returncode``."""
    async def communicate(self, input: _Data | None = None) -> tuple[bytes, bytes]:
        """Write ``input``, read both outputs to their ends, and return them after the end of the process."""
    def send_signal(self, signal: int) -> None:
        """Send a signal. Raises ProcessLookupError after the end."""
    def send_signal_to_group(self, signal: int) -> None:
        """Send a signal to the process group that the process leads. Raises ProcessLookupError after the end."""
    def fileno(self) -> int:
        """Return the pidfd, which becomes readable at the end and belongs to the process (Linux)."""
    def _usage(self) -> tuple[float, float, int | None] | None:
        """Return user and system time in seconds and the largest resident set in bytes, after the end."""
    async def _stop(self, signal: int, grace: float, wait_first: bool) -> int:
        """Signal the group, wait ``grace`` seconds, kill what is left, and reap."""
    def _kill_with_group(self) -> None:
        """Kill the process and its group without waiting."""
    def _merged(self) -> MergedLines:
        """Return the iterator over the lines of both outputs."""
    def _poll(self) -> int | None:
        """Look whether the process has ended, and return ``returncode``."""
    def _detach(self) -> Any:
        """Give the process away, to another loop or to Rust."""
    def terminate(self) -> None:
        """Send SIGTERM. Raises ProcessLookupError after the end."""
    def kill(self) -> None:
        """Send SIGKILL. Raises ProcessLookupError after the end."""

@final
class MergedLines:
    """The lines of both outputs of a process, as they arrive."""

    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> tuple[int, bytes]: ...
    async def _read(self) -> tuple[int, bytes]:
        """Read what comes next, with the number of its stream; no bytes at the end of each."""
    def _close(self) -> None:
        """Let other readers have the streams."""

@disjoint_base
class StreamReader:
    """The reading end of a pipe."""

    @property
    def _limit(self) -> int:
        """The bound of a line in bytes."""
    @_limit.setter
    def _limit(self, limit: int) -> None: ...
    def __new__(cls, token: _ConstructorToken) -> Self: ...
    async def read(self, n: int = -1) -> bytes:
        """Read at most ``n`` bytes; all until the end if ``n`` is negative."""
    async def readline(self) -> bytes:
        """Read a line with its newline."""
    async def readuntil(self, separator: Buffer | tuple[Buffer, ...] = b"\n") -> bytes:
        """Read until the first separator, which is returned too."""
    async def readexactly(self, n: int) -> bytes:
        """Read exactly ``n`` bytes."""
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> bytes: ...
    def at_eof(self) -> bool:
        """Return whether the end was reached and everything was read."""
    def exception(self) -> Exception | None:
        """Return the exception that ended the stream, if there is one."""
    def set_exception(self, exc: Exception | None) -> None:
        """Make every read raise an exception; with None, read on."""
    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Add bytes as if the child had written them."""
    def feed_eof(self) -> None:
        """Signal the end to readers, and close our end of the pipe."""
    def close(self) -> None:
        """Close the pipe. A child that goes on writing gets SIGPIPE."""
    def _fileno(self) -> int:
        """Return the descriptor, or -1 once it is closed."""
    def _read_nowait(self, most: int, again: Callable[[], None]) -> bytes | None:
        """Read what there is; None if there is nothing, and then call ``again`` once there may be."""
    def _cancel_callback(self) -> None:
        """Forget the callback of ``_read_nowait``."""
    def _pause_read_ahead(self, pause: bool) -> None:
        """Stop or resume reading ahead."""
    def _is_read_ahead_paused(self) -> bool:
        """Return whether reading ahead is stopped."""

@disjoint_base
class StreamWriter:
    """The writing end of a pipe."""

    def __new__(cls, token: _ConstructorToken) -> Self: ...
    def write(self, data: _Data) -> None:
        """Write bytes: at once what the pipe takes, the rest in the background."""
    def writelines(self, data: Iterable[_Data]) -> None:
        """Write each of an iterable."""
    async def drain(self) -> None:
        """Wait until the buffer has drained to the low-water mark, if it has grown past the high-water mark."""
    def close(self) -> None:
        """Close the pipe once everything is written."""
    def write_eof(self) -> None:
        """Close the pipe once everything is written, which is the end of the child's input."""
    def can_write_eof(self) -> bool:
        """Return True."""
    def abort(self) -> None:
        """Close the pipe at once; what is queued is lost."""
    def is_closing(self) -> bool:
        """Return whether the pipe is closed or closing, or the child no longer reads."""
    async def wait_closed(self) -> None:
        """Wait until everything is written and the pipe is closed."""
    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that wait to be written."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low-water and the high-water mark in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks in bytes."""
    def _fileno(self) -> int:
        """Return the descriptor, or -1 once it is closed."""
    def _is_paused(self) -> bool:
        """Return whether the buffer has grown past the high-water mark and not drained since."""

_Collected: TypeAlias = tuple[bytes, int, int]
_Outcome: TypeAlias = tuple[
    int | None, _Collected | None, _Collected | None, tuple[float, float, int | None] | None, float, bool
]

async def run(
    request: Request,
    input: bytes | None,
    timeout: float,
    grace: float,
    limits: tuple[int, int] | None,
) -> _Outcome:
    """Run a process to its end: return code, outputs and what was dropped, usage, duration, timed out or not."""

async def spawn(request: Request) -> subprocess.Process:
    """Start a process."""

def _attach(detached: Any) -> Any:
    """Take a process that was given away."""

def open_reader(fd: int) -> StreamReader:
    """Return a reader of a duplicate of ``fd``."""

def open_writer(fd: int) -> StreamWriter:
    """Return a writer to a duplicate of ``fd``."""

def _register_classes(process: type[Process], reader: type[StreamReader], writer: type[StreamWriter]) -> None:
    """Say which classes are made for processes and streams."""
