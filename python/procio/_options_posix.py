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
    preexec_fn: Callable[[], Any] | None
    # What the child makes of itself, by the names of Popen's keywords: see ATTRIBUTES.
    attributes: dict[str, Any]


_INT_MAX = 2**31 - 1
_ID_MAX = 2**32 - 1


def check(options: PopenOptions, close_fds: bool) -> bool:
    """Refuse what is for Windows only; return ``close_fds`` as it then holds."""
    if options.get("pass_fds") and not close_fds:
        warnings.warn("pass_fds overriding close_fds.", RuntimeWarning, stacklevel=5)
        close_fds = True
    if options.get("startupinfo") is not None:
        raise ValueError("startupinfo is only supported on Windows platforms")
    if options.get("creationflags", 0) != 0:
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


def platform(args: Sequence[StrOrBytesPath], options: PopenOptions, close_fds: bool) -> Platform:
    """The options that only POSIX systems have."""
    given: dict[str, Any] = {**options}
    return {
        "attributes": {name: check(given.get(name, default)) for name, (default, check) in ATTRIBUTES.items()},
        "pass_fds": _kept(options.get("pass_fds", ())),
        "preexec_fn": options.get("preexec_fn"),
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


def _kept(fds: Iterable[int]) -> list[int]:
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


def _user(user: str | int | None) -> int | None:
    return None if user is None else _identity("User", user)


def _group(group: str | int | None) -> int | None:
    return None if group is None else _identity("Group", group)


def _optional_number(value: int | None) -> int | None:
    return None if value is None else _number(value)


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


# An option of Popen that the child applies to itself -> its default, and what checks and converts it.
# In the order in which Popen checks them.
ATTRIBUTES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "group": (None, _group),
    "extra_groups": (None, _groups),
    "user": (None, _user),
    "restore_signals": (True, bool),
    "start_new_session": (False, bool),
    "process_group": (None, _optional_number),
    "umask": (-1, _number),
}


def shell_args(cmd: str | bytes, options: PopenOptions) -> list[StrOrBytesPath]:
    """The command line that runs ``cmd`` by the shell: ``executable`` names another shell."""
    shell = "/system/bin/sh" if hasattr(sys, "getandroidapilevel") else "/bin/sh"
    return [options.get("executable") or shell, "-c", cmd]
