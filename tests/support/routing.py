"""Which ways to a child lead to procio, and what install() may have changed."""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.subprocess
import os
import sys
from typing import Any

import procio
import skips
from protocols import Recorder
from support import WINDOWS, turns


def loop_classes() -> list[type]:
    classes: list[type] = [asyncio.AbstractEventLoop, asyncio.base_events.BaseEventLoop, asyncio.SelectorEventLoop]
    if skips.HAVE_UVLOOP:
        import uvloop

        classes.append(uvloop.Loop)
    if WINDOWS:
        classes.append(asyncio.ProactorEventLoop)  # type: ignore[attr-defined]
    return classes


def attributes() -> list[Any]:
    """Everything that could be changed."""
    owners = [asyncio, asyncio.subprocess, *loop_classes()]
    return [{name: id(value) for name, value in vars(owner).items()} for owner in owners] + [list(sys.meta_path)]


def ends_of_a_pipe() -> tuple[Any, Any]:
    """As asyncio's loops can connect them."""
    if WINDOWS:
        from asyncio import windows_utils

        reader, writer = windows_utils.pipe(overlapped=(True, True), duplex=True)  # type: ignore[attr-defined]
        return windows_utils.PipeHandle(reader), windows_utils.PipeHandle(writer)  # type: ignore[attr-defined]
    reader, writer = os.pipe()
    return open(reader, "rb", 0), open(writer, "wb", 0)


async def leads_to_procio(way: Any) -> bool:
    """Whether a way to a child is procio's. On Windows asyncio's Selector loop has none."""
    try:
        found = await way
    except NotImplementedError:
        return False
    if isinstance(found, tuple):
        transport, protocol = found
        if isinstance(protocol, Recorder):
            await protocol.end()
        transport.close()
        return type(transport).__module__.startswith("procio.")
    await found.wait()
    return isinstance(found, procio.Process)


async def is_routed() -> list[bool]:
    """Whether each of the six ways to a child leads to procio."""
    loop: Any = asyncio.get_running_loop()
    found = [
        await leads_to_procio(way)
        for way in (
            asyncio.create_subprocess_exec("true"),
            asyncio.create_subprocess_shell("true"),
            loop.subprocess_exec(Recorder, "true"),
            loop.subprocess_shell(Recorder, "true"),
        )
    ]
    for connect, mine in ((loop.connect_read_pipe, 0), (loop.connect_write_pipe, 1)):
        ends = ends_of_a_pipe()
        found.append(await leads_to_procio(connect(asyncio.Protocol, ends[mine])))
        await turns(3)
        for end in ends:
            end.close()
    return found


# On Windows connecting pipes stays with asyncio.
PIPES = [not WINDOWS] * 2
ALL, NONE, LOOP_ONLY = [True] * 4 + PIPES, [False] * 6, [False, False, True, True, *PIPES]
