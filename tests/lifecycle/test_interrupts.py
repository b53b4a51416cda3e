"""Anything may be raised out of any call into Python: what the handler of a signal raises, or a lack of memory.

It comes out, or the operation completes; no other operation is lost by it, and nothing is left.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import warnings
from collections.abc import Callable
from typing import Any

import procio
import pytest
import shim
import skips
from support import ASKED, PIPE, children, run_script, sh, status_survives_theft, turns, until_sync

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason="asyncio makes other calls")

ERRORS = (KeyboardInterrupt, MemoryError, RuntimeError)


Base: Any = object  # beside it comes a class of loops


class StrikingFuture(asyncio.Future[Any]):
    """What is to be completed, and may raise instead."""

    def set_result(self, result: Any) -> None:
        loop: Any = self.get_loop()
        if loop.in_dispatch:
            loop.strike("set_result")
        super().set_result(result)


class Striking(Base):  # type: ignore[misc]
    """A loop whose methods raise when they are told, if it is procio that calls them."""

    method, countdown = "", -1
    error: type[BaseException] = RuntimeError
    in_dispatch = False
    watches = True  # or it cannot watch descriptors

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def strike(self, method: str) -> None:
        if method == self.method and self.countdown >= 0:
            self.countdown -= 1
            if self.countdown < 0:
                raise self.error("struck")

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:
        if not self.watches:
            raise NotImplementedError
        self.strike("add_reader")

        def wrapped(*args: Any) -> None:
            self.in_dispatch = True
            try:
                callback(*args)
            finally:
                self.in_dispatch = False

        super().add_reader(fd, wrapped, *args)
        self.readers.add(fd)
        self.strike("after add_reader")

    def remove_reader(self, fd: Any) -> bool:
        self.strike("remove_reader")
        removed = bool(super().remove_reader(fd))
        self.readers.discard(fd)
        self.strike("after remove_reader")
        return removed

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if self.in_dispatch:
            self.strike("call_soon")
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if "Turn" in type(callback).__name__:
            self.strike("call_soon_threadsafe")
        return super().call_soon_threadsafe(callback, *args, context=context)

    def create_future(self) -> Any:
        self.strike("create_future")
        return StrikingFuture(loop=self) if self.method == "set_result" else super().create_future()

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        if "Timer" in type(callback).__name__:
            self.strike("call_later")
        return super().call_later(delay, callback, *args, context=context)


def striking(loop_name: str) -> type[Any]:
    """Such a class of loops of that kind."""
    base: type[Any] = asyncio.SelectorEventLoop
    if loop_name == "uvloop":
        import uvloop

        base = uvloop.Loop
    return type("Loop", (Striking, base), {})


async def read_lines() -> list[bytes]:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    found = []
    for i in range(3):
        proc.stdin.write(b"%d\n" % i)
        found.append(await proc.stdout.readline())
    proc.stdin.close()
    await proc.wait()
    return found


async def feed_much() -> bytes:
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(b"x" * 300_000)
    read = asyncio.ensure_future(proc.stdout.readexactly(300_000))
    await proc.stdin.drain()
    proc.stdin.close()
    data = await read
    await proc.wait()
    return data[:3]


async def wait_and_communicate() -> Any:
    first, second = await sh("exit 3"), await sh("echo x", stdout=PIPE)
    return await asyncio.gather(first.wait(), second.communicate())


async def run_and_stop() -> Any:
    done = await procio.run_process(["sh", "-c", "echo x; sleep 0.02"], timeout=100)
    async with procio.open_process(["sleep", "1000"]) as proc:
        return done.stdout, await proc.stop() in ASKED


class Protocol(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        self.data, self.end = b"", asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: BaseException | None) -> None:
        self.end.set_result(self.data)


async def serve_a_protocol() -> Any:
    loop: Any = asyncio.get_running_loop()
    with procio.installed(type(loop)):
        _, protocol = await loop.subprocess_exec(Protocol, "sh", "-c", "echo a; sleep 0.02; echo b")
    return await protocol.end


SCENARIOS: dict[Callable[[], Any], Any] = {
    read_lines: [b"0\n", b"1\n", b"2\n"],
    feed_much: b"xxx",
    wait_and_communicate: [3, (b"x\n", None)],
    run_and_stop: (b"x\n", True),
    serve_a_protocol: b"a\nb\n",
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("scenario", "method"),
    [(scenario, method) for scenario in SCENARIOS for method in ("call_soon", "create_future", "set_result")]
    + [(read_lines, when + method) for when in ("", "after ") for method in ("add_reader", "remove_reader")]
    + [(run_and_stop, "call_later")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_call_into_the_loop_may_raise(
    loop_name: str, scenario: Callable[[], Any], method: str, error: type[BaseException]
) -> None:
    """Each one in turn, until a run makes no more of them."""
    for count in range(100):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what was interrupted for good is dropped as it stands
            fired = struck(striking(loop_name)(), scenario, method, count, error)
            until_sync(nothing_runs, "end of the children")
        if not fired:
            return
    raise AssertionError("it never stops to raise")


async def idle_after(awaitable: Any) -> Any:
    """The loop has time to let go of the descriptor."""
    result = await awaitable
    await turns(8)
    return result


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_thread_wakes_the_loop_although_that_raises_at_first(
    loop_name: str, scenario: Callable[[], Any], error: type[BaseException]
) -> None:
    """For a loop that watches no descriptor. What the thread is told surfaces nowhere, so no wake-up may be lost."""
    for count in range(3):
        loop = striking(loop_name)()
        loop.watches = False
        loop.method, loop.countdown, loop.error = "call_soon_threadsafe", count, error
        assert loop.run_until_complete(scenario()) == SCENARIOS[scenario]
        loop.close()


def nothing_runs() -> bool:
    """The traceback of an interrupt keeps the loop's callbacks, and by that what they lead to, in two steps."""
    gc.collect()
    return children() == {}


def struck(loop: Any, scenario: Callable[[], Any], method: str, count: int, error: type[BaseException]) -> bool:
    """Run a scenario with an exception out of the call number `count`; whether there was such a call."""
    told: list[Any] = []
    loop.set_exception_handler(lambda loop, context: told.append(context.get("exception")))
    adds = "add_reader" in method  # which the first start does, and one after a pause
    if not adds or count % 2:
        loop.run_until_complete(idle_after(procio.run_process(["true"])))
    loop.method, loop.countdown, loop.error = method, count // 2 if adds else count, error
    task = loop.create_task(idle_after(scenario()))
    surfaced: BaseException | None = None
    try:
        loop.run_until_complete(asyncio.wait([task]))
    except BaseException as exc:
        surfaced = exc
    fired, loop.countdown = loop.countdown < 0, -1
    if task.done() and not task.cancelled() and task.exception() is None:
        assert task.result() == SCENARIOS[scenario]
    else:
        failure = task.exception() if task.done() and not task.cancelled() else None
        # With the text of the error, by which a fault of Wine's is known (skips.WINE_FAULT).
        assert isinstance(surfaced, error) or isinstance(failure, error) or told, (surfaced, failure, str(failure))
    # The loop goes on.
    assert run_calmly(loop, idle_after(procio.run_process(["echo", "x"]))).stdout == b"x\n"
    if "reader" in method:
        assert not loop.readers, "an idle loop watches nothing of procio's"
    abandon(loop)
    loop.close()
    return fired


def run_calmly(loop: Any, coroutine: Any) -> Any:
    """Run it to its end. An interrupt comes again out of each task that awaits the interrupted one.

    A run of uvloop's that raises in the turn in which its future completes leaves the stop of that run behind, and
    the stop ends the next run too early.
    """
    task = loop.create_task(coroutine)
    while True:
        try:
            return loop.run_until_complete(task)
        except KeyboardInterrupt:
            if task.done():
                return task.result()
        except RuntimeError as stopped:
            if task.done() or "loop stopped" not in str(stopped):
                raise


def abandon(loop: Any) -> None:
    """End what was interrupted, as `asyncio.run` does; a task whose wake-up was refused cannot be ended."""
    for pending in asyncio.all_tasks(loop):
        pending.cancel()
    for _ in range(5):
        run_calmly(loop, asyncio.sleep(0.001))
    for pending in asyncio.all_tasks(loop):
        pending._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", ERRORS)
def test_a_poll_thread_of_which_the_interpreter_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """It ends with the start that had it made."""
    base: type[Any] = asyncio.SelectorEventLoop

    class Loop(base):  # type: ignore[misc]
        def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> Any:
            raise NotImplementedError

    def refuse(*_: Any) -> None:
        raise error("struck")

    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        with monkeypatch.context() as patched:
            patched.setattr(atexit, "register", refuse)
            with pytest.raises(error, match="struck"):
                loop.run_until_complete(procio.create_subprocess_exec("true"))
        assert runner.run(read_lines()) == [b"0\n", b"1\n", b"2\n"]


@skips.needs_proc
@pytest.mark.parametrize("error", ERRORS)
def test_what_words_an_error_may_raise_too(error: type[BaseException]) -> None:
    """`os.strerror` and asyncio's logger: nothing is lost or left by it."""
    survives = status_survives_theft()  # then there is nothing to log
    code = f"""
import asyncio.log

armed, lost = False, {-9 if survives else 255}
def striking(function):
    def strike(*args, **kwargs):
        if armed:
            raise {error.__name__}("struck")
        return function(*args, **kwargs)
    return strike

os.strerror = striking(os.strerror)
asyncio.log.logger.warning = striking(lambda *args: None)

async def missing():
    await procio.create_subprocess_exec("/no/such/program")

async def stolen():
    proc = await procio.create_subprocess_exec("sleep", "100")
    os.kill(proc.pid, signal.SIGKILL)
    os.waitpid(proc.pid, 0)
    try:
        return await proc.wait()
    finally:
        assert armed or proc.returncode == lost

async def good():
    proc = await procio.create_subprocess_exec("echo", "x", stdout=PIPE)
    return (await proc.communicate())[0]

def run(awaitable):
    try:
        return loop.run_until_complete(awaitable)
    except BaseException as exc:
        return type(exc).__name__

loop = new_loop()
assert run(good()) == b"x\\n"
before = sorted(os.listdir("/proc/self/fd"))
for scenario, calm in ((missing, "FileNotFoundError"), (stolen, lost)):
    armed = True
    print(run(scenario()), end=" ")
    armed = False
    assert run(scenario()) == calm
    assert run(good()) == b"x\\n"
    assert children() == {{}}
assert sorted(os.listdir("/proc/self/fd")) == before
loop.close()
"""
    done = run_script(code)
    assert done.stdout.split() == [error.__name__, "-9" if survives else error.__name__], done


def test_ctrl_c_comes_out_of_the_run_however_it_falls() -> None:
    """Real signals, at random moments of a dispatch."""
    code = """
import threading
def strike():
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

async def main():
    proc = await sh("while :; do echo x; done", stdout=PIPE)
    while True:
        await proc.stdout.readline()

signal.signal(signal.SIGINT, signal.default_int_handler)
came = 0
for _ in range(20):
    loop = new_loop()
    threading.Thread(target=strike).start()
    try:
        loop.run_until_complete(main())
    except KeyboardInterrupt:
        came += 1
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    loop.close()
    loop = task = None
    gc.collect()  # a signal that falls into a destructor would be lost
print(came)
"""
    done = run_script(code)
    assert done.stdout.strip() == "20", done
