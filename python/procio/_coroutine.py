"""Functions whose result is to be awaited, and that look so to ``inspect``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
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
