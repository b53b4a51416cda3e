"""meson: `meson test` runs a project's tests as asyncio's subprocesses, in sessions of their own."""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import program
from mesonbuild import mesonmain

PROJECT = """
project('tests')
sh = find_program('sh')
test('passes', sh, args: ['-c', 'set -- $(cat /proc/$$/stat); test $6 = $$ && echo fine'], suite: 'quick')
test('fails', sh, args: ['-c', 'echo wrong >&2; exit 3'], suite: 'quick')
test('skips', sh, args: ['-c', 'exit 77'], suite: 'quick')
test('is too slow', sh, args: ['-c', 'sleep 60 & wait'], timeout: 1, suite: 'slow')
test('speaks TAP', sh, args: ['-c', 'echo 1..2; echo ok 1; echo not ok 2'], protocol: 'tap', suite: 'quick')
test('says much', sh, args: ['-c', 'head -c 1000000 /dev/zero | tr "\\\\0" x'], suite: 'quick')
"""


def meson(*args: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        return mesonmain.run([*args], program.__file__)


with tempfile.TemporaryDirectory() as folder:
    Path(folder, "meson.build").write_text(PROJECT)
    build = f"{folder}/build"
    status = meson("setup", "--backend=none", build, folder)
    assert status == 0, status
    failed = meson("test", "-C", build, "--no-rebuild", "--num-processes", "3")
    lines = Path(build, "meson-logs", "testlog.json").read_text().splitlines()
results = {}
length = 0
for line in map(json.loads, lines):
    results[line["name"].split(":")[-1]] = [line["result"], line["returncode"]]
    length = max(length, len(line["stdout"].strip()))
program.report({"failed": failed, "results": results, "length": length})
