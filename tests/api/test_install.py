"""install(), uninstall() and installed(): beside the patches of others, uvloop, child watchers and lazy imports."""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.subprocess
import functools
import json
import signal
import subprocess
import sys
import threading
import types
import warnings
from typing import Any

import procio
import pytest
import shim
import skips
from protocols import start
from routing import ALL, NONE, attributes, is_routed
from support import PIPE, script_result, status_survives_theft

if shim.ACTIVE:
    pytest.skip(skips.OWN_NAMES, allow_module_level=True)

pytestmark = pytest.mark.usefixtures("nothing_installed")
needs_uvloop = pytest.mark.skipif(not skips.HAVE_UVLOOP, reason=skips.UVLOOP_MISSING)


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


# --- other patches of the same functions ---------------------------------------------------------


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


# --- uvloop --------------------------------------------------------------------------------------

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
        asyncio.set_child_watcher(None)  # type: ignore[arg-type]
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
