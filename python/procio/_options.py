"""The arguments of ``subprocess.Popen``, checked and converted as it does.

What comes out is what the compiled half takes: every string encoded, every identity a number,
every stream a descriptor or one of the constants. Nothing is opened or started here, so bad input
leaves nothing behind.
"""

import operator
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, TypeAlias, TypedDict

StrOrBytesPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
File: TypeAlias = int | IO[Any] | None

class Request(TypedDict):
    """What the compiled half is asked to start. ``program`` and ``directory`` are as given."""

    args: list[bytes]
    executable: bytes | None
    env: list[tuple[bytes, bytes]] | None
    cwd: bytes | None
    stdin: int | None
    stdout: int | None
    stderr: int | None
    limit: int | None
    read_ahead: bool
    close_fds: bool
    pass_fds: list[int]
    restore_signals: bool
    start_new_session: bool
    process_group: int | None
    user: int | None
    group: int | None
    extra_groups: list[int] | None
    umask: int | None
    pipesize: int | None
    preexec_fn: Callable[[], Any] | None
    program: StrOrBytesPath
    directory: StrOrBytesPath | None


_INT_MAX = 2**31 - 1
_ID_MAX = 2**32 - 1


def refuse_text(kwds: dict[str, Any], shell: bool) -> None:
    """Take the keywords that have but one value out of ``kwds``.

    Raises the ValueError that asyncio raises for any other value.
    """
    if not kwds:
        return
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


def prepare(
    args: Sequence[StrOrBytesPath],
    stdin: File,
    stdout: File,
    stderr: File,
    limit: int | None,
    *,
    executable: StrOrBytesPath | None = None,
    preexec_fn: Callable[[], Any] | None = None,
    close_fds: bool = True,
    cwd: StrOrBytesPath | None = None,
    env: Mapping[Any, Any] | None = None,
    startupinfo: Any = None,
    creationflags: int = 0,
    restore_signals: bool = True,
    start_new_session: bool = False,
    pass_fds: Iterable[int] = (),
    user: str | int | None = None,
    group: str | int | None = None,
    extra_groups: Iterable[str | int] | None = None,
    umask: int = -1,
    pipesize: int = -1,
    process_group: int | None = None,
) -> Request:
    """The request for a child that runs ``args``."""
    if limit is not None and limit <= 0:
        raise ValueError("Limit cannot be <= 0")
    if stdout is subprocess.STDOUT:
        raise ValueError("STDOUT can only be used for stderr")
    if not isinstance(pipesize, int):
        raise TypeError("pipesize must be an integer")
    pass_fds = tuple(pass_fds)
    if pass_fds and not close_fds:
        warnings.warn("pass_fds overriding close_fds.", RuntimeWarning, stacklevel=4)
        close_fds = True
    if startupinfo is not None:
        raise ValueError("startupinfo is only supported on Windows platforms")
    if creationflags != 0:
        raise ValueError("creationflags is only supported on Windows platforms")
    program = args[0] if executable is None else executable
    sys.audit("subprocess.Popen", program, list(args), cwd, env)
    return {
        "stdin": _descriptor(stdin),
        "stdout": _descriptor(stdout),
        "stderr": _descriptor(stderr),
        "group": None if group is None else _identity("Group", group),
        "extra_groups": _groups(extra_groups),
        "user": None if user is None else _identity("User", user),
        "env": None if env is None else _environment(env),
        "executable": None if executable is None else _encode(executable),
        "args": [_encode(arg) for arg in args],
        "cwd": None if cwd is None else _encode(cwd),
        "limit": limit,
        "read_ahead": True,
        "close_fds": bool(close_fds),
        "pass_fds": _kept(pass_fds),
        "restore_signals": bool(restore_signals),
        "start_new_session": bool(start_new_session),
        "process_group": None if process_group is None else _number(process_group),
        "umask": _number(umask),
        "pipesize": pipesize if pipesize > 0 else None,
        "preexec_fn": preexec_fn,
        "program": program,
        "directory": cwd,
    }


def _encode(value: StrOrBytesPath) -> bytes:
    encoded = os.fsencode(value)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def _descriptor(stream: File) -> int | None:
    if stream is None or isinstance(stream, int):
        return stream
    return stream.fileno()


def _environment(env: Mapping[Any, Any]) -> list[tuple[bytes, bytes]]:
    pairs = []
    for name, value in env.items():
        name = os.fsencode(name)
        if b"=" in name:
            raise ValueError("illegal environment variable name")
        pairs.append((_encode(name), _encode(value)))
    return pairs


def _kept(fds: tuple[int, ...]) -> list[int]:
    kept = sorted(set(map(int, fds)))
    if kept and kept[0] < 0:
        raise ValueError("bad value(s) in fds_to_keep")
    return kept


def _number(value: int) -> int | None:
    """A C int; negative ones mean that the option is not used."""
    number = operator.index(value)
    if number > _INT_MAX:
        raise OverflowError("signed integer is greater than maximum")
    return None if number < 0 else number


def _identity(kind: str, value: str | int) -> int:
    if isinstance(value, str):
        number = _by_name(kind, value)
    elif isinstance(value, int):
        number = value
    else:
        raise TypeError(f"{kind} must be a string or an integer, not {type(value)}")
    if number < 0:
        raise ValueError(f"{kind} ID cannot be negative, got {number}")
    if number > _ID_MAX:
        raise OverflowError(f"{'uid' if kind == 'User' else 'gid'} is greater than maximum")
    return number


def _by_name(kind: str, name: str) -> int:
    if kind == "User":
        import pwd

        return pwd.getpwnam(name).pw_uid
    import grp

    return grp.getgrnam(name).gr_gid


def _groups(groups: Iterable[str | int] | None) -> list[int] | None:
    if groups is None:
        return None
    if isinstance(groups, str):
        raise ValueError("Groups must be a list, not a string")
    numbers = []
    for item in groups:
        if not isinstance(item, str | int):
            raise TypeError(f"Items in extra_groups must be a string or integer, not {type(item)}")
        numbers.append(_identity("Group", item))
    if len(numbers) > os.sysconf("SC_NGROUPS_MAX"):
        raise ValueError("too many groups")
    return numbers


def shell_args(cmd: str | bytes, kwds: dict[str, Any]) -> list[StrOrBytesPath]:
    """The command line that runs ``cmd`` by the shell: ``executable`` names another shell."""
    shell = "/system/bin/sh" if hasattr(sys, "getandroidapilevel") else "/bin/sh"
    return [kwds.get("executable") or shell, "-c", cmd]
