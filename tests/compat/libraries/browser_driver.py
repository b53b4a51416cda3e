"""playwright: its driver, a node program, does an HTTP request for us, by pipes; no browser needed."""

import asyncio

import program
from playwright.async_api import async_playwright

BODY = "x" * 200_000


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    writer.write((head + BODY).encode())
    await writer.drain()
    writer.close()


async def task() -> dict:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with async_playwright() as playwright:
        context = await playwright.request.new_context()
        response = await context.get(f"http://127.0.0.1:{port}/")
        text = await response.text()
        await context.dispose()
    server.close()
    await server.wait_closed()
    return {"status": response.status, "body": text == BODY}


program.run(task)
