"""Transports of connect_read_pipe and connect_write_pipe that are dropped, kept, shared, or outlive their loop."""

from __future__ import annotations

import gc
import os
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipe_ends import MEG, opened, reading, writing
from support import turns, until


async def test_unreferenced_pipe_transport_goes_on_delivering(tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    transport, protocol = await reading(reader)
    del transport, reader
    protocol.transport = None
    gc.collect()
    writer.write(b"x")
    writer.close()
    await protocol.end()
    assert protocol.data == b"x"


async def test_nothing_is_kept_after_the_end(tmp_path: Path) -> None:
    """Without a garbage collection, even by a program that keeps the transport."""
    for connect in (reading, writing):
        reader, writer = opened("pipe", tmp_path)
        transport, protocol = await connect(reader if connect is reading else writer)
        (writer if connect is reading else reader).close()
        await protocol.end()
        protocol.transport = None
        await turns(3)
        seen = weakref.ref(protocol)
        gc.disable()
        try:
            del protocol
            assert seen() is None
        finally:
            gc.enable()
        assert transport.get_protocol() is None
        transport.close()
        if connect is writing:
            transport.write(b"x")


def resource_warnings(action: Callable[[], None]) -> list[str]:
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        action()
        gc.collect()
    texts = [str(record.message) for record in records if issubclass(record.category, ResourceWarning)]
    # A record holds what it is about, which was found to be garbage and is not any more. From 3.15 on
    # it has its weak references still.
    records.clear()
    gc.collect()
    return texts


@pytest.mark.differs
@pytest.mark.parametrize("direction", ["read", "write"])
def test_loop_closed_first(direction: str, loop_factory: Any, tmp_path: Path) -> None:
    """A ResourceWarning, and nothing stays open; closing it afterwards is no error."""
    for keeps in (False, True):
        folder = tmp_path / str(keeps)
        folder.mkdir()
        reader, writer = opened("pipe", folder)
        loop = loop_factory()
        connect, ours, other = (reading, reader, writer) if direction == "read" else (writing, writer, reader)
        transport, protocol = loop.run_until_complete(connect(ours))
        if direction == "write":
            transport.write(bytes(MEG))
        loop.run_until_complete(turns(2))
        seen = weakref.ref(transport)
        loop.close()
        del reader, writer
        if keeps:
            transport.close()
            assert ours.closed

        def drop() -> None:
            nonlocal transport, protocol
            transport = protocol = None

        texts = resource_warnings(drop)
        assert seen() is None
        assert ours.closed
        assert len(texts) == (0 if keeps else 1), texts
        assert keeps or texts[0].startswith("unclosed transport")
        other.close()


@pytest.mark.differs
async def test_paused_transport_that_is_dropped_is_worth_a_warning(tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    transport, protocol = await reading(reader)
    await turns(2)
    transport.pause_reading()

    def drop() -> None:
        nonlocal transport
        protocol.transport = transport = None

    texts = resource_warnings(drop)
    assert len(texts) == 1
    assert texts[0].startswith("unclosed transport")
    assert reader.closed
    writer.close()


@pytest.mark.differs
async def test_same_pipe_read_by_two_transports_of_which_one_is_closed(tmp_path: Path) -> None:
    reader, writer = opened("pipe", tmp_path)
    copy = open(os.dup(reader.fileno()), "rb", 0)
    first, first_protocol = await reading(reader)
    _, second_protocol = await reading(copy)
    first.close()
    await first_protocol.end()
    writer.write(b"x")
    await until(lambda: second_protocol.data, "data")
    writer.close()
    await second_protocol.end()
