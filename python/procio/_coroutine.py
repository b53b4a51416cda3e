"""Functions whose result is to be awaited, and that look so to ``inspect``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


def coroutine_function(function: _F) -> _F:
    """Have ``inspect.iscoroutinefunction`` say yes, as for the ``async def`` of asyncio.

    What the function returns is a coroutine implemented in Rust; programs that ask before they
    call, to run it in another thread's loop for example, must not see a difference.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    # There the only mark is a flag of the code, and `types.coroutine` sets one in the same way.
    code = function.__code__
    function.__code__ = code.replace(co_flags=code.co_flags | inspect.CO_COROUTINE)
    return function


Origin = tuple[tuple[str, int, str], ...]


def origin() -> Origin | None:
    """Return the frames that create a coroutine, the innermost first, as many as the interpreter tracks.

    None if it tracks none. Frames of procio's own, which stand where asyncio has ``async def``, do not count.
    """
    depth = sys.get_coroutine_origin_tracking_depth()
    if depth == 0:
        return None
    frame: FrameType | None = sys._getframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "procio":
        frame = frame.f_back
    frames: list[tuple[str, int, str]] = []
    while frame is not None and len(frames) < depth:
        frames.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return tuple(frames)


def created_at(origin: Origin) -> str:
    """Say what :func:`origin` has found, as the interpreter's own warning does."""
    import traceback

    entries = [(file, line, name, None) for file, line, name in reversed(origin)]
    lines = traceback.StackSummary.from_list(entries).format()
    return "\nCoroutine created at (most recent call last)\n" + "".join(lines).rstrip("\n")
