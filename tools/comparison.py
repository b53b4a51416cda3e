"""Try what docs/comparison.md says of procio and its peers, with the versions that are installed, and write its table.

python tools/comparison.py            print the table
python tools/comparison.py --write    put it into docs/comparison.md

Each probe runs in an interpreter of its own, with a time limit, by the means that the peer's documentation names.
Linux only.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "comparison.md"
BEGIN, END = "<!-- table: tools/comparison.py --write -->", "<!-- end of the table -->"
PEERS = ("procio", "asyncio", "uvloop", "anyio", "trio", "plumbum")
CANNOT = "-"

# A shell whose child outlives it unless it is killed too; the child's pid comes first.
FAMILY = "sleep 1000 & echo $!; wait"

COMMON = """
import gc, os, signal, sys, time

def alive(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

def gone(pid, seconds=3):
    end = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > end:
            os.kill(pid, 9)
            return False
        time.sleep(0.01)
    return True

def say(answer):
    print("yes" if answer else "no", flush=True)
    os._exit(0)
"""

# The functions of asyncio.subprocess: asyncio's own, uvloop's, and for one question procio's.
ASYNCIO = {
    "family": """
async def main():
    p = await create("sh", "-c", FAMILY, stdout=PIPE)
    pid = int(await p.stdout.readline())
    try:
        await asyncio.wait_for(p.communicate(), 0.3)
    except TimeoutError:
        p.kill()
    say(gone(pid))
""",
    "partial": """
async def main():
    p = await create("sh", "-c", "echo early; exec sleep 1000", stdout=PIPE)
    try:
        await asyncio.wait_for(p.communicate(), 0.5)
    except TimeoutError:
        p.kill()
    out, _ = await p.communicate()
    say(b"early" in out)
""",
    "line": """
async def main():
    p = await create(sys.executable, "-c", "print('x' * 2**20)", stdout=PIPE)
    try:
        say(len(await p.stdout.readline()) == 2**20 + 1)
    except ValueError:
        say(False)
""",
    "holder": """
async def main():
    p = await create("sh", "-c", "sleep 5 & read x; exit 7", stdin=PIPE, stdout=PIPE)
    waiting = asyncio.ensure_future(p.wait())
    await asyncio.sleep(0.2)
    p.stdin.write(b"\\n")
    try:
        say(await asyncio.wait_for(waiting, 2) == 7)
    except TimeoutError:
        say(False)
""",
    "dropped": """
async def main():
    p = await create("sleep", "1000", stdin=PIPE)
    pid = p.pid
    del p
    for _ in range(20):
        gc.collect()
        await asyncio.sleep(0.02)
    say(gone(pid, 1))
""",
    "options": """
async def main():
    p = await create("sh", "-c", "umask", stdout=PIPE, umask=0o077, process_group=0)
    say(b"77" in (await p.communicate())[0])
""",
}
PROGRAMS = {
    "asyncio": (
        "import asyncio\nfrom asyncio.subprocess import PIPE\ncreate = asyncio.create_subprocess_exec\n",
        ASYNCIO,
        "asyncio.run(main())",
    ),
    "uvloop": (
        "import asyncio, uvloop\nfrom asyncio.subprocess import PIPE\ncreate = asyncio.create_subprocess_exec\n",
        ASYNCIO,
        "uvloop.run(main())",
    ),
    "procio": (
        "import asyncio, procio\nfrom procio import PIPE\ncreate = procio.create_subprocess_exec\n",
        {
            **ASYNCIO,
            "family": """
async def main():
    try:
        await procio.run_process(FAMILY, shell=True, timeout=0.3)
    except procio.TimeoutExpired as error:
        say(gone(int(error.stdout)))
""",
        },
        "asyncio.run(main())",
    ),
    "anyio": (
        "import anyio\nfrom anyio.streams.buffered import BufferedByteReceiveStream\n",
        {
            "family": """
async def main():
    async with await anyio.open_process(["sh", "-c", FAMILY]) as p:
        pid = int(await p.stdout.receive())
        with anyio.move_on_after(0.3):
            await p.wait()
        p.kill()
    say(gone(pid))
""",
            "partial": """
async def main():
    try:
        with anyio.fail_after(0.5):
            await anyio.run_process(["sh", "-c", "echo early; exec sleep 1000"])
    except TimeoutError as error:
        say("early" in str(vars(error)))
""",
            "line": """
async def main():
    async with await anyio.open_process([sys.executable, "-c", "print('x' * 2**20)"]) as p:
        say(len(await BufferedByteReceiveStream(p.stdout).receive_until(b"\\n", 2**21)) == 2**20)
""",
            "holder": """
async def main():
    p = await anyio.open_process(["sh", "-c", "sleep 5 & read x; exit 7"])
    async def feed():
        await anyio.sleep(0.2)
        await p.stdin.send(b"\\n")
    async with anyio.create_task_group() as group:
        group.start_soon(feed)
        with anyio.move_on_after(2):
            say(await p.wait() == 7)
        say(False)
""",
            "dropped": """
async def main():
    p = await anyio.open_process(["sleep", "1000"])
    pid = p.pid
    del p
    for _ in range(20):
        gc.collect()
        await anyio.sleep(0.02)
    say(gone(pid, 1))
""",
            "options": """
async def main():
    done = await anyio.run_process(["sh", "-c", "umask"], umask=0o077, start_new_session=True)
    say(b"77" in done.stdout)
""",
        },
        "anyio.run(main)",
    ),
    "trio": (
        "import trio\n",
        {
            "family": """
async def main():
    async with trio.open_nursery() as nursery:
        import subprocess
        p = await nursery.start(
            lambda task_status: trio.run_process(
                ["sh", "-c", FAMILY], stdout=subprocess.PIPE, check=False, task_status=task_status
            )
        )
        pid = int(await p.stdout.receive_some())
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()
    say(gone(pid))
""",
            "partial": """
async def main():
    try:
        with trio.fail_after(0.5):
            await trio.run_process(["sh", "-c", "echo early; exec sleep 1000"], capture_stdout=True)
    except trio.TooSlowError as error:
        say("early" in str(vars(error)))
""",
            "holder": """
async def main():
    import subprocess
    p = await trio.lowlevel.open_process(
        ["sh", "-c", "sleep 5 & read x; exit 7"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    async def feed():
        await trio.sleep(0.2)
        await p.stdin.send_all(b"\\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        with trio.move_on_after(2):
            say(await p.wait() == 7)
        say(False)
""",
            "dropped": """
async def main():
    p = await trio.lowlevel.open_process(["sleep", "1000"])
    pid = p.pid
    del p
    for _ in range(20):
        gc.collect()
        await trio.sleep(0.02)
    say(gone(pid, 1))
""",
            "options": """
async def main():
    done = await trio.run_process(["sh", "-c", "umask"], capture_stdout=True, umask=0o077, process_group=0)
    say(b"77" in done.stdout)
""",
        },
        "trio.run(main)",
    ),
    "plumbum": (
        "from plumbum import local\nfrom plumbum.commands.processes import ProcessTimedOut\n",
        {
            "family": """
import tempfile
file = tempfile.mktemp()
try:
    local["sh"]["-c", FAMILY.replace("echo $!", f"echo $! > {file}")](timeout=0.3)
except ProcessTimedOut:
    pass
say(gone(int(open(file).read())))
""",
            "partial": """
try:
    local["sh"]["-c", "echo early; exec sleep 1000"](timeout=0.5)
except ProcessTimedOut as error:
    say("early" in str(vars(error)) + str(error.args))
""",
            "line": """
lines = [out for out, err in local[sys.executable]["-c", "print('x' * 2**20)"].popen() if out]
say(len(lines) == 1 and len(lines[0].strip()) == 2**20)
""",
            "dropped": """
p = local["sleep"]["1000"].popen()
pid = p.pid
del p
gc.collect()
say(gone(pid, 1))
""",
            "options": """
say("77" in local["sh"]["-c", "umask"].run(umask=0o077, process_group=0)[1])
""",
        },
        "",
    ),
}

QUESTIONS = {
    "family": "what a command has started ends with it at a time limit",
    "partial": "what was written before a time limit can be had from the call",
    "line": "a line of 1 MiB is read, without an option",
    "holder": "waiting ends with the process, not with the last holder of its pipes",
    "dropped": "a process that the program forgets is ended",
    "options": "`umask`, `process_group` or a session, as of `Popen`",
}


def version(peer: str) -> str:
    """The name and the version of a peer."""
    return f"asyncio {platform.python_version()}" if peer == "asyncio" else f"{peer} {importlib.metadata.version(peer)}"


def ask(peer: str, question: str) -> str:
    """Run one probe: yes, no, or that the peer has no means for it."""
    head, probes, tail = PROGRAMS[peer]
    if question not in probes:
        return CANNOT
    program = f"{COMMON}\nFAMILY = {FAMILY!r}\n{head}\n{probes[question]}\n{tail}\nprint('no')\n"
    try:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return "no (hangs)"
    if done.returncode or not done.stdout:
        refused = done.stderr.strip().splitlines()[-1].split(":")[0]
        return f"no ({refused.rpartition('.')[2]})"
    return done.stdout.split()[0]


def table() -> str:
    """The table in Markdown, with the day and the machine."""
    rows = [
        "| | " + " | ".join(map(version, PEERS)) + " |",
        "| --- |" + " --- |" * len(PEERS),
        *(f"| {text} | {' | '.join(ask(peer, key) for peer in PEERS)} |" for key, text in QUESTIONS.items()),
    ]
    when = datetime.date.today()
    about = (
        f"Run on {when:%-d %B %Y} with CPython {platform.python_version()}, {platform.system()} {platform.release()}."
    )
    return "\n".join([BEGIN, "", *rows, "", about, "", END])


if __name__ == "__main__":
    made = table()
    print(made)
    if "--write" in sys.argv[1:]:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(text.split(BEGIN)[0] + made + text.split(END)[1], encoding="utf-8")
