"""asyncssh: a server whose commands are children, and a client that reaches it through one."""

import asyncio
import os
import sys

import asyncssh
import program

RELAY = """
import os, socket, sys, threading
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def forward():
    while data := os.read(0, 65536):
        link.sendall(data)
    link.shutdown(socket.SHUT_WR)
threading.Thread(target=forward, daemon=True).start()
while data := link.recv(65536):
    os.write(1, data)
"""


class Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


async def serve(process: asyncssh.SSHServerProcess) -> None:
    """Run the client's command; its streams are the channel's."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_shell(process.command, stdin=pipe, stdout=pipe, stderr=pipe)
    await process.redirect(child.stdin, child.stdout, child.stderr, send_eof=False)
    await process.stdout.drain()
    await process.stderr.drain()
    process.exit(await child.wait())
    await process.wait_closed()


async def through_pipes(connection: asyncssh.SSHClientConnection, data: bytes) -> bytes:
    """Give the channel the descriptors of pipes as its input and output."""
    source, feed = os.pipe()
    drain, sink = os.pipe()
    with open(feed, "wb") as input_file, open(drain, "rb") as output_file:

        def write() -> None:
            with input_file:
                input_file.write(data)

        writing = asyncio.create_task(asyncio.to_thread(write))
        reading = asyncio.create_task(asyncio.to_thread(output_file.read))
        await connection.run("cat", stdin=source, stdout=sink, encoding=None)
        await writing
        return await reading


async def task() -> dict:
    key = asyncssh.generate_private_key("ssh-ed25519")
    acceptor = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], process_factory=serve, encoding=None
    )
    port = acceptor.get_port()
    relay = [sys.executable, "-c", RELAY, "127.0.0.1", str(port)]
    options = {"known_hosts": None, "config": None, "username": "user", "client_keys": None}
    data = os.urandom(2_000_000)
    async with asyncssh.connect("127.0.0.1", port, proxy_command=relay, **options) as connection:
        echoed = await connection.run("cat", input=data, encoding=None)
        failed = await connection.run("echo out; echo err >&2; exit 7")
        piped = await through_pipes(connection, data)
    acceptor.close()
    await acceptor.wait_closed()
    return {
        "echoed": [len(echoed.stdout), echoed.stdout == data, echoed.exit_status],
        "failed": [failed.stdout, failed.stderr, failed.exit_status],
        "piped": [len(piped), piped == data],
    }


program.run(task)
