"""Makes calls into Windows fail that procio makes, as a sandbox or a lack of resources would: the counterpart of
`injection.py`.

A library reaches the functions of others by a table of addresses in its image. In that of `procio._core` the address
of a function is replaced by that of a few instructions, which count the calls and answer some of them. So the calls of
other code in this process go on as ever, those in the system's own threads are counted too, and no lock of the
interpreter's is taken.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import struct
import sys
from collections.abc import Iterator
from ctypes import wintypes

from kernel_windows import kernel32
from procio import _core

EACH = 1 << 62
AVAILABLE = platform.machine() == "AMD64"  # for which the instructions are

kernel32.GetModuleHandleW.restype = kernel32.VirtualAlloc.restype = ctypes.c_void_p
kernel32.VirtualAlloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t, wintypes.DWORD, wintypes.DWORD]
kernel32.VirtualProtect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, wintypes.DWORD, wintypes.LPDWORD]


def _number(kind: str, address: int) -> int:
    return int(struct.unpack(kind, ctypes.string_at(address, struct.calcsize(kind)))[0])


LIBRARY = kernel32.GetModuleHandleW(_core.__file__)
INTERPRETER = sys.dllhandle  # type: ignore[attr-defined]


def _imports(base: int) -> Iterator[tuple[str, int]]:
    """The functions that a library has of others, and where their addresses stand."""
    directories = base + _number("<I", base + 0x3C) + 24 + 112  # behind the headers of a 64-bit image
    descriptor = base + _number("<I", directories + 8)
    while first := _number("<I", descriptor + 16):
        names, slot = base + (_number("<I", descriptor) or first), base + first
        while name := _number("<Q", names):
            if not name >> 63:  # it has a name, and not a number only
                yield ctypes.string_at(base + name + 2).decode(), slot
            names, slot = names + 8, slot + 8
        descriptor += 20


def imports(name: str, library: int) -> bool:
    """Whether a library calls a function of that name."""
    return any(imported == name for imported, _ in _imports(library))


class Calls:
    """The calls of one function: how many there were, and how many of them were answered in its place."""

    def __init__(self, state: int) -> None:
        """The numbers are where the instructions count."""
        self._state = state

    @property
    def seen(self) -> int:
        """How many there were."""
        return _number("<q", self._state)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        first, end = (_number("<q", self._state + at) for at in (8, 16))
        return max(0, min(self.seen, end) - first)


def _instructions(state: int, original: int, code: int, result: int) -> bytes:
    set_last_error = ctypes.cast(kernel32.SetLastError, ctypes.c_void_p).value or 0
    refuse = (
        b"\x48\x83\xec\x28"  # sub rsp, 40
        b"\xb9" + struct.pack("<I", code) +  # mov ecx, code
        b"\x48\xb8" + struct.pack("<Q", set_last_error) +  # mov rax, SetLastError
        b"\xff\xd0"  # call rax
        b"\x48\x83\xc4\x28"  # add rsp, 40
        b"\x48\xb8" + struct.pack("<q", result) +  # mov rax, result
        b"\xc3"  # ret
    )  # fmt: skip
    past_end = b"\x49\x3b\x43\x10" + b"\x7d" + bytes([len(refuse)])  # cmp rax, [r11 + 16]; jge
    too_early = b"\x49\x3b\x43\x08" + b"\x7c" + bytes([len(past_end + refuse)])  # cmp rax, [r11 + 8]; jl
    count = (
        b"\x49\xbb" + struct.pack("<Q", state) +  # mov r11, state
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1
        b"\xf0\x49\x0f\xc1\x03"  # lock xadd [r11], rax
    )  # fmt: skip
    go_on = b"\x48\xb8" + struct.pack("<Q", original) + b"\xff\xe0"  # mov rax, original; jmp rax
    return count + too_early + past_end + refuse + go_on


def _replace(slot: int, address: int) -> None:
    before = wintypes.DWORD()
    assert kernel32.VirtualProtect(slot, 8, 0x04, ctypes.byref(before))
    ctypes.c_uint64.from_address(slot).value = address
    assert kernel32.VirtualProtect(slot, 8, before, ctypes.byref(before))


@contextlib.contextmanager
def refused(
    name: str, code: int, result: int = 0, *, first: int = 0, count: int = EACH, library: int = LIBRARY
) -> Iterator[Calls]:
    """For the length of a block, `count` calls of that function, from `first` on, return `result` and set the last
    error to `code`.
    """
    slots = [slot for imported, slot in _imports(library) if imported == name]
    assert slots, f"{name} is not called"
    originals = [_number("<Q", slot) for slot in slots]
    # It stays: a thread may still be in there.
    state = kernel32.VirtualAlloc(None, 4096, 0x3000, 0x40)
    ctypes.memmove(state, struct.pack("<3q", 0, first, min(first + count, EACH)), 24)
    instructions = _instructions(state, originals[0], code, result)
    ctypes.memmove(state + 64, instructions, len(instructions))
    for slot in slots:
        _replace(slot, state + 64)
    try:
        yield Calls(state)
    finally:
        for slot, original in zip(slots, originals, strict=True):
            _replace(slot, original)


# --- each call in turn ---------------------------------------------------------------------------

_ACCESS_DENIED, _INVALID_HANDLE, _NOT_ENOUGH_MEMORY, _INVALID_PARAMETER = 5, 6, 8, 87
_FILENAME_EXCED_RANGE, _PIPE_BUSY, _NO_SYSTEM_RESOURCES = 206, 231, 1450
_REFUSED = (_NO_SYSTEM_RESOURCES, _INVALID_PARAMETER, _ACCESS_DENIED)

# What each returns when it has failed, and why it may. Left out are those that let go of something, and those that
# only ask for numbers whose want is no error (GetFileType, GetNamedPipeInfo, GetStdHandle, GetProcessTimes,
# K32GetProcessMemoryInfo).
FAILURES: dict[str, tuple[int, tuple[int, ...]]] = {
    "CancelIoEx": (0, _REFUSED),
    "CreateFileW": (-1, (*_REFUSED, _PIPE_BUSY)),
    "CreateIoCompletionPort": (0, _REFUSED),
    "CreateJobObjectW": (0, _REFUSED),
    "CreateNamedPipeW": (-1, (*_REFUSED, _PIPE_BUSY)),
    "CreateProcessW": (0, (*_REFUSED, _FILENAME_EXCED_RANGE, _NOT_ENOUGH_MEMORY)),
    "CreateThread": (0, (_NOT_ENOUGH_MEMORY, _ACCESS_DENIED)),
    "DuplicateHandle": (0, (*_REFUSED, _INVALID_HANDLE)),
    "GetExitCodeProcess": (0, (*_REFUSED, _INVALID_HANDLE)),
    "GetFullPathNameW": (0, (_NOT_ENOUGH_MEMORY, _FILENAME_EXCED_RANGE)),
    "GetQueuedCompletionStatusEx": (0, _REFUSED),
    "InitializeProcThreadAttributeList": (0, (_NOT_ENOUGH_MEMORY, _INVALID_PARAMETER)),
    "PostQueuedCompletionStatus": (0, _REFUSED),
    "ReadFile": (0, _REFUSED),
    "RegisterWaitForSingleObject": (0, (*_REFUSED, _INVALID_HANDLE)),
    "SetFileCompletionNotificationModes": (0, _REFUSED),
    "SetInformationJobObject": (0, _REFUSED),
    "TerminateJobObject": (0, _REFUSED),
    "TerminateProcess": (0, _REFUSED),
    "UnregisterWaitEx": (0, (_INVALID_HANDLE, _INVALID_PARAMETER)),
    "UpdateProcThreadAttribute": (0, (_INVALID_PARAMETER, _NOT_ENOUGH_MEMORY)),
    "WaitForSingleObject": (0xFFFFFFFF, (*_REFUSED, _INVALID_HANDLE)),
    "WriteFile": (0, _REFUSED),
}
# How many of them fail where it cannot be all: a process that cannot be ended runs on, and without any packet the loop
# is told of nothing, no more than asyncio is.
MOST = {"TerminateProcess": 1, "PostQueuedCompletionStatus": 20, "GetQueuedCompletionStatusEx": 20}
SCENARIOS = ("communicate", "end", "owned", "missing", "close")

TARGET = """
import warnings
from injection_windows import *

DATA = bytes(range(256)) * 1024

async def communicate():
    proc = await procio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    out, _ = await proc.communicate(DATA)
    assert (out == DATA, proc.returncode, await proc.wait()) == (True, 0, 0), (len(out), proc.returncode)

async def end():
    proc = await procio.create_subprocess_exec("sleep", "1000")
    proc.kill()
    assert await proc.wait() == 1

async def owned():
    async with procio.open_process(["sleep", "1000"], stdout=PIPE) as proc:
        proc.send_signal_to_group(signal.SIGTERM)
        assert await proc.wait() == 1

async def missing():
    try:
        await procio.create_subprocess_exec("no such program", stdin=PIPE)
    except FileNotFoundError:
        return await asyncio.sleep(0)
    raise AssertionError("it was found")

async def close():
    proc = await procio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE)
    proc.stdin.write(DATA)
    reads = asyncio.ensure_future(proc.stdout.read())
    await asyncio.sleep(0)
    reads.cancel()
    await asyncio.wait([reads])
    proc.kill()

async def attempt(scenario, problems, refusal):
    with refusal as calls:
        try:
            await asyncio.wait_for(scenario(), 10)
            said = 0
        except TimeoutError:
            problems.append("hang")
            said = None
        except OSError as error:
            said = error.winerror or repr(error)
            if said == 1359:
                problems.append(str(error))  # a fault of Wine's: the text by which skips.WINE_FAULT knows it
    for _ in range(2):
        assert await asyncio.wait_for(output("echo", "x"), 10) == b"x\\n"
    return said, calls

def look():
    return {"handle": open_fds(), "child": children()}

def left_since(before):
    gc.collect()
    return [f"{kind} {name}" for kind, table in look().items() for name in table.keys() - before[kind]]

def judge(name, refusal):
    problems, said, calls = [], None, None
    before = look()
    loop = new_loop()
    def handler(_, context):
        error = context.get("exception")
        problems.append(("handler", getattr(error, "winerror", None), repr(context)[:300]))
    loop.set_exception_handler(handler)
    at_the_end = name == "close"
    try:
        if at_the_end:
            loop.run_until_complete(close())
            with refusal as calls:
                loop.close()
            said = 0
        else:
            said, calls = loop.run_until_complete(attempt(globals()[name], problems, refusal))
    except BaseException as error:
        problems.append(f"{error!r}: {error}")
    loop.close()
    loop = handler = None
    end = time.monotonic() + 5
    while (left := left_since(before)) and time.monotonic() < end:
        time.sleep(0.002)
    return said, problems + left, calls

def counted(name):
    # std panics if it cannot wait for the end of a thread.
    functions = FAILURES.keys() - ({"WaitForSingleObject"} if name == "close" else set())
    with contextlib.ExitStack() as stack:
        calls = {function: stack.enter_context(refused(function, 0, count=0)) for function in functions}
        said, problems, _ = judge(name, contextlib.nullcontext(next(iter(calls.values()))))
        assert (said, problems) == (0, []), (said, problems)
        return {function: seen.seen for function, seen in calls.items() if seen.seen}

def right(function, code, said, problems):
    if function == "GetQueuedCompletionStatusEx":
        # The loop is told, by its handler.
        problems = [problem for problem in problems if problem[:2] != ("handler", code)]
    return said in (0, code) and not problems

def main(whole):
    warnings.simplefilter("ignore")  # that a process may not be signalled
    judge("communicate", refused("ReadFile", 0, count=0))
    found, tried = [], 0
    for name in SCENARIOS:
        for function, count in counted(name).items():
            result, codes = FAILURES[function]
            for code in codes if whole else codes[:1]:
                which = [(first, 1) for first in range(count if whole else 1)]
                for first, number in [*which, (0, MOST.get(function, EACH))]:
                    tried += 1
                    said, problems, calls = judge(name, refused(function, code, result, first=first, count=number))
                    if not right(function, code, said, problems):
                        found.append(f"{name}: {function} {code}, {first} and {number}: {said} {problems}")
    return [tried, found]

print(json.dumps(main(bool(args))))
"""
