"""What only POSIX systems make of the arguments of ``subprocess.Popen``."""

from __future__ import annotations

import errno
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # such classes take long to make
    from ._types import File, Platform, PopenOptions, StrOrBytesPath


_INT_MAX = 2**31 - 1
_INT_MIN = -_INT_MAX - 1
_ID_MAX = 2**32 - 1
_CPU_MAX = 2**16 - 1
# A limit of which the system says that it is none.
_NO_LIMIT = 2**64 - 1


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
    cwd: StrOrBytesPath | int | None,
    env: Mapping[Any, Any] | None,
) -> None:
    """Raise the audit event of ``Popen``."""
    program = args[0] if executable is None else executable
    sys.audit("subprocess.Popen", program, list(args), cwd, env)


def platform(args: Sequence[StrOrBytesPath], options: PopenOptions, close_fds: bool) -> Platform:
    """Check and encode the options that only POSIX systems have."""
    given: dict[str, Any] = {**options}
    if given.get("cgroup_kill") and given.get("cgroup") is None:
        raise ValueError("cgroup_kill needs a cgroup")
    return {
        "attributes": {name: check(given[name]) for name, check in ATTRIBUTES.items() if name in given},
        "pass_fds": _kept(options.get("pass_fds", ())),
        "preexec_fn": options.get("preexec_fn"),
    }


def encode(value: StrOrBytesPath) -> bytes:
    """Encode a string as the system takes it."""
    encoded = os.fsencode(value)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def directory(value: StrOrBytesPath | int) -> bytes | int:
    """Encode a directory as the system takes it: its name, or a descriptor."""
    return _descriptor_number(value) if isinstance(value, int) else encode(value)


def _descriptor_number(value: int) -> int:
    if isinstance(value, bool):
        raise TypeError("a directory is a path or a descriptor, not bool")
    if not -_INT_MAX <= value <= _INT_MAX:
        raise OverflowError("fd is out of range")
    return value


def descriptor(stream: File) -> int | None:
    """Return the descriptor of a stream, or one of the constants."""
    if stream is None:
        return None
    if isinstance(stream, int):
        return _int(stream)
    # Not one of the constants: to Popen -1, as of a closed socket, is no stream at all.
    number = _int(operator.index(stream.fileno()))
    if number < -1:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return None if number == -1 else number


def _int(number: int) -> int:
    if _INT_MIN <= number <= _INT_MAX:
        return number
    raise OverflowError(f"signed integer is {'greater than maximum' if number > 0 else 'less than minimum'}")


def environment(env: Mapping[Any, Any], program: StrOrBytesPath) -> list[tuple[bytes, bytes]]:
    """Encode the pairs of an environment, in which ``program`` may be searched for."""
    pairs = []
    paths = set()
    for key, value in env.items():
        name = os.fsencode(key)
        if b"=" in name:
            raise ValueError("illegal environment variable name")
        if name == b"PATH":
            paths.add(type(key))
        pairs.append((encode(name), encode(value)))
    # As os.get_exec_path, which Popen asks for a program without a slash only.
    if {str, bytes} <= paths and not os.path.dirname(os.fsencode(program)):
        raise ValueError("env cannot contain 'PATH' and b'PATH' keys")
    return pairs


def _kept(fds: Iterable[int]) -> list[int]:
    kept = sorted(set(map(int, fds)))
    if kept and (kept[0] < 0 or kept[-1] > _INT_MAX):
        raise ValueError("bad value(s) in fds_to_keep")
    return kept


def _number(value: int) -> int | None:
    """Return a C int; negative ones mean that the option is not used."""
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


def _limits(limits: Mapping[int, tuple[int, int]] | None) -> list[tuple[int, int, int]]:
    if limits is None:
        return []
    import resource

    known = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    checked = []
    for number, pair in limits.items():
        if operator.index(number) not in known:
            raise ValueError(f"invalid resource specified: {number}")
        soft, hard = (_limit(value, resource.RLIM_INFINITY) for value in _pair(pair))
        if soft > hard:
            raise ValueError("current limit exceeds maximum limit")
        checked.append((operator.index(number), soft, hard))
    return checked


def _pair(pair: Any) -> Any:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError("a limit is a pair of the soft and the hard one")
    return pair


def _limit(value: int, infinity: int) -> int:
    number = operator.index(value)
    if number in (infinity, -1):
        return _NO_LIMIT
    if number < 0:
        raise ValueError(f"a limit cannot be negative, got {number}")
    if number > _NO_LIMIT:
        raise OverflowError("a limit is too large")
    return number


def _nice(value: int | None) -> int | None:
    if value is None:
        return None
    number = operator.index(value)
    if not -20 <= number <= 19:
        raise ValueError(f"nice is from -20 to 19, got {number}")
    return number


def _processors(processors: Iterable[int] | None) -> list[int] | None:
    if processors is None:
        return None
    numbers = [operator.index(processor) for processor in processors]
    if not numbers:
        raise ValueError("cpu_affinity is empty")
    if min(numbers) < 0:
        raise ValueError("negative CPU number")
    if max(numbers) > _CPU_MAX:
        raise OverflowError("CPU number too large")
    return numbers


def _cgroup(value: StrOrBytesPath | int | None) -> bytes | int | None:
    return None if value is None else directory(value)


def _on_linux(name: str, check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the check, or where there is no such thing the refusal of what asks for it."""
    if sys.platform in ("linux", "android"):
        return check

    def refuse(value: Any) -> Any:
        checked = check(value)
        if checked is not None and checked is not False:
            raise NotImplementedError(f"{name} is not to be had on this platform")
        return checked

    return refuse


# An option that the child applies to itself -> what checks and converts it. Those of Popen in the order in
# which it checks them.
ATTRIBUTES: dict[str, Callable[[Any], Any]] = {
    "group": _group,
    "extra_groups": _groups,
    "user": _user,
    "restore_signals": bool,
    "start_new_session": bool,
    "process_group": _optional_number,
    "umask": _number,
    "rlimits": _limits,
    "nice": _nice,
    "cpu_affinity": _on_linux("cpu_affinity", _processors),
    "no_new_privs": _on_linux("no_new_privs", bool),
    "cgroup": _on_linux("cgroup", _cgroup),
    "cgroup_kill": _on_linux("cgroup_kill", bool),
    "kill_on_parent_exit": _on_linux("kill_on_parent_exit", bool),
}


def shell_args(cmd: str | bytes, options: PopenOptions) -> list[StrOrBytesPath]:
    """Return the command line that runs ``cmd`` by the shell: ``executable`` names another shell."""
    shell = "/system/bin/sh" if hasattr(sys, "getandroidapilevel") else "/bin/sh"
    return [options.get("executable") or shell, "-c", cmd]
