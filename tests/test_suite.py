"""The suite about itself: its lists name tests that exist, and no two tests have the same name."""

from __future__ import annotations

import ast
import collections
import functools
import re

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
