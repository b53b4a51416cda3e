"""loop.subprocess_exec, protocols and transports: what is called, when, and what is left."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import shim
from protocols import Recorder, finish, reported, start
from support import (
    KILLED,
    PIPE,
    TERMINATED,
    WINDOWS,
    children,
    gone,
    helper,
    is_pipe,
    kill_stray,
    pipes,
    sh,
    state,
    turns,
    until,
)

CALLBACKS = ["connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited", "connection_lost"]


# --- what is called, in which order --------------------------------------------------------------


async def test_order_of_the_callbacks() -> None:
    transport, protocol = await start("sh", "-c", "echo out; echo err >&2; read x; echo $x; exit 3")
    transport.get_pipe_transport(0).write(b"in\n")
    await protocol.end()
    names = protocol.names()
    assert names[0] == "connection_made"
    assert names[-1] == "connection_lost"
    for name in ("connection_made", "process_exited", "connection_lost"):
        assert names.count(name) == 1
    for fd in (0, 1, 2):
        assert protocol.lost(fd) == [None]
    for fd in (1, 2):
        lost = protocol.calls.index(("pipe_connection_lost", fd, None))
        assert ("pipe_data_received", fd) in protocol.calls[:lost]
        assert ("pipe_data_received", fd) not in protocol.calls[lost:]
    assert protocol.calls[-1] == ("connection_lost", None)
    assert protocol.data == {1: b"out\nin\n", 2: b"err\n"}
    assert transport.get_returncode() == 3
    transport.close()


async def test_connection_made_has_run_before_subprocess_exec_returns() -> None:
    for options in ({}, {"stdin": None, "stdout": None, "stderr": None}):
        transport, protocol = await start("true", **options)
        assert protocol.names()[0] == "connection_made"
        assert protocol.transport is transport
        await finish(transport, protocol)


async def test_without_pipes_only_the_process_is_told() -> None:
    transport, protocol = await start("true", stdin=None, stdout=None, stderr=None)
    await protocol.end()
    assert protocol.calls == [("connection_made",), ("process_exited",), ("connection_lost", None)]
    transport.close()


async def test_process_exited_does_not_wait_for_pipes_that_others_hold() -> None:
    """connection_lost does."""
    transport, protocol = await start("sh", "-c", "sleep 1000 & echo $!", stdin=None, stderr=None)
    await until(lambda: "process_exited" in protocol.names() and protocol.data[1], "process_exited")
    assert transport.get_returncode() == 0
    assert protocol.lost(1) == []
    await turns(5)
    assert "connection_lost" not in protocol.names()
    kill_stray(int(protocol.data[1]))
    await protocol.end()
    assert protocol.lost(1) == [None]
    transport.close()


async def test_all_output_comes_before_the_end_of_its_pipe() -> None:
    transport, protocol = await start("head", "-c", "3000001", "/dev/zero", stdin=None, stderr=None)
    await protocol.end()
    assert protocol.data[1] == bytes(3000001)
    transport.close()


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Looks(Recorder):
    """Notes the value of a context variable with each call."""

    def note(self, *call: Any) -> None:
        super().note(*call, variable.get())


@pytest.mark.differs
async def test_callbacks_run_in_the_context_of_the_caller() -> None:
    transport, protocol = await start("true")  # whatever is made with the first child has the context of that
    await finish(transport, protocol)
    variable.set("caller")
    transport, protocol = await start("sh", "-c", "read x; echo $x", protocol=Looks, stderr=None)
    transport.get_pipe_transport(0).write(b"x\n")
    variable.set("later")
    await protocol.end()
    assert {call[0] for call in protocol.calls} == set(CALLBACKS)
    assert {call[-1] for call in protocol.calls} == {"caller"}
    transport.close()


@pytest.mark.differs
async def test_callbacks_after_close_run_in_the_same_context() -> None:
    variable.set("caller")
    transport, protocol = await start("cat", protocol=Looks)
    variable.set("later")
    transport.close()
    await protocol.end()
    assert {call[-1] for call in protocol.calls} == {"caller"}


async def test_set_protocol_takes_over() -> None:
    transport, first = await start("cat", stderr=None)
    second = Recorder()
    assert transport.get_protocol() is first
    transport.set_protocol(second)
    assert transport.get_protocol() is second
    transport.get_pipe_transport(0).write(b"x")
    await until(lambda: second.data[1], "echo")
    transport.close()
    await second.end()
    assert first.calls == [("connection_made",)]
    assert second.names()[-1] == "connection_lost"


# --- exceptions ----------------------------------------------------------------------------------


class Raises(Recorder):
    """Raises what it is told to at the first call of one callback."""

    def __init__(self, callback: str, exc: BaseException) -> None:
        super().__init__()
        self.left: list[tuple[str, BaseException]] = [(callback, exc)]

    def note(self, *call: Any) -> None:
        super().note(*call)
        if self.left and self.left[0][0] == call[0]:
            if call[0] == "connection_lost":
                self.ended.set_result(None)
            raise self.left.pop()[1]


@pytest.mark.parametrize("callback", CALLBACKS)
async def test_exception_in_a_callback_goes_to_the_exception_handler(callback: str) -> None:
    """Everything else is delivered all the same."""
    exc = ZeroDivisionError(callback)
    with reported(asyncio.get_running_loop()) as contexts:
        transport, protocol = await start("cat", protocol=lambda: Raises(callback, exc), stderr=None)
        pipe = transport.get_pipe_transport(0)
        for piece in (b"one", b"two"):
            pipe.write(piece)
            await until(lambda piece=piece: protocol.data[1].endswith(piece), "echo")
        pipe.close()
        await protocol.end()
        await turns(2)
    assert [context["exception"] for context in contexts] == [exc]
    assert callback in contexts[0]["message"]
    assert set(protocol.names()) == set(CALLBACKS)
    assert protocol.lost(0) == protocol.lost(1) == [None]
    transport.close()


@pytest.mark.parametrize("callback", CALLBACKS[1:])
def test_keyboard_interrupt_in_a_callback_ends_the_run(callback: str, loop_factory: Any) -> None:
    """And when the loop is run again, delivery goes on where it was."""
    loop = loop_factory()
    try:

        async def begin() -> tuple[Any, Any]:
            return await start("cat", protocol=lambda: Raises(callback, KeyboardInterrupt()), stderr=None)

        transport, protocol = loop.run_until_complete(begin())
        pipe = transport.get_pipe_transport(0)

        async def rest() -> None:
            pipe.write(b"one")
            await until(lambda: protocol.data[1], "echo")
            pipe.close()
            await protocol.end()

        task = loop.create_task(rest())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        loop.run_until_complete(task)
        assert protocol.data[1] == b"one"
        assert set(protocol.names()) == set(CALLBACKS)
        transport.close()
    finally:
        loop.run_until_complete(turns(3))
        loop.close()


@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
async def test_exception_in_flow_control_goes_to_the_exception_handler(callback: str) -> None:
    exc = ZeroDivisionError(callback)
    size = 1 << 20
    with reported(asyncio.get_running_loop()) as contexts:
        transport, protocol = await start("cat", protocol=lambda: Raises(callback, exc), stderr=None)
        pipe = transport.get_pipe_transport(0)
        pipe.write(bytes(size))
        await until(lambda: "resume_writing" in protocol.names(), "resume_writing")
        pipe.close()
        await protocol.end()
    assert [context["exception"] for context in contexts] == [exc]
    assert len(protocol.data[1]) == size
    transport.close()


# --- close ---------------------------------------------------------------------------------------


async def test_close_kills_a_running_child() -> None:
    transport, protocol = await start("sleep", "1000")
    assert transport.get_returncode() is None
    assert not transport.is_closing()
    transport.close()
    assert transport.is_closing()
    await protocol.end()
    assert transport.get_returncode() == KILLED
    assert sorted(protocol.names()) == sorted(CALLBACKS[:1] + ["pipe_connection_lost"] * 3 + CALLBACKS[3:])
    assert all(protocol.lost(fd) == [None] for fd in (0, 1, 2))
    assert gone(transport.get_pid())


@pytest.mark.differs
async def test_close_closes_the_pipes_at_once() -> None:
    before = pipes()
    transport, protocol = await start("sleep", "1000")
    assert len(pipes() - before) == 3
    transport.close()
    assert pipes() <= before
    await protocol.end()


async def test_transport_closed_twice_and_after_the_end() -> None:
    transport, protocol = await start("sleep", "1000")
    transport.close()
    transport.close()
    await protocol.end()
    transport.close()
    await turns(3)
    assert protocol.names().count("connection_lost") == 1


async def test_close_discards_what_is_queued_for_standard_input() -> None:
    """No process is left that reads it."""
    transport, protocol = await start("sleep", "1000", stdout=None, stderr=None)
    transport.get_pipe_transport(0).write(bytes(1 << 20))
    transport.close()
    await protocol.end()
    assert len(protocol.lost(0)) == 1


@pytest.mark.parametrize("callback", CALLBACKS)
async def test_close_within_a_callback(callback: str) -> None:
    class Closes(Recorder):
        def note(self, *call: Any) -> None:
            super().note(*call)
            if call[0] == callback:
                self.transport.close()

    transport, protocol = await start("sh", "-c", "echo x", protocol=Closes, stderr=None)
    await protocol.end()
    names = protocol.names()
    assert names[0] == "connection_made"
    assert names[-1] == "connection_lost"
    assert names.count("connection_lost") == names.count("process_exited") == 1
    assert protocol.lost(0) == protocol.lost(1) == [None]
    transport.close()


async def test_nothing_is_received_after_close() -> None:
    class Closes(Recorder):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            super().pipe_data_received(fd, data)
            self.transport.close()

    transport, protocol = await start(*helper("flood", "x"), protocol=Closes, stdin=None, stderr=None)
    await protocol.end()
    count = protocol.names().count("pipe_data_received")
    assert count == 1 or shim.ACTIVE
    assert transport.get_returncode() == KILLED


async def test_closing_one_pipe_leaves_the_others() -> None:
    transport, protocol = await start("sh", "-c", "echo out; read x; echo err >&2")
    await until(lambda: protocol.data[1], "output")
    transport.get_pipe_transport(1).close()
    await until(lambda: protocol.lost(1), "loss of standard output")
    transport.get_pipe_transport(0).write(b"\n")
    await protocol.end()
    assert protocol.data[2] == b"err\n"
    assert transport.get_returncode() == 0
    transport.close()


async def test_cancelled_subprocess_exec_leaves_nothing() -> None:
    for phase in range(6):
        task = asyncio.create_task(start("sleep", "1000"))
        await turns(phase)
        task.cancel()
        try:
            transport, protocol = await task
        except asyncio.CancelledError:
            continue
        await finish(transport, protocol)
    await until(lambda: not children(), "no child")


# --- arguments -----------------------------------------------------------------------------------


SCRIPT = "set /p x= & call echo %^x%& echo err>&2" if WINDOWS else "read x; echo $x; echo err >&2"


async def test_all_three_streams_are_pipes_by_default() -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await start("sleep", "1000")
    for fd in (0, 1, 2):
        assert transport.get_pipe_transport(fd) is not None
    await finish(transport, protocol)
    transport, protocol = await loop.subprocess_shell(Recorder, SCRIPT)
    transport.get_pipe_transport(0).write(b"shell\n")
    await protocol.end()
    assert [protocol.data[fd].split() for fd in (1, 2)] == [[b"shell"], [b"err"]]
    transport.close()


WRONG: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"universal_newlines": True}, ValueError),
    ({"bufsize": 1}, ValueError),
    ({"text": True}, ValueError),
    ({"encoding": "utf-8"}, ValueError),
    ({"errors": "strict"}, ValueError),
    ({"nonsense": 1}, TypeError),
    ({"limit": 10}, TypeError),
]


@pytest.mark.parametrize(
    ("options", "error"), WRONG, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
async def test_wrong_keywords(options: dict[str, Any], error: type[Exception]) -> None:
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    with pytest.raises(error):
        await loop.subprocess_exec(factory, "true", **options)
    with pytest.raises(error):
        await loop.subprocess_shell(factory, "true", **options)
    if error is ValueError:
        assert not made
    assert all(not protocol.calls for protocol in made)
    assert not children()


async def test_shell_keyword_must_fit_the_function() -> None:
    loop: Any = asyncio.get_running_loop()
    with pytest.raises(ValueError, match="shell must be"):
        await loop.subprocess_exec(Recorder, "true", shell=True)
    with pytest.raises(ValueError, match="shell must be"):
        await loop.subprocess_shell(Recorder, "true", shell=False)
    with pytest.raises(ValueError, match="cmd must be"):
        await loop.subprocess_shell(Recorder, ["true"])


async def test_program_that_is_not_there() -> None:
    before = pipes()
    with pytest.raises(FileNotFoundError) as caught:
        await start("/none/such")
    assert caught.value.filename == (None if WINDOWS else "/none/such")
    await until(lambda: pipes() <= before and not children(), "nothing left")


async def test_protocol_factory_that_raises() -> None:
    def factory() -> Recorder:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await start("true", protocol=factory)
    assert not children()


# --- the child -----------------------------------------------------------------------------------


async def test_pid_and_signals() -> None:
    transport, protocol = await start("sleep", "1000", stdin=None)
    assert state(transport.get_pid()) is not None
    transport.send_signal(signal.SIGTERM)
    await protocol.end()
    assert transport.get_returncode() == TERMINATED
    for call in (transport.kill, transport.terminate, lambda: transport.send_signal(0)):
        if not shim.ACTIVE:
            with pytest.raises(ProcessLookupError):
                call()
    transport.close()
    transport, protocol = await start("sleep", "1000")
    transport.terminate()
    await protocol.end()
    assert transport.get_returncode() == TERMINATED
    transport.close()


async def test_signals_before_the_end_was_told() -> None:
    """The return code is None until then, so the process has not ended for the program."""
    loop = asyncio.get_running_loop()
    results: set[str] = set()

    class Signals(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.signal()

        def signal(self) -> None:
            if self.transport.get_returncode() is not None:
                return
            send = functools.partial(self.transport.send_signal, signal.SIGTERM)
            for call in (send, self.transport.terminate, self.transport.kill):
                try:
                    call()
                except Exception as error:
                    results.add(repr(error))
            loop.call_soon(self.signal)

    for _ in range(10):
        transport, protocol = await start("true", protocol=Signals)
        await protocol.end()
        transport.close()
    assert results == set()


async def test_pipe_transports_by_descriptor() -> None:
    transport, protocol = await start("cat", stderr=None)
    assert isinstance(transport, asyncio.SubprocessTransport) or shim.ACTIVE
    assert transport.get_pipe_transport(2) is None
    assert transport.get_pipe_transport(3) is None
    for fd, kind in ((0, asyncio.WriteTransport), (1, asyncio.ReadTransport)):
        pipe = transport.get_pipe_transport(fd)
        assert pipe is transport.get_pipe_transport(fd)
        assert isinstance(pipe, kind) or shim.ACTIVE
        assert is_pipe(pipe.get_extra_info("pipe").fileno())
    await finish(transport, protocol)


# --- lifetime ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_unreferenced_transport_goes_on_delivering() -> None:
    transport, protocol = await start("sh", "-c", "read x; echo $x; exit 5")
    transport.get_pipe_transport(0).write(b"x\n")
    protocol.transport = transport = None
    codes: list[Any] = []
    protocol.process_exited = lambda: codes.append("exited")
    gc.collect()
    await protocol.end()
    assert protocol.data[1] == b"x\n"
    assert codes == ["exited"]


@pytest.mark.differs
async def test_process_by_its_private_transport() -> None:
    """What programs do with the private attributes of a Process from create_subprocess_exec."""
    proc: Any = await sh("read x", stdin=PIPE, stdout=PIPE)
    transport = proc._transport
    assert transport.get_pid() == proc.pid
    assert transport.get_returncode() is None
    assert transport.get_pipe_transport(1) is proc.stdout._transport
    transport.get_pipe_transport(1).pause_reading()
    del transport
    gc.collect()
    assert not proc._transport.get_pipe_transport(1).is_reading()
    proc._transport.get_pipe_transport(1).resume_reading()
    assert proc._transport.get_pipe_transport(1).is_reading()
    proc._transport.close()
    assert proc._transport.is_closing()
    assert await proc.wait() == KILLED
    assert proc.stdin.is_closing()


def test_debug_mode_tells_of_slow_callbacks(loop_factory: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    """A protocol's callback that holds the loop is told of as on asyncio, by the loop."""

    class Slow(asyncio.SubprocessProtocol):
        def __init__(self) -> None:
            self.ended = asyncio.get_running_loop().create_future()

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            until = time.monotonic() + 0.02
            while time.monotonic() < until:
                pass

        def process_exited(self) -> None:
            self.ended.set_result(None)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.01
        transport, protocol = await start("echo", "x", protocol=Slow)
        await protocol.ended
        transport.close()

    with caplog.at_level("WARNING", "asyncio"), asyncio.Runner(debug=True, loop_factory=loop_factory) as runner:
        runner.run(main())
    assert any(text.startswith("Executing <") for text in caplog.messages), caplog.messages
