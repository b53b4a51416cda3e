"""What the service runs: one coroutine function for each path."""

import procio


async def run(request: bytes) -> procio.subprocess.Process:
    """Run a shell script, and have the service stream what it writes.

    The service ends the process group at its time limit, so the command needs one of its own.
    """
    return await procio.create_subprocess_exec(
        "sh", "-c", request, stdin=procio.DEVNULL, stdout=procio.PIPE, stderr=procio.STDOUT, process_group=0
    )


async def sort(request: bytes, child) -> bytes:
    """Sort lines by a child that the service has started and hands to us."""
    process = await child
    output, _ = await process.communicate(request)
    return output
