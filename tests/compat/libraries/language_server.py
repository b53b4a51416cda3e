"""pygls: a client starts language servers and asks them: one of pygls itself, and python-lsp-server."""

import sys

import program
from pygls.client import JsonRPCClient
from pygls.protocol import JsonRPCProtocol, default_converter

TEXT = "import os\n\n\ndef double(number):\n    return 2 * number\n\n\ndouble(1)\nos.getc\n"
DOCUMENT = {"uri": "file:///module.py"}


async def ask(*command: str) -> list:
    client = JsonRPCClient(JsonRPCProtocol, default_converter)
    client.feature("textDocument/publishDiagnostics")(lambda params: None)
    await client.start_io(*command)
    request, notify = client.protocol.send_request_async, client.protocol.notify
    initialized = await request("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
    notify("initialized", {})
    notify("textDocument/didOpen", {"textDocument": DOCUMENT | {"languageId": "python", "version": 1, "text": TEXT}})
    where = {"textDocument": DOCUMENT, "position": {"line": 8, "character": 7}}
    completed = await request("textDocument/completion", where)
    await request("shutdown", None)
    notify("exit", None)
    await client.stop()
    return [initialized.serverInfo.name, sorted(item.label for item in completed.items), client._server.returncode]


async def task() -> dict:
    return {
        "pygls": await ask(*program.child("language_server", "serve")),
        "pylsp": await ask(sys.executable, "-m", "pylsp"),
    }


if program.LOOP == "serve":
    from lsprotocol import types
    from pygls.lsp.server import LanguageServer

    server = LanguageServer("words", "1")

    @server.feature(types.TEXT_DOCUMENT_COMPLETION)
    def complete(ls: LanguageServer, params: types.CompletionParams) -> types.CompletionList:
        words = set(ls.workspace.get_text_document(params.text_document.uri).source.split())
        items = [types.CompletionItem(label=word) for word in sorted(words)]
        return types.CompletionList(is_incomplete=False, items=items)

    server.start_io()
else:
    program.run(task)
