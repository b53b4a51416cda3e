"""Every test of this folder runs with procio installed."""

from __future__ import annotations

from collections.abc import Iterator

import procio
import pytest


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with procio.installed():
        yield
