"""pynvim: a child as the other end of its MessagePack-RPC, whose standard streams pynvim serves, too.

The child is not Neovim but a server for the calls that are made here, on pynvim's own stdio transport.
"""

import program

if program.LOOP == "serve":
    from pynvim.msgpack_rpc.event_loop import EventLoop
    from pynvim.msgpack_rpc.msgpack_stream import MsgpackStream

    TYPES = ("Buffer", "Window", "Tabpage")

    def answer(message: list) -> None:
        kind, *rest = message
        if kind != 0:
            return
        number, method, args = rest
        if method == b"nvim_get_api_info":
            result = [1, {"types": {name: {"id": number} for number, name in enumerate(TYPES)}}]
        else:
            result = args[0][::-1]
        stream.send([1, number, None, result])

    stream = MsgpackStream(EventLoop("stdio"))
    try:
        stream.run(answer)
    except EOFError:  # the other side has closed
        stream.close()
    raise SystemExit

import pynvim

with pynvim.attach("child", argv=program.child("pynvim_child", "serve")) as nvim:
    answers = [nvim.request("reverse", text) for text in ("abc", "x" * 300_000 + "y")]
program.report([answers[0], len(answers[1]), answers[1][0]])
