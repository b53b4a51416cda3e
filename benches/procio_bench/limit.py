"""The limit: the same work in plain synchronous code, in C where there is a compiler."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from shutil import which
from statistics import median
from time import perf_counter, sleep

from . import system
from .model import Context, Outcome, Unsupported, check
from .workloads import BLOCK, check_sink, flood

SOURCE = Path(__file__).with_name("limit.c")


def build(folder: str) -> str:
    """Compile the C program; give its path, or nothing without a compiler."""
    compiler = which("cc") or which("gcc") or which("clang")
    if compiler is None or sys.platform == "win32":
        return ""
    target = os.path.join(folder, "limit")
    command = [compiler, "-O2", "-o", target, str(SOURCE)]
    done = subprocess.run(command, capture_output=True, check=False)
    return target if done.returncode == 0 else ""


def compiled(ctx: Context, *args: object) -> list[float]:
    """Run the C program; give its results in seconds."""
    command = [ctx.limit_binary, *map(str, args)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [int(line) / 1e9 for line in done.stdout.split()]


def true(path: str) -> None:
    """Spawn and wait with os.posix_spawn, or what Windows has in its place."""
    if sys.platform == "win32":
        check(subprocess.call([path]) == 0, "wrong status")
        return
    pid = os.posix_spawn(path, [path], os.environ)
    check(os.waitpid(pid, 0)[1] == 0, "wrong status")


def spawn(ctx: Context) -> Outcome:
    """posix_spawn + waitpid."""
    (path,) = ctx.command("true")
    if ctx.limit_binary:
        times = compiled(ctx, "spawn", ctx["count"], 0, path)
        return Outcome(sum(times) / ctx["count"])
    for _ in range(10):
        true(path)
    begin = perf_counter()
    for _ in range(ctx["count"]):
        true(path)
    return Outcome((perf_counter() - begin) / ctx["count"])


def echo(ctx: Context) -> Outcome:
    """posix_spawn with two pipes, poll(2), read(2)."""
    count, width = ctx["count"], ctx["width"]
    path, word = ctx.command("echo", "hi")
    if ctx.limit_binary:
        (taken,) = compiled(ctx, "echo", count, width, path)
        return Outcome(taken / count)
    if width > 1:
        raise Unsupported("needs a C compiler")
    begin = perf_counter()
    for _ in range(count):
        done = subprocess.run([path, word], capture_output=True, check=True)
        check((done.stdout, done.stderr) == (b"hi\n", b""), "wrong output")
    return Outcome((perf_counter() - begin) / count)


def run_process(ctx: Context) -> Outcome:
    """subprocess.run."""
    command = ctx.command("echo", "hi")
    begin = perf_counter()
    for _ in range(ctx["count"]):
        done = subprocess.run(command, capture_output=True, check=True)
        check((done.stdout, done.stderr) == (b"hi\n", b""), "wrong output")
    return Outcome((perf_counter() - begin) / ctx["count"])


def merged(ctx: Context) -> Outcome:
    """Not defined: plain files cannot be read as the lines come."""
    raise Unsupported("a file object waits for one stream")


def give_up(ctx: Context) -> Outcome:
    """Synchronous code has no way to cancel."""
    raise Unsupported("synchronous code cannot be cancelled")


def stop(ctx: Context) -> Outcome:
    """killpg(2) for all, waitpid(2) and killpg(2) for each."""
    path, *args = ctx.command("sleep", 1000)
    count = ctx["count"]
    if ctx.limit_binary:
        return Outcome(median(compiled(ctx, "stop", count, 5, path, *args)) / count)
    pids = [os.posix_spawn(path, [path, *args], os.environ, setsid=True) for _ in range(count)]
    sleep(0.1)
    begin = perf_counter()
    for pid in pids:
        os.killpg(pid, 15)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    taken = perf_counter() - begin
    check(statuses == [15] * count, "wrong statuses")
    return Outcome(taken / count)


def held(ctx: Context) -> Outcome:
    """How long posix_spawn itself takes."""
    (path,) = ctx.command("true")
    times: list[float] = []
    if ctx.limit_binary:
        times = compiled(ctx, "held", ctx["count"], path)
    for _ in range(ctx["count"] - len(times)):
        begin = perf_counter()
        pid = os.posix_spawn(path, [path], os.environ)
        times.append(perf_counter() - begin)
        check(os.waitpid(pid, 0)[1] == 0, "wrong status")
    times.sort()
    return Outcome(median(times), {"p99": system.percentile(times, 0.99)})


def spawn_heap(ctx: Context) -> Outcome:
    """posix_spawn from a small and from a large parent."""
    if not ctx.limit_binary:
        raise Unsupported("needs a C compiler")
    (path,) = ctx.command("true")
    small = median(compiled(ctx, "spawn", ctx["small"], 0, path))
    large = median(compiled(ctx, "spawn", ctx["count"], ctx["megabytes"], path))
    return Outcome(large, {"small": small, "over_small": large / small})


def kill(ctx: Context) -> Outcome:
    """kill(2) for all, then waitpid(2) for all."""
    path, *args = ctx.command("sleep", 1000)
    count = ctx["count"]
    pids = [os.posix_spawn(path, [path, *args], os.environ) for _ in range(count)]
    sleep(0.1)
    begin = perf_counter()
    for pid in pids:
        os.kill(pid, 9)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    taken = perf_counter() - begin
    check(statuses == [9] * count, "wrong statuses")
    return Outcome(taken / count)


def memory(ctx: Context) -> Outcome:
    """A plain Popen object with two unbuffered pipes."""
    count = ctx["count"]
    system.raise_files(count * 4 + 64)
    command = ctx.command("cat")

    def start(count: int) -> list[subprocess.Popen[bytes]]:
        pipe = subprocess.PIPE
        return [subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) for _ in range(count)]

    def end(children: list[subprocess.Popen[bytes]]) -> None:
        for child in reversed(children):  # the later ones hold no earlier pipes
            out, _ = child.communicate()
            check((out, child.returncode) == (b"", 0), "wrong output or status")

    end(start(32))
    gc.collect()
    before, threads = system.resident(), system.threads()
    children = start(count)
    gc.collect()
    kb = (system.resident() - before) / count / 1024
    more = system.threads() - threads
    end(children)
    return Outcome(kb, {"kb": kb, "threads": float(more)})


def communicate(ctx: Context) -> Outcome:
    """subprocess.run with stdout piped."""

    def series(size: int, count: int) -> float:
        command = flood(ctx, size)
        begin = perf_counter()
        for _ in range(count):
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            check(len(done.stdout) == size, f"{len(done.stdout)} bytes")
            del done
        return (perf_counter() - begin) / count

    series(min(ctx["bytes"], 1 << 20), 3)
    return Outcome(series(ctx["bytes"], ctx["count"]))


def twice(series: Callable[[int], float]) -> Outcome:
    """Measure with the usual pipe, and for comparison with one of 1 MiB."""
    plain = series(-1)
    if not sys.platform.startswith("linux"):
        return Outcome(plain)
    return Outcome(plain, {"pipe_1m": series(1 << 20)})


def read(ctx: Context) -> Outcome:
    """os.read in a loop."""
    return twice(lambda pipesize: read_once(ctx, pipesize))


def read_once(ctx: Context, pipesize: int) -> float:
    """Read everything through a pipe of a certain size."""
    command, pipe = flood(ctx, ctx["bytes"]), subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, bufsize=0, pipesize=pipesize) as child:
        assert child.stdout is not None
        fd, total = child.stdout.fileno(), 0
        begin = perf_counter()
        while data := os.read(fd, 65536):
            total += len(data)
        taken = perf_counter() - begin
    check(total == ctx["bytes"] and child.returncode == 0, f"{total} bytes")
    return taken


def cat(ctx: Context) -> Outcome:
    """subprocess.run with input and stdout piped."""
    return twice(lambda pipesize: cat_once(ctx, pipesize))


def cat_once(ctx: Context, pipesize: int) -> float:
    """Send everything there and back through pipes of a certain size."""
    data = b"0123456789abcdef" * (ctx["bytes"] // 16)
    begin = perf_counter()
    pipe = subprocess.PIPE
    done = subprocess.run(ctx.command("cat"), input=data, stdout=pipe, check=True, pipesize=pipesize)
    taken = perf_counter() - begin
    check(done.stdout == data, "what came back is not what was sent")
    return taken


def write(ctx: Context) -> Outcome:
    """os.write in a loop."""
    return twice(lambda pipesize: write_once(ctx, pipesize))


def write_once(ctx: Context, pipesize: int) -> float:
    """Write everything through a pipe of a certain size."""
    chunk = b"x" * ctx["chunk"]
    command = ctx.command("dd", "of=/dev/null", f"bs={BLOCK}")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, bufsize=0, pipesize=pipesize) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        fd = child.stdin.fileno()
        begin = perf_counter()
        for _ in range(ctx["bytes"] // len(chunk)):
            check(os.write(fd, chunk) == len(chunk), "short write")
        child.stdin.close()
        report = child.stderr.read()
        taken = perf_counter() - begin
    check(child.returncode == 0, "wrong status")
    check_sink(report, ctx["bytes"])
    return taken


def lines(ctx: Context) -> Outcome:
    """Iteration over a plain file object."""
    command = ctx.command("seq", ctx["lines"])
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        count, line = 0, b""
        begin = perf_counter()
        for line in child.stdout:  # noqa: B007  (the last one is looked at)
            count += 1
        taken = perf_counter() - begin
    check(child.returncode == 0, "wrong status")
    check((count, line) == (ctx["lines"], b"%d\n" % count), f"{count} lines")
    return Outcome(taken / count)


def readline(ctx: Context) -> Outcome:
    """readline() of a plain file object."""
    command = ctx.command("seq", ctx["lines"])
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        method, count, last = child.stdout.readline, 0, b""
        begin = perf_counter()
        while line := method():
            count += 1
            last = line
        taken = perf_counter() - begin
    check(child.returncode == 0, "wrong status")
    check((count, last) == (ctx["lines"], b"%d\n" % count), f"{count} lines")
    return Outcome(taken / count)


def pingpong(ctx: Context) -> Outcome:
    """write(2) and read(2), with poll(2) between several children."""
    rounds, many, size = ctx["rounds"], ctx["children"], ctx["bytes"]
    (path,) = ctx.command("cat")
    if ctx.limit_binary:
        (taken,) = compiled(ctx, "pingpong", many, rounds, size, path)
        return Outcome(taken / rounds / many)
    if many > 1:
        raise Unsupported("needs a C compiler")
    pipe, message = subprocess.PIPE, b"p" * size
    with subprocess.Popen([path], stdin=pipe, stdout=pipe, bufsize=0) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        begin = perf_counter()
        for _ in range(rounds):
            os.write(child.stdin.fileno(), message)
            check(os.read(child.stdout.fileno(), size) == message, "wrong echo")
        taken = perf_counter() - begin
        child.stdin.close()
    return Outcome(taken / rounds)


def fairness(ctx: Context) -> Outcome:
    """Not defined without a loop."""
    raise Unsupported("synchronous code has no other task")


def alive(ctx: Context) -> Outcome:
    """Popen objects, one after the other."""
    count = ctx["count"]
    system.raise_files(count * 2 + 64)
    command, pipe = ctx.command("cat"), subprocess.PIPE
    message, spent = b"p" * 64, [0.0, 0.0, 0.0]
    for _ in range(ctx["repeat"]):
        marks = [perf_counter()]
        children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) for _ in range(count)]
        marks.append(perf_counter())
        for child in children:
            assert child.stdin is not None
            assert child.stdout is not None
            os.write(child.stdin.fileno(), message)
            check(os.read(child.stdout.fileno(), 64) == message, "wrong echo")
        marks.append(perf_counter())
        for child in children:
            out, _ = child.communicate()
            check((out, child.returncode) == (b"", 0), "wrong output or status")
        marks.append(perf_counter())
        for index in range(3):
            spent[index] += marks[index + 1] - marks[index]
    each = [value / ctx["repeat"] / count for value in spent]
    return Outcome(sum(each), {"start": each[0], "ping": each[1], "end": each[2]})


def loops(ctx: Context) -> Outcome:
    """os.posix_spawn + waitpid in several threads."""
    (path,) = ctx.command("true")
    share = ctx["count"] // ctx["loops"]

    def work() -> None:
        for _ in range(share):
            true(path)

    pool = [threading.Thread(target=work) for _ in range(ctx["loops"])]
    begin = perf_counter()
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return Outcome((perf_counter() - begin) / share / ctx["loops"])


WORK: dict[str, Callable[[Context], Outcome]] = {
    "spawn": spawn,
    "echo": echo,
    "run-process": run_process,
    "merged": merged,
    "stop": stop,
    "held": held,
    "spawn-heap": spawn_heap,
    "kill": kill,
    "memory": memory,
    "communicate": communicate,
    "give-up": give_up,
    "read": read,
    "cat": cat,
    "write": write,
    "lines": lines,
    "readline": readline,
    "pingpong": pingpong,
    "fairness": fairness,
    "alive": alive,
    "loops": loops,
}
