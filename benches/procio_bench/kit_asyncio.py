"""asyncio, uvloop and procio: one interface, so one and the same code."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from subprocess import PIPE
from time import perf_counter
from typing import Any, TypeVar

from .kit import Job, Kit
from .model import check

T = TypeVar("T")


class AsyncioKit(Kit):
    """``api`` is the module with create_subprocess_exec."""

    def __init__(self, api: str, loop: str) -> None:
        module = importlib.import_module(api)
        self.create: Callable[..., Any] = module.create_subprocess_exec
        self.run_to_end: Callable[..., Any] | None = getattr(module, "run_process", None)
        self.factory: Callable[[], asyncio.AbstractEventLoop] = (
            asyncio.SelectorEventLoop if loop == "selector" else importlib.import_module(loop).new_event_loop
        )

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with asyncio.Runner(loop_factory=self.factory) as runner:
            return runner.run(main())

    async def all(self, jobs: Sequence[Job]) -> None:
        await asyncio.gather(*(job() for job in jobs))

    async def tick(self) -> None:
        await asyncio.sleep(0)

    async def open(
        self,
        command: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = False,
        stderr: bool = False,
        session: bool = False,
    ) -> Any:
        return await self.create(
            *command,
            stdin=PIPE if stdin else None,
            stdout=PIPE if stdout else None,
            stderr=PIPE if stderr else None,
            start_new_session=session,
        )

    async def wait(self, child: Any) -> int:
        code: int = await child.wait()
        return code

    async def communicate(self, command: Sequence[str], data: bytes | None, stderr: bool) -> tuple[int, bytes, bytes]:
        child = await self.create(
            *command,
            stdin=None if data is None else PIPE,
            stdout=PIPE,
            stderr=PIPE if stderr else None,
        )
        out, err = await child.communicate(data)
        return child.returncode, out, err or b""

    async def stop(self, child: Any) -> int:
        if hasattr(child, "stop"):
            stopped: int = await child.stop()
            return stopped
        os.killpg(child.pid, signal.SIGTERM)
        code: int = await child.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        return code

    async def run_process(self, command: Sequence[str]) -> tuple[int, bytes, bytes]:
        if self.run_to_end is None:
            return await self.communicate(command, None, True)
        done = await self.run_to_end(command)
        return done.returncode, done.stdout, done.stderr

    async def merged(self, child: Any) -> tuple[int, int]:
        counts = {1: 0, 2: 0}
        if hasattr(child, "merged"):
            async for fd, _ in child.merged():
                counts[fd] += 1
            return counts[1], counts[2]
        queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(1000)

        async def read(fd: int, stream: asyncio.StreamReader) -> None:
            async for line in stream:
                await queue.put((fd, line))
            await queue.put(None)

        async with asyncio.TaskGroup() as group:
            group.create_task(read(1, child.stdout))
            group.create_task(read(2, child.stderr))
            ends = 0
            while ends < 2:
                if (item := await queue.get()) is None:
                    ends += 1
                else:
                    counts[item[0]] += 1
        return counts[1], counts[2]

    async def read_all(self, child: Any, size: int) -> int:
        read = child.stdout.read
        total = 0
        while data := await read(size):
            total += len(data)
        return total

    async def read_for(self, child: Any, size: int, deadline: float) -> int:
        read = child.stdout.read
        total = 0
        while perf_counter() < deadline:
            total += len(await read(size))
        return total

    async def lines_for(self, child: Any, deadline: float) -> int:
        total = 0
        async for line in child.stdout:
            total += len(line)
            if perf_counter() >= deadline:
                break
        return total

    async def lines(self, child: Any) -> tuple[int, bytes]:
        count = 0
        line = b""
        async for line in child.stdout:  # noqa: B007  (the last one is returned)
            count += 1
        return count, line

    async def readline(self, child: Any) -> tuple[int, bytes]:
        readline = child.stdout.readline
        count = 0
        last = b""
        while line := await readline():
            count += 1
            last = line
        return count, last

    async def write_all(self, child: Any, chunk: bytes, count: int) -> None:
        write, drain = child.stdin.write, child.stdin.drain
        for _ in range(count):
            write(chunk)
            await drain()
        child.stdin.close()

    async def rest(self, child: Any, stderr: bool) -> bytes:
        data: bytes = await (child.stderr if stderr else child.stdout).read()
        return data

    async def give_up(self, command: Sequence[str], complete: Callable[[], bool], size: int) -> dict[str, float]:
        child = await self.create(*command, stdin=PIPE, stdout=PIPE)
        task = asyncio.ensure_future(child.communicate())
        while not complete():
            await asyncio.sleep(0.01)
        for _ in range(100):  # what is left in the pipe
            await asyncio.sleep(0)
        begin = perf_counter()
        task.cancel()
        await asyncio.wait([task])
        found = {"given_up": perf_counter() - begin}
        check(task.cancelled(), "ended before it was cancelled")
        child.kill()
        begin = perf_counter()
        out, _ = await child.communicate()
        if len(out) == size:
            found["next"] = perf_counter() - begin
        return found

    async def close_stdin(self, child: Any) -> None:
        child.stdin.close()

    async def pingpong(self, child: Any, message: bytes, rounds: int) -> None:
        write, drain = child.stdin.write, child.stdin.drain
        readexactly = child.stdout.readexactly
        size = len(message)
        for _ in range(rounds):
            write(message)
            await drain()
            check(await readexactly(size) == message, "wrong echo")
