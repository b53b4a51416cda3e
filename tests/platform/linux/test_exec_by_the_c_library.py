"""How the program is executed: by the system call, or by the C library where something is preloaded for that."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import shim
import skips
from support import run_script, script_result

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason=skips.COMPARES_WITH_ASYNCIO)

HOOK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
int execve(const char *path, char *const argv[], char *const envp[]) {
    int (*real)(const char *, char *const[], char *const[]) = dlsym(RTLD_NEXT, "execve");
    return real(strcmp(path, "/redirected") ? path : "/bin/echo", argv, envp);
}
"""

RUN = """
async def main():
    try:
        return (await output("/redirected", "by the hook")).decode()
    except FileNotFoundError as error:
        return error.filename
print(json.dumps(run(main())))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("cc"):
        pytest.skip(skips.NO_COMPILER)
    path = tmp_path_factory.mktemp("hook") / "hook.c"
    path.write_text(HOOK)
    return path


@pytest.mark.parametrize(
    ("name", "switch", "hooked"),
    [
        ("libhook.so", "", False),
        ("libhook.so", "libc", True),
        ("libtermux-exec.so", "", True),
        ("libtermux-exec.so", "kernel", False),
    ],
)
def test_a_preloaded_execve_is_called_where_that_is_asked_for(
    source: Path, name: str, switch: str, hooked: bool
) -> None:
    library = source.with_name(name)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    environment = {"LD_PRELOAD": str(library), "PROCIO_EXEC": switch, "PROCIO_SPAWN": ""}
    found = script_result(RUN, env=environment)
    assert found == ("by the hook\n" if hooked else "/redirected")


VALGRIND = """
async def main():
    assert await output("echo", "hi") == b"hi\\n"
    try:
        await output("/none")
    except FileNotFoundError:
        return True
run(main())
"""


def test_under_valgrind_children_are_made_by_a_fork() -> None:
    """It ends a program that asks for a child which shares its memory."""
    if not shutil.which("valgrind"):
        pytest.skip(skips.NO_VALGRIND)
    valgrind = ("valgrind", "--tool=none", "-q")
    done = run_script(VALGRIND, prefix=valgrind, timeout=300.0, env={"PROCIO_SPAWN": ""})
    # What valgrind says by itself, of a system call that it does not know, begins so.
    said = [line for line in done.stderr.splitlines() if not line.startswith("--")]
    assert (done.returncode, said) == (0, [])
