"""What a peer has to be able to do; the workloads are written in these terms.

Everything that runs once per chunk, line or message is a method of its own,
so that a peer's hot loop is its own idiomatic code and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

from .model import Unsupported, check

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, None]]


class Kit(ABC):
    """One peer's way to do the work."""

    runs_in_threads: ClassVar[bool] = True

    @abstractmethod
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function on a new loop."""

    @abstractmethod
    async def all(self, jobs: Sequence[Job]) -> None:
        """Run the jobs at the same time."""

    @abstractmethod
    async def tick(self) -> None:
        """Let everybody else have a turn."""

    @abstractmethod
    async def open(
        self,
        command: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = False,
        stderr: bool = False,
        session: bool = False,
    ) -> Any:
        """Start a child, as the leader of a session if asked; what is not piped is inherited."""

    @abstractmethod
    async def wait(self, child: Any) -> int:
        """Wait for the exit status."""

    @abstractmethod
    async def communicate(self, command: Sequence[str], data: bytes | None, stderr: bool) -> tuple[int, bytes, bytes]:
        """Run to the end with stdout (and stderr) piped."""

    async def run_process(self, command: Sequence[str]) -> tuple[int, bytes, bytes]:
        """Run to the end with both outputs piped, by the peer's function for that if it has one."""
        return await self.communicate(command, None, True)

    async def merged(self, child: Any) -> tuple[int, int]:
        """Read the lines of both outputs as they come, in one place; count them."""
        raise Unsupported("no lines of two streams")

    @abstractmethod
    async def stop(self, child: Any) -> int:
        """Ask the process group of a child to end, and wait; the exit status."""

    @abstractmethod
    async def read_all(self, child: Any, size: int) -> int:
        """Read stdout to its end by chunks; count the bytes."""

    @abstractmethod
    async def read_for(self, child: Any, size: int, deadline: float) -> int:
        """Read stdout by chunks until the deadline; count the bytes."""

    @abstractmethod
    async def lines_for(self, child: Any, deadline: float) -> int:
        """Read stdout by lines until the deadline; count the bytes."""

    @abstractmethod
    async def lines(self, child: Any) -> tuple[int, bytes]:
        """Iterate over stdout; count the lines, give the last."""

    @abstractmethod
    async def readline(self, child: Any) -> tuple[int, bytes]:
        """Call readline until the end; count the lines, give the last."""

    @abstractmethod
    async def write_all(self, child: Any, chunk: bytes, count: int) -> None:
        """Write a chunk many times, waiting for room each time; then close."""

    @abstractmethod
    async def rest(self, child: Any, stderr: bool) -> bytes:
        """Read stdout (or stderr) to its end."""

    async def give_up(self, command: Sequence[str], complete: Callable[[], bool], size: int) -> dict[str, float]:
        """Cancel the collecting of what a child has written; give the seconds until that is over, as ``given_up``.

        Where nothing is lost by that, collect again, and give how long that took, as ``next``.
        """
        raise Unsupported("has no communicate that can be called again")

    @abstractmethod
    async def close_stdin(self, child: Any) -> None:
        """Close the child's stdin."""

    @abstractmethod
    async def pingpong(self, child: Any, message: bytes, rounds: int) -> None:
        """Send a message and wait until it has come back, many times."""

    async def limited(self, count: int, width: int, job: Job) -> None:
        """Run the job ``count`` times, ``width`` at a time."""
        turns: Iterator[int] = iter(range(count))

        async def work() -> None:
            for _ in turns:
                await job()

        await self.all([work] * width)

    async def true(self, command: Sequence[str]) -> None:
        """Spawn and wait; the child has to end well."""
        code = await self.wait(await self.open(command))
        check(code == 0, f"{command[0]} ended with {code}")
