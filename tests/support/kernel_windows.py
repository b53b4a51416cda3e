"""Looks at Windows' tables: handles, children, threads. The counterpart of /proc."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable
from ctypes import wintypes

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
ntdll = ctypes.WinDLL("ntdll")  # type: ignore[attr-defined]
kernel32.OpenProcess.restype = kernel32.OpenThread.restype = wintypes.HANDLE
kernel32.CreateToolhelp32Snapshot.restype = wintypes.HANDLE
for _function in (kernel32.CloseHandle, kernel32.WaitForSingleObject, kernel32.TerminateProcess):
    _function.argtypes = [wintypes.HANDLE, wintypes.DWORD][: 1 if _function is kernel32.CloseHandle else 2]

WINE = hasattr(ntdll, "wine_get_version")

# What a leak would be made of. The system's own thread pool comes and goes with threads, events and
# timers, which say nothing.
KINDS = {"File", "Process", "IoCompletion", "Job"}


class _Entry(ctypes.Structure):
    """SYSTEM_HANDLE_TABLE_ENTRY_INFO_EX."""

    _fields_ = [
        ("object", ctypes.c_void_p),
        ("pid", ctypes.c_size_t),
        ("handle", ctypes.c_size_t),
        ("access", ctypes.c_uint32),
        ("trace", ctypes.c_uint16),
        ("type", ctypes.c_uint16),
        ("attributes", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class _Process(ctypes.Structure):
    """PROCESSENTRY32W."""

    _fields_ = [
        ("size", wintypes.DWORD),
        ("usage", wintypes.DWORD),
        ("pid", wintypes.DWORD),
        ("heap", ctypes.c_size_t),
        ("module", wintypes.DWORD),
        ("threads", wintypes.DWORD),
        ("parent", wintypes.DWORD),
        ("priority", ctypes.c_long),
        ("flags", wintypes.DWORD),
        ("name", wintypes.WCHAR * 260),
    ]


class _Memory(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = [
        ("size", wintypes.DWORD),
        ("faults", wintypes.DWORD),
        *((name, ctypes.c_size_t) for name in ("peak", "resident", "a", "b", "c", "d", "e", "f")),
    ]


def _handles() -> list[int]:
    size = 1 << 16
    while True:
        buffer = ctypes.create_string_buffer(size)
        status = ntdll.NtQuerySystemInformation(64, buffer, size, None) & 0xFFFFFFFF
        if status != 0xC0000004:  # too small
            break
        size *= 2
    if status:
        raise OSError(f"NtQuerySystemInformation: {status:#x}")
    count = ctypes.c_size_t.from_buffer(buffer).value
    entries = (_Entry * count).from_buffer(buffer, 2 * ctypes.sizeof(ctypes.c_size_t))
    return [entry.handle for entry in entries if entry.pid == os.getpid()]


def _kind(handle: int) -> str:
    buffer = ctypes.create_string_buffer(1024)
    if ntdll.NtQueryObject(wintypes.HANDLE(handle), 2, buffer, len(buffer), None):
        return ""
    length = wintypes.USHORT.from_buffer(buffer).value
    text = ctypes.c_void_p.from_buffer(buffer, ctypes.sizeof(ctypes.c_void_p)).value
    return ctypes.wstring_at(text, length // 2) if text else ""


def handle_counts() -> Counter[str]:
    """All handles of this process by their kinds."""
    return Counter(map(_kind, _handles()))


def open_fds() -> dict[str, str]:
    """Handles of this process that a leak would be made of, counted by their kinds.

    The numbers say nothing: pytest moves the standard streams about between two looks.
    """
    counts = handle_counts()
    return {f"{kind} {index}": kind for kind in KINDS for index in range(counts[kind])}


def is_pipe(handle: int) -> bool:
    """Whether that handle is one of a pipe."""
    return kernel32.GetFileType(wintypes.HANDLE(handle)) == 3


def pipes() -> set[str]:
    """Those that could be pipes."""
    return {name for name, kind in open_fds().items() if kind == "File"}


def _processes() -> list[_Process]:
    snapshot = kernel32.CreateToolhelp32Snapshot(2, 0)
    found = []
    entry = _Process(size=ctypes.sizeof(_Process))
    more = kernel32.Process32FirstW(wintypes.HANDLE(snapshot), ctypes.byref(entry))
    while more:
        found.append(_Process.from_buffer_copy(entry))
        more = kernel32.Process32NextW(wintypes.HANDLE(snapshot), ctypes.byref(entry))
    kernel32.CloseHandle(snapshot)
    return found


def state(pid: int) -> str | None:
    """R while it runs, else None."""
    synchronize = 0x100000
    handle = kernel32.OpenProcess(synchronize, False, pid)
    if not handle:
        return None
    ended = kernel32.WaitForSingleObject(handle, 0) == 0
    kernel32.CloseHandle(handle)
    return None if ended else "R"


def stat_fields(pid: int) -> list[str] | None:
    """There is no /proc/PID/stat."""
    return None


def children() -> dict[int, str]:
    """Children of this process that run."""
    entries = [entry for entry in _processes() if entry.parent == os.getpid()]
    return {entry.pid: entry.name for entry in entries if state(entry.pid)}


def threads() -> dict[int, str]:
    """Nothing: the system's thread pool makes threads as it pleases, and ours cannot be told from them."""
    return {}


def kill(pid: int) -> None:
    """End a process that may not be our child."""
    terminate = 1
    if handle := kernel32.OpenProcess(terminate, False, pid):
        kernel32.TerminateProcess(handle, 1)
        kernel32.CloseHandle(handle)


def resident_bytes() -> int:
    """Resident memory of this process."""
    memory = _Memory(size=ctypes.sizeof(_Memory))
    kernel32.GetCurrentProcess.restype = wintypes.HANDLE
    process = wintypes.HANDLE(kernel32.GetCurrentProcess())
    if not kernel32.K32GetProcessMemoryInfo(process, ctypes.byref(memory), memory.size):
        raise ctypes.WinError(ctypes.get_last_error())  # type: ignore[attr-defined]
    return int(memory.resident)


def suspend(pid: int) -> None:
    """Stop a process; return when it stands still."""
    _with_process(pid, ntdll.NtSuspendProcess)


def resume(pid: int) -> None:
    """Let it go on."""
    _with_process(pid, ntdll.NtResumeProcess)


def _with_process(pid: int, call: Callable[[wintypes.HANDLE], int]) -> None:
    suspend_resume = 0x800
    handle = kernel32.OpenProcess(suspend_resume, False, pid)
    if not handle:
        raise ctypes.WinError(ctypes.get_last_error())  # type: ignore[attr-defined]
    status = call(wintypes.HANDLE(handle)) & 0xFFFFFFFF
    kernel32.CloseHandle(handle)
    if status:
        raise OSError(f"status {status:#x}")
