"""The shared completion port relies on what asyncio's proactor does with its table. That is private, so it is tried
here with the source of the running version, on every system: its own Windows modules are parts of every CPython."""

from __future__ import annotations

import ast
import collections
import importlib.util
import logging
import math
import re
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import ROOT

FOUND = importlib.util.find_spec("asyncio")
assert FOUND is not None
assert FOUND.submodule_search_locations
WINDOWS_EVENTS = Path(FOUND.submodule_search_locations[0], "windows_events.py")
PROACTOR_EVENTS = WINDOWS_EVENTS.with_name("proactor_events.py")


def definition(path: Path, name: str) -> ast.ClassDef:
    """The class of that name, without what the module does otherwise, which only Windows can."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


class Port:
    """A completion port: what was posted to it comes out."""

    def __init__(self) -> None:
        self.packets: collections.deque[tuple[int, int, int, int]] = collections.deque()
        self.waits: list[int] = []

    def get(self, port: int, milliseconds: int) -> tuple[int, int, int, int] | None:
        self.waits.append(milliseconds)
        return self.packets.popleft() if self.packets else None


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def proactor(port: Port) -> Iterator[Any]:
    module = ast.Module(body=[definition(WINDOWS_EVENTS, "IocpProactor")], type_ignores=[])
    overlapped = SimpleNamespace(
        CreateIoCompletionPort=lambda *args: 7,
        GetQueuedCompletionStatus=port.get,
        INVALID_HANDLE_VALUE=-1,
        NULL=0,
    )
    names: dict[str, Any] = {
        "_overlapped": overlapped,
        "_winapi": SimpleNamespace(CloseHandle=lambda handle: None),
        "_WaitCancelFuture": type("_WaitCancelFuture", (), {}),
        "INFINITE": 0xFFFFFFFF,
        "INVALID_HANDLE_VALUE": -1,
        "NULL": 0,
        "logger": logging.getLogger("asyncio"),
        "math": math,
        "time": time,
        "weakref": weakref,
    }
    exec(compile(module, str(WINDOWS_EVENTS), "exec"), names)
    proactor = names["IocpProactor"]()
    yield proactor
    # It closes itself when it goes, and would wait for what is left.
    proactor._cache.clear()
    proactor.close()


class Expected:
    """The future and the callback of an entry, as procio's; it has no other attributes."""

    __slots__ = ("calls", "proactor", "stays")

    def __init__(self, proactor: Any, stays: bool = False) -> None:
        self.proactor, self.stays = proactor, stays
        self.calls: list[Any] = []

    def put(self, overlapped: object = None) -> None:
        self.proactor._cache[id(self)] = (self, overlapped, None, self)

    def __call__(self, *args: Any) -> None:
        self.calls.append(args)
        if self.stays:
            self.put()

    def done(self) -> bool:
        return False

    cancelled = done

    def cancel(self) -> bool:
        self.calls.append("cancel")
        return True

    def set_result(self, result: object) -> None:
        self.calls.append(("set_result", result))

    def set_exception(self, exception: BaseException) -> None:
        raise AssertionError(exception)


def test_an_entry_is_taken_out_and_called(proactor: Any, port: Port) -> None:
    expected = Expected(proactor)
    mark = object()
    expected.put(mark)
    port.packets.append((0, 5, 6, id(expected)))
    proactor._poll(0)
    assert expected.calls == [(5, 6, mark), ("set_result", None)]
    assert proactor._cache == {}
    assert type(proactor._cache) is dict
    assert proactor._iocp == 7


def test_an_entry_may_put_itself_back(proactor: Any, port: Port) -> None:
    expected = Expected(proactor, stays=True)
    expected.put()
    port.packets += [(0, 0, 0, id(expected))] * 3
    proactor._poll(0)
    assert len(expected.calls) == 6
    assert list(proactor._cache) == [id(expected)]


def test_nothing_more_is_waited_for_after_a_packet(proactor: Any, port: Port) -> None:
    expected = Expected(proactor, stays=True)
    expected.put()
    port.packets.append((0, 0, 0, id(expected)))
    proactor._poll(1.5)
    assert port.waits == [1500, 0]


def test_close_cancels_and_then_waits_for_the_packets(proactor: Any, port: Port) -> None:
    expected = Expected(proactor)
    expected.put()
    port.packets.append((0, 0, 0, id(expected)))
    proactor.close()
    assert expected.calls == ["cancel", (0, 0, None), ("set_result", None)]
    assert proactor._iocp is None


def test_close_waits_for_nothing_that_took_itself_out(proactor: Any, port: Port) -> None:
    class Last(Expected):
        def cancel(self) -> bool:
            del self.proactor._cache[id(self)]
            return True

    Last(proactor).put()
    proactor.close()
    assert (proactor._cache, port.waits) == ({}, [])


def test_a_loop_names_its_proactor(proactor: Any) -> None:
    """`_proactor` and `_selector` are the same object, which no subclass of asyncio's changes."""
    loop = definition(PROACTOR_EVENTS, "BaseProactorEventLoop")
    begin = next(node for node in loop.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    assigned = {
        ast.unparse(target): ast.unparse(node.value)
        for node in ast.walk(begin)
        if isinstance(node, ast.Assign)
        for target in node.targets
    }
    assert (assigned["self._proactor"], assigned["self._selector"]) == ("proactor", "proactor")


@pytest.mark.skipif(not (ROOT / "src/py/proactor.rs").exists(), reason="no source of procio here")
def test_no_other_names_are_read(proactor: Any) -> None:
    """What the Rust half reads is what is tried here."""
    text = (ROOT / "src/py/proactor.rs").read_text(encoding="utf-8")
    read = set(re.findall(r'"(_[a-z]\w*)"', text))
    assert read == {"_proactor", "_selector", "_iocp", "_cache", "_poll", "_overlapped"}
    assert all(hasattr(proactor, name) for name in ("_iocp", "_cache", "_poll", "close"))
