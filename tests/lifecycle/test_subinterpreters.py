"""More than one interpreter in the process: the main one has procio, the others are told so."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import shim
import skips

if shim.ACTIVE:
    pytest.skip(skips.OWN_NAMES, allow_module_level=True)

ATTEMPT = """
import os
try:
    import procio
except ImportError as error:
    text = str(error)
else:
    text = "imported"
os.write(DESCRIPTOR, text.encode() + b"\\n")
"""

# mod_wsgi's interpreters share the main one's lock; isolated ones have a lock of their own from 3.12 on.
PROGRAM = """
import json, os, sys
kind, first, attempt = sys.argv[1:]
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    create, run = lambda: interpreters.create(kind), interpreters.exec
else:
    import _xxsubinterpreters as interpreters
    create, run = lambda: interpreters.create(isolated=kind == "isolated"), interpreters.run_string

def others():
    ours, theirs = os.pipe()
    interpreter = create()
    for _ in range(2):
        raised = run(interpreter, attempt.replace("DESCRIPTOR", str(theirs)))
        assert raised is None, raised
    interpreters.destroy(interpreter)
    os.close(theirs)
    with os.fdopen(ours) as reader:
        return reader.read().splitlines()

def main():
    import asyncio, procio
    async def talk():
        proc = await procio.create_subprocess_exec("echo", "main", stdout=-1)
        return (await proc.communicate())[0].decode()
    assert asyncio.run(talk()) == "main\\n"

if first == "main":
    main()
said = others()
main()
said += others()
main()
print(json.dumps(said))
"""


@pytest.mark.parametrize("first", ["main", "other"])
@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_every_interpreter_but_the_main_one_is_refused(kind: str, first: str) -> None:
    """Whichever tries first, and although another has tried and has ended."""
    if kind == "isolated" and sys.version_info[:2] == (3, 12):
        pytest.skip("CPython 3.12.1 corrupts memory when two such interpreters import asyncio, without procio too")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, first, ATTEMPT],
        capture_output=True,
        text=True,
        timeout=40,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert len(said) == 4
    for text in said:
        # CPython's own words for those with a lock of their own.
        assert "procio works in the main interpreter only" in text or "does not support loading in subinterp" in text
