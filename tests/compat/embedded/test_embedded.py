"""The embedded service: Rust and tokio outside, Python inside, asked over HTTP on loopback."""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
import skips
from support import ROOT

EXAMPLE = ROOT / "examples" / "embedded_service"

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.project,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason=skips.NO_HANDOVER),
    pytest.mark.skipif(not EXAMPLE.is_dir(), reason=skips.NO_CHECKOUT),
    pytest.mark.skipif(shutil.which("cargo") is None, reason=skips.NO_CARGO),
    pytest.mark.skipif(not sysconfig.get_config_var("Py_ENABLE_SHARED"), reason=skips.NO_LIBPYTHON),
]


@pytest.fixture(scope="module")
def environment():
    """The interpreter that runs the tests is the one that is embedded, with its packages."""
    environ = dict(os.environ, PYO3_PYTHON=sys.executable)
    environ["PATH"] = f"{os.path.dirname(sys.executable)}{os.pathsep}{environ['PATH']}"
    return environ


@pytest.fixture(scope="module")
def program(environment):
    build = ["cargo", "build", "--quiet", "--message-format=json-render-diagnostics"]
    built = subprocess.run(build, cwd=EXAMPLE, env=environment, stdout=subprocess.PIPE, check=False)
    if built.returncode != 0:
        fetch = subprocess.run(["cargo", "fetch", "--quiet"], cwd=EXAMPLE, env=environment, check=False)
        if fetch.returncode != 0:
            pytest.skip(skips.NO_CARGO)
        pytest.fail("the embedded service does not build")
    [line] = [line for line in built.stdout.splitlines() if b'"executable":"' in line]
    return line.split(b'"executable":"')[1].split(b'"')[0].decode()


class Service:
    def __init__(self, program, environment, limit):
        command = [program, EXAMPLE / "handlers.py", "127.0.0.1:0", str(limit)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), line
        self.address = line.split("//")[1].strip()
        self.connections = []

    def post(self, path, body):
        connection = http.client.HTTPConnection(self.address, timeout=120)
        self.connections.append(connection)
        connection.request("POST", path, body)
        self.connections.append(connection.getresponse())
        return self.connections[-1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        rest = self.process.stdout.read()
        return self.process.wait(), rest

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        for connection in reversed(self.connections):
            connection.close()


@pytest.fixture
def start(program, environment):
    with contextlib.ExitStack() as stack:

        def start(limit=3600):
            service = Service(program, environment, limit)
            stack.callback(service.close)
            return service

        yield start


def wait_until_gone(pid):
    """It was killed; when its new parent reaps it is not ours to say."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
    raise AssertionError(f"{pid} is still there")


def read_line(response):
    line = b""
    while not line.endswith(b"\n"):
        line += response.read(1)
    return line


def test_output_arrives_while_the_command_runs(start, tmp_path):
    flag = tmp_path / "flag"
    script = f"echo one; until [ -e {flag} ]; do sleep 0.01; done; echo two"
    response = start().post("/run", script)
    assert response.status == 200
    assert read_line(response) == b"one\n"
    flag.touch()  # the command goes on only now, so it was running
    assert response.read() == b"two\n"


def test_much_output_is_whole(start):
    response = start().post("/run", "seq 300000; exit 1")
    assert response.read() == b"".join(b"%d\n" % i for i in range(1, 300001))


def test_many_requests_at_once(start):
    service = start()
    responses = [service.post("/run", f"echo {i}; cat /dev/null") for i in range(20)]
    assert [response.read() for response in responses] == [b"%d\n" % i for i in range(20)]


@pytest.mark.parametrize("leader", ["sleep 1000", "true"])
def test_the_time_limit_ends_the_whole_group(start, leader):
    """Also what is left of it when the shell that led it has ended."""
    response = start(limit=1).post("/run", f"sleep 1000 & echo $!; {leader}")
    pid = int(read_line(response))
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    wait_until_gone(pid)


def test_a_client_that_goes_away_takes_the_command_along(start):
    service = start()
    response = service.post("/run", "echo $$; exec sleep 1000")
    pid = int(read_line(response))
    while service.connections:
        service.connections.pop().close()
    wait_until_gone(pid)


def test_what_python_raises_is_the_answer(start):
    response = start().post("/run", b"a\0b")
    assert (response.status, response.read()) == (500, b"ValueError: embedded null byte\n")


def test_a_child_of_rust_is_used_by_python(start):
    assert start().post("/sort", b"c\na\nb\n").read() == b"a\nb\nc\n"


def test_sigterm_ends_it_with_no_child_left(start):
    service = start()
    responses = [service.post("/run", "sleep 1000 & echo $!; sleep 1000") for _ in range(3)]
    pids = [int(read_line(response)) for response in responses]
    assert service.stop() == (0, "stopped\n")
    for response, pid in zip(responses, pids, strict=True):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        wait_until_gone(pid)
