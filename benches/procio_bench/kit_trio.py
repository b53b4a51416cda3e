"""trio on its own loop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from subprocess import PIPE
from time import perf_counter
from typing import Any, TypeVar

import trio

from .kit import Job, Kit
from .model import Unsupported, check

T = TypeVar("T")
NO_LINES = "trio has no line reader"


class TrioKit(Kit):
    """Children of open_process, output by receive_some."""

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return trio.run(main)

    async def all(self, jobs: Sequence[Job]) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(job)

    async def tick(self) -> None:
        await trio.lowlevel.checkpoint()

    async def open(
        self,
        command: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = False,
        stderr: bool = False,
        session: bool = False,
    ) -> Any:
        return await trio.lowlevel.open_process(
            list(command),
            stdin=PIPE if stdin else None,
            stdout=PIPE if stdout else None,
            stderr=PIPE if stderr else None,
            start_new_session=session,
        )

    async def wait(self, child: Any) -> int:
        code: int = await child.wait()
        return code

    async def communicate(self, command: Sequence[str], data: bytes | None, stderr: bool) -> tuple[int, bytes, bytes]:
        done = await trio.run_process(
            list(command),
            stdin=data,
            capture_stdout=True,
            capture_stderr=stderr,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr or b""

    async def stop(self, child: Any) -> int:
        os.killpg(child.pid, signal.SIGTERM)
        code: int = await child.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        return code

    async def read_all(self, child: Any, size: int) -> int:
        receive_some = child.stdout.receive_some
        total = 0
        while data := await receive_some(size):
            total += len(data)
        return total

    async def read_for(self, child: Any, size: int, deadline: float) -> int:
        receive_some = child.stdout.receive_some
        total = 0
        while perf_counter() < deadline:
            total += len(await receive_some(size))
        return total

    async def lines_for(self, child: Any, deadline: float) -> int:
        raise Unsupported(NO_LINES)

    async def lines(self, child: Any) -> tuple[int, bytes]:
        raise Unsupported(NO_LINES)

    async def readline(self, child: Any) -> tuple[int, bytes]:
        raise Unsupported(NO_LINES)

    async def write_all(self, child: Any, chunk: bytes, count: int) -> None:
        send_all = child.stdin.send_all
        for _ in range(count):
            await send_all(chunk)
        await child.stdin.aclose()

    async def rest(self, child: Any, stderr: bool) -> bytes:
        stream = child.stderr if stderr else child.stdout
        return b"".join([bytes(data) async for data in stream])

    async def close_stdin(self, child: Any) -> None:
        await child.stdin.aclose()

    async def pingpong(self, child: Any, message: bytes, rounds: int) -> None:
        send_all = child.stdin.send_all
        receive_some = child.stdout.receive_some
        size = len(message)
        for _ in range(rounds):
            await send_all(message)
            data = await receive_some(size)
            while len(data) < size:
                data += await receive_some(size - len(data))
            check(data == message, "wrong echo")
