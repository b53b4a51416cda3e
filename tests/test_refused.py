"""Kernels and sandboxes that refuse a system call: found out at run time, by being refused.

A seccomp filter does what gVisor, emulators, old kernels and container profiles do. The switches of
test_forced_paths choose a path from the start; here procio has to find it.
"""

from __future__ import annotations

import platform

import pytest
import skips
from support import script_result

NUMBERS = {
    "x86_64": {"clone": 56, "pidfd_send_signal": 424, "close_range": 436},
    "aarch64": {"clone": 220, "pidfd_send_signal": 424, "close_range": 436},
}
CLONE_VM, CLONE_PIDFD = 0x100, 0x1000
EPERM, EINVAL, ENOSYS = 1, 22, 38

pytestmark = [
    skips.needs_proc,
    pytest.mark.skipif(platform.machine() not in NUMBERS, reason=skips.NO_SECCOMP_NUMBERS),
]

REFUSED = """
import ctypes, struct

number, flags, errno = map(int, args)

def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)

load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
allow, refuse = instruction(give, 0x7FFF0000), instruction(give, 0x50000 | errno)
# Word 0 is the number of the call, word 16 its first argument.
program = [instruction(load, 0), instruction(equal, number, 0, 3 if flags else 1)]
if flags:
    program += [instruction(load, 16), instruction(any_bit, flags, 0, 1)]
program = b"".join([*program, refuse, allow])

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(program)
loaded = Program(len(program) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(loaded), 0, 0) == 0, ctypes.get_errno()

async def main():
    for _ in range(3):
        assert await output("echo", "x") == b"x\\n"
    reader, writer = os.pipe()
    for fd in (reader, writer):
        os.set_inheritable(fd, True)
    script = f"for fd in {reader} {writer}; do test -e /proc/self/fd/$fd && echo $fd; done; true"
    assert await output("sh", "-c", script) == b""
    assert await output("sh", "-c", script, pass_fds=[writer]) == b"%d\\n" % writer
    os.close(reader)
    os.close(writer)
    proc = await procio.create_subprocess_exec("sleep", "1000")
    proc.kill()
    assert await asyncio.wait_for(proc.wait(), 20) == -9
    try:
        await procio.create_subprocess_exec("/no/such/program")
    except FileNotFoundError as error:
        assert error.filename == "/no/such/program"
    else:
        raise AssertionError("no error")
    task = asyncio.create_task(procio.create_subprocess_exec("sleep", "1000"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.cancelled()

run(main())
assert not children(), children()
"""


@pytest.mark.parametrize(
    ("call", "flags", "errno"),
    [
        pytest.param("clone", CLONE_VM, EPERM, id="memory-not-shared"),
        pytest.param("clone", CLONE_PIDFD, EINVAL, id="no-pidfd-from-clone"),
        pytest.param("clone", CLONE_VM | CLONE_PIDFD, EINVAL, id="neither"),
        pytest.param("pidfd_send_signal", 0, EPERM, id="no-signal-by-pidfd"),
        pytest.param("pidfd_send_signal", 0, ENOSYS, id="signal-by-pidfd-unknown"),
        pytest.param("close_range", 0, ENOSYS, id="no-close-range"),
        pytest.param("close_range", 0, EPERM, id="close-range-refused"),
    ],
)
def test_refused_call(call: str, flags: int, errno: int, loop_name: str) -> None:
    number = NUMBERS[platform.machine()][call]
    assert script_result(REFUSED, number, flags, errno, loop=loop_name) is None
