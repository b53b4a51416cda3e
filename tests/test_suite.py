"""The suite about itself: its lists name tests that exist, and no two tests have the same name."""

from __future__ import annotations

import ast
import collections
import functools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import skips
from support import ROOT, TESTS


@functools.cache
def written() -> dict[str, list[str]]:
    """The tests of each file, by its path below tests/, as written: nothing is imported, so nothing is left out."""
    found = {}
    for path in TESTS.rglob("test_*.py"):
        definitions = ast.parse(path.read_text(encoding="utf-8")).body
        found[path.relative_to(TESTS).as_posix()] = [
            node.name
            for node in definitions
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        ]
    return found


@pytest.mark.parametrize("name", skips.tables())
def test_every_entry_of_a_list_of_skips_names_a_test(name: str) -> None:
    table = skips.tables()[name]
    unknown = [
        f"{file}::{test}"
        for file, entries in table.items()
        for test in entries
        if test not in (written().get(file, []) if test != skips.ALL else [skips.ALL] * (file in written()))
    ]
    assert unknown == [], f"skips.{name}"


def test_names_of_tests_and_of_their_files_are_unique() -> None:
    """What fails can be told by its name; and pytest imports files of the same name as one."""
    names = collections.Counter(name for file in written().values() for name in file)
    files = collections.Counter(file.rsplit("/", 1)[-1] for file in written())
    assert [name for name, count in (names + files).items() if count > 1] == []


# Where what asks for /proc is known to be answered, or left out as a whole.
ON_LINUX_ONLY = ("compat/", "platform/linux/")
# Decorators of a test, and of a file by `pytestmark`, by which it is left out on other systems.
FOR_LINUX = re.compile(r"needs_proc|needs_pidfds|sys\.platform != .linux.")


def looking_at_proc(path: Path) -> list[str]:
    """Tests that look at /proc, in their own text or in that of a function, fixture or script of the same file."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    if any(FOR_LINUX.search(ast.unparse(node)) for node in module.body if "pytestmark" in ast.unparse(node)):
        return []
    parts: dict[str, ast.AST] = {}
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            parts[node.name] = node
        elif isinstance(node, ast.Assign):
            parts |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}

    def looks(node: ast.AST, seen: frozenset[str]) -> bool:
        inner = list(ast.walk(node))
        if any(
            "/proc/" in text.value for text in inner if isinstance(text, ast.Constant) and isinstance(text.value, str)
        ):
            return True
        names = {name.id for name in inner if isinstance(name, ast.Name)}
        names |= {argument.arg for argument in inner if isinstance(argument, ast.arg)}
        return any(looks(parts[name], seen | names) for name in (names & parts.keys()) - seen)

    tests = [node for name, node in parts.items() if name.startswith("test_")]
    return [
        f"{path.name}::{node.name}"
        for node in tests
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any(FOR_LINUX.search(ast.unparse(decorator)) for decorator in node.decorator_list)
        and looks(node, frozenset())
    ]


def test_what_looks_at_proc_is_left_out_where_there_is_none() -> None:
    files = sorted(TESTS.rglob("test_*.py"))
    files = [path for path in files if not path.relative_to(TESTS).as_posix().startswith(ON_LINUX_ONLY)]
    files.remove(Path(__file__).resolve())
    assert [name for path in files for name in looking_at_proc(path)] == []


@pytest.mark.project
def test_every_test_that_the_documents_name_exists() -> None:
    """A case in docs/differences.md is shown by a test; a test that was renamed shows nothing there."""
    named = {
        (path.name, file, test)
        for path in ROOT.glob("docs/**/*.md")
        for file, test in re.findall(r"([\w/]+\.py)::(test_\w+)", path.read_text(encoding="utf-8"))
    }
    unknown = [name for name in sorted(named) if name[2] not in written().get(name[1].removeprefix("tests/"), [])]
    assert unknown == []


@pytest.mark.project
def test_every_case_can_be_tried_on_asyncio() -> None:
    """docs/differences.md says how, and what came of it."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "differs",
        str(TESTS),
    ]
    done = subprocess.run(command, env=os.environ | {"PROCIO_TEST_IMPL": "asyncio"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.project
def test_every_variable_and_every_marker_has_its_line() -> None:
    """In tests/README.md, or for the switches of procio itself in docs/dev/switches.md."""
    pages = [ROOT / "tests/README.md", ROOT / "docs/dev/switches.md"]
    known = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    places = ("src/**/*.rs", "tests/**/*.py", "tests/*.rs", "tools/**/*", ".github/**/*", ".ci/*", "*.py")
    files = {path for place in places for path in ROOT.glob(place) if path.is_file()}
    found = set(re.findall(r"\bPROCIO_[A-Z_]*[A-Z]\b", "\n".join(path.read_text(errors="replace") for path in files)))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    found |= {f"`{marker.partition(':')[0]}`" for marker in settings["markers"]}
    assert sorted(name for name in found if not re.search(rf"{name}(?![A-Z_])", known)) == []


@pytest.mark.project
def test_a_choice_of_markers_leaves_out_what_the_default_run_leaves_out() -> None:
    """`-m` takes the place of the one in pyproject.toml, and what needs a folder or a network would run."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    (default,) = (option.removeprefix("-m=") for option in settings["addopts"] if option.startswith("-m="))
    left_out = set(default.split(" and "))
    found = {}
    for path in (ROOT / ".github/workflows/wheels.yml", ROOT / "tools/offline/arm64/run"):
        (chosen,) = re.findall(r"^ *(?:MARKERS: |marks=')(not .+?)'?$", path.read_text(encoding="utf-8"), re.MULTILINE)
        found[path.name] = sorted(left_out - set(chosen.split(" and ")))
    assert found == {"wheels.yml": [], "run": []}
    assert '-m "not' not in (ROOT / ".github/workflows/wheels.yml").read_text(encoding="utf-8")
