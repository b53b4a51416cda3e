"""Who takes part, and in which version."""

from __future__ import annotations

import json
import subprocess
import sys

from .model import Peer

POSIX: tuple[Peer, ...] = (
    Peer("procio", "asyncio", "procio", "asyncio", "procio on asyncio's loop"),
    Peer("asyncio", "asyncio", "asyncio", "asyncio", "the interpreter's own"),
    Peer("procio-uvloop", "asyncio", "procio", "uvloop", "procio on uvloop"),
    Peer("uvloop", "asyncio", "uvloop", "uvloop", "uvloop's own subprocesses"),
    Peer("anyio", "anyio", "anyio", "asyncio", "anyio on asyncio's loop"),
    Peer("trio", "trio", "trio", "", "trio"),
    Peer("limit", "limit", "subprocess", "", "synchronous code: C, os, subprocess"),
)

WINDOWS: tuple[Peer, ...] = (
    Peer("procio", "asyncio", "procio", "asyncio", "procio on the Proactor loop"),
    Peer("procio-selector", "asyncio", "procio", "selector", "and on the Selector loop"),
    Peer("asyncio", "asyncio", "asyncio", "asyncio", "asyncio on the Proactor loop"),
    Peer("limit", "limit", "subprocess", "", "synchronous code: os, subprocess"),
)

PEERS = WINDOWS if sys.platform == "win32" else POSIX

BY_NAME: dict[str, Peer] = {peer.name: peer for peer in PEERS}

PROBE = """
import importlib, importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        found[name] = {"error": str(error)}
        continue
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = str(getattr(module, "__version__", "?"))
    found[name] = {"version": version}
    if name == "procio":
        core = importlib.import_module("procio._core")
        found[name]["build"] = str(getattr(core, "build_profile", "unknown"))
print(json.dumps(found))
"""

EXTERNAL = ("procio", "uvloop", "anyio", "trio")


def probe() -> dict[str, dict[str, str]]:
    """Import every outside module in a fresh process; report version or error."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *EXTERNAL],
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def missing(peer: Peer, found: dict[str, dict[str, str]]) -> str:
    """Say why a peer cannot take part; empty if it can."""
    needed = [peer.module] if peer.loop != "uvloop" else [peer.module, "uvloop"]
    for name in needed:
        error = found.get(name, {}).get("error")
        if error:
            return f"{name} cannot be imported: {error}"
    return ""
