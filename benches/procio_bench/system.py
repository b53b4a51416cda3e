"""What the machine offers and how much of it this process uses."""

from __future__ import annotations

import mmap
import os
import platform
import threading
from collections.abc import Sequence

from .model import Unsupported


def raise_files(need: int) -> None:
    """Raise the soft limit of descriptors; give up if it cannot suffice."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, need + 256)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < need:
        raise Unsupported(f"needs {need} descriptors, the hard limit is {hard}")


def resident() -> int:
    """Give the resident memory of this process in bytes."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        raise Unsupported("needs /proc/self/statm") from None


def threads() -> int:
    """Count the threads of this process, those of C and Rust included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def cpus() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Give the value below which ``share`` of the values lie."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def load() -> str:
    """Give the load; of Wine's host where the system itself knows none."""
    if hasattr(os, "getloadavg"):
        return " ".join(f"{load:.2f}" for load in os.getloadavg())
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return " ".join(file.read().split()[:3])
    except OSError:
        return "unknown"


def describe(found: dict[str, dict[str, str]], limit: str) -> dict[str, str]:
    """Name everything that the figures depend on."""
    about = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": str(cpus()),
        "load": load(),
        "limit": "C (compiled with cc)" if limit else "os and subprocess (no cc)",
    }
    for name, facts in found.items():
        about[name] = facts.get("version", "not installed")
        if "build" in facts:
            about[name] += f" ({facts['build']})"
    return about
