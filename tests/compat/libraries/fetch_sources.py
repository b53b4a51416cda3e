"""Unpack the source distributions of installed packages, for those whose own tests are run.

    python tests/compat/libraries/fetch_sources.py FOLDER anyio asyncssh uvloop

The tests look for them in the folder that PROCIO_SOURCES names.
"""

import importlib.metadata
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

folder, *names = sys.argv[1:]
with tempfile.TemporaryDirectory() as downloads:
    for name in names:
        requirement = f"{name}=={importlib.metadata.version(name)}"
        options = ["--quiet", "--no-deps", "--no-binary", name, "--dest", downloads]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, requirement], check=True)
    for archive in Path(downloads).glob("*.tar.gz"):
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
