"""One measurement in a process of its own: a job as argument, JSON on stdout."""

from __future__ import annotations

import json
import shutil
import sys
import traceback
import warnings
from typing import Any

from .kit import Kit
from .model import Context, Outcome, Peer, Unsupported
from .peers import BY_NAME

PROGRAMS = ("true", "echo", "cat", "dd", "seq", "sh", "yes", "sleep")


def make_kit(peer: Peer) -> Kit:
    """Import the peer and what drives it, and nothing else."""
    if peer.kit == "anyio":
        from .kit_anyio import AnyioKit

        return AnyioKit()
    if peer.kit == "trio":
        from .kit_trio import TrioKit

        return TrioKit()
    from .kit_asyncio import AsyncioKit

    own = peer.module != "procio"
    return AsyncioKit("asyncio" if own else "procio", peer.loop)


def measure(kind: str, peer: Peer, ctx: Context) -> Outcome:
    """Do the work."""
    if peer.kit == "limit":
        from . import limit

        return limit.WORK[kind](ctx)
    from . import workloads

    kit = make_kit(peer)
    if kind == "loops":
        return workloads.loops(kit, ctx)

    async def main() -> Outcome:
        return await workloads.WORK[kind](kit, ctx)

    return kit.run(main)


def innermost(error: BaseException) -> BaseException:
    """Look into groups of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Measure; turn every failure into a reason."""
    programs = {name: shutil.which(name) for name in PROGRAMS}
    commands = {name: path for name, path in programs.items() if path}
    ctx = Context(job["params"], job["limit"], commands)
    try:
        outcome = measure(job["kind"], BY_NAME[job["peer"]], ctx)
    except BaseException as error:
        inner = innermost(error)
        if isinstance(inner, Unsupported):
            return {"unsupported": str(inner)}
        text = "".join(traceback.format_exception(inner))
        return {"error": f"{type(inner).__name__}: {inner}", "traceback": text}
    return {"value": outcome.value, "extra": outcome.extra}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(answer(json.loads(sys.argv[1]))), flush=True)
