"""Memory that runs out, and memory that is not taken: the child decides how much it writes."""

from __future__ import annotations

import pytest
import skips
from support import script_result

# Each part of a test limits the memory for itself: `room` bytes more than there is.
LIMITED = """
import contextlib, resource

@contextlib.contextmanager
def memory(room):
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def zeros(count, end="", **options):
    script = f"head -c {count} /dev/zero; {end}"
    return procio.create_subprocess_exec("sh", "-c", script, stdin=-1, stdout=-1, **options)

async def works():
    assert await output("echo", "x") == b"x\\n"
"""

TOO_LARGE = """
COUNT = 300 << 20
READS = {
    "read": lambda stdout: stdout.read(),
    "readexactly": lambda stdout: stdout.readexactly(COUNT),
    "readline": lambda stdout: stdout.readline(),
    "readuntil": lambda stdout: stdout.readuntil((b"x", b"yy")),
    "anext": lambda stdout: anext(stdout),
}

async def main():
    proc = await zeros(COUNT)
    with memory(100 << 20):
        try:
            await (proc.communicate() if args[0] == "communicate" else READS[args[0]](proc.stdout))
        except MemoryError:
            pass
        else:
            raise AssertionError("no error")
        # What came so far can be read, the child goes on, and the loop works.
        await works()
        total = 0
        while data := await proc.stdout.read(1 << 20):
            assert not data.strip(b"\\0")
            total += len(data)
        assert total == COUNT, total
        assert await proc.wait() == 0
run(main())
"""


@skips.needs_proc
@pytest.mark.parametrize("method", ["read", "readexactly", "readline", "readuntil", "anext", "communicate"])
def test_more_than_there_is_memory_for(method: str, loop_name: str) -> None:
    """MemoryError, and nothing that was read is lost."""
    assert script_result(LIMITED + TOO_LARGE, method, loop=loop_name) is None


GIVEN_UP = """
COUNT = 100 << 20

async def main():
    wait, go = os.pipe()
    proc = await zeros(COUNT, f"head -c 1 /dev/fd/{wait} >/dev/null; printf end", pass_fds=[wait])
    os.close(wait)
    stdout = proc.stdout
    start = {
        "communicate": proc.communicate,
        "read": stdout.read,
        "readexactly": lambda: stdout.readexactly(COUNT + 3),
    }[args[0]]
    task = asyncio.ensure_future(start())
    before = resident()
    last = still = 0
    while still < 25:  # everything is collected: what still grew would need room
        now = resident()
        still = still + 1 if now == last >= before + COUNT * 9 // 10 else 0
        last = now
        await asyncio.sleep(0.01)
    # No room for a second copy, however often it is given up.
    with memory(50 << 20):
        for _ in range(20):
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            task = asyncio.ensure_future(start())
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        # A part is taken by other means.
        assert await stdout.readexactly(10) == bytes(10)
        assert len(await stdout.read(100)) == 100
    os.write(go, b"\\n")
    os.close(go)
    rest = await (stdout.read() if args[0] != "communicate" else proc.communicate())
    rest = rest if args[0] != "communicate" else rest[0]
    assert len(rest) == COUNT - 110 + 3, len(rest)
    assert rest.endswith(b"\\0end")
    await proc.wait()
run(main())
"""


@skips.needs_proc
@pytest.mark.parametrize("method", ["communicate", "read", "readexactly"])
def test_giving_up_copies_nothing(method: str, loop_name: str) -> None:
    """What was collected is not held twice, stays in order, and the next call collects on."""
    assert script_result(LIMITED + GIVEN_UP, method, loop=loop_name) is None


FED = """
async def main():
    proc = await zeros(0, "read x")
    data = b"x" * (200 << 20)
    with memory(50 << 20):
        proc.stdout.feed_data(b"before")
        try:
            proc.stdout.feed_data(data)
        except MemoryError:
            pass
        else:
            raise AssertionError("no error")
        proc.stdout.feed_data(b"after")
        assert await proc.stdout.read(100) == b"beforeafter"
        await works()
    proc.stdin.close()
    assert await proc.wait() == 1
run(main())
"""


@skips.needs_proc
def test_feeding_more_than_there_is_memory_for(loop_name: str) -> None:
    assert script_result(LIMITED + FED, loop=loop_name) is None
