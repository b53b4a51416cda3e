"""install(), uninstall(), installed(), the loop classes and factories; the child watchers of 3.11."""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.subprocess
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import procio
import pytest
import shim
import skips
from protocols import Recorder, start
from support import PIPE, WINDOWS, script_result, status_survives_theft, turns

if shim.ACTIVE:
    pytest.skip(skips.OWN_NAMES, allow_module_level=True)

METHODS = ("subprocess_exec", "subprocess_shell", "connect_read_pipe", "connect_write_pipe")
FUNCTIONS = ("create_subprocess_exec", "create_subprocess_shell")
needs_uvloop = pytest.mark.skipif(not skips.HAVE_UVLOOP, reason=skips.UVLOOP_MISSING)


def loop_classes() -> list[type]:
    classes: list[type] = [asyncio.AbstractEventLoop, asyncio.base_events.BaseEventLoop, asyncio.SelectorEventLoop]
    if skips.HAVE_UVLOOP:
        import uvloop

        classes.append(uvloop.Loop)
    if WINDOWS:
        classes.append(asyncio.ProactorEventLoop)
    return classes


def attributes() -> list[Any]:
    """Everything that could be changed."""
    owners = [asyncio, asyncio.subprocess, *loop_classes()]
    return [{name: id(value) for name, value in vars(owner).items()} for owner in owners] + [list(sys.meta_path)]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """After each test all is exactly as it was."""
    before = attributes()
    yield
    procio.uninstall()
    assert attributes() == before


def ends_of_a_pipe() -> tuple[Any, Any]:
    """As asyncio's loops can connect them."""
    if WINDOWS:
        from asyncio import windows_utils

        reader, writer = windows_utils.pipe(overlapped=(True, True), duplex=True)
        return windows_utils.PipeHandle(reader), windows_utils.PipeHandle(writer)
    reader, writer = os.pipe()
    return open(reader, "rb", 0), open(writer, "wb", 0)


async def leads_to_procio(way: Any) -> bool:
    """Whether a way to a child is procio's. On Windows asyncio's Selector loop has none."""
    try:
        found = await way
    except NotImplementedError:
        return False
    if isinstance(found, tuple):
        transport, protocol = found
        if isinstance(protocol, Recorder):
            await protocol.end()
        transport.close()
        return type(transport).__module__.startswith("procio.")
    await found.wait()
    return isinstance(found, procio.Process)


async def is_routed() -> list[bool]:
    """Whether each of the six ways to a child leads to procio."""
    loop: Any = asyncio.get_running_loop()
    found = [
        await leads_to_procio(way)
        for way in (
            asyncio.create_subprocess_exec("true"),
            asyncio.create_subprocess_shell("true"),
            loop.subprocess_exec(Recorder, "true"),
            loop.subprocess_shell(Recorder, "true"),
        )
    ]
    for connect, mine in ((loop.connect_read_pipe, 0), (loop.connect_write_pipe, 1)):
        ends = ends_of_a_pipe()
        found.append(await leads_to_procio(connect(asyncio.Protocol, ends[mine])))
        await turns(3)
        for end in ends:
            end.close()
    return found


# On Windows connecting pipes stays with asyncio.
PIPES = [not WINDOWS] * 2
ALL, NONE, LOOP_ONLY = [True] * 4 + PIPES, [False] * 6, [False, False, True, True, *PIPES]


# --- install, uninstall, installed ---------------------------------------------------------------


async def test_install_routes_every_way_to_a_child() -> None:
    assert await is_routed() == NONE
    procio.install()
    assert await is_routed() == ALL
    procio.uninstall()
    assert await is_routed() == NONE


async def test_functions_of_both_modules() -> None:
    procio.install()
    for module in (asyncio, asyncio.subprocess):
        proc = await module.create_subprocess_exec("echo", "x", stdout=PIPE)
        assert isinstance(proc, procio.Process)
        assert await proc.communicate() == (b"x\n", None)
        proc = await module.create_subprocess_shell("echo x", stdout=PIPE)
        assert isinstance(proc, procio.Process)
        assert (await proc.communicate())[0].split() == [b"x"]


def test_restoration_is_exact_however_often() -> None:
    before = attributes()
    for _ in range(3):
        procio.install()
        procio.install()
        assert attributes() != before
        procio.uninstall()
        assert attributes() == before
        procio.uninstall()
        assert attributes() == before


def test_blocks() -> None:
    before = attributes()
    with procio.installed():
        inside = attributes()
        assert inside != before
        with procio.installed():
            assert attributes() == inside
        assert attributes() == inside
    assert attributes() == before
    with pytest.raises(ZeroDivisionError), procio.installed():
        raise ZeroDivisionError
    assert attributes() == before


def test_blocks_that_overlap_and_install_within() -> None:
    before = attributes()
    first, second = procio.installed(), procio.installed()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert attributes() != before
    procio.uninstall()
    assert attributes() != before
    second.__exit__(None, None, None)
    assert attributes() == before
    with procio.installed():
        procio.install()
    assert attributes() != before
    with procio.installed():
        procio.uninstall()
        assert attributes() != before
    assert attributes() == before


def test_many_threads() -> None:
    before = attributes()
    barrier = threading.Barrier(8)
    seen: list[bool] = []

    def work() -> None:
        barrier.wait()
        for _ in range(50):
            with procio.installed():
                seen.append(asyncio.create_subprocess_exec is procio.create_subprocess_exec)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 400
    assert attributes() == before


async def test_children_outlive_the_block() -> None:
    with procio.installed():
        proc = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        transport, protocol = await start("cat", stderr=None)
    assert await proc.communicate(b"x") == (b"x", None)
    pipe = transport.get_pipe_transport(0)
    pipe.write(b"y")
    pipe.close()
    await protocol.end()
    assert protocol.data[1] == b"y"
    transport.close()


# --- somebody else patches, too ------------------------------------------------------------------


async def test_patch_on_top_of_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second install() does not remove it, and uninstall() neither."""
    calls: list[str] = []
    original = asyncio.create_subprocess_exec
    procio.install()
    for owner, name in ((asyncio, "create_subprocess_exec"), (asyncio.base_events.BaseEventLoop, "subprocess_exec")):

        def wrap(inner: Any, name: str) -> Any:
            @functools.wraps(inner)
            def traced(*args: Any, **kwds: Any) -> Any:
                calls.append(name)
                return inner(*args, **kwds)

            return traced

        monkeypatch.setattr(owner, name, wrap(getattr(owner, name), name))
    traced = asyncio.create_subprocess_exec
    procio.install()
    with procio.installed():
        assert asyncio.create_subprocess_exec is traced
        proc = await asyncio.create_subprocess_exec("true")
        assert isinstance(proc, procio.Process)
        await proc.wait()
    # The method too, where it is the running loop's: asyncio calls it.
    by_method = isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)
    assert calls == ["create_subprocess_exec", *(["subprocess_exec"] if by_method else [])]
    procio.uninstall()
    assert asyncio.create_subprocess_exec is traced
    monkeypatch.undo()
    assert asyncio.create_subprocess_exec is procio.create_subprocess_exec  # what was there when they came
    setattr(asyncio, "create_subprocess_exec", original)  # noqa: B010
    base: Any = asyncio.base_events.BaseEventLoop
    base.subprocess_exec = ORIGINAL_EXEC


ORIGINAL_EXEC = asyncio.base_events.BaseEventLoop.subprocess_exec


async def test_a_fake_that_is_there_first_stays_in_front() -> None:
    """As pytest-subprocess puts it: a module of fakes, and at the end what the real module has by then."""
    real = sys.modules["asyncio.subprocess"]
    before = asyncio.create_subprocess_exec

    async def fake(*args: Any, **kwds: Any) -> Any:
        return await real.create_subprocess_exec(*args, **kwds) if args == ("true",) else "fake"

    fakes: Any = types.SimpleNamespace(create_subprocess_exec=fake)
    asyncio.subprocess = fakes
    setattr(asyncio, "create_subprocess_exec", fake)  # noqa: B010
    try:
        procio.install()
        assert await asyncio.create_subprocess_exec("nosuch") == "fake"
        proc = await asyncio.create_subprocess_exec("true")
        assert isinstance(proc, procio.Process)
        await proc.wait()
    finally:
        asyncio.subprocess = real
        setattr(asyncio, "create_subprocess_exec", real.create_subprocess_exec)  # noqa: B010
    assert asyncio.create_subprocess_exec is procio.create_subprocess_exec
    procio.uninstall()
    assert asyncio.create_subprocess_exec is before
    assert real.create_subprocess_exec is before


def test_install_again_after_the_original_was_restored() -> None:
    original = asyncio.create_subprocess_exec
    procio.install()
    setattr(asyncio, "create_subprocess_exec", original)  # noqa: B010
    procio.install()
    assert asyncio.create_subprocess_exec is procio.create_subprocess_exec
    procio.uninstall()
    assert asyncio.create_subprocess_exec is original


# --- loop classes --------------------------------------------------------------------------------


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


LATE = """
before = list(sys.meta_path)
assert "uvloop" not in sys.modules
if "before" in args:
    import uvloop
procio.install()
import importlib.util
assert importlib.util.find_spec("uvloop").loader.is_package("uvloop")
import uvloop
names = ["subprocess_exec", "subprocess_shell", "connect_read_pipe", "connect_write_pipe"]
patched = [name in vars(uvloop.Loop) for name in names]
loader = type(uvloop.__loader__).__name__, type(uvloop.__spec__.loader).__name__

class Protocol(asyncio.SubprocessProtocol):
    def __init__(self): self.end = asyncio.get_running_loop().create_future()
    def connection_lost(self, exc): self.end.set_result(None)

async def main():
    transport, protocol = await asyncio.get_running_loop().subprocess_exec(Protocol, "true")
    await protocol.end
    transport.close()
    return type(transport).__module__

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    module = runner.run(main())
procio.uninstall()
print(json.dumps([patched, module.split(".")[0], [name in vars(uvloop.Loop) for name in names],
                  sys.meta_path == before, loader]))
"""


@needs_uvloop
@pytest.mark.parametrize("when", ["before", "after"])
def test_uvloop_imported_before_and_after(when: str) -> None:
    result = script_result(LATE, when)
    assert result == [[True] * 4, "procio", [False] * 4, True, ["SourceFileLoader", "SourceFileLoader"]]


BLOCKED = """
sys.modules["uvloop"] = None
before = list(sys.meta_path)
procio.install()
procio.uninstall()
print(json.dumps(sys.meta_path == before))
"""


def test_program_without_uvloop() -> None:
    assert script_result(BLOCKED) is True


# --- loops without any patching ------------------------------------------------------------------


def run(factory: Callable[[], asyncio.AbstractEventLoop]) -> list[bool]:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(is_routed())


def test_event_loop_class() -> None:
    assert run(procio.EventLoop) == LOOP_ONLY
    assert issubclass(procio.EventLoop, asyncio.SelectorEventLoop)


def test_new_event_loop() -> None:
    assert run(procio.new_event_loop) == LOOP_ONLY
    loop = procio.new_event_loop()
    if WINDOWS:
        assert isinstance(loop, asyncio.ProactorEventLoop)
        assert isinstance(loop, procio.SubprocessLoopMixin)
    else:
        assert type(loop) is procio.EventLoop
    loop.close()


@needs_uvloop
def test_uvloop_without_patching() -> None:
    import uvloop

    assert run(procio.new_uvloop_event_loop) == LOOP_ONLY

    class Mixed(procio.SubprocessLoopMixin, uvloop.Loop):
        pass

    assert run(Mixed) == LOOP_ONLY
    for factory in (procio.new_uvloop_event_loop, Mixed):
        loop = factory()
        assert isinstance(loop, uvloop.Loop)
        loop.close()
    assert run(uvloop.new_event_loop) == NONE


@needs_uvloop
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_new_event_loop_with_the_policy_of_uvloop() -> None:
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        loop = procio.new_event_loop()
        assert isinstance(loop, uvloop.Loop)
        loop.close()
        assert run(procio.new_event_loop) == LOOP_ONLY
    finally:
        asyncio.set_event_loop_policy(None)


def test_run() -> None:
    async def main() -> Any:
        return await is_routed(), type(asyncio.get_running_loop()), asyncio.get_running_loop().get_debug()

    with contextlib.closing(procio.new_event_loop()) as loop:
        expected = type(loop)
    assert procio.run(main()) == (LOOP_ONLY, expected, False)
    assert procio.run(main(), debug=True)[2] is True
    if skips.HAVE_UVLOOP:
        assert procio.run(main(), loop_factory=procio.new_uvloop_event_loop)[0] == LOOP_ONLY

    async def nested() -> None:
        procio.run(main())

    with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
        procio.run(nested())
    # From CPython 3.14 on it is a TypeError.
    with pytest.raises((TypeError, ValueError)) as theirs:
        asyncio.run(5)  # type: ignore[arg-type]
    with pytest.raises(theirs.type, match="coroutine"):
        procio.run(5)  # type: ignore[arg-type]


def test_loops_in_threads() -> None:
    """Each with its own children, procio's by class in some and by installation in none."""
    results: list[Any] = []

    async def work() -> None:
        ends = [await start("sh", "-c", f"echo {number}; exit {number}") for number in range(5)]
        for number, (transport, protocol) in enumerate(ends):
            await protocol.end()
            results.append((protocol.data[1] == b"%d\n" % number, transport.get_returncode() == number))
            transport.close()

    factories = [
        procio.EventLoop,
        procio.new_event_loop,
        *([procio.new_uvloop_event_loop] if skips.HAVE_UVLOOP else []),
    ]
    threads = [
        threading.Thread(target=procio.run, args=(work(),), kwargs={"loop_factory": make}) for make in factories * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(True, True)] * 5 * len(threads)


# --- child watchers (deprecated in 3.12, gone in 3.14) -------------------------------------------

WATCHERS = [
    "ThreadedChildWatcher",
    "PidfdChildWatcher",
    "SafeChildWatcher",
    "FastChildWatcher",
    "MultiLoopChildWatcher",
]


@skips.needs_child_watchers
@pytest.mark.filterwarnings("ignore:.*asyncio is trying to install its ChildWatcher:RuntimeWarning")
@pytest.mark.parametrize("name", WATCHERS)
def test_child_watchers_go_on_working(name: str, loop_factory: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Set, asked for, attached and active while procio runs children; and one of asyncio's own beside them."""
    loop = loop_factory()
    asyncio.set_event_loop(loop)
    watcher: Any = getattr(asyncio, name)()
    before = signal.getsignal(signal.SIGCHLD)
    try:
        asyncio.set_child_watcher(watcher)
        watcher.attach_loop(loop)
        assert asyncio.get_child_watcher() is watcher

        async def main() -> None:
            with procio.installed():
                procs = [
                    await asyncio.create_subprocess_exec("sh", "-c", f"read x; exit {n}", stdin=PIPE) for n in range(5)
                ]
                transport, protocol = await start("sh", "-c", "read x; exit 7")
                transport.get_pipe_transport(0).write(b"\n")
            theirs: Any = None
            if isinstance(loop, asyncio.SelectorEventLoop):
                theirs = await asyncio.create_subprocess_exec("sh", "-c", "exit 9")
                assert not isinstance(theirs, procio.Process)
            for proc in procs:
                proc.stdin.close()
            codes = [await proc.wait() for proc in procs]
            await protocol.end()
            # This one reaps every child there is, so who is first is a matter of luck.
            if name != "FastChildWatcher" or status_survives_theft():
                assert codes == list(range(5))
                assert transport.get_returncode() == 7
            if theirs is not None:
                # The last one's handler of the signal can interrupt itself between waitpid and its own
                # notes, when a child of ours ends at that moment: it then knows no better than 255.
                lossy = name in ("FastChildWatcher", "MultiLoopChildWatcher")
                assert await theirs.wait() in ((9, 255) if lossy else (9,))
            transport.close()

        loop.run_until_complete(main())
    finally:
        watcher.close()
        asyncio.set_child_watcher(None)
        asyncio.set_event_loop(None)
        loop.close()
        with warnings.catch_warnings():
            asyncio.set_event_loop_policy(None)
        signal.signal(signal.SIGCHLD, before)
        # When asyncio's handler interrupted itself, it logged the frames of the loop's run, and these
        # would keep the loop alive.
        caplog.clear()


LAZILY = """
import procio
if args[0] == "install":
    procio.install()
elif args[0] == "install before uvloop":
    procio.install()
    import uvloop

class Protocol(asyncio.SubprocessProtocol):
    def connection_made(self, transport):
        self.ended = asyncio.get_running_loop().create_future()

    def process_exited(self):
        self.ended.set_result(None)

async def main():
    made = []
    if args[0].startswith("install"):
        proc = await asyncio.create_subprocess_exec("echo", "high", stdout=PIPE)
        assert await proc.communicate() == (b"high\\n", None)
        made.append(type(proc).__module__)
    transport, protocol = await asyncio.get_running_loop().subprocess_exec(Protocol, "true")
    await protocol.ended
    print(json.dumps([*made, type(transport).__module__]))

if args[0].startswith("install"):
    if args[1] == "uvloop":
        import uvloop
        factory = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
else:
    factory = {"uvloop": procio.new_uvloop_event_loop, "asyncio": procio.new_event_loop}[args[1]]
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="there are no lazy imports")
@pytest.mark.parametrize("how", ["install", "install before uvloop", "a loop of procio's"])
def test_lazy_imports(how: str, loop_name: str) -> None:
    """Every import of the program and of procio may be put off until its name is used."""
    if how == "install before uvloop" and not skips.HAVE_UVLOOP:
        pytest.skip(skips.UVLOOP_MISSING)
    program = f"import asyncio, json, sys\nfrom subprocess import PIPE\nargs = sys.argv[1:]\n{LAZILY}"
    done = subprocess.run(
        [sys.executable, "-X", "lazy_imports=all", "-c", program, how, loop_name],
        capture_output=True,
        text=True,
        timeout=40,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = ["procio.subprocess"] if how.startswith("install") else []
    assert json.loads(done.stdout) == [*expected, "procio._subprocess_transport"]
