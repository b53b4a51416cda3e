"""Limits, niceness, processors, control groups, privileges, the end of the program: seen from inside the child."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import procio
import pytest
import shim
import skips
from support import (
    DEADLINE,
    LOOPS,
    NOBODY,
    dead,
    output,
    run_script,
    running,
    script_result,
    script_source,
    until,
    until_sync,
)

RLIMIT_CORE, RLIMIT_NOFILE = 4, 7

pytestmark = pytest.mark.skipif(shim.ACTIVE, reason=skips.OWN_NAMES)

# Each way to make a child.
WAYS: list[dict[str, str]] = [
    {},
    {"PROCIO_CLONE3": "0"},
    {"PROCIO_SPAWN": "vfork"},
    {"PROCIO_SPAWN": "fork"},
    {"PROCIO_SPAWN": "fork", "PROCIO_CLONE3": "0"},
    {"PROCIO_EXEC": "libc"},
    {"PROCIO_PIDFD": "0"},
]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: ",".join(map("=".join, way.items())) or "default")

# The parent gives up its privileges, if it is to; everything is imported before.
BECOME = f"""
import resource
new_loop().close()
if args[0] == "nobody":
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""
users = pytest.mark.parametrize("user", ["own", pytest.param("nobody", marks=skips.needs_root)])

# --- limits, niceness, processors, privileges ----------------------------------------------------

INSIDE = """
import resource
processor = max(os.sched_getaffinity(0))
OPTIONS = {
    "rlimits": {resource.RLIMIT_NOFILE: (60, 120), resource.RLIMIT_CORE: (0, 0), resource.RLIMIT_NPROC: (-1, -1)},
    "nice": os.getpriority(os.PRIO_PROCESS, 0) + 7,
    "cpu_affinity": {processor},
    "no_new_privs": True,
}
if resource.getrlimit(resource.RLIMIT_NPROC)[1] != resource.RLIM_INFINITY:
    del OPTIONS["rlimits"][resource.RLIMIT_NPROC]
# A hook sees all but what comes last.
if "hook" in args:
    OPTIONS["preexec_fn"] = lambda: os.write(1, b"hook: %d\\n" % os.getpriority(os.PRIO_PROCESS, 0))

async def main():
    before = open("/proc/self/limits").read(), open("/proc/self/status").read().count("NoNewPrivs:\\t0")
    script = "cat /proc/$$/limits /proc/$$/status; echo nice: $(cut -d ' ' -f 19 /proc/$$/stat)"
    seen = (await output("sh", "-c", script, **OPTIONS)).decode()
    lines = {line.split("  ")[0]: line.split("  ", 1)[-1].split() for line in seen.splitlines()}
    assert lines["Max open files"][:2] == ["60", "120"], seen
    assert lines["Max core file size"][:2] == ["0", "0"]
    assert f"Cpus_allowed_list:\\t{processor}\\n" in seen
    assert "NoNewPrivs:\\t1\\n" in seen
    assert f"nice: {OPTIONS['nice']}\\n" in seen
    assert ("hook" in args) == (f"hook: {OPTIONS['nice']}\\n" in seen)
    # Of the parent nothing has changed, and the next child is as always.
    assert before == (open("/proc/self/limits").read(), open("/proc/self/status").read().count("NoNewPrivs:\\t0"))
    assert before[0] == (await output("cat", "/proc/self/limits")).decode()

run(main())
"""


@ways
@users
def test_seen_from_inside(way: dict[str, str], user: str) -> None:
    assert script_result(BECOME + INSIDE, user, env=way) is None


@users
def test_seen_from_inside_after_a_hook(user: str, loop_name: str) -> None:
    assert script_result(BECOME + INSIDE, user, "hook", loop=loop_name) is None


@skips.needs_root
async def test_limits_come_before_the_identity() -> None:
    """Root may set a niceness that the child's user may not."""
    out = await output("sh", "-c", "ulimit -Hn; nice; id -u", user=NOBODY, nice=-5, rlimits={RLIMIT_NOFILE: (100, 200)})
    assert out.split() == [b"200", b"-5", str(NOBODY).encode()]


class _Two:
    """Integers of another class than int."""

    def __index__(self) -> int:
        return 2


async def test_integers_of_any_class() -> None:
    """As everywhere in Python: what has __index__."""
    assert await output("nice", nice=_Two()) == b"%d\n" % 2


BAD: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"rlimits": {RLIMIT_NOFILE: (20, 10)}}, ValueError),
    ({"rlimits": {RLIMIT_NOFILE: (-1, 10)}}, ValueError),
    ({"rlimits": {RLIMIT_NOFILE: (-2, 10)}}, ValueError),
    ({"rlimits": {RLIMIT_NOFILE: (1, 1 << 64)}}, OverflowError),
    ({"rlimits": {RLIMIT_NOFILE: 10}}, ValueError),
    ({"rlimits": {RLIMIT_NOFILE: (1, 2, 3)}}, ValueError),
    ({"rlimits": {RLIMIT_NOFILE: ("1", 2)}}, TypeError),
    ({"rlimits": {99: (1, 2)}}, ValueError),
    ({"rlimits": {-1: (1, 2)}}, ValueError),
    ({"rlimits": {"NOFILE": (1, 2)}}, TypeError),
    ({"nice": 20}, ValueError),
    ({"nice": -21}, ValueError),
    ({"nice": "5"}, TypeError),
    ({"nice": 1.5}, TypeError),
    ({"cpu_affinity": set()}, ValueError),
    ({"cpu_affinity": {-1}}, ValueError),
    ({"cpu_affinity": {1 << 40}}, OverflowError),
    ({"cpu_affinity": "01"}, TypeError),
    ({"cpu_affinity": 1}, TypeError),
    ({"cgroup_kill": True}, ValueError),
    ({"cgroup": "a\0b"}, ValueError),
    ({"cgroup": 1.5}, TypeError),
    ({"cgroup": True}, TypeError),
    ({"cgroup": "/no/such/group"}, FileNotFoundError),
    ({"cgroup": "/proc"}, FileNotFoundError),
    ({"cgroup": "/etc/passwd"}, NotADirectoryError),
    ({"cgroup": -1}, OSError),
    ({"cgroup": 1 << 40}, OverflowError),
    ({"cwd": True}, TypeError),
    ({"cwd": -1}, OSError),
    ({"cwd": 1 << 40}, OverflowError),
]


@pytest.mark.parametrize(("options", "error"), BAD, ids=str)
async def test_refused_at_the_call(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        await procio.create_subprocess_exec("true", **options)
    if isinstance(caught.value, OSError) and (file := options.get("cgroup", options.get("cwd"))):
        assert caught.value.filename in (file, os.fsencode(str(file)))


REFUSED = """
from pathlib import Path
open_fds = lambda: sorted(os.listdir("/proc/self/fd"))
async def main():
    before = open_fds()
    for keyword, value in {
        "rlimits": {7: (1 << 40, 1 << 40)}, "nice": -20, "cpu_affinity": {60000},
    }.items():
        try:
            await procio.create_subprocess_exec("true", **{keyword: value})
        except OSError as error:
            print(json.dumps([keyword, error.errno, str(error), error.filename]))
        else:
            print(json.dumps([keyword, 0, "", None]))
    for keyword in ("cwd", "cgroup"):
        fd = os.open("/etc/passwd", os.O_RDONLY)
        try:
            await procio.create_subprocess_exec("true", **{keyword: fd})
        except OSError as error:
            print(json.dumps([keyword, error.errno, str(error), error.filename == fd]))
        os.close(fd)
    assert not children()
run(main())
"""


@ways
@skips.needs_root
def test_what_the_kernel_refuses(way: dict[str, str]) -> None:
    """The system's error, which names the keyword; nothing is left behind."""
    done = run_script(BECOME + REFUSED, "nobody", env=way)
    assert (done.returncode, done.stderr) == (0, "")
    limits, nice, affinity, cwd, cgroup = map(json.loads, done.stdout.splitlines())
    assert limits == ["rlimits", 1, "[Errno 1] Operation not permitted (rlimits)", None]
    assert nice == ["nice", 13, "[Errno 13] Permission denied (nice)", None]
    assert affinity == ["cpu_affinity", 22, "[Errno 22] Invalid argument (cpu_affinity)", None]
    assert [cwd[1], cwd[3], cgroup[1], cgroup[3]] == [20, True, 20, True]


# --- a directory by its descriptor ----------------------------------------------------------------


@pytest.mark.parametrize("close_fds", [True, False])
@pytest.mark.parametrize("kept", [True, False])
async def test_a_descriptor_as_working_directory(tmp_path: Path, close_fds: bool, kept: bool) -> None:
    """The directory may have no name any more. The child has the descriptor only if it is passed on."""
    fd = os.open(tmp_path, os.O_RDONLY)
    tmp_path.rename(tmp_path.with_name("moved"))
    options: dict[str, Any] = {"cwd": fd, "close_fds": close_fds, "pass_fds": [fd] if kept and close_fds else ()}
    try:
        out = await output("sh", "-c", f"pwd -P; test -e /proc/self/fd/{fd}; echo $?", **options)
    finally:
        os.close(fd)
    assert out.split() == [os.fsencode(tmp_path.with_name("moved")), b"0" if kept and close_fds else b"1"]


LOW = """
# The directory is 0, 1 or 2, which the child's streams take.
async def main():
    number = int(args[0])
    folder = os.open("/usr", os.O_RDONLY)
    saved = os.dup(number)
    os.dup2(folder, number)
    try:
        proc = await procio.create_subprocess_exec("pwd", cwd=number, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
        out, _ = await proc.communicate()
    finally:
        os.dup2(saved, number)
    assert out == b"/usr\\n", out
run(main())
"""


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_standard_stream_as_working_directory(number: int) -> None:
    assert script_result(LOW, number) is None


# --- control groups ------------------------------------------------------------------------------


def hierarchy(version: int) -> Path | None:
    """This process's own group in a hierarchy where it may make further ones."""
    groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        root, target = fields.split()[3:5]
        controllers = {"cgroup2": [""], "cgroup": kind.split()[2].split(",")}.get(kind.split()[0], [])
        found = next((groups[name] for name in controllers if name in groups), None)
        if found is None or (kind.split()[0] == "cgroup2") is not (version == 2) or "cpuset" in controllers:
            continue
        folder = Path(target) / os.path.relpath(found, root)
        if os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
            return folder
    return None


_serial = itertools.count()


@contextlib.contextmanager
def new_group(version: int) -> Iterator[Path]:
    """A new group, with one below it that was delegated, and nothing in it any more at the end."""
    parent = hierarchy(version)
    if parent is None:
        pytest.skip(skips.NO_CGROUP)
    group = parent / f"procio-test-{os.getpid()}-{next(_serial)}"
    group.mkdir()
    try:
        yield group
        until_sync(lambda: not members(group), "nothing left in the group")
    finally:
        with contextlib.suppress(OSError):
            group.joinpath("cgroup.kill").write_text("1")
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        group.rmdir()


@pytest.fixture
def group() -> Iterator[Path]:
    with new_group(2) as group:
        yield group


@pytest.fixture
def killable(group: Path) -> Path:
    if not (group / "cgroup.kill").exists():
        pytest.skip(skips.NO_CGROUP_KILL)
    return group


def members(group: Path) -> list[int]:
    return [int(pid) for pid in group.joinpath("cgroup.procs").read_text().split()]


BORN = """
async def main():
    group = args[1]
    name = os.path.basename(group)
    fd = os.open(group, os.O_RDONLY)
    for given in (group, os.fsencode(group), fd):
        for options in ({}, {"start_new_session": True}, {"preexec_fn": lambda: None}):
            out = await output("cat", "/proc/self/cgroup", cgroup=given, **options)
            assert name in out.decode(), (given, options, out)
    assert name not in (await output("cat", "/proc/self/cgroup")).decode()
    assert name not in open("/proc/self/cgroup").read()
    async with procio.open_process(["sleep", "1000"], cgroup=fd) as proc:
        assert open(group + "/cgroup.procs").read().split() == [str(proc.pid)]
        proc.kill()
    done = await procio.run_process(["cat", "/proc/self/cgroup"], cgroup=fd)
    assert name in done.stdout.decode()
    os.close(fd)
run(main())
"""


@ways
@pytest.mark.parametrize("version", [1, 2])
def test_born_in_a_control_group(way: dict[str, str], version: int) -> None:
    with new_group(version) as group:
        assert script_result(BORN, "own", group, env=way) is None


DELEGATED = """
async def main():
    for fd_or_path in (args[1], os.open(args[1], os.O_RDONLY)):
        out = (await output("cat", "/proc/self/cgroup", cgroup=fd_or_path)).decode()
        assert os.path.basename(args[1]) in out
    try:
        await procio.create_subprocess_exec("true", cgroup=args[2])
    except PermissionError as error:
        assert error.filename == os.fsencode(args[2]) or error.filename == args[2], error.filename
        assert "cgroup" in str(error)
    else:
        raise AssertionError("no error")
    assert not children()
run(main())
"""


@ways
@skips.needs_root
def test_as_another_user_in_a_delegated_group(way: dict[str, str], group: Path) -> None:
    """As systemd delegates one. In any other the system's error names it."""
    delegated, other = group / "delegated", group / "other"
    inner = delegated / "inner"
    inner.mkdir(parents=True)
    other.mkdir()
    for folder in (delegated, inner):
        for path in (folder, folder / "cgroup.procs"):
            os.chown(path, NOBODY, NOBODY)
    enter = f"open({str(delegated / 'cgroup.procs')!r}, 'w').write('0')\n"
    assert script_result(enter + BECOME + DELEGATED, "nobody", inner, other, env=way) is None


ESCAPES = "setsid sleep 1000 >/dev/null 2>&1 & setsid sh -c 'sleep 1000 & wait' >/dev/null 2>&1 & "


@pytest.mark.filterwarnings("ignore:unclosed <Process:ResourceWarning")
@pytest.mark.parametrize("how", ["stop", "block", "obeys", "run", "drop", "ended"])
async def test_what_left_the_session_is_killed_with_the_control_group(killable: Path, how: str) -> None:
    """Wherever the process group would be."""
    options: dict[str, Any] = {"cgroup": killable, "cgroup_kill": True}
    script = ESCAPES + ("echo; exit 3" if how in ("obeys", "run") else "echo; exec sleep 1000")
    if how == "run":
        done = await procio.run_process(["sh", "-c", script], check=False, **options)
        assert done.returncode == 3
    elif how in ("block", "obeys"):
        with contextlib.suppress(ZeroDivisionError):
            async with procio.open_process(["sh", "-c", script], stdout=procio.PIPE, **options) as proc:
                await proc.stdout.readline()
                if how == "block":
                    raise ZeroDivisionError
    else:
        proc = await procio.create_subprocess_exec("sh", "-c", script, stdout=procio.PIPE, **options)
        await proc.stdout.readline()
        await until(lambda: len(members(killable)) == 4, "all four processes")
        if how == "stop":
            await proc.stop(grace=0)
        elif how == "drop":
            del proc
        else:
            proc.kill()
            await proc.wait()
            assert members(killable)  # a kill is for the child alone
            proc.stdout.close()
            killable.joinpath("cgroup.kill").write_text("1")
    await until(lambda: not members(killable), "end of all in the group")


async def test_another_child_in_the_group_outlives_one_that_ended(killable: Path) -> None:
    """What is dropped after its end kills nothing."""
    options: dict[str, Any] = {"cgroup": killable, "cgroup_kill": True}
    first = await procio.create_subprocess_exec("true", **options)
    assert await first.wait() == 0
    async with running("cat", stdin=procio.PIPE, stdout=procio.PIPE, **options) as second:
        del first
        second.stdin.write(b"x\n")
        assert await second.stdout.readline() == b"x\n"


async def test_a_start_that_fails_kills_no_other_in_the_group(killable: Path) -> None:
    options: dict[str, Any] = {"cgroup": killable, "cgroup_kill": True}
    async with running("cat", stdin=procio.PIPE, stdout=procio.PIPE, **options) as other:
        for command in ("/no/such/program", "/etc/passwd"):
            with pytest.raises(OSError, match=command):
                await procio.create_subprocess_exec(command, **options)
        other.stdin.write(b"x\n")
        assert await other.stdout.readline() == b"x\n"


OWN = """
async def main():
    open(args[1] + "/cgroup.procs", "w").write("0")
    try:
        await procio.create_subprocess_exec("true", cgroup=args[1], cgroup_kill=True)
    except ValueError as error:
        print(json.dumps(str(error)))
run(main())
"""


def test_the_programs_own_group_is_not_killed(killable: Path, loop_name: str) -> None:
    assert "would kill this program" in script_result(OWN, "own", killable, loop=loop_name)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_group_that_cannot_be_killed(version: int) -> None:
    """The root of the hierarchy has no cgroup.kill, nor has version 1, nor any group before Linux 5.14."""
    with new_group(version) as group:
        if (group / "cgroup.kill").exists():
            pytest.skip(skips.CGROUP_KILL)
        with pytest.raises(NotImplementedError):
            await procio.create_subprocess_exec("true", cgroup=group, cgroup_kill=True)


async def test_a_group_that_is_gone(group: Path) -> None:
    """While a descriptor of it is still there."""
    removed = group / "removed"
    removed.mkdir()
    fd = os.open(removed, os.O_RDONLY)
    removed.rmdir()
    try:
        with pytest.raises(OSError, match="cgroup") as caught:
            await procio.create_subprocess_exec("true", cgroup=fd)
    finally:
        os.close(fd)
    assert caught.value.filename == fd


# --- the end of the program ----------------------------------------------------------------------

PARENT = """
import itertools
passed, options = int(args[0]), json.loads(args[1])
if options.pop("hook", False):
    options["preexec_fn"] = lambda: None

async def main():
    async def start(number):
        proc = await procio.create_subprocess_exec(
            "sleep", "1000", pass_fds=[passed], kill_on_parent_exit=True, **options
        )
        print(proc.pid, flush=True)
        return proc
    print("begin", flush=True)
    procs = await asyncio.gather(*map(start, range(50)))
    print("all", flush=True)
    await asyncio.sleep(1000)
run(main())
"""


def kill_when(lines: int, options: dict[str, Any], way: dict[str, str], loop: str) -> None:
    """Kill a program after a number of lines of its output, and wait for the end of all that it started."""
    reader, writer = os.pipe()
    code = script_source(PARENT, loop)
    command = [sys.executable, "-c", code, str(writer), json.dumps(options)]
    env = {**os.environ, **way}
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[writer], env=env) as parent:
        os.close(writer)
        assert parent.stdout is not None
        seen = [parent.stdout.readline() for _ in range(lines)]
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert all(seen), seen
    # Each child holds the other end.
    readable, _, _ = select.select([reader], [], [], DEADLINE)
    assert readable, "something is still running"
    assert os.read(reader, 1) == b""
    os.close(reader)
    pids = [int(line) for line in seen if line.strip().isdigit()]
    until_sync(lambda: all(map(dead, pids)), "end of all children")


PARENT_WAYS = [*WAYS, {"PROCIO_AUTOKILL": "0"}, {"PROCIO_AUTOKILL": "0", "PROCIO_CLONE3": "0"}]


@pytest.mark.parametrize("lines", [1, 2, 20, 52])
def test_children_end_with_the_program(lines: int, loop_name: str) -> None:
    """However it ends, and also while it starts them."""
    kill_when(lines, {}, {}, loop_name)


@pytest.mark.parametrize("way", PARENT_WAYS, ids=lambda way: ",".join(map("=".join, way.items())) or "default")
def test_children_end_with_the_program_however_they_are_made(way: dict[str, str]) -> None:
    kill_when(20, {}, way, LOOPS[0])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"user": NOBODY, "group": NOBODY}, marks=skips.needs_root, id="user"),
        pytest.param({"hook": True}, id="hook"),
        pytest.param({"start_new_session": True}, id="session"),
        pytest.param({"no_new_privs": True}, id="no_new_privs"),
    ],
)
def test_children_end_with_the_program_whatever_they_are(options: dict[str, Any], loop_name: str) -> None:
    """A new identity would untie what is not tied again."""
    kill_when(52, options, {}, loop_name)


THREAD = """
import threading
outcome = []
def thread():
    async def main():
        for options in ({}, {"preexec_fn": lambda: None}):
            try:
                await procio.create_subprocess_exec("true", kill_on_parent_exit=True, **options)
            except RuntimeError as error:
                outcome.append("thread" in str(error))
        assert not children()
    run(main())
it = threading.Thread(target=thread)
it.start()
it.join()
print(json.dumps(outcome))
"""


def test_a_thread_that_may_end_before_is_refused(loop_name: str) -> None:
    """Where the kernel ties a child to the thread that makes it."""
    assert script_result(THREAD, env={"PROCIO_AUTOKILL": "0"}, loop=loop_name) == [True, True]


async def test_a_tied_child_is_like_any_other() -> None:
    """Its end, its signals, and its output."""
    async with running("cat", stdin=procio.PIPE, stdout=procio.PIPE, kill_on_parent_exit=True) as proc:
        assert proc.returncode is None
        proc.stdin.write(b"x")
        assert await proc.stdout.read(1) == b"x"
        proc.terminate()
        assert await proc.wait() == -signal.SIGTERM
    assert await output("echo", "x", kill_on_parent_exit=True) == b"x\n"
    done = await procio.run_process(["sh", "-c", "exit 4"], check=False, kill_on_parent_exit=True)
    assert done.returncode == 4
    async with procio.open_process(["sleep", "1000"], kill_on_parent_exit=True) as proc:
        await proc.stop()
    assert proc.returncode == -signal.SIGTERM
