"""Make the links of README.md absolute, for PyPI and crates.io: to the files of the tagged commit.

`repository` in Cargo.toml says where they are. Only the workflow of a release runs this; it commits nothing.
"""

import re
import tomllib
from pathlib import Path

root = Path(__file__).resolve().parent.parent
package = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))["package"]
files = f"{package['repository'].rstrip('/')}/blob/v{package['version']}/"
readme = root / "README.md"
text = readme.read_text(encoding="utf-8")
text, count = re.subn(r"\]\((?![a-z]+:|#)", f"]({files}", text)
readme.write_text(text, encoding="utf-8")
print(f"README.md: {count} links go to {files}")
