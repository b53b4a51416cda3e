"""A session for each check. `nox --list` names them; `nox -s lint types` runs some; `.ci/run` runs what has to pass.

nox -s tests -- tests/streams -k readline      what is after -- goes to pytest
nox -s "tests-3.13"                            on one interpreter
nox -s "forced(PROCIO_SPAWN=fork)"             on one forced path
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

import switches  # noqa: E402

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "rust", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "uv|virtualenv"  # the first that is installed
nox.options.error_on_missing_interpreters = True

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.14t", "3.15", "3.15t"]
FORCED = [f"{name}={value}" for name, value in switches.FORCED_PATHS]
# Folders in which a forced path makes a difference.
FORCED_TESTS = (
    "tests/lifecycle",
    "tests/streams",
    "tests/transports",
    "tests/platform",
    "tests/api/test_options.py",
    "tests/api/test_preexec_fn.py",
)
# What can be judged of the kqueue backend on Linux.
KQUEUE_TESTS = ("tests/lifecycle", "tests/streams", "tests/transports", "tests/platform/linux")
PROJECT = nox.project.load_toml("pyproject.toml")
WHEEL_TAG = """
import sys, sysconfig
version = "cp%d%d" % sys.version_info[:2]
print(version, version + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""), sep="-")
"""
TARGETS = {"macos": "aarch64-apple-darwin", "windows": "x86_64-pc-windows-msvc"}


def has(program: str) -> bool:
    """Whether the program can be run."""
    return any(os.access(Path(folder, program), os.X_OK) for folder in os.environ["PATH"].split(os.pathsep))


def reachable(session: nox.Session, host: str) -> bool:
    """Whether something can be fetched from there; said if not."""
    try:
        socket.create_connection((host, 443), timeout=10).close()
    except OSError as error:
        session.warn(f"{host} cannot be reached ({error}): what it is needed for is left out")
        return False
    return True


def with_python() -> dict[str, str]:
    """For a program that is linked with libpython: where it is, and its standard library."""
    return {
        "PYO3_PYTHON": os.path.realpath(sys.executable),
        "PYTHONHOME": sys.base_prefix,
        "LD_LIBRARY_PATH": f"{sysconfig.get_config_var('LIBDIR') or ''}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    }


def install(session: nox.Session, extras: str, *requirements: str) -> None:
    """Install procio with extras: from the checkout, or the wheel of PROCIO_WHEELS (`nox -s wheel`) that fits."""
    procio = f".[{extras}]"
    if folder := os.environ.get("PROCIO_WHEELS"):
        tag = str(session.run("python", "-c", WHEEL_TAG, silent=True)).strip()
        (wheel,) = Path(folder).resolve().glob(f"procio-*-{tag}-*.whl")
        procio = f"procio[{extras}] @ {wheel.as_uri()}"
    session.install(procio, *requirements)


def pytest(session: nox.Session, *arguments: str, **env: str) -> None:
    """Run pytest on the installed package; what follows `--` is added."""
    session.run("python", "-m", "pytest", "-q", *arguments, *session.posargs, env=env)


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """Build a wheel into PROCIO_WHEELS, from which the other sessions then install, or into dist."""
    session.install("maturin")
    interpreter = str(session.run("python", "-c", "import sys; print(sys.executable)", silent=True)).strip()
    out = os.environ.get("PROCIO_WHEELS", "dist")
    session.run("maturin", "build", "--quiet", "--release", "--locked", "--interpreter", interpreter, "--out", out)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Every behaviour once, on both loops."""
    install(session, "test")
    # On 3.15 `os.fork` warns of the thread by which faulthandler waits for a test that hangs.
    options = ["-o", "faulthandler_timeout=0"] if str(session.python).startswith("3.15") else []
    pytest(session, *options)


@nox.session
@nox.parametrize("switch", FORCED, ids=FORCED)
def forced(session: nox.Session, switch: str) -> None:
    """The tests on a path that this machine would not take by itself; all of them, or the files after `--`."""
    install(session, "test")
    name, value = switch.split("=")
    loops = "asyncio,uvloop" if (name, value) in switches.LOOP_PATHS else "asyncio"
    files = () if session.posargs else FORCED_TESTS
    env = {name: value, "PROCIO_TEST_LOOPS": loops, "PROCIO_STRESS": "0.1"}
    if value == "posix_spawn" and shutil.which("ps"):
        env["PROCIO_TEST_PS"] = "1"  # macOS' way to start a program, and its way to see what is left
    pytest(session, *files, **env)


@nox.session
def stress(session: nox.Session) -> None:
    """Much of everything, in full size."""
    install(session, "test")
    pytest(session, "-m", "stress", PROCIO_STRESS=os.environ.get("PROCIO_STRESS", "1.0"))


@nox.session
def conformance(session: nox.Session) -> None:
    """CPython's and uvloop's own tests."""
    install(session, "test")
    pytest(session, "-m", "conformance")


@nox.session
def differential(session: nox.Session) -> None:
    """Random operations on procio and on asyncio, compared (PROCIO_DIFFERENTIAL_SECONDS)."""
    install(session, "test")
    pytest(session, "-s", "-m", "differential")


@nox.session
def injection(session: nox.Session) -> None:
    """Every system call fails in every way, on every forced path."""
    install(session, "test")
    pytest(session, "-m", "injection")


@nox.session
def embedded(session: nox.Session) -> None:
    """A Rust service with Python inside."""
    install(session, "test")
    pytest(session, "-m", "embedded")


@nox.session
def libraries(session: nox.Session) -> None:
    """Published libraries, and their own tests, under `install()`."""
    install(session, "test", "pip", *nox.project.dependency_groups(PROJECT, "libraries"))
    sources = Path(session.create_tmp(), "sources")
    session.run("python", "tests/compat/libraries/fetch_sources.py", str(sources), "anyio", "asyncssh", "uvloop")
    pytest(session, "-m", "libraries", PROCIO_SOURCES=str(sources))


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, layers, words and the map of files; the workflows; licences and advisories."""
    session.install("ruff", "zizmor")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("python", "tools/lint.py")
    session.run("cargo", "fmt", "--check", external=True)
    session.run("zizmor", "--offline", "--quiet", "--min-severity", "medium", ".github")
    if has("actionlint"):
        session.run("actionlint", external=True)
    else:
        session.warn("actionlint is not installed: the workflows' syntax is not checked")
    if has("cargo-deny"):
        advisories = ["advisories"] if reachable(session, "github.com") else []
        session.run(
            "cargo", "deny", "--all-features", "check", "bans", "licenses", "sources", *advisories, external=True
        )
    else:
        session.warn("cargo-deny is not installed: licences and advisories are not checked")


@nox.session
def types(session: nox.Session) -> None:
    """The package's types, its stubs against the compiled module, and a user's program."""
    install(session, "test", "basedpyright", "mypy", "nox")
    allowlist = str(ROOT / ".stubtest-allowlist")
    pytest(session, "tests/api/test_types.py")
    session.run("mypy")
    session.chdir(session.create_tmp())  # where the installed package is found, and not the source
    session.run("mypy", "--strict", "-p", "procio")
    session.run("python", "-m", "mypy.stubtest", "procio", "--allowlist", allowlist)
    # Pyright as PyPI carries it whole: the package of that name has to fetch the program elsewhere.
    session.run("basedpyright", "--ignoreexternal", "--verifytypes", "procio")


@nox.session(venv_backend="none")
def rust(session: nox.Session) -> None:
    """Clippy and the Rust tests, for each set of features."""
    env = with_python()
    if has("cargo-hack"):
        session.run("cargo", "hack", "clippy", "--feature-powerset", "--all-targets", "--", "-D", "warnings", env=env)
    else:
        for features in (
            [],
            ["--features", "tokio"],
            ["--features", "python"],
            ["--all-features"],
        ):
            session.run("cargo", "clippy", "--all-targets", *features, "--quiet", "--", "-D", "warnings", env=env)
    for features in ([], ["--features", "tokio"], ["--all-features"]):
        if has("cargo-nextest"):
            session.run("cargo", "nextest", "run", "--status-level", "fail", *features, env=env)
            session.run("cargo", "test", "--quiet", "--doc", *features, env=env)
        else:
            session.run("cargo", "test", "--quiet", *features, env=env)


def snippets(file: str, language: str) -> list[str]:
    """The blocks of code of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", Path(file).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@nox.session(venv_backend="none")
def crate(session: nox.Session) -> None:
    """A program that depends on the packaged crate alone, on the declared Rust version.

    With the newest and with the lowest versions of the dependencies, which a nightly cargo chooses.
    """
    with open("Cargo.toml", "rb") as file:
        version = tomllib.load(file)["package"]["rust-version"]
    session.run("cargo", "package", "--no-verify", "--allow-dirty", "--quiet")
    metadata = session.run("cargo", "metadata", "--no-deps", "--format-version", "1", silent=True)
    (packed,) = Path(json.loads(str(metadata))["target_directory"], "package").glob("procio-*.crate")
    scratch = Path(session.create_tmp()).resolve()
    session.run("tar", "xzf", str(packed), "-C", str(scratch))
    source = scratch / packed.stem
    for features in ([], ["tokio"]):
        for lowest in (False, True):
            program = scratch / "-".join(["program", *features, *(["lowest"] if lowest else [])])
            (program / "src").mkdir(parents=True, exist_ok=True)
            (program / "src" / "main.rs").write_text(SCRATCH)
            (program / "Cargo.toml").write_text(
                f'[package]\nname = "scratch"\nedition = "2024"\n[workspace]\n[dependencies]\n'
                f'procio = {{ path = "{source}", features = {json.dumps(features)} }}\n'
            )
            with session.chdir(program):
                if lowest:
                    session.run("cargo", "+nightly", "update", "--quiet", "-Zminimal-versions")
                env = {"CARGO_TARGET_DIR": str(scratch / "target")}
                session.run("cargo", f"+{version}.0", "run", "--quiet", env=env)
    # The README's programs as they stand, with the README's dependencies as they stand.
    program = scratch / "readme"
    (program / "src").mkdir(parents=True, exist_ok=True)
    (scratch / "procio").unlink(missing_ok=True)
    (scratch / "procio").symlink_to(source)
    (dependencies,) = snippets("README.md", "toml")
    (program / "Cargo.toml").write_text(f'[package]\nname = "readme"\nedition = "2024"\n[workspace]\n{dependencies}')
    for text in snippets("README.md", "rust"):
        (program / "src" / "main.rs").write_text(text)
        with session.chdir(program):
            session.run("cargo", f"+{version}.0", "run", "--quiet", env={"CARGO_TARGET_DIR": str(scratch / "target")})
    libraries = list(Path(scratch, "target").rglob("libprocio*.so"))
    if libraries:
        session.error(f"a dependent has linked a shared library: {libraries[0]}")


# A sanitizer finds other faults on other ways; each is forced by a switch.
INSTRUMENTED_PATHS = ["", "PROCIO_PIDFD=0", "PROCIO_POLL_THREAD=1", "PROCIO_EXEC=libc"]
CRATE = ["--features", "tokio"]


def host() -> str:
    """The triple for which rustc compiles by itself: with --target, build scripts are not instrumented."""
    lines = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout.splitlines()
    return next(line.removeprefix("host: ") for line in lines if line.startswith("host: "))


def sanitized(session: nox.Session, sanitizer: str, *options: str) -> None:
    """The crate's tests in a build with a sanitizer, on each path."""
    flags = {"RUSTFLAGS": f"-Zsanitizer={sanitizer}", "CARGO_TARGET_DIR": f"target/{sanitizer}-sanitizer"}
    for path in INSTRUMENTED_PATHS:
        session.log(f"{sanitizer} sanitizer, the crate's tests, {path or 'no switch'}")
        env = {**flags, **dict(pair.split("=") for pair in [path] if pair)}
        tests = ["cargo", "+nightly", "test", *options, "--target", host(), *CRATE, "--lib", "--tests"]
        session.run(*tests, *session.posargs, env=env)


@nox.session(venv_backend="none")
def address_sanitizer(session: nox.Session) -> None:
    """The crate's tests under AddressSanitizer and LeakSanitizer, on each path. It takes a nightly Rust."""
    sanitized(session, "address")


@nox.session(venv_backend="none")
def thread_sanitizer(session: nox.Session) -> None:
    """The crate's tests under ThreadSanitizer, on each path. It takes a nightly Rust with the source of std."""
    sysroot = session.run("rustc", "+nightly", "--print", "sysroot", silent=True)
    if not Path(str(sysroot).strip(), "lib/rustlib/src/rust/library/Cargo.toml").exists():
        session.skip("std must be built with it, and its source is not installed (rustup component add rust-src)")
    sanitized(session, "thread", "-Zbuild-std")


@nox.session(venv_backend="none")
def miri(session: nox.Session) -> None:
    """What makes no system calls under Miri: the streams' state machines and the lists of waiters."""
    if subprocess.run(["cargo", "+nightly", "miri", "--version"], capture_output=True).returncode:
        session.skip("Miri is not installed (rustup component add miri)")
    modules = ["stream::", "reactor::waiters::"]
    session.run("cargo", "+nightly", "miri", "test", *CRATE, "--lib", "--", *modules, *session.posargs)


SCRATCH = """
use procio::{Command, Reactor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reactor = Reactor::new()?;
    let mut command = Command::new("echo");
    let output = reactor.run_until(command.arg("hi").output(&reactor))??;
    assert_eq!(output.stdout, b"hi\\n");
    Ok(())
}
"""


@nox.session
def docs(session: nox.Session) -> None:
    """The site, with warnings as errors, its programs and its links."""
    install(session, "docs,test", *nox.project.dependency_groups(PROJECT, "peers"))
    pytest(session, "tests/api/test_documentation.py")
    # Its links to Python's documentation need the inventory from there.
    tags = [] if reachable(session, "docs.python.org") else ["-t", "offline"]
    session.run("sphinx-build", "-W", "--keep-going", "-q", *tags, "docs", "docs/_build")


@nox.session(venv_backend="none")
def rustdoc(session: nox.Session) -> None:
    """The crate's documentation, with warnings as errors."""
    env = {**with_python(), "RUSTDOCFLAGS": "-D warnings"}
    for features in ([], ["--features", "tokio"], ["--all-features"]):
        session.run("cargo", "doc", "--no-deps", "--quiet", *features, env=env)


@nox.session
def package(session: nox.Session) -> None:
    """The crate and the source distribution as they would be published."""
    session.install("maturin", "twine")
    session.run("cargo", "package", "--quiet", "--allow-dirty", "--locked", external=True, env=with_python())
    dist = Path(session.create_tmp(), "dist")
    session.run("maturin", "sdist", "--out", str(dist))
    session.run("twine", "check", "--strict", *map(str, dist.glob("*.tar.gz")))


@nox.session(venv_backend="none")
@nox.parametrize("system", list(TARGETS), ids=list(TARGETS))
def cross(session: nox.Session, system: str) -> None:
    """Does it compile for another system? (tools/offline)"""
    options = ["--features", "python", "--lib"] if system == "windows" else []
    session.run("tools/offline/type-check", TARGETS[system], *options)


@nox.session(venv_backend="none")
def windows(session: nox.Session) -> None:
    """The tests under Wine (tools/offline)."""
    session.run("tools/offline/windows/setup")
    session.run("tools/offline/windows/cargo", "test", "--quiet", "--lib")
    stress = os.environ.get("PROCIO_STRESS", "0.05")
    session.run("tools/offline/windows/suite", "-q", *session.posargs, env={"PROCIO_STRESS": stress})


@nox.session(python="3.11")
def gate(session: nox.Session) -> None:
    """System calls, instructions and allocations of a few operations, against benches/gate.json.

    `-- --calls` counts system calls alone, `-- --accept` makes what is counted the last figures.
    """
    missing = [name for name in ("strace", "valgrind") if not has(name)]
    if missing and not ("--calls" in session.posargs and missing == ["valgrind"]):
        session.skip(f"it counts by strace and Valgrind; not installed: {', '.join(missing)}")
    install(session, "test")
    session.run("python", "benches/gate.py", *session.posargs)


@nox.session(venv_backend="none")
def arm64(session: nox.Session) -> None:
    """The tests under an AArch64 kernel in qemu (tools/offline)."""
    session.run("tools/offline/arm64/run")


@nox.session(venv_backend="none")
def kernels(session: nox.Session) -> None:
    """The tests under Debian's kernels, the oldest to the newest, in qemu (tools/offline); those after `--`."""
    session.run("tools/offline/kernels/run", *session.posargs)


@nox.session(venv_backend="none")
def musl(session: nox.Session) -> None:
    """The Rust tests linked with musl, and the musllinux wheel (tools/offline)."""
    session.run("tools/offline/musl/run", *session.posargs)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Each target of fuzz/, for as many seconds as PROCIO_FUZZ_SECONDS says. It takes a nightly Rust and cargo-fuzz."""
    if subprocess.run(["cargo", "+nightly", "fuzz", "--version"], capture_output=True).returncode:
        session.skip("cargo-fuzz is not installed (cargo install cargo-fuzz)")
    seconds = os.environ.get("PROCIO_FUZZ_SECONDS", "60")
    for target in sorted(path.stem for path in Path("fuzz/fuzz_targets").glob("*.rs")):
        run = ["cargo", "+nightly", "fuzz", "run", target, *session.posargs]
        session.run(*run, "--", f"-max_total_time={seconds}", "-max_len=600")


@nox.session
def kqueue(session: nox.Session) -> None:
    """The backend of macOS and the BSDs on Linux, over libkqueue, which PROCIO_LIBKQUEUE names the folder of."""
    folder = os.environ.get("PROCIO_LIBKQUEUE")
    if folder is None or not Path(folder, "libkqueue.so").exists():
        session.skip("PROCIO_LIBKQUEUE does not name a folder with libkqueue.so (docs/dev/kqueue.md)")
    flags = f"--cfg procio_kqueue -L {folder} -C link-arg=-Wl,-rpath,{folder}"
    env = {"RUSTFLAGS": flags, "CARGO_TARGET_DIR": "target/kqueue"}
    session.run("cargo", "test", "--quiet", *CRATE, "--lib", "--tests", env=env, external=True)
    session.install("maturin")
    interpreter = str(session.run("python", "-c", "import sys; print(sys.executable)", silent=True)).strip()
    out = Path(session.create_tmp()).resolve() / "wheel"
    shutil.rmtree(out, ignore_errors=True)
    session.run("maturin", "build", "--quiet", "--interpreter", interpreter, "--out", str(out), env=env)
    (wheel,) = out.glob("procio-*.whl")
    session.install("--force-reinstall", f"procio[test] @ {wheel.as_uri()}")
    files = () if session.posargs else KQUEUE_TESTS
    pytest(session, *files, PROCIO_TEST_KQUEUE="1", PROCIO_POLL_THREAD="1", PROCIO_STRESS="0.1")


@nox.session(venv_backend="none")
def loom(session: nox.Session) -> None:
    """The reactor's hand-overs between threads, in many orders of their steps, by loom."""
    env = {"RUSTFLAGS": "--cfg loom", "CARGO_TARGET_DIR": "target/loom"}
    tests = ["cargo", "test", "--lib", "loom_tests"]
    session.run(*tests, *session.posargs, env=env)
