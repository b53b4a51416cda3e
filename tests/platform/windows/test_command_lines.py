"""What a program on Windows is given: command lines, batch files, and standard streams that its parent has not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import procio
import pytest
import skips
from support import DEVNULL, PIPE, PYTHON, output

if sys.platform != "win32":
    pytest.skip(skips.WINDOWS_ONLY, allow_module_level=True)

ARGV = (*PYTHON, "-c", "import sys; sys.stdout.buffer.write('\\0'.join(sys.argv[1:]).encode('utf-8', 'surrogatepass'))")

HOSTILE = [
    "&calc",
    '"&calc',
    '"&calc&"',
    "a|b",
    "a>b",
    "a^b",
    "(a)",
    "%PATH%",
    "%COMSPEC%",
    "100%",
    "a b",
    "a\tb",
    "!x!",
    "",
    "a\nb",
    "a\r\nb",
    "^&calc",
    '\\"',
    "a\\",
    "a b\\",
    "a,b;c=d",
    "-x=é",
]


async def test_arguments_arrive_as_they_are() -> None:
    assert (await output(*ARGV, *HOSTILE)).decode().split("\0") == HOSTILE


async def test_lone_surrogates_arrive() -> None:
    assert await output(*ARGV, "\ud800") == "\ud800".encode("utf-8", "surrogatepass")


@pytest.mark.differs
@pytest.mark.parametrize("argument", HOSTILE)
@pytest.mark.parametrize("name", ["show.bat", "show.CMD", "with space.bat"])
async def test_batch_files_run_nothing_else(tmp_path: Path, name: str, argument: str) -> None:
    """CVE-2024-24576: what cmd.exe would interpret is quoted or refused, never run."""
    script = tmp_path / name
    script.write_text("@echo [%1]\r\n@set /p line=\r\n", newline="")
    witness = tmp_path / "witness"
    hostile = argument.replace("calc", f"echo x>{witness}")
    refused = any(mark in hostile for mark in '"%\r\n')
    if refused:
        with pytest.raises(ValueError, match=re.escape("cmd.exe")):
            await output(str(script), hostile, stdin=DEVNULL)
    else:
        out = await output(str(script), hostile, stdin=DEVNULL)
        assert out.decode("utf-8", "replace").startswith("[")
    assert not witness.exists()


# CreateProcessW normalises a path before it looks at the end of the name.
BATCH_NAMES = [
    "m.bat\\.",
    "m.bat/.",
    "m.bat\\x\\..",
    "m.bat/x/..",
    "m.bat.",
    "m.bat ",
    "m.bat. .",
    ".\\x\\..\\M.BAT",
    "m.cmd\\.",
]


@pytest.mark.differs
@pytest.mark.parametrize("how", ["args", "executable"])
@pytest.mark.parametrize("argument", ['"&echo PWNED&"', "&echo PWNED", "%COMSPEC%", 'x" & echo PWNED & "'])
@pytest.mark.parametrize("name", BATCH_NAMES)
async def test_batch_files_under_hostile_names_run_nothing_else(
    tmp_path: Path, name: str, argument: str, how: str
) -> None:
    """What is refused, or what cannot be started, prints nothing; what is started gets its argument whole."""
    for script in ("m.bat", "m.cmd"):
        (tmp_path / script).write_text("@echo [%1]\r\n", newline="")
    path = str(tmp_path) + "\\" + name
    args = (path, argument) if how == "args" else ("harmless", argument)
    options: dict[str, Any] = {"executable": path} if how == "executable" else {}
    try:
        proc = await procio.create_subprocess_exec(*args, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, **options)
    except (ValueError, OSError):
        return
    out, _ = await proc.communicate()
    assert '"' not in argument
    assert "%" not in argument
    assert not [line for line in out.decode().splitlines() if line.startswith("PWNED")]


NO_STDOUT = """
import asyncio, ctypes, os, subprocess, sys
import procio
from ctypes import wintypes
kernel32 = ctypes.WinDLL("kernel32")
kernel32.SetStdHandle.argtypes = [wintypes.DWORD, wintypes.HANDLE]
CHILD = '''
import ctypes, json, sys
from ctypes import wintypes
kernel32 = ctypes.WinDLL("kernel32")
kernel32.GetStdHandle.restype = wintypes.HANDLE
for function in (kernel32.GetFileType, kernel32.GetProcessId):
    function.argtypes = [wintypes.HANDLE]
handles = [kernel32.GetStdHandle(-10 - which) for which in range(3)]
told = [(kernel32.GetFileType(handle), kernel32.GetProcessId(handle)) for handle in handles]
json.dump(told, open(sys.argv[1], "w"))
'''

async def main(missing, folder):
    for number, options in enumerate(({"stderr": subprocess.STDOUT}, {"stderr": subprocess.PIPE},
                                      {"stdin": subprocess.DEVNULL})):
        command = [sys.executable, "-c", CHILD, os.path.join(folder, f"{number}")]
        proc = await procio.create_subprocess_exec(*command, **options)
        await proc.communicate()
        assert proc.returncode == 0, proc.returncode
        if missing == "0":  # Popen says that -1 is an error
            command[-1] += "-popen"
            subprocess.run(command, check=True, **options)

report = os.dup(1)
# A program without a console and a service have none.
for which in (-10, -11, -12):
    kernel32.SetStdHandle(which & 0xFFFFFFFF, int(sys.argv[1]))
asyncio.run(main(*sys.argv[1:]))
os.write(report, b"done")
"""


@pytest.mark.parametrize("missing", [0, -1])
def test_a_program_without_standard_streams(missing: int, tmp_path: Path) -> None:
    """Its child gets what Popen gives it: an end of a pipe that is not read, and never a handle of its parent."""
    command = [sys.executable, "-c", NO_STDOUT, str(missing), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.stdout == b"done", done.stderr
    for number in range(3):
        kinds = json.loads((tmp_path / f"{number}").read_text())
        assert [pid for _, pid in kinds] == [0, 0, 0]
        assert missing or kinds == json.loads((tmp_path / f"{number}-popen").read_text())


async def test_a_command_line_that_is_as_long_as_it_may_be() -> None:
    """CreateProcessW takes 32,767 characters with the null."""
    longest = "x" * (32766 - len("echo "))
    assert len(await output("echo", longest)) == len(longest) + 1


async def test_a_command_line_that_is_too_long() -> None:
    with pytest.raises(OSError, match="too long") as caught:
        await output("echo", "x" * (32767 - len("echo ")))
    assert caught.value.winerror == 206  # type: ignore[attr-defined]


async def test_batch_file_gets_plain_arguments(tmp_path: Path) -> None:
    script = tmp_path / "show.bat"
    script.write_text("@echo %~1-%~2-%3\r\n", newline="")
    out = await output(str(script), "one", "two words", "a&b", stdin=DEVNULL)
    assert out.split(b"\r\n")[0] == b'one-two words-"a&b"'


async def test_shell_command_is_that_of_popen() -> None:
    for command in ("echo a&echo b", 'echo "a b"', "exit 3", "echo %COMSPEC%"):
        theirs = subprocess.run(command, shell=True, stdout=PIPE)
        proc = await procio.create_subprocess_shell(command, stdout=PIPE)
        assert ((await proc.communicate())[0], proc.returncode) == (theirs.stdout, theirs.returncode)


async def test_shell_takes_no_bytes() -> None:
    with pytest.raises(TypeError, match="bytes args is not allowed on Windows"):
        await procio.create_subprocess_shell(b"echo")
