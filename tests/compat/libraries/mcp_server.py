"""An MCP server over its standard streams, for mcp_stdio.py."""

import subprocess

from mcp.server.mcpserver import MCPServer

server = MCPServer("sums")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def text(length: int) -> str:
    """A long answer."""
    return "x" * length


@server.tool()
def linger() -> int:
    """Start a grandchild that holds the pipes and outlives the server."""
    return subprocess.Popen(["sleep", "60"]).pid


server.run("stdio")
