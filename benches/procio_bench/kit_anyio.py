"""anyio, on asyncio's loop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from subprocess import PIPE
from time import perf_counter
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
from anyio.streams.buffered import BufferedByteReceiveStream

from .kit import Job, Kit
from .model import check

T = TypeVar("T")
LINE = 65536


class AnyioKit(Kit):
    """anyio has no line iteration; receive_until() is its way to get a line."""

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return anyio.run(main)

    async def all(self, jobs: Sequence[Job]) -> None:
        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(job)

    async def tick(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def open(
        self,
        command: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = False,
        stderr: bool = False,
        session: bool = False,
    ) -> Any:
        return await anyio.open_process(
            command,
            stdin=PIPE if stdin else None,
            stdout=PIPE if stdout else None,
            stderr=PIPE if stderr else None,
            start_new_session=session,
        )

    async def wait(self, child: Any) -> int:
        code: int = await child.wait()
        return code

    async def communicate(self, command: Sequence[str], data: bytes | None, stderr: bool) -> tuple[int, bytes, bytes]:
        done = await anyio.run_process(command, input=data, stderr=PIPE if stderr else None, check=False)
        return done.returncode, done.stdout, done.stderr or b""

    async def stop(self, child: Any) -> int:
        os.killpg(child.pid, signal.SIGTERM)
        code: int = await child.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        return code

    async def merged(self, child: Any) -> tuple[int, int]:
        counts = {1: 0, 2: 0}
        send, receive = anyio.create_memory_object_stream[tuple[int, bytes]](1000)

        async def read(fd: int, stream: Any, send: Any) -> None:
            receive_until = BufferedByteReceiveStream(stream).receive_until
            async with send:
                with contextlib.suppress(anyio.IncompleteRead):
                    while True:
                        await send.send((fd, await receive_until(b"\n", LINE)))

        async with anyio.create_task_group() as group:
            group.start_soon(read, 1, child.stdout, send.clone())
            group.start_soon(read, 2, child.stderr, send)
            async with receive:
                async for fd, _ in receive:
                    counts[fd] += 1
        return counts[1], counts[2]

    async def read_all(self, child: Any, size: int) -> int:
        receive = child.stdout.receive
        total = 0
        try:
            while True:
                total += len(await receive(size))
        except anyio.EndOfStream:
            return total

    async def read_for(self, child: Any, size: int, deadline: float) -> int:
        receive = child.stdout.receive
        total = 0
        while perf_counter() < deadline:
            total += len(await receive(size))
        return total

    async def lines_for(self, child: Any, deadline: float) -> int:
        receive_until = BufferedByteReceiveStream(child.stdout).receive_until
        total = 0
        while perf_counter() < deadline:
            total += len(await receive_until(b"\n", LINE)) + 1
        return total

    async def lines(self, child: Any) -> tuple[int, bytes]:
        receive_until = BufferedByteReceiveStream(child.stdout).receive_until
        count = 0
        line = b""
        try:
            while True:
                line = await receive_until(b"\n", LINE)
                count += 1
        except anyio.IncompleteRead:
            return count, line + b"\n"

    async def readline(self, child: Any) -> tuple[int, bytes]:
        return await self.lines(child)

    async def write_all(self, child: Any, chunk: bytes, count: int) -> None:
        send = child.stdin.send
        for _ in range(count):
            await send(chunk)
        await child.stdin.aclose()

    async def rest(self, child: Any, stderr: bool) -> bytes:
        stream = child.stderr if stderr else child.stdout
        return b"".join([data async for data in stream])

    async def close_stdin(self, child: Any) -> None:
        await child.stdin.aclose()

    async def pingpong(self, child: Any, message: bytes, rounds: int) -> None:
        send = child.stdin.send
        receive_exactly = BufferedByteReceiveStream(child.stdout).receive_exactly
        size = len(message)
        for _ in range(rounds):
            await send(message)
            check(await receive_exactly(size) == message, "wrong echo")
