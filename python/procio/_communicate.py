"""`communicate` where the program has replaced a stream: asyncio calls the methods of what is there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


async def by_attributes(process: Any, input: Any) -> tuple[Any, Any]:
    """Serve the streams by the methods of the process's attributes; return ``(stdout, stderr)`` after its end.

    As with asyncio, what was read is lost if it is cancelled.
    """
    done = await asyncio.gather(_feed(process.stdin, input), _read(process.stdout), _read(process.stderr))
    await process.wait()
    return done[1], done[2]


async def _feed(stdin: Any, input: Any) -> None:
    if stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a child that does not read
        if input is not None:
            stdin.write(input)
        await stdin.drain()
    stdin.close()


async def _read(stream: Any) -> Any:
    return None if stream is None else await stream.read()
