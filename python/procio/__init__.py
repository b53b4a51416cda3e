"""asyncio's subprocesses on a Rust core.

Import this module in place of asyncio's functions, or call :func:`install` once at the top of a
program. The event loop stays the one that runs: asyncio's, uvloop's, any with ``add_reader``.

Every other name is asyncio's, so that ``import procio as asyncio`` is a whole migration.
"""

import asyncio as _original
import sys as _sys
import typing as _typing

if _sys.implementation.name != "cpython":
    raise ImportError(f"procio is for CPython and does not run on {_sys.implementation.name}: use asyncio.subprocess")
if _sys.platform in ("emscripten", "ios", "wasi"):
    raise ImportError(f"procio starts processes, which programs on {_sys.platform} cannot")

from . import _core, subprocess
from ._core import __version__
from ._streams import StreamReader, StreamWriter
from .subprocess import (
    DEVNULL,
    PIPE,
    STDOUT,
    Process,
    create_subprocess_exec,
    create_subprocess_shell,
)

# Here, where each of them is imported for certain: all imports may be lazy (PEP 810).
_core._register_classes(Process, StreamReader, StreamWriter)

if _typing.TYPE_CHECKING:
    # What `__getattr__` below finds, by name, so that checkers know the types and find misspellings.
    from . import _asyncio
    from ._asyncio import *  # noqa: F403
    from ._install import install, installed, uninstall
    from ._lifetime import open_process, run_process
    from ._loops import EventLoop, SubprocessLoopMixin, new_event_loop, new_uvloop_event_loop, run
    from ._results import CalledProcessError, CompletedProcess, TimeoutExpired, Usage

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "CalledProcessError",
    "CompletedProcess",
    "EventLoop",
    "Process",
    "StreamReader",
    "StreamWriter",
    "SubprocessLoopMixin",
    "TimeoutExpired",
    "Usage",
    "__version__",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "install",
    "installed",
    "new_event_loop",
    "new_uvloop_event_loop",
    "open_process",
    "run",
    "run_process",
    "subprocess",
    "uninstall",
]

if _typing.TYPE_CHECKING:
    __all__ += _asyncio.__all__  # type: ignore[attr-defined]  # for pyright: by it they are public
else:
    # Where a name is that is imported when it is first used: to import all of it at once takes twice as long.
    _LATER = {
        **dict.fromkeys(("install", "installed", "uninstall"), "_install"),
        **dict.fromkeys(("open_process", "run_process"), "_lifetime"),
        **dict.fromkeys(
            ("EventLoop", "SubprocessLoopMixin", "new_event_loop", "new_uvloop_event_loop", "run"), "_loops"
        ),
        **dict.fromkeys(("CalledProcessError", "CompletedProcess", "TimeoutExpired", "Usage"), "_results"),
    }

    def __getattr__(name: str) -> object:
        """Import what is imported when it is used; look any other ``name`` up in asyncio.

        The latter is for programs that import this module under that name.
        """
        if (module := _LATER.get(name)) is not None:
            value = getattr(__import__(f"{__name__}.{module}", fromlist=(name,)), name)
            globals()[name] = value
            return value
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(_original, name)

    def __dir__() -> list[str]:
        """List the names of this module, also those that were not used yet."""
        return sorted({*globals(), *_LATER})
