"""The same random operations on asyncio and on procio: what can be seen is the same.

What docs/differences.md names is allowed (reference.py). A seed makes one plan:

    PROCIO_DIFFERENTIAL_SEED=17 pytest -m differential -k asyncio        that plan only
    PROCIO_DIFFERENTIAL_SECONDS=3600 pytest -m differential              as many as fit into an hour
    PROCIO_DIFFERENTIAL_FIRST=1000 pytest -m differential                from this seed on, in place of a random one
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import warnings
from collections.abc import Callable

import procio
import pytest
import shim
import skips
from plans import Generator, Step
from play import Divergence, Player, Record
from reference import Reference, differences

SECONDS = float(os.environ.get("PROCIO_DIFFERENTIAL_SECONDS", "60"))
SEED = os.environ.get("PROCIO_DIFFERENTIAL_SEED")
FIRST = SEED or os.environ.get("PROCIO_DIFFERENTIAL_FIRST")
# Plans of the default run.
FEW = 12

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason=skips.COMPARES_WITH_ASYNCIO)

# The reference's own functions, whatever is installed.
_asyncio_create = asyncio.create_subprocess_exec


def run(player: Player, plan: list[Step], factory: LoopFactory) -> Record:
    """Play a plan on a loop of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(player.play(plan))
            player.finish()
        finally:
            player.clean_up()
    return player.record


def divergence(plan: list[Step], factory: LoopFactory) -> str | None:
    """What procio does otherwise than asyncio, if anything."""
    with differences():
        record = run(Reference(_asyncio_create), plan, asyncio.new_event_loop)
    try:
        run(Player(procio.create_subprocess_exec, record), plan, factory)
    except (Divergence, TimeoutError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def check(seed: int, factory: LoopFactory) -> None:
    """One plan; a failure shows the seed and the steps."""
    plan = Generator(seed).plan()
    if found := divergence(plan, factory):
        steps = "\n".join(f"{number:3} {step}" for number, step in enumerate(plan))
        pytest.fail(f"seed {seed}\n{found}\n{steps}", pytrace=False)


@pytest.mark.parametrize("seed", range(FEW))
def test_fixed_plans(seed: int, loop_factory: LoopFactory) -> None:
    check(seed, loop_factory)


@pytest.mark.differential
@pytest.mark.timeout(SECONDS + 120)
def test_random_plans(loop_factory: LoopFactory) -> None:
    """As many as there is time for, half of it for each loop; the seeds are printed."""
    first = int(FIRST) if FIRST else random.SystemRandom().randrange(1 << 32)
    end = time.monotonic() + SECONDS / 2
    seed = first
    while True:
        check(seed, loop_factory)
        seed += 1
        if SEED or time.monotonic() > end:
            break
    print(f"seeds {first} to {seed - 1}")
