"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import procio
import pytest
import routing


@pytest.fixture
def nothing_installed() -> Iterator[None]:
    """After the test all that install() may change is exactly as it was."""
    before = routing.attributes()
    yield
    procio.uninstall()
    assert routing.attributes() == before
