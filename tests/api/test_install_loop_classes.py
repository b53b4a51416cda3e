"""install() and loop classes with methods of their own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import procio
import pytest
import shim
import skips
from routing import ALL, attributes, is_routed
from support import PIPE

if shim.ACTIVE:
    pytest.skip(skips.OWN_NAMES, allow_module_level=True)

pytestmark = pytest.mark.usefixtures("nothing_installed")


def own_class(base: type = asyncio.SelectorEventLoop) -> type:
    """A loop class with a method of its own."""

    class Own(base):  # type: ignore[misc]
        async def subprocess_exec(self, *args: Any, **kwds: Any) -> Any:
            raise AssertionError("the class's own method")

    return Own


def test_class_of_the_running_loop() -> None:
    own = own_class()
    before = dict(vars(own))

    async def main() -> list[bool]:
        with procio.installed():
            return await is_routed()

    with asyncio.Runner(loop_factory=own) as runner:
        assert runner.run(main()) == ALL
    assert dict(vars(own)) == before


def test_classes_that_are_named() -> None:
    own = own_class()
    before = dict(vars(own))
    procio.install(own)
    with asyncio.Runner(loop_factory=own) as runner:
        assert runner.run(is_routed()) == ALL
    procio.uninstall()
    assert dict(vars(own)) == before


def auditing_class(base: Any, seen: list[str], refuse: bool = False) -> Any:
    """A loop class whose methods look at every start of a child."""

    class Auditing(base):  # type: ignore[misc]
        async def subprocess_exec(self, factory: Any, *args: Any, **kwds: Any) -> Any:
            seen.append(f"exec {args}")
            if refuse:
                raise PermissionError("refused")
            return await super().subprocess_exec(factory, *args, **kwds)

        async def subprocess_shell(self, factory: Any, cmd: Any, **kwds: Any) -> Any:
            seen.append(f"shell {cmd}")
            return await super().subprocess_shell(factory, cmd, **kwds)

    return Auditing


@pytest.mark.parametrize("base", ["asyncio", "mixin", "uvloop"])
def test_methods_of_a_loop_class_are_gone_through(base: str) -> None:
    """As asyncio does it; the process is procio's all the same, with procio's lines of any length."""
    if base == "uvloop":
        loop_base: Any = pytest.importorskip("uvloop").Loop
    else:
        loop_base = procio.EventLoop if base == "mixin" else asyncio.SelectorEventLoop
    seen: list[str] = []

    async def main() -> None:
        create = procio if base == "mixin" else asyncio
        proc = await create.create_subprocess_exec("echo", "x" * 100_000, stdout=PIPE)
        assert isinstance(proc, procio.Process)
        assert len(await proc.stdout.readline()) == 100_001
        assert await proc.wait() == 0
        proc = await create.create_subprocess_shell("echo y", stdout=PIPE, limit=3)
        assert isinstance(proc, procio.Process)
        assert await proc.communicate() == (b"y\n", None)
        assert len(seen) == 2
        assert seen[0].startswith("exec ('echo'")
        assert seen[1] == "shell echo y"

    with contextlib.ExitStack() as stack:
        if base != "mixin":
            stack.enter_context(procio.installed())
        with asyncio.Runner(loop_factory=auditing_class(loop_base, seen)) as runner:
            runner.run(main())


def test_method_of_a_loop_class_may_refuse() -> None:
    seen: list[str] = []

    async def main() -> None:
        with pytest.raises(PermissionError, match="refused"):
            await asyncio.create_subprocess_exec("true")

    with procio.installed():
        with asyncio.Runner(loop_factory=auditing_class(asyncio.SelectorEventLoop, seen, refuse=True)) as runner:
            runner.run(main())
    assert seen == ["exec ('true',)"]


def test_method_of_a_loop_class_is_not_asked_without_install() -> None:
    """It would end in asyncio's own processes, and procio's function was called."""
    seen: list[str] = []

    async def main() -> None:
        proc = await procio.create_subprocess_exec("true")
        assert isinstance(proc, procio.Process)
        await proc.wait()

    with asyncio.Runner(loop_factory=auditing_class(asyncio.SelectorEventLoop, seen)) as runner:
        runner.run(main())
    assert seen == []


def test_class_whose_attributes_cannot_be_set() -> None:
    before = attributes()
    own = own_class()
    own_before = dict(vars(own))
    with pytest.raises(TypeError):
        procio.install(own, int)
    assert attributes() == before
    assert dict(vars(own)) == own_before
    procio.install(own)
    inside = attributes()
    with pytest.raises(TypeError), procio.installed(int):
        pytest.fail("not reached")
    assert attributes() == inside


def test_running_loop_whose_class_cannot_be_changed() -> None:
    class Frozen(type(asyncio.SelectorEventLoop)):  # type: ignore[misc]
        def __setattr__(cls, name: str, value: Any) -> None:
            raise TypeError("immutable")

    class Own(asyncio.SelectorEventLoop, metaclass=Frozen):
        async def subprocess_exec(self, *args: Any, **kwds: Any) -> Any:
            return await super().subprocess_exec(*args, **kwds)

    async def main() -> None:
        with contextlib.ExitStack() as stack:
            with pytest.warns(RuntimeWarning, match="cannot be installed in .*Own"):
                stack.enter_context(procio.installed())
            proc = await asyncio.create_subprocess_exec("true")
            assert isinstance(proc, procio.Process)
            await proc.wait()

    with asyncio.Runner(loop_factory=Own) as runner:
        runner.run(main())


@pytest.mark.parametrize("what", [object(), asyncio.SelectorEventLoop.__name__, None])
def test_what_is_no_class(what: Any, nothing_installed: None) -> None:
    with pytest.raises(TypeError, match="a class of event loops is needed"):
        procio.install(what)
    with pytest.raises(TypeError, match="a class of event loops is needed"), procio.installed(what):
        pass
