"""Give procio to libraries that know only asyncio."""

import asyncio
import asyncio.subprocess
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from . import subprocess

_NAMES = ("create_subprocess_exec", "create_subprocess_shell")
_lock = threading.Lock()
_saved: dict[tuple[Any, str], Any] = {}


def install() -> None:
    """Route ``asyncio.create_subprocess_exec`` and ``_shell`` to procio.

    Idempotent and thread-safe. A module that has already executed ``from asyncio import
    create_subprocess_exec`` keeps the function it has: install first, then import it.
    """
    with _lock:
        if _saved:
            return
        for module in (asyncio, asyncio.subprocess):
            for name in _NAMES:
                _saved[module, name] = getattr(module, name)
                setattr(module, name, getattr(subprocess, name))


def uninstall() -> None:
    """Undo :func:`install`; without it, do nothing."""
    with _lock:
        for (module, name), original in _saved.items():
            setattr(module, name, original)
        _saved.clear()


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Have procio installed within a ``with`` block; afterwards things are as before it."""
    was_installed = bool(_saved)
    install()
    try:
        yield
    finally:
        if not was_installed:
            uninstall()
