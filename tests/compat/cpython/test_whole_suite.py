"""CPython's whole test.test_asyncio under install(): what differs is known, and nothing else does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import shim
import skips

PROGRAM = Path(__file__).with_name("whole_suite.py")

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_asyncio") is None,
        reason=skips.TEST_PACKAGE_MISSING,
    ),
    pytest.mark.skipif(shim.ACTIVE, reason=skips.COMPARES_WITH_ASYNCIO),
]


def test_whole_suite(tmp_path: Path) -> None:
    """Both runs go on beside each other, each in a folder of its own."""
    runs = []
    for name in ("asyncio", "procio"):
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "stderr").open("w") as stderr:
            runs.append(
                subprocess.Popen(
                    [sys.executable, str(PROGRAM), name, *skips.CPYTHON_ENDLESS],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                )
            )
    stock, ours = (json.loads(run.communicate()[0].splitlines()[-1]) for run in runs)
    differing = {name for name in stock | ours if stock.get(name) != ours.get(name)}
    unexpected = {
        f"{name}: {stock.get(name)} on asyncio, {ours.get(name)} on procio"
        for name in differing
        if name.rsplit(".", 1)[-1] not in skips.CPYTHON_WHOLE
    }
    print(f"{len(stock)} tests, {len(differing)} differ")
    assert len(stock) > 2000
    assert unexpected == set(), (tmp_path / "procio" / "stderr").read_text()[-10_000:]
