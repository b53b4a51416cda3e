"""The programs of the documentation run and print what the pages show; its links lead somewhere."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    used = {"_get_running_loop", "_feed_data_to_buffered_proto", "_asyncio_future_blocking"}
    used |= {"_log_subprocess", "_limit"}
    for path in (ROOT / "src/py").rglob("*.rs"):
        used |= set(re.findall(r'getattr\((?:py, )?(?:pyo3::intern!\(py, )?"(_[a-z]\w*)"', path.read_text()))
    assert sorted(name for name in used if f"{name}`" not in section) == []


def sample(case: str, peer: str, value: float | None, number: int = 1) -> dict[str, Any]:
    """A measurement as the benchmark writes it; without a value, one that failed."""
    reason = "" if value is not None else "gave up"
    return {"case": case, "peer": peer, "round": number, "value": value, "extra": {}, "reason": reason, "failed": False}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tool that writes the tables."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("figures")


ABOUT = {"system": "Linux", "cpus": "2", "load": "0.1", "procio": "1.0"}


def test_tables_of_figures_are_what_was_measured(figures: Any, tmp_path: Path) -> None:
    """A table on a page is made from the file that the benchmark wrote; none is out of date."""
    times = {("procio", 1): 0.2, ("asyncio", 1): 1.0, ("procio", 2): 0.3, ("asyncio", 2): 1.0}
    samples = [sample("spawn", peer, value, number) for (peer, number), value in times.items()]
    about = {"python": "CPython 3.11.7", **ABOUT}
    document = {"about": about, "rounds": 2, "quick": False, "cases": {"spawn": {}}, "samples": samples}
    (tmp_path / "one.json").write_text(json.dumps(document))
    page = "before\n<!-- figures: ratios one -->\nold\n<!-- end of the figures -->\nafter\n"
    new = figures.renewed(page, tmp_path)
    assert new.count("| procio / asyncio | 0.8 | 0.25 (0.20 to 0.30) | yes |") == 1
    assert "old" not in new
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert figures.renewed(new, tmp_path) == new
    assert "| 250 ms | 1 s | - |" in figures.renewed(page.replace("ratios", "medians"), tmp_path)
    (tmp_path / "one.json").write_text(json.dumps({**document, "quick": True}))
    with pytest.raises(ValueError, match="--quick"):
        figures.renewed(page, tmp_path)
    checked = [path for path in figures.pages() if "<!-- figures:" in path.read_text()]
    assert {path.name for path in checked} == {"README.md", "index.md", "benchmarks.md", "benchmarks-rust.md"}
    for path in checked:
        assert figures.renewed(path.read_text(), figures.FIGURES) == path.read_text(), path


def test_tables_of_other_runs_have_their_own_columns(figures: Any, tmp_path: Path) -> None:
    """Growth has a column for each peer, Windows one for each loop, the crate one for tokio."""
    grown = [sample("scale-loops-4", "procio", 0.25), sample("scale-loops-4", "uvloop", None)]
    taken = {"asyncio": 1.0, "procio-selector": 0.5, "procio": 0.25}
    wine = [sample("pingpong", peer, value) for peer, value in taken.items()]
    crate = {"runtime": "two workers", "what": "read", "unit": "s", "rounds": 8, "procio": 0.25, "tokio": 0.5}
    documents: dict[str, dict[str, Any]] = {
        "scale": {"cases": {"scale-loops-4": {}}, "samples": grown},
        "windows": {"cases": {"pingpong": {}}, "samples": wine},
        "crate": {"rows": [{**crate, "ratio": 0.5, "to_limit": None}]},
    }
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"about": {**ABOUT, "uvloop": "not installed"}, **document}))

    def table(name: str) -> str:
        page: str = figures.renewed(f"<!-- figures: {name} {name} -->\n<!-- end of the figures -->", tmp_path)
        return page

    assert "spawn + wait `true` (per child) | 250 ms | - | - | - | - | - | - |" in table("scale")
    assert "| 0.25 (0.25 to 0.25) | 0.50 (0.50 to 0.50) | - | 1 | 250 ms | 1 s |" in table("windows")
    assert "| two workers | read | 250 ms | 500 ms | 0.50 |  | 8 |" in table("crate")
    assert "\n- Linux, 2 processors, procio 1.0; load averages at the start 0.1.\n" in table("crate")


def test_links_of_the_readme_are_absolute_in_a_release(tmp_path: Path) -> None:
    """What PyPI and crates.io show has no checkout round it; a release says where the files are."""
    (tmp_path / ".github").mkdir()
    shutil.copy(ROOT / ".github" / "absolute_links.py", tmp_path / ".github")
    shutil.copy(ROOT / "README.md", tmp_path)
    where = "https://forge.example/people/procio"
    (tmp_path / "Cargo.toml").write_text(f'[package]\nversion = "1.2.3"\nrepository = "{where}/"\n', encoding="utf-8")
    subprocess.run([sys.executable, str(tmp_path / ".github" / "absolute_links.py")], check=True, capture_output=True)
    links = re.findall(r"\]\(([^)]*)\)", (tmp_path / "README.md").read_text(encoding="utf-8"))
    ours = [link.removeprefix(f"{where}/blob/v1.2.3/") for link in links if link.startswith(where)]
    assert ours
    assert [link for link in links if not link.startswith("https://")] == []
    assert [path for path in ours if not (ROOT / path).exists()] == []
