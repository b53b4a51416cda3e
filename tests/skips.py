"""Every test that is left out, and why. Nothing else in the suite skips for a reason of its own."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

# Conditions of the machine -----------------------------------------------------------------------

UVLOOP_MISSING = "uvloop is not installed"
TEST_PACKAGE_MISSING = "this interpreter comes without the `test` package"
UVLOOP_LOW_FDS = "libuv aborts when its own descriptors are 0, 1 or 2"
NOT_ROOT = "needs root: only root may become another user"
NOT_LINUX = "looks at /proc"
PID_NOT_CHOSEN = "we may not make a pid namespace, where the next pid can be chosen"
NO_SECCOMP_NUMBERS = "the numbers of the system calls are not listed for this processor"
MYPY_MISSING = "mypy is not installed"
NO_CHILD_WATCHERS = "child watchers are deprecated from 3.12 on, and gone in 3.14"
OWN_NAMES = "about what procio has and asyncio has not"
LIBRARY_MISSING = "{} is not installed (the extra `libraries`)"
LIBRARY_MAKES_ITS_LOOP = "the library makes a loop of asyncio's itself"
SOURCES_MISSING = "PROCIO_SOURCES does not name a folder with the sources of {} (tests/libraries/fetch_sources.py)"
NO_CHECKOUT = "the examples and the README are not beside the tests"

HAVE_UVLOOP = importlib.util.find_spec("uvloop") is not None

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason=NOT_LINUX)
needs_child_watchers = pytest.mark.skipif(sys.version_info >= (3, 12), reason=NO_CHILD_WATCHERS)
needs_mypy = pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason=MYPY_MISSING)

# CPython's own tests -----------------------------------------------------------------------------
# name of the test -> why it says nothing about procio.

_MOCKS_POPEN = "replaces subprocess.Popen by a mock, which procio does not call"
_MOCKS_PIPES = "replaces loop.connect_read_pipe by a mock, which procio does not call"

CPYTHON: dict[str, str] = {
    "test_popen_error": _MOCKS_POPEN,
    "test_popen_error_with_stdin_pipe": _MOCKS_POPEN,
    "test_pause_reading": _MOCKS_PIPES,
}
if sys.version_info >= (3, 14):
    CPYTHON |= {
        "test_subprocess_read_pipe_cancelled": _MOCKS_PIPES,
        "test_subprocess_write_pipe_cancelled": _MOCKS_PIPES,
        "test_subprocess_read_write_pipe_cancelled": _MOCKS_PIPES,
    }

NO_LOW_LEVEL = "procio does not serve loop.subprocess_exec, so the test would be about the loop's own"

# The same for test.test_asyncio.test_events.SubprocessTestsMixin (loop.subprocess_exec/shell).
CPYTHON_EVENTS: dict[str, str] = {}

# And for its EventLoopTestsMixin, the tests of loop.connect_read_pipe and loop.connect_write_pipe.
CPYTHON_PIPES: dict[str, str] = {}

# uvloop's own tests -------------------------------------------------------------------------------
# name of the test, or class::test -> why it says nothing about procio.

UVLOOP: dict[str, str] = {
    "Test_UV_Process::test_process_double_close": "starts a program of its own, in which procio is not installed",
    "test_process_delayed_stdio__paused__stdin_pipe": "uses an option that uvloop keeps for its own tests",
    "test_process_delayed_stdio__paused__no_stdin": "uses an option that uvloop keeps for its own tests",
}

# Tests that cannot hold while one path is forced: (switch, value) -> name of the test -> why.
FORCED: dict[tuple[str, str], dict[str, str]] = {
    ("PROCIO_SPAWN", "vfork"): {
        "test_loop_goes_on_while_path_is_searched": "CLONE_VFORK holds the calling thread until the exec",
    },
    ("PROCIO_RELAY", "1"): {
        "test_forked_child_that_exits_leaves_the_parents_process_alone": (
            "asyncio's loop is closed by its finalizer in the child, and takes its own wake-up pipe out of the "
            "epoll that it shares with the parent"
        ),
    },
}
NO_HANDOVER = "on Windows a pipe stays with the completion port that it was first given to"
NO_CARGO = "no cargo to build the embedded service with"
NO_LIBPYTHON = "this Python was built without the shared library that is needed to embed it"
