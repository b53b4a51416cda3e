"""Run the blocks of Python of one page: {line, setup, code} of each on stdin, {line, out, error} on stdout.

Each block runs by itself, with `asyncio`, `os`, `sys` and `procio` there. A block that awaits at its top level runs
in an event loop of its own. What a block prints is kept. What it leaves behind fails it: a warning, an exception in
a finalizer.
"""

import ast
import asyncio
import contextlib
import gc
import inspect
import io
import json
import os
import sys
import traceback
import types

import procio


def run(code: str, name: str, names: dict) -> None:
    """Execute the code of one block, or of its set-up."""
    compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:

        async def main() -> None:
            await types.FunctionType(compiled, names)()

        asyncio.run(main())
    else:
        exec(compiled, names)


def judge(block: dict) -> dict:
    """Run one block; say what it printed and what went wrong."""
    out, err = io.StringIO(), io.StringIO()
    failures = []
    sys.unraisablehook = lambda unraisable: failures.append(f"{unraisable.err_msg}: {unraisable.exc_value!r}")
    module = types.ModuleType("__main__")
    names = module.__dict__
    names.update(__builtins__=__builtins__, asyncio=asyncio, os=os, sys=sys, procio=procio)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if block["setup"]:
                run(block["setup"], "set-up", names)
            run(block["code"], f"block at line {block['line']}", names)
        except BaseException:
            failures.append(traceback.format_exc())
        procio.uninstall()
        names.clear()
        gc.collect()
    return {"line": block["line"], "out": out.getvalue(), "error": "\n".join(failures)}


if __name__ == "__main__":
    results = [judge(block) for block in json.load(sys.stdin)]
    json.dump(results, sys.stdout)
