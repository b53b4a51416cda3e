"""Give procio to libraries that know only asyncio."""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.subprocess
import contextlib
import sys
import threading
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from . import _loops, subprocess
from ._loops import METHODS

if TYPE_CHECKING:
    # Not at run time: importlib.abc takes longer to import than all of procio.
    from importlib.machinery import ModuleSpec

_FUNCTIONS = {
    "create_subprocess_exec": subprocess.create_subprocess_exec,
    "create_subprocess_shell": subprocess.create_subprocess_shell,
}
_MISSING = object()

_lock = threading.RLock()
# What was there before: (module or class, name) -> the attribute of its own, or _MISSING.
_saved: dict[tuple[Any, str], Any] = {}
# Whether `install` was called, and the number of `with installed()` blocks that are open.
_wanted = False
_blocks = 0


def install(*loop_classes: type) -> None:
    """Route asyncio's subprocess functions, and those of its event loops, to procio.

    That is ``create_subprocess_exec`` and ``create_subprocess_shell`` of ``asyncio`` and
    ``asyncio.subprocess``; and ``subprocess_exec``, ``subprocess_shell``, ``connect_read_pipe`` and
    ``connect_write_pipe`` of asyncio's own loops, of uvloop's (also if it is imported later), of the
    class of the loop that runs now, and of ``loop_classes``. On Windows the two methods for pipes stay
    asyncio's own.

    A loop class that is named in ``loop_classes``, or that runs now, is given procio's methods in place
    of its own. Where the class of the loop that runs later has a ``subprocess_exec`` or
    ``subprocess_shell`` of its own, written in Python, the functions go through it.

    Idempotent and thread-safe. A module that has already executed ``from asyncio import
    create_subprocess_exec`` keeps the function it has: install first, then import it.

    Raises TypeError for what is no class, and for a loop class whose attributes cannot be set.
    """
    global _wanted
    with _lock:
        _patch_all(loop_classes)
        _wanted = True


def uninstall() -> None:
    """Undo :func:`install`; without it, do nothing. Open ``with installed()`` blocks go on."""
    global _wanted
    with _lock:
        _wanted = False
        if not _blocks:
            _restore(set(_saved))


@contextlib.contextmanager
def installed(*loop_classes: type) -> Iterator[None]:
    """Have procio installed within a ``with`` block; afterwards things are as before it.

    The parameters and the errors are those of :func:`install`. Blocks may be nested, and may be open in
    several threads.
    """
    global _blocks
    with _lock:
        _patch_all(loop_classes)
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks and not _wanted:
                _restore(set(_saved))


def _patch_all(loop_classes: tuple[type, ...]) -> None:
    before = set(_saved)
    try:
        _try_patch_all(loop_classes)
    except BaseException:
        _restore(set(_saved) - before)
        raise


def _try_patch_all(loop_classes: tuple[type, ...]) -> None:
    for loop_class in loop_classes:
        if not isinstance(loop_class, type):
            raise TypeError(f"a class of event loops is needed, not {loop_class!r}")
        _patch_class(loop_class)
    for name, function in _FUNCTIONS.items():
        _patch_function(name, function)
    _patch_class(asyncio.base_events.BaseEventLoop)
    # Not there yet while another thread is importing it; then its loader patches it.
    if uvloops_class := getattr(sys.modules.get("uvloop"), "Loop", None):
        _patch_class(uvloops_class)
    elif _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    with contextlib.suppress(RuntimeError):
        running = type(asyncio.get_running_loop())
        try:
            _patch_class(running)
        except TypeError:
            text = f"procio cannot be installed in {running!r}: its attributes cannot be set"
            warnings.warn(text, RuntimeWarning, stacklevel=3)


def _patch_function(name: str, function: Any) -> None:
    # Not the attribute of asyncio: pytest-subprocess replaces that by a module of fakes.
    module = sys.modules["asyncio.subprocess"]
    _patch(module, name, function)
    there = vars(asyncio).get(name)
    if getattr(there, "__module__", None) == "asyncio.subprocess" or there is function:
        _patch(asyncio, name, function)
    else:
        # A fake or a wrapper is in front: what it calls is procio's already. It is restored from the
        # module when it goes, so that procio's function is then here, too.
        _saved.setdefault((asyncio, name), _saved.get((module, name), there))


def _patch_class(loop_class: type) -> None:
    for name, function in METHODS.items():
        owner = next((base for base in loop_class.__mro__ if name in vars(base)), loop_class)
        if (owner, name) in _saved:
            _patch(owner, name, function)
        elif vars(owner).get(name) is not function:
            _patch(loop_class, name, function)


def _patch(owner: Any, name: str, value: Any) -> None:
    """Patch once: what another program has put on top of ours since then is its own to remove."""
    original = vars(owner).get(name, _MISSING)
    if original is value or _saved.get((owner, name), original) is not original:
        return
    setattr(owner, name, value)
    _saved[owner, name] = original
    _loops.routing.installed = True


def _restore(keys: set[tuple[Any, str]]) -> None:
    """Put back what was there. What another program has put in the place of ours meanwhile stays."""
    ours = {**_FUNCTIONS, **METHODS}
    for owner, name in keys:
        original = _saved.pop((owner, name))
        if vars(owner).get(name) is not ours[name]:
            continue
        if original is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
    if not _saved:
        _loops.routing.installed = False
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(_FINDER)


class _Finder:
    """Patches uvloop's loop class when a program imports it, since it does not exist before."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "uvloop":
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: Any = None if find is None else find(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                found: ModuleSpec = spec
                return found
        return None


class _Loader:
    """Loads a module as its own loader does, and then has its loop class patched."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        module: types.ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        with _lock:
            if _saved and hasattr(module, "Loop"):
                _patch_class(module.Loop)

    def __getattr__(self, name: str) -> Any:
        """Look up what else a loader has, for programs that only look for uvloop."""
        return getattr(self._loader, name)


_FINDER = _Finder()
