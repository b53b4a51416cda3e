"""anyio: run_process, open_process, a shell, a cancelled process, a pool of worker processes."""

import sys

import anyio
import anyio.to_process
import program

ECHO = [sys.executable, "-c", "import sys; [print(line.strip()[::-1], flush=True) for line in sys.stdin]"]


async def talk() -> bytes:
    async with await anyio.open_process(ECHO) as process:
        await process.stdin.send(b"abc\n")
        answer = await process.stdout.receive()
        await process.stdin.aclose()
        assert await process.wait() == 0
    return answer


async def cancelled() -> int | None:
    with anyio.CancelScope() as scope:
        async with await anyio.open_process(["sleep", "60"]) as process:
            scope.cancel()
    return process.returncode


async def task() -> dict:
    done = await anyio.run_process(["tr", "a-z", "A-Z"], input=b"x" * 300_000)
    shell = await anyio.run_process("echo out; echo err >&2; exit 3", check=False)
    workers = [await anyio.to_process.run_sync(pow, 7, number) for number in range(3)]
    return {
        "bytes": done.stdout == b"X" * 300_000,
        "shell": [shell.returncode, shell.stdout.decode(), shell.stderr.decode()],
        "talk": (await talk()).decode().strip(),
        "cancelled": await cancelled(),
        "workers": workers,
    }


if __name__ == "__main__":
    program.run(task)
