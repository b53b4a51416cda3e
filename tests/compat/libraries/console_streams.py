"""aioconsole: standard streams as asyncio's streams, in a child that is this program again."""

import asyncio

import aioconsole
import program


async def child() -> None:
    reader, writer = await aioconsole.get_standard_streams()
    async for line in reader:
        writer.write(line.decode().upper())
        await writer.drain()
    await aioconsole.aprint(program.counts["opened"], use_stderr=True)


async def task() -> dict:
    pipe = asyncio.subprocess.PIPE
    command = program.child("console_streams", program.LOOP, "child")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    line = "a line that is long " * 20_000
    output, errors = await process.communicate(f"abc\n{line}\n".encode())
    return {
        "short": output.split(b"\n")[0].decode(),
        "long": output.split(b"\n")[1].decode() == line.upper(),
        "opened": int(errors),
        "returncode": process.returncode,
    }


if program.ARGS:
    with asyncio.Runner() as runner:
        runner.run(child())
else:
    program.run(task)
