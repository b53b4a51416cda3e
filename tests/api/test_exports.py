"""The public names."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.resources
import inspect
import pkgutil
import pydoc
import subprocess
import sys
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any

import procio
import procio.subprocess
import pytest
import shim

if not shim.ACTIVE:
    import procio._options
    import procio._types

NAMES = {"create_subprocess_exec", "create_subprocess_shell", "Process", "PIPE", "STDOUT", "DEVNULL"}
needs_procio = pytest.mark.skipif(shim.ACTIVE, reason="about procio's own names")


def test_constants_are_those_of_subprocess() -> None:
    for name in ("PIPE", "STDOUT", "DEVNULL"):
        assert getattr(procio, name) == getattr(subprocess, name)
        assert getattr(procio.subprocess, name) == getattr(asyncio.subprocess, name)


def test_module_subprocess_has_the_names_of_asyncio_subprocess() -> None:
    for name in NAMES | set(asyncio.subprocess.__all__):
        assert getattr(procio.subprocess, name) is getattr(procio, name)
    assert issubclass(procio.Process, asyncio.subprocess.Process)


def test_module_subprocess_has_every_public_name_of_asyncios() -> None:
    """For `import procio as asyncio`, after which `asyncio.subprocess.SubprocessStreamProtocol` is a name as before."""
    names = {name for name in vars(asyncio.subprocess) if name[0] != "_"}
    assert {name for name in names if not hasattr(procio.subprocess, name)} == set()
    assert names <= set(dir(procio.subprocess))
    assert procio.subprocess.SubprocessStreamProtocol is asyncio.subprocess.SubprocessStreamProtocol


@pytest.mark.parametrize("name", ["SubprocessStreamProtocl", "_SubprocessStreamProtocol"])
def test_module_subprocess_has_no_other_names(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"^module '(procio|asyncio)\.subprocess' has no attribute '{name}'$"):
        getattr(procio.subprocess, name)


@needs_procio
def test_all() -> None:
    assert NAMES | {"install", "uninstall", "installed", "subprocess"} <= set(procio.__all__)
    assert set(procio.subprocess.__all__) >= set(asyncio.subprocess.__all__)
    for module in (procio, procio.subprocess):
        assert all(hasattr(module, name) for name in module.__all__)
        assert len(set(module.__all__)) == len(module.__all__)


@needs_procio
def test_nothing_else_is_public() -> None:
    """What has no underscore is in __all__ or a module."""
    public = {name for name, value in vars(procio).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert public - set(procio.__all__) <= {"annotations"}


@needs_procio
def test_everything_public_has_a_docstring() -> None:
    for name in procio.__all__:
        value = getattr(procio, name)
        if inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), name


@pytest.mark.parametrize("name", ["create_subprocess_exec", "create_subprocess_shell"])
def test_parameters_are_those_of_asyncio(name: str) -> None:
    ours = inspect.signature(getattr(procio, name)).parameters
    theirs = inspect.signature(getattr(asyncio.subprocess, name)).parameters
    for key, parameter in theirs.items():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert ours[key].kind == parameter.kind
            assert (ours[key].default is parameter.empty) == (parameter.default is parameter.empty)


@needs_procio
def test_typed_and_versioned() -> None:
    assert importlib.resources.files("procio").joinpath("py.typed").is_file()
    assert importlib.resources.files("procio").joinpath("_core.pyi").is_file()
    assert procio.__version__ == importlib.metadata.version("procio")


@needs_procio
def test_every_module_can_be_imported() -> None:
    for module in pkgutil.iter_modules(procio.__path__):
        importlib.import_module(f"procio.{module.name}")


@pytest.mark.parametrize(
    "name",
    [
        *(f"Process.{name}" for name in ("wait", "communicate")),
        *(f"StreamReader.{name}" for name in ("read", "readline", "readexactly", "readuntil")),
        *(f"StreamWriter.{name}" for name in ("drain", "wait_closed")),
    ],
)
def test_what_is_awaited_is_a_coroutine_function(name: str) -> None:
    """IPython, for one, asks before it calls."""
    owner, method = name.split(".")
    function = getattr(getattr(procio, owner), method)
    assert inspect.iscoroutinefunction(function)
    assert function.__doc__


@needs_procio
def test_import_takes_nothing_from_the_standard_library_but_asyncio() -> None:
    """What it imports beyond that costs every program its time: importlib.abc took longer than procio."""
    # Which before 3.15 imports this one itself.
    program = (
        "import sys, asyncio, typing; known = set(sys.modules); import procio; print(*sorted(set(sys.modules) - known))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert {name for name in imported if name.partition(".")[0] != "procio"} <= {"__future__"}
    later = ("_install", "_lifetime", "_results", "_text", "_lines", "_transports", "_subprocess_transport", "_types")
    assert imported.isdisjoint(f"procio.{name}" for name in later)


@needs_procio
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("sys.implementation.name = 'pypy'", "does not run on pypy"),
        ("sys.platform = 'emscripten'", "on emscripten cannot"),
    ],
)
def test_where_it_cannot_run_the_import_says_so(change: str, says: str) -> None:
    program = f"import asyncio, sys; {change}; import procio"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: procio ")
    assert says in done.stderr


@needs_procio
def test_what_is_imported_when_it_is_used_is_listed_before() -> None:
    program = (
        "import procio; names = set(dir(procio)); from procio import *; print(*sorted(set(procio.__all__) - names))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@needs_procio
@pytest.mark.parametrize("owner", ["Process", "StreamReader", "StreamWriter"])
def test_methods_are_documented_in_the_imperative(owner: str) -> None:
    """`Wait for`, not `Waits for`; each has a docstring of its own."""
    cls = getattr(procio, owner)
    for base in cls.__mro__[:2]:
        for name, value in vars(base).items():
            if name[0] == "_" or not callable(value) or getattr(value, "__doc__", None) is None:
                continue
            first = value.__doc__.split()[0].rstrip(".:,;")
            assert first[0].isupper(), (name, first)
            assert not first.endswith("s") or first in ("Process",), (name, first)
            assert first not in ("The", "At", "A", "All", "Exactly", "Whether", "What", "Always", "Bytes"), name
    assert cls.__doc__


@needs_procio
def test_help_of_a_process_shows_its_attributes() -> None:
    text = pydoc.plain(pydoc.render_doc(procio.Process))
    for line in ("pid (int)", "stdin (StreamWriter | None)", "stdout (StreamReader | None)", "stderr (StreamReader"):
        assert line in text
    keywords = ["stdin", "limit", "executable", "cwd", "env", "close_fds", "pass_fds", "pipesize", "preexec_fn"]
    keywords += ["restore_signals", "start_new_session", "process_group", "user", "group", "extra_groups", "umask"]
    keywords += ["startupinfo", "creationflags"]
    text = procio.create_subprocess_exec.__doc__ or ""
    assert [name for name in keywords if name not in text] == []


def functions() -> list[Callable[..., Any]]:
    """What can be called by its public name, and its public methods."""
    names = [] if shim.ACTIVE else procio.__all__
    found = [getattr(procio, name) for name in names if hasattr(procio, name)]
    classes = [item for item in found if isinstance(item, type)]
    methods = [item for kind in classes for name, item in vars(kind).items() if name[0] != "_" and callable(item)]
    return [item for item in (*found, *methods) if inspect.isfunction(item) and item.__module__.startswith("procio")]


@pytest.mark.parametrize("function", functions(), ids=lambda function: function.__qualname__)
def test_type_hints_can_be_asked_for(function: Callable[..., Any]) -> None:
    """By tools that do so for every function that they meet."""
    typing.get_type_hints(function)


@needs_procio
def test_type_hints_of_everything_public() -> None:
    """In an interpreter in which no name was used before: an answer does not depend on that."""
    program = """
import inspect, typing, procio
for module in (procio, procio.subprocess):
    for name in module.__all__:
        value = getattr(module, name)
        members = vars(value).values() if inspect.isclass(value) else ()
        for item in (value, *members):
            item = getattr(item, "__func__", item)
            if inspect.isclass(item) or inspect.isfunction(item):
                try:
                    typing.get_type_hints(item)
                except NameError as error:
                    print(name, item, error)
print(typing.get_type_hints(procio.TimeoutExpired)["usage"] == procio.Usage | None)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_every_keyword_is_known_without_its_type() -> None:
    assert procio._options.KEYWORDS == procio._types.PopenOptions.__optional_keys__
