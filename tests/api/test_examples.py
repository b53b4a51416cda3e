"""The examples print what the documentation says; the README's two commands do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import shim
import skips
from support import ROOT

EXAMPLES = ROOT / "examples"
README = ROOT / "README.md"

pytestmark = [
    pytest.mark.project,
    pytest.mark.skipif(shim.ACTIVE, reason="the examples import procio"),
    pytest.mark.skipif(not EXAMPLES.is_dir() or not README.is_file(), reason=skips.NO_CHECKOUT),
]


def run_example(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_run_commands() -> None:
    """Both commands at once; the one that sleeps comes last."""
    missing = subprocess.run("ls /zzz", shell=True, capture_output=True, text=True, check=False)
    assert run_example(EXAMPLES / "run_commands.py") == (
        f"['ls /zzz' exited with {missing.returncode}]\n"
        f"[stderr]\n{missing.stderr}\n"
        "['sleep 1; echo \"hello\"' exited with 0]\n"
        "[stdout]\nhello\n\n"
    )


def test_get_date() -> None:
    assert re.fullmatch(
        r"Current date: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\n", run_example(EXAMPLES / "get_date.py")
    )


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_runs(path: Path) -> None:
    assert run_example(path)


def test_the_two_commands_of_the_readme_work() -> None:
    """The lines that the README shows after the first of them are the lines that the example prints."""
    text = README.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    shown = "".join(block for block in blocks if "&&" in block)
    assert "pip install . && python examples/run_commands.py" in shown
    assert "pip install '.[test]' && pytest" in shown
    lines = [line for line in run_example(EXAMPLES / "run_commands.py").splitlines() if line]
    assert [line for line in lines if line not in shown] == []


def test_many_commands_at_once() -> None:
    """What has failed is listed at the end, and nothing is left of what took too long."""
    commands = "echo one\nsleep 0.2; echo no; exit 3\nsleep 1000\ntrue\ntrue\n"
    command = [sys.executable, "-W", "error", str(EXAMPLES / "many.py"), "-n", "3", "--timeout", "1"]
    done = subprocess.run(command, input=commands, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert done.stdout.startswith("3 done, 2 failed, 0 running, 0 waiting\n")
    assert "sleep 0.2; echo no; exit 3: return code 3\n    no\n" in done.stdout
    assert "sleep 1000: not done after 1 s\n" in done.stdout


def test_examples_change_only_the_import() -> None:
    """An example is a program for asyncio with one import changed."""
    for name in ("run_commands.py", "get_date.py", "get_date_protocol.py"):
        text = (EXAMPLES / name).read_text()
        assert "procio" in text
        assert not re.search(r"asyncio\.create_subprocess", text) or "as asyncio" in text or "procio.install" in text
