"""Is the tag that is about to be published the version of Cargo.toml, and has the changelog a section for it?"""

import re
import sys
import tomllib
from pathlib import Path

root = Path(__file__).resolve().parent.parent
version = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
tag = sys.argv[1].removeprefix("refs/tags/")
if tag != f"v{version}":
    sys.exit(f"the tag is {tag}, and Cargo.toml says {version}")
heading = rf"^## \[?{re.escape(version)}\b"
if not re.search(heading, (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE):
    sys.exit(f"CHANGELOG.md has no section {version}")
print(f"{tag}: Cargo.toml and CHANGELOG.md agree")
