"""Anything may be raised out of any call into Python: what the handler of a signal raises, or a lack of memory.

It comes out, or the operation completes; no other operation is lost by it, and nothing is left.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from typing import Any

import procio
import pytest
import shim
from support import PIPE, TERMINATED, children, run_script, sh, until_sync

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason="asyncio makes other calls")

ERRORS = (KeyboardInterrupt, MemoryError, RuntimeError)


def striking(loop_name: str) -> type[Any]:
    """A class of loops whose methods raise when they are told, if it is procio that calls them."""
    base: type[Any]
    if loop_name == "uvloop":
        import uvloop

        base = uvloop.Loop
    else:
        base = asyncio.SelectorEventLoop

    class Loop(base):  # type: ignore[misc]
        method, countdown, error = "", -1, RuntimeError
        in_dispatch = False

        def strike(self, method: str) -> None:
            if method == self.method and self.countdown >= 0:
                self.countdown -= 1
                if self.countdown < 0:
                    raise self.error("struck")

        def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> Any:
            def wrapped(*args: Any) -> None:
                self.in_dispatch = True
                try:
                    callback(*args)
                finally:
                    self.in_dispatch = False

            return super().add_reader(fd, wrapped, *args)

        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
            if self.in_dispatch:
                self.strike("call_soon")
            return super().call_soon(callback, *args, context=context)

        def create_future(self) -> Any:
            self.strike("create_future")
            return super().create_future()

        def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
            if "Timer" in type(callback).__name__:
                self.strike("call_later")
            return super().call_later(delay, callback, *args, context=context)

    return Loop


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
        return done.stdout, await proc.stop()


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
    run_and_stop: (b"x\n", TERMINATED),
    serve_a_protocol: b"a\nb\n",
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("scenario", "method"),
    [(scenario, method) for scenario in SCENARIOS for method in ("call_soon", "create_future")]
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


def nothing_runs() -> bool:
    """The traceback of an interrupt keeps the loop's callbacks, and by that what they lead to, in two steps."""
    gc.collect()
    return children() == {}


def struck(loop: Any, scenario: Callable[[], Any], method: str, count: int, error: type[BaseException]) -> bool:
    """Run a scenario with an exception out of the call number `count`; whether there was such a call."""
    told: list[Any] = []
    loop.set_exception_handler(lambda loop, context: told.append(context.get("exception")))
    loop.run_until_complete(procio.run_process(["true"]))
    loop.method, loop.countdown, loop.error = method, count, error
    task = loop.create_task(scenario())
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
        assert isinstance(surfaced, error) or isinstance(failure, error) or told, (surfaced, failure)
    # The loop goes on.
    assert run_calmly(loop, procio.run_process(["echo", "x"])).stdout == b"x\n"
    abandon(loop)
    loop.close()
    return fired


def run_calmly(loop: Any, coroutine: Any) -> Any:
    """Run it to its end. An interrupt comes again out of each task that awaits the interrupted one."""
    task = loop.create_task(coroutine)
    while True:
        try:
            return loop.run_until_complete(task)
        except KeyboardInterrupt:
            if task.done():
                return task.result()


def abandon(loop: Any) -> None:
    """End what was interrupted, as `asyncio.run` does; a task whose wake-up was refused cannot be ended."""
    for pending in asyncio.all_tasks(loop):
        pending.cancel()
    for _ in range(5):
        run_calmly(loop, asyncio.sleep(0.001))
    for pending in asyncio.all_tasks(loop):
        pending._log_destroy_pending = False  # type: ignore[attr-defined]


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
print(came)
"""
    done = run_script(code)
    assert done.stdout.strip() == "20", done
