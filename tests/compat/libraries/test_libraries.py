"""Published libraries, unmodified, after one line: procio.install().

Each runs in a program of its own, in this folder. The program counts what procio starts, so a
library that got round it is seen; it must write nothing to stderr, not even a ResourceWarning, and
leave no child. The libraries are in the dependency group `libraries`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import shim
import skips

FOLDER = Path(__file__).resolve().parent
# PROCIO_LIBRARIES=all: every suite on uvloop, too, and those that take long or wait for fixed times: they need
# a machine with nothing else to do.
EVERYTHING = os.environ.get("PROCIO_LIBRARIES") == "all"

pytestmark = [pytest.mark.libraries, pytest.mark.timeout(240)]


def require(*packages: str) -> None:
    """Skip without these packages."""
    for name in packages:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(skips.LIBRARY_MISSING.format(name))


def sources(package: str) -> Path:
    """The unpacked source distribution of an installed package."""
    version = importlib.metadata.version(package)
    for name in (package, package.replace("-", "_")):
        folder = Path(os.environ.get("PROCIO_SOURCES", "")) / f"{name}-{version}"
        if os.environ.get("PROCIO_SOURCES") and folder.is_dir():
            return folder
    pytest.skip(skips.SOURCES_MISSING.format(package))


def run_program(name: str, *args: object) -> dict[str, Any]:
    """Run one of the programs and return its report."""
    command = [sys.executable, "-W", "default::ResourceWarning", str(FOLDER / f"{name}.py"), *map(str, args)]
    # Some start commands that came with them.
    environment = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, env=environment
    )
    said = f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert (done.returncode, done.stderr) == (0, ""), said
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert report["left"] == [], said
    return report


@dataclass
class Task:
    """What a program does, and what comes of it."""

    program: str
    packages: tuple[str, ...]
    result: Any
    spawned: int = 0
    opened: int = 0
    loops: tuple[str, ...] = ("asyncio", "uvloop")
    # Where the same program fails without procio, and how.
    without_procio: dict[str, str] = field(default_factory=dict)


TASKS = [
    Task(
        "anyio_processes",
        ("anyio",),
        {"bytes": True, "shell": [3, "out\n", "err\n"], "talk": "cba", "cancelled": -9, "workers": [1, 7, 49]},
        spawned=5,
    ),
    Task(
        "mcp_stdio",
        ("mcp",),
        {"server": "sums", "tools": ["add", "linger", "text"], "sums": list(range(1, 21)), "long": 1_000_000},
        spawned=1,
    ),
    Task(
        "asyncssh_commands",
        ("asyncssh",),
        {"echoed": [2_000_000, True, 0], "failed": ["out\n", "err\n", 7], "piped": [2_000_000, True]},
        spawned=4,
        opened=2,
        without_procio={"uvloop": "hangs"},
    ),
    Task(
        "shellous_pipelines",
        ("shellous",),
        {
            "sorted": "A\nB\nC\n",
            "count": "100000",
            "lines": ["1", "2", "3", "4", "5"],
            "timed_out": True,
            "terminal": "yes",
            "echoed": "to a terminal",
            "exit": 0,
        },
        spawned=8,
        opened=4,
        without_procio={"uvloop": "cannot read and write the same terminal: FileExistsError"},
    ),
    Task(
        "chess_engine",
        ("chess",),
        {"name": "first", "moves": 12, "score": "+1", "returncode": 0, "same_in_thread": True, "killed": "-9"},
        spawned=3,
    ),
    Task(
        "pynvim_child",
        ("pynvim",),
        ["cba", 300_001, "y"],
        spawned=1,
        loops=("asyncio",),  # it makes asyncio's selector loop itself
        without_procio={"asyncio": "its loop is closed before the child is reaped, and says so on stderr"},
    ),
    Task(
        "language_server",
        ("pygls", "python-lsp-server"),
        {
            "pygls": [
                "words",
                ["*", "2", "def", "double(1)", "double(number):", "import", "number", "os", "os.getc", "return"],
                0,
            ],
            "pylsp": ["pylsp", ["getcwd()", "getcwdb()"], 0],
        },
        spawned=2,
    ),
    Task(
        "jupyter_cells",
        ("jupyter_client", "ipykernel"),
        [
            ["", "ok", None],
            ["42 got input for read", "ok", None],
            ["to the notebook", "ok", None],
            ["", "ok", None],
            ["(0, 'from behind')", "ok", None],
            ["", "error", "Command 'b'kill -9 $$\\n'' died with <Signals.SIGKILL: 9>."],
            ["0" if shim.ACTIVE else "4", "ok", None],  # what procio has started in the kernel
        ],
    ),
    Task("dask_cluster", ("distributed",), {"total": 285, "workers": 2}, spawned=3),
    Task(
        "ffmpeg_wrapper",
        ("python-ffmpeg",),
        {"converted": [True, True], "failed": "broken: No such file or directory", "stopped": True},
        spawned=3,
    ),
    Task(
        "meson_tests",
        ("meson",),
        {
            "failed": 1,
            "results": {
                "passes": ["OK", 0],
                "fails": ["FAIL", 3],
                "skips": ["SKIP", 77],
                "speaks TAP": ["FAIL", 0],
                "says much": ["OK", 0],
                "is too slow": ["TIMEOUT", -15],
            },
            "length": 1_000_000,
        },
        spawned=6,
    ),
    Task("browser_driver", ("playwright",), {"status": 200, "body": True}, spawned=1),
    Task(
        "console_streams",
        ("aioconsole",),
        {"short": "ABC", "long": True, "opened": 0 if shim.ACTIVE else 3, "returncode": 0},
        spawned=1,
    ),
    Task(
        "pexpect_terminal",
        ("pexpect",),
        {"answers": ["42", "/dev/", "done"], "timeout": 1, "exit": 3},
        opened=1,  # pexpect starts its child itself; its terminal is read by connect_read_pipe
    ),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.program)
def test_task(task: Task, loop_name: str) -> None:
    """A task with the library gives what asyncio gives, and procio has done it."""
    require(*task.packages)
    if loop_name not in task.loops:
        pytest.skip(skips.LIBRARY_MAKES_ITS_LOOP)
    if shim.ACTIVE and loop_name in task.without_procio:
        pytest.xfail(task.without_procio[loop_name])
    report = run_program(task.program, loop_name)
    assert report["result"] == task.result
    if not shim.ACTIVE:
        assert (report["spawned"], report["opened"]) == (task.spawned, task.opened)


@dataclass
class Suite:
    """Tests that a library brings in its source distribution."""

    package: str
    files: tuple[str, ...]
    passed: int
    spawned: int
    opened: int = 0
    # For pytest, in place of those of their configuration that need further plugins.
    options: tuple[str, ...] = ("-p", "no:asyncio")
    # The choice of the loop where the suite has one of its own; otherwise it is the policy's.
    asyncio: tuple[str, ...] = ()
    uvloop: tuple[str, ...] = ()
    # Run on uvloop only, or run at all, when everything is asked for.
    quick: tuple[str, ...] = ("asyncio",)
    loops: tuple[str, ...] = ("asyncio", "uvloop")
    # Test -> why it says nothing about procio.
    left_out: dict[str, str] = field(default_factory=dict)


_WITH_ANYIO = ("-p", "no:asyncio", "-p", "anyio")
_WITH_PYTEST_ASYNCIO = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
_TWO_PIECES = "its child writes a line in two pieces, and the test takes the first for all; fails on asyncio, too"

SUITES = [
    Suite(
        "anyio",
        ("tests/test_subprocesses.py", "tests/test_to_process.py"),
        passed=30,
        spawned=30,
        asyncio=("-k", "asyncio and not uvloop and not trio"),
        uvloop=("-k", "uvloop"),
        quick=("asyncio", "uvloop"),
    ),
    Suite(
        "asyncssh",
        ("tests/test_process.py", "tests/test_subprocess.py"),
        passed=85,
        spawned=3,
        opened=15,
        quick=("asyncio", "uvloop"),
    ),
    Suite(
        "mcp",
        ("tests/client/test_stdio.py", "tests/transports/stdio"),
        passed=41,
        spawned=10,
        options=_WITH_ANYIO,
        left_out={
            "tests/transports/stdio/test_lifecycle.py::test_a_tool_spawned_childs_stdout_writes_never_reach_the_wire": (
                "the test itself makes a call that the suite forbids; fails on asyncio, too"
            ),
        },
    ),
    Suite(
        "agent-client-protocol",
        ("tests",),
        passed=190,
        spawned=2,
        options=_WITH_PYTEST_ASYNCIO,
        left_out={
            "tests/real_user/test_stdio_limits.py::test_spawn_stdio_transport_hits_default_limit": (
                "a line has no bound where no limit is given (docs/differences.md)"
            ),
        },
    ),
    Suite(
        "aioloop-proxy",
        ("tests/test_subprocess.py", "tests/test_pipe.py", "tests/test_check_and_shutdown.py"),
        passed=19,
        spawned=5,
        opened=2,
        loops=("asyncio",),  # half of it fails on uvloop, without procio
        left_out={
            f"tests/test_subprocess.py::TestSubprocess::{name}": _TWO_PIECES
            for name in ("test_exec", "test_shell", "test_stderr", "test_get_pid")
        },
    ),
    Suite(
        "claude-agent-sdk",
        (
            "tests/test_transport.py",
            "tests/test_subprocess_buffering.py",
            "tests/test_mcp_large_output.py",
            "tests/test_close_cancellation.py",
        ),
        passed=250,
        spawned=5,
        options=(*_WITH_ANYIO, "--import-mode=importlib"),
    ),
    Suite(
        "plumbum",
        ("tests/test_async_local.py", "tests/test_subprocess_lifecycle.py"),
        passed=90,
        spawned=20,
        options=(*_WITH_PYTEST_ASYNCIO, "-W", "ignore::pytest.PytestRemovedIn10Warning"),
    ),
    Suite("pypyr", ("tests/unit/pypyr/aio", "tests/unit/pypyr/steps/dsl/cmdasync_test.py"), passed=60, spawned=50),
    Suite(
        "subprocess-tee",
        ("test",),
        passed=16,
        spawned=15,
        left_out={
            "test/test_func.py::test_molecule": "starts a program that is not installed; fails on asyncio, too",
        },
    ),
    Suite(
        "trio-asyncio",
        ("tests/test_aio_subprocess.py", "tests/test_misc.py"),
        passed=31,
        spawned=12,
        loops=("asyncio",),  # its loop is trio's
    ),
    Suite("simpervisor", ("tests",), passed=16, spawned=90, options=_WITH_PYTEST_ASYNCIO, quick=()),
    Suite(
        "openai-agents",
        (
            "tests/sandbox/test_unix_local.py",
            "tests/mcp/test_mcp_pagination_integration.py",
            "tests/mcp/test_connect_disconnect.py",
        ),
        passed=50,
        spawned=25,
        options=_WITH_PYTEST_ASYNCIO,
        quick=(),
    ),
    Suite(
        "fastmcp",
        ("tests/client/test_stdio.py", "tests/client/test_stdio_session_kwargs.py"),
        passed=60,
        spawned=60,
        options=_WITH_PYTEST_ASYNCIO,
        quick=(),
    ),
]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.package)
def test_their_tests(suite: Suite, loop_name: str) -> None:
    """The library's own tests of its children and pipes; the least numbers allow for a newer version."""
    require(suite.package)
    if loop_name not in suite.loops:
        pytest.skip(skips.LIBRARY_MAKES_ITS_LOOP)
    if loop_name not in suite.quick and not EVERYTHING:
        pytest.skip(skips.NOT_EVERYTHING)
    choice = suite.asyncio if loop_name == "asyncio" else suite.uvloop
    deselected = [f"--deselect={test}" for test in suite.left_out]
    options = (*suite.options, *deselected, *choice)
    report = run_program("their_tests", loop_name, sources(suite.package), *options, *suite.files)
    print(suite.package, report)
    assert report["result"]["failures"] == []
    assert report["result"]["status"] == 0, "a file could not be collected"
    assert report["result"]["passed"] >= suite.passed
    if not shim.ACTIVE:
        assert report["spawned"] >= suite.spawned
        assert report["opened"] >= suite.opened


@skips.needs_proc
def test_commands_on_a_cluster() -> None:
    """The example: nothing is lost and nothing is left, with a command cancelled and a worker killed."""
    require("distributed")
    command = [sys.executable, str(FOLDER / "commands_on_a_cluster.py")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    cancelled = report["returncodes"].pop(3)
    assert cancelled in (-15, -9)  # asked to end, or not asked any more when its worker was killed
    assert report["returncodes"] == [0] * 199
    assert report["done"] == 199
    assert report["pids"] >= 200
