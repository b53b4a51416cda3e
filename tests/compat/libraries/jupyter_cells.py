"""jupyter_client, ipykernel, IPython: a kernel whose %%script cells are asyncio's subprocesses.

jupyter_client starts the kernel by subprocess.Popen; what runs on procio is in the kernel, which is
this program again.
"""

import program

if program.LOOP == "kernel":
    program.LOOP = program.ARGS.pop(0)
    if program.LOOP == "uvloop":
        import asyncio

        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance(program.ARGS)
    raise SystemExit

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

CELLS = [
    "%%bash --out text --err errors\nread line\ninput for read\necho got $line >&2\necho $((6 * 7))",
    "print(text.strip(), errors.strip())",
    "%%script --no-raise-error sh\necho to the notebook\nexit 3",
    "%%script --bg --out later --proc process sh\nsleep 0.1; echo from behind",
    "(await process.wait(), (await later.read()).decode().strip())",
    "%%script sh\nkill -9 $$",
    "import program\nprint(program.counts['spawned'])",
]


async def run_cell(client, code: str) -> list:
    said = []

    def hook(message: dict) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            said.append(content["text"])
        elif message["msg_type"] == "execute_result":
            said.append(content["data"]["text/plain"])

    reply = await client.execute_interactive(code, timeout=30, output_hook=hook, store_history=False)
    return ["".join(said).strip(), reply["content"]["status"], reply["content"].get("evalue")]


async def task() -> list:
    manager = AsyncKernelManager(transport="ipc")
    argv = program.child("jupyter_cells", "kernel", program.LOOP, "-f", "{connection_file}")
    manager._kernel_spec = KernelSpec(argv=argv, language="python", display_name="kernel")
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        return [await run_cell(client, cell) for cell in CELLS]
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()


program.run(task)
