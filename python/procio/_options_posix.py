"""What only POSIX systems make of the arguments of ``subprocess.Popen``."""

import errno
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from ._types import File, PopenOptions, StrOrBytesPath


class Platform(TypedDict):
    """The part of a request that is for POSIX systems only."""

    pass_fds: list[int]
    restore_signals: bool
    start_new_session: bool
    process_group: int | None
    user: int | None
    group: int | None
    extra_groups: list[int] | None
    umask: int | None
    preexec_fn: Callable[[], Any] | None


_INT_MAX = 2**31 - 1
_ID_MAX = 2**32 - 1


def check(
    *,
    close_fds: bool,
    pass_fds: tuple[int, ...],
    startupinfo: Any,
    creationflags: int,
    preexec_fn: Callable[[], Any] | None,
) -> bool:
    """Refuse what is for Windows only; return ``close_fds`` as it then holds."""
    if pass_fds and not close_fds:
        warnings.warn("pass_fds overriding close_fds.", RuntimeWarning, stacklevel=5)
        close_fds = True
    if startupinfo is not None:
        raise ValueError("startupinfo is only supported on Windows platforms")
    if creationflags != 0:
        raise ValueError("creationflags is only supported on Windows platforms")
    return close_fds


def audit(
    args: Sequence[StrOrBytesPath],
    executable: StrOrBytesPath | None,
    cwd: StrOrBytesPath | None,
    env: Mapping[Any, Any] | None,
) -> None:
    """Raise the audit event of ``Popen``."""
    program = args[0] if executable is None else executable
    sys.audit("subprocess.Popen", program, list(args), cwd, env)


def platform(
    args: Sequence[StrOrBytesPath],
    *,
    startupinfo: Any,
    creationflags: int,
    close_fds: bool,
    pass_fds: tuple[int, ...],
    restore_signals: bool,
    start_new_session: bool,
    process_group: int | None,
    user: str | int | None,
    group: str | int | None,
    extra_groups: Iterable[str | int] | None,
    umask: int,
    preexec_fn: Callable[[], Any] | None,
) -> Platform:
    """The options that only POSIX systems have."""
    return {
        "group": None if group is None else _identity("Group", group),
        "extra_groups": _groups(extra_groups),
        "user": None if user is None else _identity("User", user),
        "pass_fds": _kept(pass_fds),
        "restore_signals": bool(restore_signals),
        "start_new_session": bool(start_new_session),
        "process_group": None if process_group is None else _number(process_group),
        "umask": _number(umask),
        "preexec_fn": preexec_fn,
    }


def encode(value: StrOrBytesPath) -> bytes:
    """A string as the system takes it."""
    encoded = os.fsencode(value)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def descriptor(stream: File) -> int | None:
    """The descriptor of a stream, or one of the constants."""
    if stream is None or isinstance(stream, int):
        return stream
    # Not one of the constants: to Popen -1, as of a closed socket, is no stream at all.
    number = operator.index(stream.fileno())
    if number < -1:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return None if number == -1 else number


def environment(env: Mapping[Any, Any]) -> list[tuple[bytes, bytes]]:
    """The pairs of an environment."""
    pairs = []
    for name, value in env.items():
        name = os.fsencode(name)
        if b"=" in name:
            raise ValueError("illegal environment variable name")
        pairs.append((encode(name), encode(value)))
    return pairs


def _kept(fds: tuple[int, ...]) -> list[int]:
    kept = sorted(set(map(int, fds)))
    if kept and (kept[0] < 0 or kept[-1] > _INT_MAX):
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
        if isinstance(item, int) and item > _ID_MAX:
            raise ValueError("invalid group id")
        numbers.append(_identity("Group", item))
    if len(numbers) > os.sysconf("SC_NGROUPS_MAX"):
        raise ValueError("too many groups")
    return numbers


def shell_args(cmd: str | bytes, options: PopenOptions) -> list[StrOrBytesPath]:
    """The command line that runs ``cmd`` by the shell: ``executable`` names another shell."""
    shell = "/system/bin/sh" if hasattr(sys, "getandroidapilevel") else "/bin/sh"
    return [options.get("executable") or shell, "-c", cmd]
