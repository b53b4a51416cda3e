"""uvloop's own tests of processes and pipes, run with procio installed, on both kinds of loop.

They are read from uvloop's source distribution (PROCIO_SOURCES, as in test_libraries.py); each
stands there once for uvloop and once for asyncio. skips.UVLOOP names what is left out and why.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import inspect
import os
import types
import unittest
import warnings
from pathlib import Path

import procio
import pytest
import skips

pytestmark = [pytest.mark.conformance, pytest.mark.libraries, pytest.mark.timeout(120)]

MISSING = pytest.mark.skip(reason=skips.SOURCES_MISSING.format("uvloop"))
FILES = ("test_process", "test_pipes")


def folder() -> Path | None:
    """Where uvloop's tests are, in the version that is installed."""
    if not os.environ.get("PROCIO_SOURCES") or not skips.HAVE_UVLOOP:
        return None
    version = importlib.metadata.version("uvloop")
    found = Path(os.environ["PROCIO_SOURCES"], f"uvloop-{version}", "tests")
    return found if found.is_dir() else None


@functools.cache
def module(name: str) -> types.ModuleType:
    path = folder()
    assert path is not None
    spec = importlib.util.spec_from_file_location(f"uvloop_{name}", path / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(loaded)
    return loaded


def names() -> list[str]:
    """`file::class::test` of everything that runs on some loop."""
    if folder() is None or importlib.util.find_spec("psutil") is None:
        return []
    loader = unittest.TestLoader()
    return [
        f"{file}::{case.__name__}::{test}"
        for file in FILES
        for _, case in inspect.getmembers(module(file), inspect.isclass)
        if issubclass(case, unittest.TestCase) and case.__module__ == module(file).__name__
        for test in loader.getTestCaseNames(case)
    ]


@pytest.mark.parametrize("name", names() or [pytest.param("", marks=MISSING)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_uvloop(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One of their tests. Some redirect the standard streams themselves."""
    file, case, test = name.split("::")
    for left_out in (test, f"{case}::{test}"):
        if left_out in skips.UVLOOP:
            pytest.skip(skips.UVLOOP[left_out])
    result = unittest.TestResult()
    with procio.installed(), capfd.disabled():
        getattr(module(file), case)(test).run(result)
    for _, reason in result.skipped:
        pytest.skip(f"uvloop: {reason}")
    problems = [text for _, text in result.errors + result.failures]
    assert not problems, "\n".join(problems)
    assert result.testsRun == 1


def test_every_skip_names_a_test_of_uvloop() -> None:
    """A name that uvloop does not have is a mistake in the list."""
    known = names()
    if not known:
        pytest.skip(skips.SOURCES_MISSING.format("uvloop"))
    for left_out in skips.UVLOOP:
        assert any(name.endswith(f"::{left_out}") for name in known), left_out
