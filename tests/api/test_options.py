"""Every keyword of Popen: the child is asked how it was set up, and must say what it says under Popen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import procio
import pytest
import skips
from support import (
    DEVNULL,
    PIPE,
    PYTHON,
    SH,
    STDOUT,
    helper,
    in_mask,
    output,
    parse_status,
    running,
    script_result,
    sh,
    until,
)

grp = pytest.importorskip("grp", reason=skips.POSIX_OPTIONS)
pwd = pytest.importorskip("pwd")
resource = pytest.importorskip("resource")

FACTS = helper("facts")


def popen_facts(**options: Any) -> dict[str, Any]:
    done = subprocess.run(FACTS, stdout=options.pop("stdout", PIPE), stderr=options.pop("stderr", None), **options)
    assert done.returncode == 0
    return json.loads(done.stdout or done.stderr)


async def procio_facts(**options: Any) -> dict[str, Any]:
    options.setdefault("stdout", PIPE)
    proc = await procio.create_subprocess_exec(*FACTS, **options)
    out, err = await proc.communicate()
    assert proc.returncode == 0
    return json.loads(out or err)


async def same_as_popen(**options: Any) -> dict[str, Any]:
    ours = await procio_facts(**options)
    assert ours == popen_facts(**options)
    return ours


async def test_defaults() -> None:
    facts = await same_as_popen()
    assert sorted(facts["descriptors"]) == ["0", "1", "2"]


@pytest.mark.parametrize("fd", [1, 2])
async def test_all_pipes(fd: int) -> None:
    env = {**os.environ, "FACTS_FD": str(fd)}
    facts = await procio_facts(stdin=PIPE, stdout=PIPE, stderr=PIPE, env=env)
    assert facts == popen_facts(input=b"", stdout=PIPE, stderr=PIPE, env=env)


async def test_devnull_everywhere() -> None:
    env = {**os.environ, "FACTS_FD": "2"}
    await same_as_popen(stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=env)
    await same_as_popen(stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    await same_as_popen(stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)


# --- working directory, environment, program -----------------------------------------------------


@pytest.mark.parametrize("convert", [str, os.fsencode, Path], ids=["str", "bytes", "path"])
async def test_cwd(tmp_path: Path, convert: Any) -> None:
    facts = await same_as_popen(cwd=convert(tmp_path))
    assert facts["cwd"] == os.path.realpath(tmp_path)


async def test_cwd_of_the_parent_does_not_change(tmp_path: Path) -> None:
    before = os.getcwd()
    await output("true", cwd=tmp_path)
    assert os.getcwd() == before


async def test_env_replaces_the_environment() -> None:
    facts = await same_as_popen(env={"ONLY": "this", "EMPTY": "", "ODD": "a=b", "PATH": "/bin"})
    assert facts["environment"]["ODD"] == "a=b"
    assert "HOME" not in facts["environment"]


async def test_env_empty() -> None:
    await same_as_popen(env={})


async def test_env_of_bytes_and_surrogates() -> None:
    facts = await same_as_popen(env={b"BYTES": b"\xff", "TEXT": "\udcfe\u20ac"})
    assert facts["environment"]["BYTES"] == "\udcff"


async def test_env_any_mapping() -> None:
    await same_as_popen(env=os.environ)


async def test_environment_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCIO_TEST_WORD", "now")
    assert await output(SH, "-c", "echo $PROCIO_TEST_WORD") == b"now\n"


async def test_executable_replaces_the_program() -> None:
    assert await output("a name", "-c", 'echo "$0"', executable=SH) == b"a name\n"
    assert await output("a name", "-c", "echo $0", "zero", executable=Path(SH)) == b"zero\n"


# --- descriptors ---------------------------------------------------------------------------------


@pytest.fixture
def inheritable() -> Iterator[int]:
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    yield fd
    os.close(fd)


async def test_close_fds_is_the_default(inheritable: int) -> None:
    """uvloop has no close_fds."""
    facts = await same_as_popen()
    assert str(inheritable) not in facts["descriptors"]


async def test_close_fds_false_keeps_inheritable_ones_only(inheritable: int) -> None:
    read_end, write_end = os.pipe()
    try:
        facts = await procio_facts(close_fds=False)
        assert str(inheritable) in facts["descriptors"]
        assert str(read_end) not in facts["descriptors"]
        assert facts["descriptors"].keys() == popen_facts(close_fds=False)["descriptors"].keys()
    finally:
        os.close(read_end)
        os.close(write_end)


async def test_pass_fds(inheritable: int) -> None:
    read_end, write_end = os.pipe()
    try:
        facts = await same_as_popen(pass_fds=[write_end])
        assert str(write_end) in facts["descriptors"]
        assert str(read_end) not in facts["descriptors"]
        assert str(inheritable) not in facts["descriptors"]
        assert not os.get_inheritable(write_end)
        await same_as_popen(pass_fds=(write_end, read_end, write_end))
        await same_as_popen(pass_fds={0, read_end})
    finally:
        os.close(read_end)
        os.close(write_end)


async def test_pass_fds_overrides_close_fds(inheritable: int) -> None:
    with pytest.warns(RuntimeWarning, match=r"^pass_fds overriding close_fds\.$"):
        proc = await procio.create_subprocess_exec(*FACTS, stdout=PIPE, pass_fds=[inheritable], close_fds=False)
    out, _ = await proc.communicate()
    assert sorted(json.loads(out)["descriptors"]) == sorted(["0", "1", "2", str(inheritable)])


async def test_descriptors_far_up_are_closed() -> None:
    """Not only those below some round number."""
    high = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4000) - 1
    os.dup2(2, high)
    try:
        os.set_inheritable(high, True)
        facts = await procio_facts()
        assert str(high) not in facts["descriptors"]
        facts = await procio_facts(pass_fds=[high])
        assert str(high) in facts["descriptors"]
    finally:
        os.close(high)


@pytest.mark.skipif(sys.platform != "linux", reason=skips.NO_PIPE_SIZES)
@pytest.mark.parametrize("size", [4096, 65536, 1 << 18])
async def test_pipesize(size: int) -> None:
    env = {**os.environ, "FACTS_FD": "1"}
    facts = await procio_facts(stdin=PIPE, stderr=PIPE, pipesize=size, env=env)
    assert [facts["descriptors"][fd]["size"] for fd in "012"] == [size] * 3


@pytest.mark.parametrize("size", [-1, None])
async def test_pipesize_none_and_default(size: int | None) -> None:
    assert await procio_facts(pipesize=size) == await procio_facts()


# --- groups and sessions -------------------------------------------------------------------------


async def test_start_new_session() -> None:
    facts = await same_as_popen(start_new_session=True)
    assert facts["own session"]
    assert facts["own group"]


async def test_process_group_of_its_own() -> None:
    facts = await same_as_popen(process_group=0)
    assert facts["own group"]
    assert not facts["own session"]


async def test_process_group_of_another_child() -> None:
    async with (
        running("cat", stdin=PIPE, process_group=0) as leader,
        running("cat", stdin=PIPE, process_group=leader.pid) as member,
    ):
        assert os.getpgid(member.pid) == leader.pid


async def test_process_group_none_is_the_parents() -> None:
    facts = await same_as_popen(process_group=None)
    assert facts["parent's group"]


# --- identity ------------------------------------------------------------------------------------

NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrgid(NOBODY.pw_gid)


@skips.needs_root
@pytest.mark.parametrize("options", [{"user": NOBODY.pw_uid}, {"user": NOBODY.pw_name}], ids=["number", "name"])
async def test_user(options: dict[str, Any]) -> None:
    options["executable"] = SH
    proc = await procio.create_subprocess_exec("sh", "-c", "id -u; id -g", stdout=PIPE, **options)
    assert await proc.communicate() == (f"{NOBODY.pw_uid}\n{os.getgid()}\n".encode(), None)


@skips.needs_root
@pytest.mark.parametrize("options", [{"group": GROUP.gr_gid}, {"group": GROUP.gr_name}], ids=["number", "name"])
async def test_group(options: dict[str, Any]) -> None:
    facts = await same_as_popen(**options)
    assert set(facts["Gid"].split()) == {str(GROUP.gr_gid)}


@skips.needs_root
@pytest.mark.parametrize("groups", [[], [1, 2], (GROUP.gr_name, 5), [NOBODY.pw_gid] * 2])
async def test_extra_groups(groups: Any) -> None:
    await same_as_popen(extra_groups=groups)


DROPPED = """
os.setgroups([7, 8])
show = ["sed", "-n", r"s/^Groups:\\s*//p", "/proc/self/status"]
async def main():
    return [(await output(*show, **options)).decode().split() for options in ({}, {"extra_groups": []})]
assert run(main()) == [["7", "8"], []]
"""


@skips.needs_proc
@skips.needs_root
def test_no_groups_are_a_choice() -> None:
    """From a parent that has some: an empty list is not the same as none given."""
    assert script_result(DROPPED) is None


@skips.needs_proc
@skips.needs_root
async def test_identity_together() -> None:
    proc = await procio.create_subprocess_exec(
        SH, "-c", "cat /proc/self/status", stdout=PIPE, user=NOBODY.pw_uid, group=GROUP.gr_gid, extra_groups=[1, 2]
    )
    status = parse_status((await proc.communicate())[0])
    assert status["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert status["Gid"].split() == [str(GROUP.gr_gid)] * 4
    assert status["Groups"].split() == ["1", "2"]


@skips.needs_root
async def test_kill_of_a_child_of_another_user() -> None:
    async with running("cat", stdin=PIPE, user=NOBODY.pw_uid, group=GROUP.gr_gid, extra_groups=[]) as proc:
        proc.terminate()
        assert await proc.wait() == -signal.SIGTERM


@pytest.mark.parametrize("umask", [0, 0o22, 0o77, 0o777])
async def test_umask(umask: int) -> None:
    before = os.umask(0o22)
    try:
        facts = await same_as_popen(umask=umask)
        assert facts["umask"] == umask
        assert os.umask(0o22) == 0o22
    finally:
        os.umask(before)


async def test_umask_default_is_inherited() -> None:
    before = os.umask(0o37)
    try:
        assert (await same_as_popen(umask=-1))["umask"] == 0o37
    finally:
        os.umask(before)


# --- signals -------------------------------------------------------------------------------------


async def signal_sets(**options: Any) -> dict[str, str]:
    ours = parse_status(await output("cat", "/proc/self/status", **options))
    done = subprocess.run(["cat", "/proc/self/status"], stdout=PIPE, check=True, **options)
    theirs = parse_status(done.stdout)
    if os.environ.get("PROCIO_SPAWN") == "posix_spawn":
        # glibc has its child ignore the signals that it keeps for itself.
        ours["SigIgn"] = f"{int(ours['SigIgn'], 16) & ~own_signals_of_the_c_library():016x}"
    for key in ("SigBlk", "SigIgn", "SigCgt"):
        assert ours[key] == theirs[key], key
    return ours


def own_signals_of_the_c_library() -> int:
    return sum(1 << (number - 1) for number in range(32, signal.SIGRTMIN))


@skips.needs_proc
async def test_restore_signals_is_the_default() -> None:
    """Python ignores SIGPIPE; children start with the default action."""
    status = await signal_sets()
    assert not in_mask(status["SigIgn"], signal.SIGPIPE)
    assert not in_mask(status["SigIgn"], signal.SIGXFSZ)


@skips.needs_proc
async def test_restore_signals_false() -> None:
    status = await signal_sets(restore_signals=False)
    assert in_mask(status["SigIgn"], signal.SIGPIPE)
    assert in_mask(status["SigIgn"], signal.SIGXFSZ)


@skips.needs_proc
async def test_ignored_signals_are_inherited() -> None:
    """uvloop resets them."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        assert in_mask((await signal_sets())["SigIgn"], signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


async def test_handled_signals_are_reset() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        proc = await sh("kill -USR1 $$")
        assert await proc.wait() == -signal.SIGUSR1
    finally:
        signal.signal(signal.SIGUSR1, before)


@skips.needs_proc
async def test_handlers_of_the_parent_do_not_run_in_the_child() -> None:
    """Nor before exec, which has to go through thousands of directories: the signal has its default action there."""
    path = ":".join([f"/none/{number}" for number in range(9000)] + ["/bin", "/usr/bin"])
    handled = []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(os.getpid()))
    try:
        early = 0
        while early < 3:
            async with running(*helper("strike", os.getpid(), int(signal.SIGUSR1)), stdout=PIPE) as striker:
                assert await striker.stdout.readline() == b"ready\n"
                async with running("cat", stdin=PIPE, env={"PATH": path}) as proc:
                    early += await striker.stdout.readline() == b"before exec\n"
                    proc.stdin.close()
                    assert await proc.wait() == -signal.SIGUSR1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not handled


@skips.needs_proc
async def test_signal_mask_of_the_caller_is_inherited() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGRTMIN})
    try:
        status = await signal_sets()
        assert in_mask(status["SigBlk"], signal.SIGUSR2)
        assert in_mask(status["SigBlk"], signal.SIGRTMIN)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert blocked == before | {signal.SIGUSR2, signal.SIGRTMIN}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def test_preexec_fn_none() -> None:
    await same_as_popen(preexec_fn=None)


# --- what POSIX refuses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "value"), [("startupinfo", object()), ("creationflags", 1), ("creationflags", None)]
)
async def test_windows_only_keywords(keyword: str, value: Any) -> None:
    with pytest.raises(ValueError, match=keyword) as theirs:
        subprocess.Popen(["true"], **{keyword: value})
    with pytest.raises(ValueError, match=keyword) as caught:
        await procio.create_subprocess_exec("true", **{keyword: value})
    assert str(caught.value) == str(theirs.value)


async def test_windows_only_keywords_at_their_defaults() -> None:
    await same_as_popen(startupinfo=None, creationflags=0)


async def test_everything_at_once(tmp_path: Path) -> None:
    await same_as_popen(
        executable=PYTHON[0],
        cwd=tmp_path,
        env={"A": "b"},
        close_fds=True,
        pass_fds=(),
        start_new_session=True,
        restore_signals=True,
        umask=0o27,
        pipesize=-1,
        stdin=DEVNULL,
        stderr=STDOUT,
    )


async def test_child_may_outlive_a_changed_option_object() -> None:
    """Containers that the caller changes after the call are not looked at again."""
    env = {"WORD": "before", "PATH": os.environ["PATH"]}
    task = asyncio.ensure_future(procio.create_subprocess_exec(SH, "-c", "echo $WORD", stdout=PIPE, env=env))
    proc = await task
    env["WORD"] = "after"
    assert (await proc.communicate())[0] == b"before\n"
    await until(lambda: proc.returncode is not None)


ENTRIES = """
import asyncio, ctypes, os, subprocess, sys, procio
if len(sys.argv) == 1:
    strings = [b"PATH=/usr/bin:/bin", b"NO VARIABLE", b"PYTHONPATH=" + os.pathsep.join(sys.path).encode()]
    array = lambda items: (ctypes.c_char_p * (len(items) + 1))(*items, None)
    program = os.fsencode(sys.executable)
    ctypes.CDLL(None).execve(program, array([program, *map(os.fsencode, [__file__, "again"])]), array(strings))
async def main():
    proc = await procio.create_subprocess_exec("cat", "/proc/self/environ", stdout=subprocess.PIPE)
    return (await proc.communicate())[0]
assert asyncio.run(main()) == subprocess.run(["cat", "/proc/self/environ"], stdout=subprocess.PIPE).stdout
assert b"NO VARIABLE" in asyncio.run(main())
"""


@skips.needs_proc
def test_strings_of_the_environment_that_are_no_variables_are_passed_on(tmp_path: Path) -> None:
    """execve takes any, and Popen hands them on."""
    script = tmp_path / "entries.py"
    script.write_text(ENTRIES)
    subprocess.run([sys.executable, script], check=True, timeout=60)
