"""The programs of the documentation run and print what the pages show; its links lead somewhere."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import documents
import procio
import pytest
import shim
import skips
from support import ROOT, TESTS, WINDOWS

pytestmark = [
    pytest.mark.project,
    pytest.mark.skipif(shim.ACTIVE, reason="the programs import procio"),
    pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason=skips.NO_CHECKOUT),
]

PAGES = documents.pages() if (ROOT / "docs").is_dir() else []
WITH_PROGRAMS = [path for path in PAGES if any(True for _ in documents.blocks(path))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.skipif(WINDOWS, reason="the programs start sh, sort and the like")
@pytest.mark.parametrize("path", WITH_PROGRAMS, ids=name_of)
def test_programs_of_the_documentation_run(path: Path, tmp_path: Path) -> None:
    """All blocks of a page in one interpreter, for the time it takes."""
    chosen = []
    for block in documents.blocks(path):
        missing = [need for need in block.needs.split() if importlib.util.find_spec(need) is None]
        if not missing and not block.not_run:
            chosen.append(block)
    request = json.dumps([{"line": block.line, "setup": block.setup, "code": block.code} for block in chosen])
    command = [sys.executable, "-W", "error", str(TESTS / "support/helpers/blocks.py")]
    done = subprocess.run(
        command,
        input=request,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    for block, result in zip(chosen, json.loads(done.stdout), strict=True):
        where = f"{name_of(path)}:{block.line}"
        assert result["error"] == "", where
        if block.prints is not None:
            assert documents.agrees(block.prints, result["out"]), (where, block.prints, result["out"])


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_of_the_documentation_lead_somewhere(path: Path) -> None:
    broken = []
    for target in documents.links(path):
        file, _, anchor = target.partition("#")
        there = path if not file else (path.parent / file)
        if not there.exists() or (anchor and anchor not in documents.anchors(there)):
            broken.append(target)
    assert broken == []


def test_every_method_is_on_the_page_of_guarantees() -> None:
    text = (ROOT / "docs/guarantees.md").read_text()
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", text))))
    classes = (procio.Process, procio.StreamReader, procio.StreamWriter)
    public = {name for cls in classes for name in dir(cls) if not name.startswith("_")}
    functions = {name for name in procio.__all__ if inspect.iscoroutinefunction(getattr(procio, name))}
    assert public | functions | {"open_process", "install", "uninstall", "installed"} <= named


def test_every_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs/api.md").read_text()
    assert [name for name in procio.__all__ if f"procio.{name}" not in text and name != "__version__"] == []


def test_private_names_of_asyncio_are_on_the_page_of_compatibility() -> None:
    """A version of CPython that lacks one of them is a surprise unless it is known which there are."""
    section = (ROOT / "docs/compatibility.md").read_text().split("## Private names of asyncio", 1)[1].split("\n## ")[0]
    used = {"_get_running_loop", "_feed_data_to_buffered_proto", "_asyncio_future_blocking", "_log_subprocess"}
    for path in (ROOT / "src/py").rglob("*.rs"):
        used |= set(re.findall(r'getattr\((?:pyo3::intern!\(py, )?"(_[a-z]\w*)"', path.read_text()))
    assert sorted(name for name in used if f"{name}`" not in section) == []


def test_tables_of_figures_are_what_was_measured(tmp_path: Path) -> None:
    """A table on a page is made from the file that the benchmark wrote; none is out of date."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import figures
    finally:
        sys.path.pop(0)
    reached = {"median": 0.25, "low": 0.2, "high": 0.051}
    comparison = {"subject": "procio", "base": "asyncio", "metric": "", "at_most": 0.3, "reached": reached}
    document = {
        "about": {"python": "CPython 3.11.7", "system": "Linux", "cpus": "2", "load": "0.1", "procio": "0.1.0"},
        "rounds": 5,
        "quick": False,
        "cases": {"spawn": {"title": "a start", "comparisons": [comparison, {**comparison, "reached": None}]}},
    }
    (tmp_path / "one.json").write_text(json.dumps(document))
    page = "before\n<!-- figures: one -->\nold\n<!-- end of the figures -->\nafter\n"
    new = figures.renewed(page, tmp_path)
    assert new.count("| a start | procio / asyncio | 0.25 (0.20 to 0.051) | 0.3 |") == 1
    assert "old" not in new
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert figures.renewed(new, tmp_path) == new
    (tmp_path / "one.json").write_text(json.dumps({**document, "quick": True}))
    with pytest.raises(ValueError, match="--quick"):
        figures.renewed(page, tmp_path)
    for path in sorted((ROOT / "docs").rglob("*.md")):
        assert figures.renewed(path.read_text(), ROOT / "docs/figures") == path.read_text()
