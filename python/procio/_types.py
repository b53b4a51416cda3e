"""Types of arguments."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, Literal, TypeAlias, TypedDict

StrOrBytesPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
File: TypeAlias = int | IO[Any] | None
Environment: TypeAlias = Mapping[str, StrOrBytesPath] | Mapping[bytes, StrOrBytesPath]


class PopenOptions(TypedDict, total=False):
    """The keywords of :class:`subprocess.Popen` that every start of a process takes."""

    executable: StrOrBytesPath | None
    cwd: StrOrBytesPath | int | None
    env: Environment | None
    close_fds: bool
    pass_fds: Iterable[int]
    pipesize: int | None
    # POSIX.
    preexec_fn: Callable[[], Any] | None
    restore_signals: bool
    start_new_session: bool
    process_group: int | None
    user: str | int | None
    group: str | int | None
    extra_groups: Iterable[str | int] | None
    umask: int
    rlimits: Mapping[int, tuple[int, int]] | None
    nice: int | None
    # Linux.
    cpu_affinity: Iterable[int] | None
    no_new_privs: bool
    cgroup: StrOrBytesPath | int | None
    cgroup_kill: bool
    # Linux and Windows.
    kill_on_parent_exit: bool
    # Windows. A subprocess.STARTUPINFO, which type checkers know on Windows only.
    startupinfo: Any
    creationflags: int


class _FixedKeywords(PopenOptions, total=False):
    """With those of ``Popen`` that have but one value, since pipes carry bytes, without a buffer."""

    universal_newlines: Literal[False] | None
    text: Literal[False] | None
    encoding: None
    errors: None
    bufsize: Literal[0]


class ExecKeywords(_FixedKeywords, total=False):
    """The keywords of ``create_subprocess_exec`` and ``subprocess_exec``."""

    shell: Literal[False]


class ShellKeywords(_FixedKeywords, total=False):
    """The keywords of ``create_subprocess_shell`` and ``subprocess_shell``."""

    shell: Literal[True]


if sys.platform == "win32":

    class Platform(TypedDict):
        """The part of a request that is for Windows only."""

        command_line: str | None
        creationflags: int
        startup_flags: int
        show_window: int
        standard: tuple[int, int, int]
        handle_list: list[int]
        kill_on_parent_exit: bool

else:

    class Platform(TypedDict):
        """The part of a request that is for POSIX systems only."""

        pass_fds: list[int]
        preexec_fn: Callable[[], Any] | None
        # What the child makes of itself, by the names of Popen's keywords: see _options_posix.ATTRIBUTES.
        attributes: dict[str, Any]


class Request(TypedDict):
    """What the compiled half is asked to start. ``program`` and ``directory`` are as given."""

    args: list[bytes] | list[str]
    executable: bytes | str | None
    env: list[tuple[bytes, bytes]] | list[tuple[str, str]] | None
    cwd: bytes | str | int | None
    stdin: int | None
    stdout: int | None
    stderr: int | None
    limit: int | None
    read_ahead: bool
    close_fds: bool
    pipesize: int | None
    owned: bool
    platform: Platform
    program: StrOrBytesPath
    directory: StrOrBytesPath | int | None
