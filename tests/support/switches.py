"""The environment switches that force a path which this machine would not take by itself (docs/dev/switches.md).

A run of the suite with one of them set judges that path: `PROCIO_SPAWN=fork pytest`. Each is a nox session.
"""

from __future__ import annotations

import os

# (switch, value), in the order in which CI runs them.
FORCED_PATHS = (
    ("PROCIO_SPAWN", "vfork"),
    ("PROCIO_SPAWN", "fork"),
    ("PROCIO_SPAWN", "posix_spawn"),
    ("PROCIO_EXEC", "libc"),
    ("PROCIO_PIDFD", "0"),
    ("PROCIO_GROUP_SIGNAL", "0"),
    ("PROCIO_POLL_THREAD", "1"),
    ("PROCIO_CLONE3", "0"),
    ("PROCIO_CLOSE_RANGE", "0"),
    ("PROCIO_SETXID_BARRIER", "0"),
)

# Those that choose how a loop learns of what has happened: the kind of loop matters to them.
LOOP_PATHS = (("PROCIO_PIDFD", "0"), ("PROCIO_POLL_THREAD", "1"))


def active() -> list[str]:
    """The switches that are set for this run, as `name=value`."""
    names = {name for name, _ in FORCED_PATHS}
    return [f"{name}={os.environ[name]}" for name in sorted(names) if os.environ.get(name)]


if __name__ == "__main__":
    for name, value in FORCED_PATHS:
        print(f"{name}={value}")
