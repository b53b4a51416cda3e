"""mcp: a client starts a server and calls its tools; at the end a grandchild still holds the pipes."""

import os

import program
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def task() -> dict:
    command, *args = program.child("mcp_server")
    parameters = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    async with stdio_client(parameters) as (read, write):
        async with ClientSession(read, write) as session:
            initialized = await session.initialize()
            tools = await session.list_tools()
            sums = [await session.call_tool("add", {"a": number, "b": 1}) for number in range(20)]
            long = await session.call_tool("text", {"length": 1_000_000})
            grandchild = int((await session.call_tool("linger", {})).content[0].text)
    try:
        os.kill(grandchild, 9)
    except ProcessLookupError:
        pass
    return {
        "server": initialized.server_info.name,
        "tools": sorted(tool.name for tool in tools.tools),
        "sums": [int(answer.content[0].text) for answer in sums],
        "long": len(long.content[0].text),
    }


program.run(task)
