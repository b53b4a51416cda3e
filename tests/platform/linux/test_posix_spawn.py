"""Which starts go by ``posix_spawn`` where that is the first way: on macOS, and here by the switch."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import shim
import skips
from support import script_result

pytestmark = [
    skips.needs_compiler,
    skips.needs_proc,
    pytest.mark.skipif(shim.ACTIVE, reason=skips.COMPARES_WITH_ASYNCIO),
]

# Notes each call of posix_spawn with its answer, which an environment variable may say.
COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                char *const[], char *const[]) = dlsym(RTLD_NEXT, "posix_spawn");
    const char *answer = getenv("PROCIO_TEST_ANSWER");
    int result = answer ? atoi(answer) : real(pid, path, actions, attributes, argv, envp);
    char line[4200];
    int length = snprintf(line, sizeof line, "%d %s\n", result, path);
    int file = open(getenv("PROCIO_TEST_CALLS"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (write(file, line, length) != length) abort();
    close(file);
    return result;
}
"""

RUN = """
import ast, warnings

async def main():
    command, options = ast.literal_eval(args[0])
    for name in [name for name in options if name.startswith("fd:")]:
        fd = os.open(options.pop(name), os.O_RDONLY)
        options[name[3:]] = [fd] if name == "fd:pass_fds" else fd
    if options.pop("hook", False):
        warnings.simplefilter("ignore", DeprecationWarning)
        options["preexec_fn"] = int
    try:
        proc = await procio.create_subprocess_exec(*command, stdout=PIPE, stderr=procio.STDOUT, **options)
    except OSError as error:
        return [type(error).__name__, error.errno, error.filename]
    out, _ = await proc.communicate()
    assert proc.returncode == 0, (proc.returncode, out)
    return out.decode()
print(json.dumps(run(main())))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter.c").write_text(COUNTER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "counter.so", folder / "counter.c", "-ldl"], check=True)
    return folder / "counter.so"


@pytest.fixture
def start(library: Path, tmp_path: Path) -> Any:
    """Start a command with options; its output or error, and the calls of posix_spawn with their answers."""
    calls = tmp_path / "calls"

    def start(*command: str, answer: int | None = None, switch: str = "posix_spawn", **options: Any) -> Any:
        env = {"LD_PRELOAD": str(library), "PROCIO_SPAWN": switch, "PROCIO_TEST_CALLS": str(calls), "PROCIO_EXEC": ""}
        if answer is not None:
            env["PROCIO_TEST_ANSWER"] = str(answer)
        calls.unlink(missing_ok=True)
        found = script_result(RUN, repr((command, options)), env=env)
        return found, calls.read_text().splitlines() if calls.exists() else []

    return start


ECHO = ("/bin/echo", "x")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"close_fds": False},
        {"restore_signals": False},
        {"start_new_session": True},
        {"process_group": 0},
        {"cwd": "/"},
        {"env": {"A": "b"}},
        {"executable": "/bin/echo"},
        {"stdin": subprocess.DEVNULL},
        {"fd:pass_fds": "/dev/null"},
        {"fd:cwd": "/"},
    ],
    ids=str,
)
def test_what_can_be_expressed(start: Any, options: dict[str, Any]) -> None:
    assert start(*ECHO, **options) == ("x\n", ["0 /bin/echo"])


@pytest.mark.parametrize(
    "options",
    [
        {"umask": 0o22},
        {"hook": True},
        {"nice": 19},
        {"cpu_affinity": sorted(os.sched_getaffinity(0))[:1]},
        {"no_new_privs": True},
        {"kill_on_parent_exit": True},
        {"rlimits": {4: [0, 0]}},
        {"user": os.getuid()},
        {"group": os.getgid()},
        pytest.param({"extra_groups": []}, marks=skips.needs_root),
    ],
    ids=str,
)
def test_what_takes_a_fork(start: Any, options: dict[str, Any]) -> None:
    assert start(*ECHO, **options) == ("x\n", [])


def test_a_relative_path_with_a_directory_takes_a_fork(start: Any, tmp_path: Path) -> None:
    """macOS would start the program and say that there is none."""
    (tmp_path / "program").symlink_to("/bin/echo")
    assert start("./program", "x", cwd=str(tmp_path)) == ("x\n", [])
    assert start("program", "x", cwd=str(tmp_path), env={"PATH": ":/none"}) == ("x\n", [])


def test_other_ways_do_not_call_it(start: Any) -> None:
    for switch in ("", "vfork", "fork"):
        assert start(*ECHO, switch=switch) == ("x\n", [])


def test_search_calls_it_for_what_is_there(start: Any, tmp_path: Path) -> None:
    """A directory without the program costs no process."""
    file = tmp_path / "echo"
    file.write_text("not executable")
    path = f"/none:{tmp_path}:/dev/null:/bin"
    calls = [f"{errno.EACCES} {file}", "0 /bin/echo"]
    assert start("echo", "x", env={"PATH": path}) == ("x\n", calls)


@pytest.mark.parametrize(
    ("command", "options", "filename"),
    [
        ("/none/program", {}, "/none/program"),
        ("program", {"env": {"PATH": "/none:/dev/null"}}, "program"),
        ("/bin/echo", {"cwd": "/none"}, "/none"),
        ("/none/program", {"cwd": "/"}, "/none/program"),
        ("/none/program", {"cwd": "/none"}, "/none"),
        ("/etc/passwd", {}, "/etc/passwd"),
        ("/etc", {}, "/etc"),
        ("/bin/echo", {"cwd": "/etc/passwd"}, "/etc/passwd"),
        ("/bin/echo", {"process_group": 1}, None),
        ("/bin/echo", {"process_group": 0, "start_new_session": True}, None),
        ("/bin/" + 300 * "x", {}, "/bin/" + 300 * "x"),
    ],
)
def test_errors_are_those_of_the_other_ways(
    start: Any, command: str, options: dict[str, Any], filename: str | None
) -> None:
    ours, _ = start(command, **options)
    assert ours == start(command, **options, switch="fork")[0]
    assert ours[2] == filename


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EACCES])
def test_what_it_refuses_is_forked(start: Any, code: int) -> None:
    assert start(*ECHO, answer=code) == ("x\n", [f"{code} /bin/echo"])
