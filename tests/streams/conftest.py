"""Processes whose streams the tests of this folder use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import procio
import pytest
from support import PIPE, cat, running


@pytest.fixture
async def pair() -> AsyncIterator[procio.Process]:
    """`cat`: what is written to stdin comes out of stdout."""
    async with cat() as proc:
        yield proc


@pytest.fixture
async def reader() -> AsyncIterator[asyncio.StreamReader]:
    """A reader that gets only what the test feeds."""
    async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
        yield proc.stdout
