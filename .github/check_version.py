"""May the tag be published? It is Cargo.toml's version, the changelog has a section for it, and addresses are given."""

import re
import sys
import tomllib
from pathlib import Path

root = Path(__file__).resolve().parent.parent
package = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))["package"]
version = package["version"]
tag = sys.argv[1].removeprefix("refs/tags/")
if tag != f"v{version}":
    sys.exit(f"the tag is {tag}, and Cargo.toml says {version}")
if missing := [name for name in ("repository", "documentation") if not package.get(name)]:
    sys.exit(f"Cargo.toml does not say {' and '.join(missing)}, which both registries show (docs/dev/releasing.md)")
heading = rf"^## \[?{re.escape(version)}\b"
if not re.search(heading, (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE):
    sys.exit(f"CHANGELOG.md has no section {version}")
print(f"{tag}: Cargo.toml and CHANGELOG.md agree")
