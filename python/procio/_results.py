"""What a process leaves behind: its result, the errors that carry one, and what it consumed."""

# Without `from __future__ import annotations`: the classes say at the end that they are of `procio`, where what
# strings name would not be found.
import subprocess
from typing import Any, NamedTuple, TypeVar

# bytes, or str if an encoding was given.
_Output = TypeVar("_Output", bytes, str)

__all__ = ["CalledProcessError", "CompletedProcess", "TimeoutExpired", "Usage"]

# As much of standard error as helps to see what went wrong, in characters and in lines.
_NOTE_LENGTH = 2000
_NOTE_LINES = 20


class Usage(NamedTuple):
    """What a process consumed, with those of its children that it waited for (getrusage(2))."""

    user_time: float
    """Processor time in user mode, in seconds."""
    system_time: float
    """Processor time in the kernel, in seconds."""
    max_rss: int | None
    """The largest resident set, in bytes; None where it is not known."""

    @classmethod
    def of(cls, known: tuple[float, float, int | None]) -> "Usage":
        """Make one of what the compiled half knows."""
        user, system, resident = known
        return cls(user, system, resident or None)


class CompletedProcess(subprocess.CompletedProcess[_Output]):
    """The result of :func:`procio.run_process`.

    ``stdout`` and ``stderr`` are bytes, str if an encoding was given, and None for what was no pipe.
    ``duration`` is in seconds, ``usage`` a :class:`procio.Usage`, and ``dropped`` how many bytes of
    ``(stdout, stderr)`` were left out because of ``max_output``.
    """

    duration: float
    usage: Usage | None
    dropped: tuple[int, int]

    def __init__(
        self,
        args: Any,
        returncode: int,
        stdout: Any = None,
        stderr: Any = None,
        *,
        duration: float = 0.0,
        usage: Usage | None = None,
        dropped: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.duration, self.usage, self.dropped = duration, usage, dropped

    def check_returncode(self) -> None:
        """Raise :class:`CalledProcessError` if ``returncode`` is not 0."""
        if self.returncode:
            raise CalledProcessError(
                self.returncode,
                self.args,
                self.stdout,
                self.stderr,
                duration=self.duration,
                usage=self.usage,
                dropped=self.dropped,
            )


class CalledProcessError(subprocess.CalledProcessError):
    """A process ended with another return code than 0, and ``check`` was on.

    Everything that :class:`CompletedProcess` has; the end of standard error is a note of the
    exception (PEP 678), so that a traceback shows it and ``str()`` does not.
    """

    duration: float
    usage: Usage | None
    dropped: tuple[int, int]

    def __init__(
        self,
        returncode: int,
        cmd: Any,
        output: Any = None,
        stderr: Any = None,
        *,
        duration: float = 0.0,
        usage: Usage | None = None,
        dropped: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(returncode, cmd, output, stderr)
        self.duration, self.usage, self.dropped = duration, usage, dropped
        note_end(self, stderr)


class TimeoutExpired(subprocess.TimeoutExpired, TimeoutError):
    """A process did not end within ``timeout`` seconds, and was ended.

    ``stdout`` and ``stderr`` are what was written so far, ``returncode`` is how the process ended.
    It is a :class:`TimeoutError` as well as a :class:`subprocess.TimeoutExpired`.
    """

    args: tuple[Any, ...]
    returncode: int | None
    duration: float
    usage: Usage | None
    dropped: tuple[int, int]

    # Bytes, or str if an encoding was given; typeshed's declaration knows bytes alone.
    output: Any
    stdout: Any
    stderr: Any

    def __init__(
        self,
        cmd: Any,
        timeout: float,
        output: Any = None,
        stderr: Any = None,
        *,
        returncode: int | None = None,
        duration: float = 0.0,
        usage: Usage | None = None,
        dropped: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(cmd, timeout, output, stderr)
        # OSError, of which TimeoutError is one, keeps none: without them it could not be pickled.
        self.args = (cmd, timeout, output, stderr)
        self.returncode = returncode
        self.duration, self.usage, self.dropped = duration, usage, dropped
        note_end(self, stderr)


def note_end(error: BaseException, stderr: bytes | str | None) -> None:
    """Add the end of standard error to ``error`` as a note."""
    if not stderr:
        return
    text = stderr if isinstance(stderr, str) else stderr[-4 * _NOTE_LENGTH :].decode(errors="replace")
    lines = text[-_NOTE_LENGTH:].rstrip().splitlines()[-_NOTE_LINES:]
    if lines:
        error.add_note("\n".join(["stderr:", *lines]))


for _public in (Usage, CompletedProcess, CalledProcessError, TimeoutExpired):
    _public.__module__ = "procio"
