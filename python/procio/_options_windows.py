"""What only Windows makes of the arguments of ``subprocess.Popen``."""

from __future__ import annotations

import errno
import operator
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # such classes take long to make
    from ._types import File, Platform, PopenOptions, StrOrBytesPath

if sys.platform == "win32":  # type checkers see nothing of this elsewhere
    import msvcrt

    class _Shell(list[Any]):
        """The one argument is a whole command line, for the shell."""

    def check(options: PopenOptions, close_fds: bool) -> bool:
        """Refuse what is for POSIX systems only; return ``close_fds`` as it then holds."""
        if options.get("preexec_fn") is not None:
            raise ValueError("preexec_fn is not supported on Windows platforms")
        if options.get("pass_fds"):
            raise AssertionError("pass_fds not supported on Windows.")
        return close_fds

    def audit(
        args: Sequence[StrOrBytesPath],
        executable: StrOrBytesPath | None,
        cwd: StrOrBytesPath | int | None,
        env: Mapping[Any, Any] | None,
    ) -> None:
        """Raise the audit event of ``Popen``, whose second argument is here a command line."""
        line = args[0] if isinstance(args, _Shell) else subprocess.list2cmdline(args)
        program = None if executable is None else os.fsdecode(executable)
        path = cwd if cwd is None or isinstance(cwd, int) else os.fsdecode(cwd)
        sys.audit("subprocess.Popen", program, line, path, env)

    def platform(args: Sequence[StrOrBytesPath], options: PopenOptions, close_fds: bool) -> Platform:
        """Check and encode the options that only Windows has.

        Those of POSIX systems are refused or ignored, just as ``Popen`` does it.
        """
        for name in ("group", "extra_groups", "user"):
            if options.get(name) is not None:
                text = f"The '{name}' parameter is not supported on the current platform"
                raise ValueError(text)
        for name in ("rlimits", "nice", "cpu_affinity", "no_new_privs", "cgroup", "cgroup_kill"):
            if options.get(name) not in (None, False):
                raise NotImplementedError(f"{name} is not to be had on this platform")
        startupinfo = options.get("startupinfo")
        # As Popen, leave the caller's object alone.
        startup = subprocess.STARTUPINFO() if startupinfo is None else startupinfo
        flags, show = startup.dwFlags, startup.wShowWindow
        shell = isinstance(args, _Shell)
        if shell:
            flags |= subprocess.STARTF_USESHOWWINDOW
            show = subprocess.SW_HIDE
        handles = list((startup.lpAttributeList or {}).get("handle_list") or [])
        if handles and not close_fds:
            text = "startupinfo.lpAttributeList['handle_list'] overriding close_fds"
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        standard = (startup.hStdInput, startup.hStdOutput, startup.hStdError)
        return {
            "command_line": os.fsdecode(args[0]) if shell else None,
            "creationflags": operator.index(options.get("creationflags", 0)) & 0xFFFFFFFF,
            "startup_flags": flags,
            "show_window": show,
            "standard": (_number(standard[0]), _number(standard[1]), _number(standard[2])),
            "handle_list": [int(handle) for handle in handles],
            "kill_on_parent_exit": bool(options.get("kill_on_parent_exit", False)),
        }

    def _number(handle: Any) -> int:
        return 0 if handle is None else int(handle)

    def encode(value: StrOrBytesPath) -> str:
        """Encode a string as the system takes it."""
        decoded = os.fsdecode(value)
        if "\0" in decoded:
            raise ValueError("embedded null character")
        return decoded

    def directory(value: StrOrBytesPath | int) -> str:
        """Encode a directory as the system takes it. Raises NotImplementedError for a descriptor."""
        if isinstance(value, int):
            raise NotImplementedError("a descriptor as cwd is not to be had on this platform")
        return encode(value)

    def descriptor(stream: File) -> int | None:
        """Return the handle of a stream, or one of the constants."""
        constants = (subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL)
        if stream is None or stream in constants:
            return stream
        fd = stream if isinstance(stream, int) else stream.fileno()
        handle = msvcrt.get_osfhandle(fd)
        if handle < 0:  # a standard stream of a program without a console
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return handle

    def environment(env: Mapping[Any, Any], _program: StrOrBytesPath) -> list[tuple[str, str]]:
        """Encode the pairs of an environment."""
        pairs = list(env.items())
        for pair in pairs:
            if not all(isinstance(text, str) for text in pair):
                raise TypeError("environment can only contain strings")
        return pairs

    def shell_args(cmd: str | bytes, options: PopenOptions) -> list[StrOrBytesPath]:
        """Return the command line that runs ``cmd`` by the shell; ``executable`` in ``options`` becomes its path."""
        if isinstance(cmd, bytes):
            raise TypeError("bytes args is not allowed on Windows")
        shell = options.get("executable")
        if not shell:
            # Without its whole path, Windows would look for it in the current directory first.
            shell = os.environ.get("ComSpec")
            if not shell:
                shell = os.path.join(os.environ.get("SystemRoot", ""), "System32", "cmd.exe")
                if not os.path.isabs(shell):
                    text = "shell not found: neither %ComSpec% nor %SystemRoot% is set"
                    raise FileNotFoundError(text)
            if os.path.isabs(shell):
                options["executable"] = shell
        return _Shell([f'{os.fsdecode(shell)} /c "{cmd}"'])
