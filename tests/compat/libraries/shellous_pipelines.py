"""shellous: a pipeline, an input of its own, a timeout, a command at a pseudo-terminal."""

import program
from shellous import sh


async def task() -> dict:
    sorted_lines = await (sh("printf", "b\\na\\nc\\n") | sh("sort") | sh("tr", "a-z", "A-Z"))
    count = await ("x" * 100_000 | sh("wc", "-c"))
    lines = [line.strip() async for line in sh("seq", 5)]
    try:
        await sh("sleep", "60").set(timeout=0.2)
        timed_out = False
    except TimeoutError:
        timed_out = True
    terminal = await sh("sh", "-c", "test -t 0 && test -t 1 && echo yes").set(pty=True)
    async with sh("cat").stdin(sh.CAPTURE).stdout(sh.CAPTURE).set(pty=True) as run:
        run.stdin.write(b"to a terminal\n")
        echoed = await run.stdout.readline()
        run.stdin.write(b"\x04")
        await run.stdout.read()
    return {
        "sorted": sorted_lines,
        "count": count.strip(),
        "lines": lines,
        "timed_out": timed_out,
        "terminal": terminal.strip(),
        "echoed": echoed.decode().strip(),
        "exit": run.result().exit_code,
    }


program.run(task)
