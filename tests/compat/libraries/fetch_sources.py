"""Unpack the source distributions of installed packages, for those whose own tests are run.

    python tests/compat/libraries/fetch_sources.py FOLDER [PACKAGE...]

The tests look for them in the folder that PROCIO_SOURCES names. Without PACKAGE, all that the tests use.
"""

import importlib.metadata
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ALL = (
    "agent-client-protocol",
    "aioloop-proxy",
    "anyio",
    "asyncssh",
    "claude-agent-sdk",
    "fastmcp",
    "mcp",
    "openai-agents",
    "plumbum",
    "pypyr",
    "simpervisor",
    "subprocess-tee",
    "trio-asyncio",
    "uvloop",
)

folder, *names = sys.argv[1:]
with tempfile.TemporaryDirectory() as downloads:
    for name in names or ALL:
        requirement = f"{name}=={importlib.metadata.version(name)}"
        options = ["--quiet", "--no-deps", "--no-binary", name, "--dest", downloads]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, requirement], check=True)
    for archive in Path(downloads).glob("*.tar.gz"):
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
