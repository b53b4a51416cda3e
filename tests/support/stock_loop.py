"""asyncio's own loop as a reference, also while procio is installed.

It has to be imported while a test file is collected, when nothing is installed yet.
"""

from __future__ import annotations

import asyncio

_NAMES = ("subprocess_exec", "subprocess_shell", "connect_read_pipe", "connect_write_pipe")

# With methods of its own a class is left alone by what is put into asyncio's.
StockLoop: type[asyncio.SelectorEventLoop] = type(
    "StockLoop", (asyncio.SelectorEventLoop,), {name: getattr(asyncio.SelectorEventLoop, name) for name in _NAMES}
)
