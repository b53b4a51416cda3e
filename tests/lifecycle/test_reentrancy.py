"""What a signal handler or a callback may do while an operation begins to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support import PIPE, running

pytestmark = pytest.mark.differs


class Meddler(asyncio.SelectorEventLoop):
    """A loop in whose create_future anything may happen, as in a signal handler there."""

    def __init__(self) -> None:
        super().__init__()
        self.meddle: Callable[[], object] | None = None

    def create_future(self) -> asyncio.Future[Any]:
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            meddle()
        return super().create_future()


def meddled(main: Callable[[Meddler], Any]) -> Any:
    with asyncio.Runner(loop_factory=Meddler) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Meddler)
        return runner.run(main(loop))


def test_stream_closed_while_an_operation_begins_to_wait() -> None:
    async def main(loop: Meddler) -> None:
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            loop.meddle = proc.stdout.close
            assert await proc.stdout.readline() == b""

    meddled(main)


def test_exception_while_an_operation_begins_to_wait() -> None:
    """The operation is given up, and the next one finds the stream free."""

    def interrupt() -> None:
        raise InterruptedError

    async def main(loop: Meddler) -> None:
        async with running("cat", stdin=PIPE, stdout=PIPE) as proc:
            for operation in (proc.stdout.readline, proc.wait, proc.communicate):
                loop.meddle = interrupt
                with pytest.raises(InterruptedError):
                    await operation()
            assert await proc.communicate() == (b"", None)

    meddled(main)
