"""A session for each check. `nox --list` names them; `nox -s lint types` runs some; `.ci/run` runs what has to pass.

nox -s tests -- tests/streams -k readline      what is after -- goes to pytest
nox -s "tests-3.13"                            on one interpreter
nox -s "forced(PROCIO_SPAWN=fork)"             on one forced path
"""

from __future__ import annotations

import json
import os
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

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.14t", "3.15", "3.15t"]
FORCED = [f"{name}={value}" for name, value in switches.FORCED_PATHS]
# Folders in which a forced path makes a difference.
FORCED_TESTS = ("tests/lifecycle", "tests/streams", "tests/transports", "tests/platform", "tests/api/test_options.py")
PROJECT = nox.project.load_toml("pyproject.toml")
# The site's links to Python's documentation need its inventory, which is fetched.
OFFLINE = ["-t", "offline"] if os.environ.get("PROCIO_OFFLINE") else []
TARGETS = {"macos": "aarch64-apple-darwin", "windows": "x86_64-pc-windows-msvc"}


def has(program: str) -> bool:
    """Whether the program can be run."""
    return any(os.access(Path(folder, program), os.X_OK) for folder in os.environ["PATH"].split(os.pathsep))


def with_python() -> dict[str, str]:
    """For a program that is linked with libpython: where it is, and its standard library."""
    return {
        "PYO3_PYTHON": os.path.realpath(sys.executable),
        "PYTHONHOME": sys.base_prefix,
        "LD_LIBRARY_PATH": f"{sysconfig.get_config_var('LIBDIR') or ''}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    }


def pytest(session: nox.Session, *arguments: str, **env: str) -> None:
    """Run pytest on the installed package; what follows `--` is added."""
    session.run("python", "-m", "pytest", "-q", *arguments, *session.posargs, env=env)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Every behaviour once, on both loops."""
    session.install(".[test]")
    pytest(session)


@nox.session
@nox.parametrize("switch", FORCED, ids=FORCED)
def forced(session: nox.Session, switch: str) -> None:
    """The tests on a path that this machine would not take by itself."""
    session.install(".[test]")
    name, value = switch.split("=")
    loops = "asyncio,uvloop" if (name, value) in switches.LOOP_PATHS else "asyncio"
    pytest(session, *FORCED_TESTS, **{name: value, "PROCIO_TEST_LOOPS": loops, "PROCIO_STRESS": "0.1"})


@nox.session
def stress(session: nox.Session) -> None:
    """Much of everything, in full size."""
    session.install(".[test]")
    pytest(session, "-m", "stress", PROCIO_STRESS=os.environ.get("PROCIO_STRESS", "1.0"))


@nox.session
def conformance(session: nox.Session) -> None:
    """CPython's and uvloop's own tests."""
    session.install(".[test]")
    pytest(session, "-m", "conformance")


@nox.session
def differential(session: nox.Session) -> None:
    """Random operations on procio and on asyncio, compared (PROCIO_DIFFERENTIAL_SECONDS)."""
    session.install(".[test]")
    pytest(session, "-s", "-m", "differential")


@nox.session
def embedded(session: nox.Session) -> None:
    """A Rust service with Python inside."""
    session.install(".[test]")
    pytest(session, "-m", "embedded")


@nox.session
def libraries(session: nox.Session) -> None:
    """Published libraries, and their own tests, under `install()`."""
    session.install("--upgrade", "pip >= 25.1")  # dependency groups
    session.install(".[test]", "--group", "libraries")
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
        session.run("cargo", "deny", "--all-features", "check", external=True)
    else:
        session.warn("cargo-deny is not installed: licences and advisories are not checked")


@nox.session
def types(session: nox.Session) -> None:
    """The package's types, its stubs against the compiled module, and a user's program."""
    session.install(".[test]", "mypy", "pyright")
    allowlist = str(ROOT / ".stubtest-allowlist")
    pytest(session, "tests/api/test_types.py")
    session.run("mypy", "noxfile.py", "tools", "benches", "--explicit-package-bases", "--ignore-missing-imports")
    session.chdir(session.create_tmp())  # where the installed package is found, and not the source
    session.run("mypy", "--strict", "-p", "procio")
    session.run("python", "-m", "mypy.stubtest", "procio", "--allowlist", allowlist)
    session.run("pyright", "--ignoreexternal", "--verifytypes", "procio")


@nox.session(venv_backend="none")
def rust(session: nox.Session) -> None:
    """Clippy and the Rust tests, for each set of features."""
    env = with_python()
    if has("cargo-hack"):
        session.run("cargo", "hack", "clippy", "--feature-powerset", "--all-targets", "--", "-D", "warnings", env=env)
    else:
        for features in (
            ["--no-default-features"],
            ["--no-default-features", "--features", "tokio"],
            [],
            ["--all-features"],
        ):
            session.run("cargo", "clippy", "--all-targets", *features, "--quiet", "--", "-D", "warnings", env=env)
    for features in (["--no-default-features"], ["--no-default-features", "--features", "tokio"], ["--all-features"]):
        if has("cargo-nextest"):
            session.run("cargo", "nextest", "run", *features, env=env)
            session.run("cargo", "test", "--quiet", "--doc", *features, env=env)
        else:
            session.run("cargo", "test", "--quiet", *features, env=env)


@nox.session(venv_backend="none")
def crate(session: nox.Session) -> None:
    """A program that depends on the packaged crate alone, on the declared Rust version.

    With the newest and with the lowest versions of the dependencies, which a nightly cargo chooses.
    """
    with open("Cargo.toml", "rb") as file:
        version = tomllib.load(file)["package"]["rust-version"]
    session.run("cargo", "package", "--no-verify", "--allow-dirty", "--quiet")
    metadata = session.run("cargo", "metadata", "--no-deps", "--format-version", "1", silent=True)
    (packed,) = Path(json.loads(metadata)["target_directory"], "package").glob("procio-*.crate")
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
                f'procio = {{ path = "{source}", default-features = false, features = {json.dumps(features)} }}\n'
            )
            with session.chdir(program):
                if lowest:
                    session.run("cargo", "+nightly", "update", "--quiet", "-Zminimal-versions")
                env = {"CARGO_TARGET_DIR": str(scratch / "target")}
                session.run("cargo", f"+{version}.0", "run", "--quiet", env=env)
    libraries = list(Path(scratch, "target").rglob("libprocio*.so"))
    if libraries:
        session.error(f"a dependent has linked a shared library: {libraries[0]}")


# A sanitizer finds other faults on other ways; each is forced by a switch.
INSTRUMENTED_PATHS = ["", "PROCIO_PIDFD=0", "PROCIO_POLL_THREAD=1", "PROCIO_EXEC=libc"]
CRATE = ["--no-default-features", "--features", "tokio"]


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
    session.install(".[docs,test]", *nox.project.dependency_groups(PROJECT, "peers"))
    pytest(session, "tests/api/test_documentation.py")
    session.run("sphinx-build", "-W", "--keep-going", "-q", *OFFLINE, "docs", "docs/_build")


@nox.session(venv_backend="none")
def rustdoc(session: nox.Session) -> None:
    """The crate's documentation, with warnings as errors."""
    env = {**with_python(), "RUSTDOCFLAGS": "-D warnings"}
    for features in (["--no-default-features"], ["--no-default-features", "--features", "tokio"], ["--all-features"]):
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
    session.run("tools/offline/type-check", TARGETS[system], *(["--lib"] if system == "windows" else []))


@nox.session(venv_backend="none")
def windows(session: nox.Session) -> None:
    """The tests under Wine (tools/offline)."""
    session.run("tools/offline/windows/setup")
    session.run("tools/offline/windows/cargo", "test", "--quiet", "--no-default-features", "--lib")
    session.run("tools/offline/windows/suite", "-q", *session.posargs, env={"PROCIO_STRESS": "0.05"})
