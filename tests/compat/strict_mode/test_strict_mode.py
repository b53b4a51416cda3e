"""A suite of a user's: pytest-asyncio in its strict mode, with every warning an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import SUPPORT

SUITE = """
import asyncio
import sys

import pytest
import pytest_asyncio

sys.path.insert(0, {support!r})
import support


def pytest_asyncio_loop_factories(config, item):
    return {{"loop": lambda: support.new_loop_named({loop!r})}}


@pytest.fixture(scope="session", autouse=True)
def installed():
    support.procio.install()
    yield
    support.procio.uninstall()


@pytest_asyncio.fixture
async def cat():
    process = await asyncio.create_subprocess_exec("cat", stdin=support.PIPE, stdout=support.PIPE)
    yield process
    if process.returncode is None:
        process.stdin.close()
        await process.wait()
    process.stdin.close()
    await process.stdout.read()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared():
    process = await asyncio.create_subprocess_exec("cat", stdin=support.PIPE, stdout=support.PIPE)
    yield process
    await process.communicate(b"")


@pytest.mark.asyncio
async def test_talk(cat):
    for word in (b"one\\n", b"two\\n"):
        cat.stdin.write(word)
        await cat.stdin.drain()
        assert await cat.stdout.readline() == word


@pytest.mark.asyncio
async def test_communicate(cat):
    assert await cat.communicate(b"x" * 100_000) == (b"x" * 100_000, None)


@pytest.mark.asyncio
async def test_timeout(cat):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(cat.stdout.read(), 0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await cat.wait()


@pytest.mark.asyncio
async def test_kill(cat):
    cat.kill()
    assert await cat.wait() == -9


@pytest.mark.asyncio
async def test_task_group():
    async def one(number):
        process = await asyncio.create_subprocess_shell(f"echo {{number}}; exit {{number}}", stdout=support.PIPE)
        assert (await process.communicate())[0] == b"%d\\n" % number
        return process.returncode

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(5)]
    assert [task.result() for task in tasks] == [0, 1, 2, 3, 4]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("word", [b"first\\n", b"second\\n"])
async def test_fixture_of_the_module(shared, word):
    shared.stdin.write(word)
    assert await shared.stdout.readline() == word


@pytest.mark.asyncio
async def test_missing_program():
    with pytest.raises(FileNotFoundError):
        await asyncio.create_subprocess_exec("/nonexistent/program")
"""


def outcome(folder: Path, loop: str) -> str:
    """Run it in a program of its own; its last line."""
    (folder / "conftest.py").write_text("")
    (folder / "test_user.py").write_text(SUITE.format(support=str(SUPPORT), loop=loop))
    options = ["-W", "error", "-p", "no:cacheprovider", "-o", "asyncio_mode=strict", "--rootdir", str(folder)]
    scope = ["-o", "asyncio_default_fixture_loop_scope=function"]
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", *options, *scope, str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, cwd=folder)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()[-1]


def test_strict_mode(tmp_path: Path, loop_name: str) -> None:
    """Nothing fails, and nothing warns: no ResourceWarning, no coroutine that was never awaited."""
    assert outcome(tmp_path, loop_name).startswith("8 passed")
