"""The work itself, once for all asynchronous peers."""

from __future__ import annotations

import gc
import re
import shlex
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

from . import system
from .kit import Job, Kit
from .model import Context, Outcome, Unsupported, check

BLOCK = 131072
Work = Callable[[Kit, Context], Awaitable[Outcome]]


def flood(ctx: Context, size: int) -> list[str]:
    """Give a command that writes ``size`` zero bytes."""
    block = min(BLOCK, size)
    check(size % block == 0, "size is no multiple of the block")
    return ctx.command("dd", "if=/dev/zero", f"bs={block}", f"count={size // block}", "status=none")


class Ticker:
    """A task that does nothing but look at the clock whenever it may."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.gaps: list[float] = []
        self.done = False

    async def run(self) -> None:
        """Tick until done."""
        tick = self.kit.tick
        last = perf_counter()
        while not self.done:
            await tick()
            now = perf_counter()
            self.gaps.append(now - last)
            last = now


async def spawn(kit: Kit, ctx: Context) -> Outcome:
    """Spawn and wait, one after the other."""
    command = ctx.command("true")
    for _ in range(10):
        await kit.true(command)
    begin = perf_counter()
    for _ in range(ctx["count"]):
        await kit.true(command)
    return Outcome((perf_counter() - begin) / ctx["count"])


async def echo(kit: Kit, ctx: Context) -> Outcome:
    """Collect the output of a small child, ``width`` at a time."""
    command = ctx.command("echo", "hi")
    count, width = ctx["count"], ctx["width"]
    done = 0

    async def job() -> None:
        nonlocal done
        code, out, err = await kit.communicate(command, None, True)
        check((code, bytes(out), bytes(err)) == (0, b"hi\n", b""), "wrong output")
        done += 1

    await kit.limited(10, min(10, width), job)
    done = 0
    begin = perf_counter()
    await kit.limited(count, width, job)
    taken = perf_counter() - begin
    check(done == count, f"{done} children instead of {count}")
    return Outcome(taken / count)


async def run_process(kit: Kit, ctx: Context) -> Outcome:
    """Run a small child to its end; beside it, start it and communicate with it."""
    command = ctx.command("echo", "hi")

    async def series(run: Callable[[], Awaitable[tuple[int, bytes, bytes]]], count: int) -> float:
        begin = perf_counter()
        for _ in range(count):
            code, out, err = await run()
            check((code, bytes(out), bytes(err)) == (0, b"hi\n", b""), "wrong output")
        return (perf_counter() - begin) / count

    def whole() -> Awaitable[tuple[int, bytes, bytes]]:
        return kit.run_process(command)

    def in_two_steps() -> Awaitable[tuple[int, bytes, bytes]]:
        return kit.communicate(command, None, True)

    times = {whole: [0.0], in_two_steps: [0.0]}
    for run, taken in times.items():
        await series(run, 10)
        taken.clear()
    for _ in range(ctx["count"] // 20):
        for run, taken in times.items():
            taken.append(await series(run, 20))
    alone, beside = median(times[whole]), median(times[in_two_steps])
    return Outcome(alone, {"over_communicate": alone / beside})


async def merged(kit: Kit, ctx: Context) -> Outcome:
    """Read lines of both outputs; beside it, as many lines of one."""

    async def series(count: int) -> float:
        half = count // 2
        command = ctx.command("sh", "-c", f"seq {half} >&2 & seq {half}; wait")
        child = await kit.open(command, stdout=True, stderr=True)
        begin = perf_counter()
        seen = await kit.merged(child)
        taken = perf_counter() - begin
        check(seen == (half, half), f"{seen} lines instead of {half} of each")
        check(await kit.wait(child) == 0, "wrong status")
        return taken / count

    async def of_one(count: int) -> float:
        child = await kit.open(ctx.command("seq", count), stdout=True)
        begin = perf_counter()
        await kit.lines(child)
        taken = perf_counter() - begin
        check(await kit.wait(child) == 0, "wrong status")
        return taken / count

    await series(5000)
    await of_one(5000)
    beside = await of_one(ctx["lines"])
    taken = await series(ctx["lines"])
    return Outcome(taken, {"over_lines": taken / beside})


async def give_up(kit: Kit, ctx: Context) -> Outcome:
    """Cancel the collecting of a large output, and collect again."""

    async def series(size: int) -> dict[str, float]:
        with TemporaryDirectory() as folder:
            written = Path(folder, "written")
            shell = f"{shlex.join(flood(ctx, size))}; : > {shlex.quote(str(written))}; read _; exec sleep 1000"
            return await kit.give_up(ctx.command("sh", "-c", shell), written.exists, size)

    await series(1 << 20)
    found = await series(ctx["bytes"])
    given_up = found.pop("given_up")
    return Outcome(given_up, {"ms": given_up * 1e3, **found})


async def stop(kit: Kit, ctx: Context) -> Outcome:
    """End many process groups at once."""
    command = ctx.command("sleep", 1000)

    async def series(count: int) -> float:
        children: list[Any] = []

        async def start() -> None:
            children.append(await kit.open(command, session=True))

        await kit.limited(count, 16, start)
        codes: list[int] = []

        def stopper(child: Any) -> Job:
            async def end() -> None:
                codes.append(await kit.stop(child))

            return end

        begin = perf_counter()
        await kit.all([stopper(child) for child in children])
        taken = perf_counter() - begin
        check(codes == [-15] * count, "wrong statuses")
        return taken / count

    await series(10)
    return Outcome(median([await series(ctx["count"]) for _ in range(5)]))


async def held(kit: Kit, ctx: Context) -> Outcome:
    """Watch how long another task has to wait while a child is spawned."""
    command = ctx.command("true")
    ticker = Ticker(kit)
    worst: list[float] = []

    async def spawner() -> None:
        for _ in range(ctx["count"] + 10):
            await kit.tick()
            ticker.gaps.clear()
            child = await kit.open(command)
            await kit.tick()
            await kit.tick()
            worst.append(max(ticker.gaps))
            check(await kit.wait(child) == 0, "wrong status")
        ticker.done = True

    await kit.all([ticker.run, spawner])
    worst = sorted(worst[10:])
    check(len(worst) == ctx["count"], "wrong number of children")
    return Outcome(median(worst), {"p99": system.percentile(worst, 0.99)})


async def spawn_heap(kit: Kit, ctx: Context) -> Outcome:
    """Spawn from a small parent, then from one with a large heap."""
    command = ctx.command("true")

    async def series(count: int) -> float:
        for _ in range(5):
            await kit.true(command)
        times = []
        for _ in range(count):
            begin = perf_counter()
            await kit.true(command)
            times.append(perf_counter() - begin)
        return median(times)

    small = await series(ctx["small"])
    block = 4063  # not a constant, or all would be one and the same object
    heap = [b"x" * block for _ in range(ctx["megabytes"] * 256)]
    check(system.resident() > ctx["megabytes"] << 19, "the heap is not there")
    large = await series(ctx["count"])
    del heap
    return Outcome(large, {"small": small, "over_small": large / small})


async def kill(kit: Kit, ctx: Context) -> Outcome:
    """Kill many children and reap them."""
    system.raise_files(ctx["count"] * 4 + 64)
    command = ctx.command("sleep", 1000)
    children: list[Any] = []

    async def start() -> None:
        children.append(await kit.open(command))

    async def series(count: int) -> float:
        children.clear()
        await kit.limited(count, 16, start)
        codes: list[int] = []

        def reaper(child: Any) -> Job:
            async def reap() -> None:
                codes.append(await kit.wait(child))

            return reap

        begin = perf_counter()
        for child in children:
            child.kill()
        await kit.all([reaper(child) for child in children])
        taken = perf_counter() - begin
        check(codes == [-9] * count, "wrong statuses")
        return taken / count

    await series(10)
    return Outcome(await series(ctx["count"]))


async def memory(kit: Kit, ctx: Context) -> Outcome:
    """See how this process grows with idle children."""
    system.raise_files(ctx["count"] * 6 + 64)
    command = ctx.command("cat")

    async def start() -> None:
        children.append(await kit.open(command, stdin=True, stdout=True))

    async def end() -> None:
        for child in children:
            await kit.close_stdin(child)
            check(await kit.rest(child, False) == b"", "output from nowhere")
            check(await kit.wait(child) == 0, "wrong status")

    children: list[Any] = []
    await kit.limited(32, 8, start)
    await end()
    children = []
    gc.collect()
    threads, before = system.threads(), system.resident()
    await kit.limited(ctx["count"], 8, start)
    sleep(0.2)
    await kit.tick()
    gc.collect()
    grown = system.resident() - before
    more = system.threads() - threads
    await end()
    kb = grown / ctx["count"] / 1024
    return Outcome(kb, {"kb": kb, "threads": float(more)})


async def communicate(kit: Kit, ctx: Context) -> Outcome:
    """Collect a large output."""
    size, count = ctx["bytes"], ctx["count"]

    async def series(size: int, count: int) -> float:
        command = flood(ctx, size)
        begin = perf_counter()
        for _ in range(count):
            code, out, _ = await kit.communicate(command, None, False)
            check(code == 0 and len(out) == size, f"{len(out)} bytes, status {code}")
            del out
        return (perf_counter() - begin) / count

    await series(min(size, 1 << 20), 3)
    return Outcome(await series(size, count))


async def read(kit: Kit, ctx: Context) -> Outcome:
    """Read a large output by chunks."""

    async def series(size: int) -> float:
        child = await kit.open(flood(ctx, size), stdout=True)
        begin = perf_counter()
        total = await kit.read_all(child, 65536)
        taken = perf_counter() - begin
        check(total == size, f"{total} bytes instead of {size}")
        check(await kit.wait(child) == 0, "wrong status")
        return taken

    await series(1 << 20)
    return Outcome(await series(ctx["bytes"]))


async def cat(kit: Kit, ctx: Context) -> Outcome:
    """Send much data through a child and collect it again."""

    async def series(size: int) -> float:
        data = b"0123456789abcdef" * (size // 16)
        begin = perf_counter()
        code, out, _ = await kit.communicate(ctx.command("cat"), data, False)
        taken = perf_counter() - begin
        check(code == 0 and out == data, "what came back is not what was sent")
        return taken

    await series(1 << 20)
    return Outcome(await series(ctx["bytes"]))


async def write(kit: Kit, ctx: Context) -> Outcome:
    """Write much data, waiting for room after each chunk."""
    chunk = b"x" * ctx["chunk"]
    command = ctx.command("dd", "of=/dev/null", f"bs={BLOCK}")

    async def series(size: int) -> float:
        child = await kit.open(command, stdin=True, stderr=True)
        begin = perf_counter()
        await kit.write_all(child, chunk, size // len(chunk))
        report = await kit.rest(child, True)
        taken = perf_counter() - begin
        check(await kit.wait(child) == 0, "wrong status")
        check_sink(report, size)
        return taken

    await series(1 << 20)
    return Outcome(await series(ctx["bytes"]))


def check_sink(report: bytes, size: int) -> None:
    """See in what dd says how many bytes have arrived."""
    found = re.search(rb"^(\d+) bytes", report, re.MULTILINE)
    check(found is not None and int(found[1]) == size, f"the sink says {report!r}")


def line_work(method: str) -> Work:
    """Make the workload that reads lines with one of the kit's methods."""

    async def work(kit: Kit, ctx: Context) -> Outcome:
        async def series(count: int) -> float:
            command = ctx.command("seq", count)
            child = await kit.open(command, stdout=True)
            begin = perf_counter()
            seen, last = await getattr(kit, method)(child)
            taken = perf_counter() - begin
            check(seen == count, f"{seen} lines instead of {count}")
            check(bytes(last) == b"%d\n" % count, f"the last line is {last!r}")
            check(await kit.wait(child) == 0, "wrong status")
            return taken / count

        await series(5000)
        return Outcome(await series(ctx["lines"]))

    return work


async def pingpong(kit: Kit, ctx: Context) -> Outcome:
    """Exchange short messages with some children at once."""
    message = b"p" * ctx["bytes"]
    command = ctx.command("cat")
    many = ctx["children"]
    children = [await kit.open(command, stdin=True, stdout=True) for _ in range(many)]

    def player(child: Any, rounds: int) -> Job:
        async def play() -> None:
            await kit.pingpong(child, message, rounds)

        return play

    await kit.all([player(child, 50) for child in children])
    begin = perf_counter()
    await kit.all([player(child, ctx["rounds"]) for child in children])
    taken = perf_counter() - begin
    for child in children:
        await kit.close_stdin(child)
        check(await kit.rest(child, False) == b"", "more came back than was sent")
        check(await kit.wait(child) == 0, "wrong status")
    return Outcome(taken / ctx["rounds"] / many)


async def fairness(kit: Kit, ctx: Context) -> Outcome:
    """Watch a ticking task while a child floods this process."""
    ticker = Ticker(kit)
    facts: dict[str, float] = {}

    async def reader() -> None:
        await kit.tick()
        if ctx["how"] == 2:
            begin = perf_counter()
            command = flood(ctx, ctx["bytes"])
            code, out, _ = await kit.communicate(command, None, False)
            facts["mb_per_s"] = len(out) / (perf_counter() - begin) / 1e6
            check((code, len(out)) == (0, ctx["bytes"]), "wrong output or status")
            ticker.done = True
        else:
            facts["mb_per_s"] = await flooded(kit, ctx, ticker)

    await kit.all([ticker.run, reader])
    gaps = sorted(ticker.gaps)
    check(len(gaps) > 0, "the ticking task never ran")
    facts["median"] = median(gaps)
    facts["p99"] = system.percentile(gaps, 0.99)
    return Outcome(gaps[-1], facts)


async def flooded(kit: Kit, ctx: Context, ticker: Ticker) -> float:
    """Read from an endless child for a while; give MB/s."""
    if ctx["how"] == 0:
        command = ctx.command("dd", "if=/dev/zero", f"bs={BLOCK}", "status=none")
    else:
        command = ctx.command("yes")
    child = await kit.open(command, stdout=True)
    await kit.tick()
    ticker.gaps.clear()
    begin = perf_counter()
    deadline = begin + ctx["milliseconds"] / 1000
    if ctx["how"] == 0:
        total = await kit.read_for(child, 65536, deadline)
    else:
        total = await kit.lines_for(child, deadline)
    taken = perf_counter() - begin
    ticker.done = True
    await kit.tick()
    child.kill()
    await kit.read_all(child, 65536)
    check(await kit.wait(child) == -9, "wrong status")
    check(total > 1000, "no flood")
    return total / taken / 1e6


async def alive(kit: Kit, ctx: Context) -> Outcome:
    """Start children, exchange a message with each, end them all."""
    count, message = ctx["count"], b"p" * 64
    system.raise_files(int(count * 3.5) + 64)
    command = ctx.command("cat")
    children: list[Any] = []
    ended = 0

    async def start() -> None:
        children.append(await kit.open(command, stdin=True, stdout=True))

    async def play() -> None:
        await kit.pingpong(waiting.pop(), message, 1)

    async def end() -> None:
        nonlocal ended
        child = waiting.pop()
        await kit.close_stdin(child)
        check(await kit.rest(child, False) == b"", "more came back than was sent")
        check(await kit.wait(child) == 0, "wrong status")
        ended += 1

    spent = [0.0, 0.0, 0.0]
    width = min(32, count)
    for turn in range(ctx["repeat"] + 1):
        children.clear()
        ended = 0
        marks = [perf_counter()]
        await kit.limited(count, width, start)
        marks.append(perf_counter())
        for step in (play, end):
            waiting = list(children)
            await kit.limited(count, width, step)
            marks.append(perf_counter())
        check(ended == count, f"{ended} children instead of {count}")
        if turn or ctx["repeat"] == 1:
            for index in range(3):
                spent[index] += marks[index + 1] - marks[index]
        if ctx["repeat"] == 1:
            break
    each = [value / ctx["repeat"] / count for value in spent]
    return Outcome(sum(each), {"start": each[0], "ping": each[1], "end": each[2]})


def loops(kit: Kit, ctx: Context) -> Outcome:
    """Spawn from several loops, each in a thread of its own."""
    many = ctx["loops"]
    share = ctx["count"] // many
    ready, begun = threading.Barrier(many + 1), threading.Barrier(many + 1)
    failures: list[BaseException] = []
    command = ctx.command("true")

    async def work() -> None:
        for _ in range(5):
            await kit.true(command)
        ready.wait()
        begun.wait()
        for _ in range(share):
            await kit.true(command)

    def thread() -> None:
        try:
            kit.run(work)
        except BaseException as error:
            if "Racing with another loop" in str(error):
                error = Unsupported(f"uvloop gives up: {error}")
            failures.append(error)
            ready.abort()

    pool = [threading.Thread(target=thread) for _ in range(many)]
    for each in pool:
        each.start()
    try:
        ready.wait()
    except threading.BrokenBarrierError:
        raise failures[0] from None
    begin = perf_counter()
    begun.wait()
    for each in pool:
        each.join()
    taken = perf_counter() - begin
    if failures:
        raise failures[0]
    return Outcome(taken / share / many)


WORK: dict[str, Work] = {
    "spawn": spawn,
    "echo": echo,
    "run-process": run_process,
    "give-up": give_up,
    "merged": merged,
    "stop": stop,
    "held": held,
    "spawn-heap": spawn_heap,
    "kill": kill,
    "memory": memory,
    "communicate": communicate,
    "read": read,
    "cat": cat,
    "write": write,
    "lines": line_work("lines"),
    "readline": line_work("readline"),
    "pingpong": pingpong,
    "fairness": fairness,
    "alive": alive,
}
