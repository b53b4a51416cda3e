"""Every test that is left out, and why. Nothing else in the suite skips for a reason of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

# file, relative to this folder's parent -> test, or ALL -> why it is left out.
Table = dict[str, dict[str, str]]
ALL = "*"

# Conditions of the machine -----------------------------------------------------------------------

UVLOOP_MISSING = "uvloop is not installed"
TEST_PACKAGE_MISSING = "this interpreter comes without the `test` package"
UVLOOP_LOW_FDS = "libuv aborts when its own descriptors are 0, 1 or 2"
NOT_ROOT = "needs root: only root may become another user"
NOT_LINUX = "looks at /proc"
WINDOWS_ONLY = "is about what only Windows has"
POSIX_PIPES = "POSIX only: on Windows connect_read_pipe and connect_write_pipe stay asyncio's own"
POSIX_OPTIONS = "POSIX only: options that Windows has not"
PID_NOT_CHOSEN = "we may not make a pid namespace, where the next pid can be chosen"
NO_SECCOMP_NUMBERS = "the numbers of the system calls are not listed for this processor"
NO_VALGRIND = "valgrind is not installed"
NO_LEASE = "the file system gives no leases"
OTHER_TEST = "on Linux another test withholds the program"
WAITS_FOR_EXEC = "the start waits for the exec, or the child has memory of its own"
NO_FUSE = "we may not mount a file system that never answers"
NO_CLONE3 = "this system refuses clone3, or does not know CLONE_CLEAR_SIGHAND (Linux 5.5)"
CHECKER_MISSING = "{} is not installed"
NO_CHILD_WATCHERS = "child watchers are deprecated from 3.12 on, and gone in 3.14"
OWN_NAMES = "about what procio has and asyncio has not"
LIBRARY_MISSING = "{} is not installed (the dependency group `libraries`)"
NOT_EVERYTHING = "takes long; PROCIO_LIBRARIES=all runs it"
LIBRARY_MAKES_ITS_LOOP = "the library makes a loop of asyncio's itself"
SOURCES_MISSING = (
    "PROCIO_SOURCES does not name a folder with the sources of {} (tests/compat/libraries/fetch_sources.py)"
)
NO_PIDFDS = "this system has no pidfds, or they are forced off"
NO_GROUP_SIGNAL = "this kernel has no signal for a group by pidfd (Linux 6.9)"
NO_WAITID = "this Python has no os.waitid (macOS before 3.13)"
NO_PIPE_SIZES = "the size of a pipe can be asked for on Linux only"
NO_PIDFDS_ONLY = "is about a system without pidfds"
COMPARES_WITH_ASYNCIO = "compares procio with asyncio"
NO_COMPILER = "needs a C compiler"
NO_CHECKOUT = "the examples and the README are not beside the tests"

NO_CGROUP = "we may not make a control group of that version"
NO_CGROUP_KILL = "this kernel has no cgroup.kill (Linux 5.14)"
CGROUP_KILL = "this kernel has cgroup.kill"
NO_HANDOVER = "POSIX only: on Windows a pipe stays with the completion port that it was first given to"
NO_CARGO = "no cargo to build the embedded service with"
NO_LIBPYTHON = "this Python was built without the shared library that is needed to embed it"
ONE_PROCESSOR = "there is only one processor: a child could not run while it is waited for"
POLL_THREAD = "the loop does not see a child's events itself"


def processors() -> int:
    """That this process may use: its affinity, and a container's quota."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except OSError:
        return count
    return count if quota == "max" else min(count, int(quota) // int(period))


HAVE_UVLOOP = importlib.util.find_spec("uvloop") is not None

LIBKQUEUE = os.environ.get("PROCIO_TEST_KQUEUE") == "1"  # docs/dev/kqueue.md
HAVE_PIDFDS = hasattr(os, "pidfd_open") and os.environ.get("PROCIO_PIDFD") != "0" and not LIBKQUEUE
needs_pidfds = pytest.mark.skipif(not HAVE_PIDFDS, reason=NO_PIDFDS)
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason=NO_COMPILER)
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason=NOT_ROOT)
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason=NOT_LINUX)
needs_child_watchers = pytest.mark.skipif(sys.version_info >= (3, 12), reason=NO_CHILD_WATCHERS)
needs_processors = pytest.mark.skipif(processors() < 2, reason=ONE_PROCESSOR)

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

# What else differs in the whole of test.test_asyncio (tests/compat/cpython/test_whole_suite.py).
CPYTHON_WHOLE: dict[str, str] = CPYTHON | {
    "test_create_subprocess_fails_with_inactive_watcher": "procio uses no child watcher",
    "test_pid_not_reaped_before_exit_published": "looks for the thread with which asyncio waits for the child",
}

# Left out there, since they never end.
CPYTHON_ENDLESS: dict[str, str] = {
    "test_pidfd_closed_when_waitpid_raises": "waits until its mock of os.waitpid is called, which procio does not call",
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

# --- forced paths --------------------------------------------------------------------------------
# Tests that cannot hold while one path is forced: (switch, value) -> file -> test -> why.

_SHARED_EPOLL = (
    "asyncio's loop is closed by its finalizer in the child, and takes its own wake-up pipe out of the epoll "
    "that it shares with the parent"
)

_WAITS = "posix_spawn returns after the exec"
_KQUEUE_IS_A_PIPE = "counts pipes, and a kqueue of libkqueue is one"
_KQUEUE_CLOSES_LATE = "a thread of libkqueue closes what a kqueue is made of, soon after the kqueue"
_KQUEUE_HAS_A_THREAD = "libkqueue makes a thread, which is refused"
_KQUEUE_LOOKS = "libkqueue looks by waitid whether a child has ended"

_HELD = "CLONE_VFORK holds the calling thread until the exec"

FORCED: dict[tuple[str, str], Table] = {
    ("PROCIO_SPAWN", "vfork"): {
        "lifecycle/test_slow_spawn.py": {
            "test_a_child_that_starts_slowly_holds_nothing_of_others": _HELD,
            "test_loop_goes_on_while_the_exec_waits": _HELD,
        },
    },
    ("PROCIO_SPAWN", "posix_spawn"): {
        "lifecycle/test_slow_spawn.py": {
            "test_a_child_that_starts_slowly_holds_nothing_of_others": _WAITS,
            "test_loop_goes_on_while_the_exec_waits": _WAITS,
        },
        "lifecycle/test_stolen_status.py": {
            "test_status_with_sigchld_ignored": "the child may be gone before it is given a pidfd",
        },
        "streams/test_memory.py": {
            "test_more_than_there_is_memory_for": "each start needs a stack, for which there may be no memory",
        },
    },
    # What root starts; others have no barrier.
    ("PROCIO_SETXID_BARRIER", "0"): {
        "lifecycle/test_slow_spawn.py": {
            "test_a_child_that_starts_slowly_holds_nothing_of_others": _HELD,
            "test_loop_goes_on_while_the_exec_waits": _HELD,
        },
    },
    # The C library's functions may run only while the parent waits.
    ("PROCIO_EXEC", "libc"): {
        "lifecycle/test_slow_spawn.py": {
            "test_a_child_that_starts_slowly_holds_nothing_of_others": _HELD,
            "test_loop_goes_on_while_the_exec_waits": _HELD,
        },
        "platform/linux/test_refused_system_calls.py": {
            "test_refused_clone3": "is about the start for which nothing waits",
        },
    },
    ("PROCIO_PIDFD", "0"): {
        "streams/test_memory.py": {
            "test_more_than_there_is_memory_for": "each child needs a thread, for which there may be no memory",
        },
    },
    # A build, and not a switch: nox -s kqueue.
    ("PROCIO_TEST_KQUEUE", "1"): {
        "lifecycle/test_dropped.py": {
            "test_dropped_process_is_killed_and_reaped": _KQUEUE_IS_A_PIPE,
            "test_many_loops_leave_no_descriptor": _KQUEUE_CLOSES_LATE,
        },
        "lifecycle/test_signals.py": {
            "test_recycled_pid_of_a_child_is_never_signalled": "only the number is known; another child has it",
        },
        "lifecycle/test_slow_spawn.py": {
            "test_a_stranger_that_holds_the_report": "the backend does not look whether the child has executed",
        },
        "platform/linux/test_exec_by_the_c_library.py": {
            "test_under_valgrind_children_are_made_by_a_fork": "libkqueue needs pidfd_open, which valgrind has not",
        },
        "platform/linux/test_fallbacks.py": {
            "test_poll_thread_is_one_thread": "a kqueue of libkqueue cannot be polled: there is always the thread",
        },
        "platform/linux/test_identity_changes.py": {
            "test_without_the_thread_a_start_waits_for_the_exec": _KQUEUE_HAS_A_THREAD,
        },
        "platform/linux/test_refused_system_calls.py": {
            "test_a_signal_after_the_end_loses_no_status_where_waitid_is_refused": _KQUEUE_LOOKS,
            "test_refused_clone3": _KQUEUE_HAS_A_THREAD,
        },
        "transports/test_subprocess_protocol.py": {
            "test_close_closes_the_pipes_at_once": _KQUEUE_IS_A_PIPE,
            "test_program_that_is_not_there": _KQUEUE_IS_A_PIPE,
        },
        "transports/test_transport_lifetime.py": {
            "test_nothing_is_kept_after_the_end_even_with_the_transport": _KQUEUE_IS_A_PIPE,
            "test_paused_output_of_a_dropped_transport_is_worth_a_warning": _KQUEUE_IS_A_PIPE,
        },
    },
    ("PROCIO_POLL_THREAD", "1"): {
        "lifecycle/test_fork.py": {
            "test_forked_child_that_exits_leaves_the_parents_process_alone": _SHARED_EPOLL,
        },
        "transports/test_turns_of_the_end.py": {"test_what_the_peer_ends": POLL_THREAD},
        "streams/test_busy_polling.py": {
            "test_looks_when_there_is_nothing_else_to_do": POLL_THREAD,
            "test_interrupt_is_not_swallowed": POLL_THREAD,
        },
    },
}

# Windows -----------------------------------------------------------------------------------------

_PASSES = "passes a descriptor by its number"
_PREEXEC = "preexec_fn is for POSIX systems"
_SIGNALS = "is about signals"
_SEARCH = "is about the search along PATH, which Windows does by itself and in its own way"
_MODES = "makes a program by the mode of a file"
_GROUPS = "process groups that can be signalled are for POSIX systems"
_SHELL_NAME = "the shell is cmd.exe, with its own language (test_shell_command_is_that_of_popen)"
_INTERRUPT = "os.kill ends a process here, whatever the signal"
_DEVICES = "uses files in /dev"
_COUNTED = "asks for the numbers of the kernel's tables in /proc"
_NAMES = "Popen names no file in its errors here"

_OWNED = "sessions and signals; platform/windows/test_owned_processes.py is about jobs"


# file -> test, or ALL of the file -> why it cannot be run on Windows.
POSIX_ONLY: Table = {
    "lifecycle/test_wait.py": {
        "test_an_end_that_its_loop_has_not_noticed_is_had_from_another": "waits for the end by waitid",
    },
    "lifecycle/test_interrupts.py": {
        "test_ctrl_c_comes_out_of_the_run_however_it_falls": _INTERRUPT,
        "test_what_words_an_error_may_raise_too": "looks at /proc, and takes a status by waitpid",
    },
    "api/test_communicate.py": {
        "test_unread_input_is_written_after_communicate": "waits with a FIFO",
    },
    "api/test_errors.py": {
        "test_arguments_too_long": "a command line has another limit here, which Wine does not know",
        "test_bad_cwd": _NAMES,
        "test_emfile_at_every_step": "there is no limit on handles to run into",
        "test_equals_sign_in_the_name_of_a_variable": "a name may begin with one here (test_errors_are_those_of_popen)",
        "test_lone_surrogate_that_cannot_be_encoded": "a lone surrogate is a character like any other here",
        "test_missing_program_with_executable": _NAMES,
        "test_nul_in_executable": "the words are those of Windows: embedded null character",
        "test_numbers_that_are_no_int": "the numbers are those of the C library here",
        "test_options_of_a_wrong_type_or_value": "the options are those of POSIX (test_errors_are_those_of_popen)",
        "test_program_missing_in_the_path_of_env": _SEARCH,
        "test_two_paths_and_nothing_to_search": "the names of variables are text here",
        "test_two_paths_to_search": "the names of variables are text here",
        "test_program_that_cannot_be_run": _MODES,
    },
    "api/test_examples.py": {
        "test_many_commands_at_once": _SHELL_NAME,
        "test_the_two_commands_of_the_readme_work": _SHELL_NAME,
        "test_run_commands": _SHELL_NAME,
    },
    "api/test_exec.py": {
        "test_a_child_watcher_that_is_not_active": "there are no child watchers",
        "test_arguments_may_be_bytes_or_paths": "bytes are decoded as UTF-8 here",
        "test_many_arguments": "a command line has at most 32767 characters",
        "test_path_with_a_slash_is_relative_to_cwd_of_the_child": _SEARCH,
        "test_program_may_be_a_path_object": _MODES,
        "test_search_goes_on_after_a_file_that_cannot_be_run": _SEARCH,
        "test_search_uses_the_environment_of_the_child": _SEARCH,
    },
    "api/test_install.py": {
        "test_child_watchers_go_on_working": "there are no child watchers",
    },
    "api/test_install_loop_classes.py": {
        "test_methods_of_a_loop_class_are_gone_through": "a command line has at most 32,767 characters there",
    },
    "api/test_shell.py": {
        "test_command_may_be_bytes": "a shell command may not be bytes here (test_shell_takes_no_bytes)",
        "test_command_runs_in_a_shell": _SHELL_NAME,
        "test_executable_replaces_the_shell": _MODES,
        "test_long_running_shell_is_killed": _SHELL_NAME,
        "test_missing_command_is_the_shells_business": _SHELL_NAME,
        "test_options_reach_the_shell": _SHELL_NAME,
        "test_returncode_of_a_killed_shell": _SIGNALS,
        "test_streams": _SHELL_NAME,
    },
    "api/test_stdio.py": {
        "test_child_ends_block": _COUNTED,
        "test_output_goes_to_a_terminal_when_inherited": "terminals are for POSIX systems",
        "test_pipes_are_pipes": _DEVICES,
        "test_socket_that_is_closed_is_no_pipe": _PASSES,
        "test_standard_descriptors_closed_in_parent": _PASSES,
        "test_standard_descriptors_permuted": _PASSES,
        "test_stdin_of_one_child_is_stdout_of_another": _PASSES,
    },
    "compat/cpython/test_whole_suite.py": {
        ALL: "the list of what differs is that of POSIX systems",
    },
    "compat/differential/test_differential.py": {
        ALL: "its child is told what to do through a descriptor that it inherits",
    },
    "compat/strict_mode/test_strict_mode.py": {
        ALL: _SHELL_NAME,
    },
    "lifecycle/test_cancellation.py": {
        "test_creation_cancelled_while_preexec_fn_runs": _PREEXEC,
    },
    "lifecycle/test_destructors.py": {
        "test_a_function_of_a_start": _PREEXEC,
    },
    "lifecycle/test_dropped.py": {
        "test_keyboard_interrupt_while_communicating": _INTERRUPT,
    },
    "lifecycle/test_fork.py": {
        ALL: "there is no fork",
    },
    "lifecycle/test_open_process.py": {
        ALL: _OWNED,
    },
    "lifecycle/test_reentrancy.py": {
        "test_a_timer_that_looks_at_the_operation_when_it_is_cancelled": "there is no fork",
    },
    "lifecycle/test_run_process.py": {
        ALL: _OWNED,
    },
    "lifecycle/test_stop.py": {
        ALL: _OWNED,
    },
    "lifecycle/test_signals.py": {
        "test_a_refused_signal_is_not_sent": _SIGNALS,
        "test_signals_are_audited": _SIGNALS,
        "test_core_dumping_signals": _SIGNALS,
        "test_handler_of_the_child": _SIGNALS,
        "test_kill_of_a_process_group": _GROUPS,
        "test_send_signal": _SIGNALS,
        "test_signal_reaches_the_child_only": _SIGNALS,
        "test_signal_zero_asks_only": "0 is CTRL_C_EVENT here",
        "test_signals_race_with_the_exit": _SIGNALS,
    },
    "lifecycle/test_slow_spawn.py": {
        "test_a_child_that_starts_slowly_holds_nothing_of_others": _DEVICES,
        "test_a_directory_named_by_a_descriptor": _DEVICES,
        "test_loop_goes_on_while_path_is_searched": _SEARCH,
        "test_loop_goes_on_while_preexec_fn_blocks": _PREEXEC,
        "test_other_threads_go_on_while_preexec_fn_blocks": _PREEXEC,
        "test_preexec_fn_that_fails_late": _PREEXEC,
    },
    "lifecycle/test_stolen_status.py": {
        ALL: "a child's status cannot be taken by other code: each holder of a handle can ask",
    },
    "platform/linux/test_fallbacks.py": {
        ALL: "the forced paths are Unix's",
    },
    "platform/linux/test_refused_system_calls.py": {
        ALL: "there is no seccomp",
    },
    "streams/test_busy_polling.py": {
        ALL: "no loop waits for a descriptor that could be looked at",
    },
    "streams/test_limits.py": {
        "test_two_endless_outputs": _GROUPS,
    },
    "streams/test_lines.py": {
        ALL: _OWNED,
    },
    "streams/test_stream_writer.py": {
        "test_drain_waits_for_the_low_water_mark_only": _PASSES,
        "test_extra_info": _PASSES,
    },
    "transports/test_extra_info.py": {
        "test_extra_info_subprocess_may_be_waited_for": _PASSES,
    },
    "transports/test_transport_lifetime.py": {
        "test_fork_that_closes_its_copy": "there is no fork",
    },
}

# What Wine 8 lacks, and Windows has.
NO_CTRL_BREAK = "GenerateConsoleCtrlEvent of CTRL_BREAK_EVENT"

WINE: Table = {
    "platform/windows/test_command_lines.py": {
        "test_a_command_line_that_is_too_long": "a command line that is too long is cut",
    },
    "platform/windows/test_windows.py": {
        "test_ctrl_break_event": NO_CTRL_BREAK,
    },
}

# What CreateProcess says now and then, Popen's no less than ours, when several threads start programs:
# Wine has begun with the new process, and it died. Once in about 3000 starts of eight threads at once.
WINE_FAULT = "[WinError 1359]"


def on_wine() -> bool:
    """Whether this is Windows by way of Wine."""
    if sys.platform != "win32":
        return False
    import kernel_windows

    return kernel_windows.WINE


if on_wine():
    CPYTHON["test_kill_issue43884"] = f"Wine lacks it: {NO_CTRL_BREAK}"


def _reason(table: Table, file: str, test: str) -> str | None:
    entries = table.get(file, {})
    return entries.get(ALL) or entries.get(test)


def left_out(file: str, test: str) -> str | None:
    """Why a test is left out on this machine or with these switches; None if it is not.

    The file is relative to tests/, as "api/test_exec.py"; the test is its name without parameters.
    """
    for (variable, value), table in FORCED.items():
        if os.environ.get(variable) == value and (reason := _reason(table, file, test)):
            return reason
    if sys.platform == "win32" and (reason := _reason(POSIX_ONLY, file, test)):
        return f"POSIX only: {reason}"
    if on_wine() and (reason := _reason(WINE, file, test)):
        return f"Wine lacks it: {reason}"
    return None


def tables() -> dict[str, Table]:
    """Every list above of tests of this suite, by its name (tests/test_suite.py: each entry names a test)."""
    forced = {f"FORCED[{variable}={value}]": table for (variable, value), table in FORCED.items()}
    return {"POSIX_ONLY": POSIX_ONLY, "WINE": WINE, **forced}
