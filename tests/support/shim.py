"""asyncio's own subprocess support under procio's name.

With PROCIO_TEST_IMPL=asyncio the suite runs against asyncio: what fails then is either
marked `differs` (procio is meant to differ) or a mistake in the test.
"""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import contextlib
import os
import sys
import types

ACTIVE = os.environ.get("PROCIO_TEST_IMPL") == "asyncio"


def load() -> None:
    """Put the stand-in into sys.modules if the environment asks for it."""
    if not ACTIVE or "procio" in sys.modules:
        return
    module = types.ModuleType("procio")
    for name in ("create_subprocess_exec", "create_subprocess_shell", "Process"):
        setattr(module, name, getattr(asyncio.subprocess, name))
    for name in ("PIPE", "STDOUT", "DEVNULL"):
        setattr(module, name, getattr(asyncio.subprocess, name))
    module.subprocess = asyncio.subprocess  # type: ignore[attr-defined]
    module.install = module.uninstall = lambda: None  # type: ignore[attr-defined]
    module.installed = contextlib.nullcontext  # type: ignore[attr-defined]
    sys.modules["procio"] = module
    sys.modules["procio.subprocess"] = asyncio.subprocess
