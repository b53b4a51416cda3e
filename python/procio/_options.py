"""The arguments of ``subprocess.Popen``, checked and converted as it does.

What comes out is what the compiled half takes: every string as the system has it, every identity a
number, every stream a descriptor or one of the constants. Nothing is opened or started here, so bad
input leaves nothing behind.
"""

from __future__ import annotations

import functools
import math
import operator
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    from . import _options_windows as _system
    from ._options_windows import shell_args
else:
    from . import _options_posix as _system
    from ._options_posix import shell_args

__all__ = [
    "checked_grace",
    "checked_signal",
    "checked_timeout",
    "prepare",
    "reject_fixed_keywords",
    "shell_args",
]

if TYPE_CHECKING:  # such classes take long to make
    from ._types import File, PopenOptions, Request, StrOrBytesPath


# The names of PopenOptions, which takes long to make. They must be there without a file to be read: a program may
# have given up its access to the files of this package before it starts a child.
KEYWORDS = frozenset(
    [
        "executable",
        "cwd",
        "env",
        "close_fds",
        "pass_fds",
        "pipesize",
        "preexec_fn",
        "restore_signals",
        "start_new_session",
        "process_group",
        "user",
        "group",
        "extra_groups",
        "umask",
        "rlimits",
        "nice",
        "cpu_affinity",
        "no_new_privs",
        "cgroup",
        "cgroup_kill",
        "kill_on_parent_exit",
        "startupinfo",
        "creationflags",
    ]
)


def reject_fixed_keywords(function: str, kwds: Any, shell: bool) -> PopenOptions:
    """Take the keywords that have but one value out of ``kwds``, and return the others.

    Raises the ValueError that asyncio raises for any other value, and TypeError, in the name of
    ``function``, for a keyword that ``Popen`` does not have.
    """
    options: PopenOptions = kwds
    if not kwds:
        return options
    if kwds.pop("universal_newlines", False):
        raise ValueError("universal_newlines must be False")
    if bool(kwds.pop("shell", shell)) is not shell:
        raise ValueError(f"shell must be {shell}")
    if kwds.pop("bufsize", 0) != 0:
        raise ValueError("bufsize must be 0")
    if kwds.pop("text", False):
        raise ValueError("text must be False")
    for name in ("encoding", "errors"):
        if kwds.pop(name, None) is not None:
            raise ValueError(f"{name} must be None")
    for name in kwds:
        if name not in KEYWORDS:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    return options


def checked_grace(grace: float) -> float:
    """``grace`` as a number of seconds. Raises ValueError for a negative one and for NaN."""
    if math.isnan(grace) or grace < 0:
        raise ValueError("grace must not be negative")
    return float(grace)


def checked_timeout(timeout: float | None) -> float:
    """``timeout`` in seconds, infinite if there is none. Raises ValueError for NaN."""
    if timeout is None:
        return math.inf
    if math.isnan(timeout):
        raise ValueError("timeout must be a number of seconds")
    return float(timeout)


def checked_signal(number: int) -> int:
    """Return ``number`` as the number of a signal. Raises ValueError for what is none."""
    return int(signal.Signals(number)) if sys.platform == "win32" else _posix_signal(number)


@functools.cache
def _posix_signals() -> frozenset[int]:
    # Not every valid signal has a name: most of the real-time signals have none.
    return frozenset(map(int, signal.valid_signals()))


def _posix_signal(number: int) -> int:
    number = operator.index(number)
    if number not in _posix_signals():
        raise ValueError(f"signal number {number} out of range")
    return number


def prepare(
    args: Sequence[StrOrBytesPath],
    stdin: File,
    stdout: File,
    stderr: File,
    limit: int | None,
    options: PopenOptions,
) -> Request:
    """Make the request for a child that runs ``args``."""
    if limit is not None:
        if limit <= 0:
            raise ValueError("Limit cannot be <= 0")
        # asyncio only compares with it, so that it may be any number, also math.inf.
        if type(limit) is not int or limit > sys.maxsize:
            limit = sys.maxsize if limit >= sys.maxsize else math.floor(limit)
    if stdout is subprocess.STDOUT:
        raise ValueError("STDOUT can only be used for stderr")
    pipesize = options.get("pipesize", -1)
    if pipesize is None:
        pipesize = -1
    if not isinstance(pipesize, int):
        raise TypeError("pipesize must be an integer")
    if "pass_fds" in options:
        options["pass_fds"] = tuple(options["pass_fds"])  # it may be an iterator
    close_fds = _system.check(options, options.get("close_fds", True))
    executable, cwd, env = options.get("executable"), options.get("cwd"), options.get("env")
    _system.audit(args, executable, cwd, env)
    program = args[0] if executable is None else executable
    return {
        "stdin": _system.descriptor(stdin),
        "stdout": _system.descriptor(stdout),
        "stderr": _system.descriptor(stderr),
        "platform": _system.platform(args, options, close_fds),
        "env": None if env is None else _system.environment(env, program),
        "executable": None if executable is None else _system.encode(executable),
        "args": [_system.encode(arg) for arg in args],
        "cwd": None if cwd is None else _system.directory(cwd),
        "limit": limit,
        "read_ahead": True,
        "close_fds": bool(close_fds),
        "pipesize": pipesize if pipesize > 0 else None,
        "owned": False,
        "program": program,
        "directory": cwd,
    }
