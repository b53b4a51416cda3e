"""What no published linter knows of this project: its layers, its words, and the map of its files.

python tools/lint.py            check; exit with 1 if anything is found
python tools/lint.py --write    write the map in docs/dev/design.md anew, then check
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# From the bottom up. A file imports from its own row and from those above it in this list, that is, from
# layers below it. A name covers a file of that name and all files in a folder of that name.
RUST_LAYERS = (
    ("sync", "status", "error"),
    ("sys",),
    ("reactor",),
    ("stream", "stdio"),
    ("command", "attributes"),
    ("process",),
    ("child_stdio", "child"),
    ("tokio", "py"),
    ("lib",),
)
PYTHON_LAYERS = (
    ("_core", "_types", "_coroutine", "_results", "_text", "_asyncio"),
    ("_options_posix", "_options_windows", "_options", "_lines"),
    ("_transports",),
    ("_streams", "_subprocess_transport"),
    ("_loops",),
    ("subprocess",),
    ("_lifetime",),
    ("_install",),
    ("__init__",),
)
# file -> what it may import from above, and why.
EXCEPTIONS = {
    "src/stdio.rs": {"child_stdio"},  # Stdio from a child's stream, as in std
    "src/sys/unix/pre_exec.rs": {"command"},  # the platform's own methods of Command, as std's CommandExt
    "src/sys/windows/command_ext.rs": {"command"},  # the same
}

WORDS = re.compile(r"\b(nobody|somebody|whoever|so\s+many)\b", re.IGNORECASE)
WORDS_IN = ("src/**/*.rs", "python/**/*.py", "python/**/*.pyi", "docs/**/*.md", "*.md")

MAP = ROOT / "docs" / "dev" / "design.md"
BEGIN, END = "<!-- map: tools/lint.py --write -->", "<!-- end of the map -->"


def relative(path: Path) -> str:
    """The path as the reports and the tables spell it."""
    return path.relative_to(ROOT).as_posix()


def rank(layers: tuple[tuple[str, ...], ...], name: str) -> int | None:
    """Which layer the name is in, counted from the bottom."""
    return next((number for number, layer in enumerate(layers) if name in layer), None)


def code_of(path: Path) -> str:
    """A Rust file without its comments and without its tests, which are at its end."""
    text = path.read_text(encoding="utf-8").split("#[cfg(test)]\nmod ", 1)[0]
    return re.sub(r"//[^\n]*", "", text)


def exported() -> dict[str, str]:
    """The names that the crate's root has from its modules: `crate::Command` is command's."""
    found = {}
    for module, names in re.findall(
        r"\buse (?:crate::)?(\w+)(?:::\w+)*::(\{[^}]*\}|\w+);", code_of(ROOT / "src/lib.rs")
    ):
        found.update(dict.fromkeys(re.findall(r"\w+", names), module))
    return found


def rust_imports() -> Iterator[tuple[str, str, str]]:
    """Each import as (file, the layer's name for it, what it imports)."""
    exports = exported()
    for path in sorted((ROOT / "src").rglob("*.rs")):
        importer = path.relative_to(ROOT / "src").parts[0].removesuffix(".rs")
        for names in re.findall(r"\bcrate::(\{(?:[^{}]|\{[^{}]*\})*\}|\w+)", code_of(path)):
            inner = re.sub(r"::\{[^{}]*\}", "", names)
            for name in re.findall(r"(?<![:\w])\w+", inner):
                yield relative(path), importer, exports.get(name, name)


def python_imports() -> Iterator[tuple[str, str, str]]:
    """The same for the package."""
    for path in sorted((ROOT / "python/procio").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                for name in [node.module] if node.module else [alias.name for alias in node.names]:
                    yield relative(path), path.stem, name


def layers() -> Iterator[str]:
    """Imports that run upwards, and files that are in no layer."""
    for table, imports in ((RUST_LAYERS, rust_imports()), (PYTHON_LAYERS, python_imports())):
        for file, importer, imported in dict.fromkeys(imports):
            mine, its = rank(table, importer), rank(table, imported)
            if mine is None:
                yield f"{file}: {importer} is in no layer (tools/lint.py)"
            elif its is not None and its > mine and imported not in EXCEPTIONS.get(file, ()):
                yield f"{file}: imports {imported}, which is in a layer above"


def words() -> Iterator[str]:
    """Words in place of which a comment should name who or what acts, or how much."""
    for pattern in WORDS_IN:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            for match in WORDS.finditer(text):
                yield f"{relative(path)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}"


def head_of(path: Path) -> str | None:
    """The first sentence of the comment or docstring at the head of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".rs":
        lines = []
        for line in text.splitlines():
            if not line.startswith("//!") or line.strip() == "//!":
                break
            lines.append(line.removeprefix("//!").strip())
        head = " ".join(lines)
    else:
        head = " ".join((ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].split())
    sentence = re.match(r".*?[^.\s]\.(?=\s|$)|.+", head)
    return sentence[0].rstrip(".:").replace("|", "\\|") if sentence else None


def mapped() -> list[Path]:
    """The files that the map has to name."""
    return [
        *sorted((ROOT / "src").rglob("*.rs")),
        *sorted((ROOT / "python/procio").glob("*.py")),
        ROOT / "python/procio/_core.pyi",
    ]


def drawn() -> str:
    """The map as it has to be."""
    rows = [f"| `{relative(path)}` | {head_of(path) or 'the head of this file is missing'} |" for path in mapped()]
    return "\n".join([BEGIN, "", "| file | what |", "| --- | --- |", *rows, "", END])


def map_of_files(write: bool) -> Iterator[str]:
    """Files without a head, and a map that is not the tree's."""
    for path in mapped():
        if head_of(path) is None:
            yield f"{relative(path)}: says at its head nothing of what it is"
    text = MAP.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        yield f"{relative(MAP)}: has no place for the map ({BEGIN})"
        return
    before, rest = text.split(BEGIN, 1)
    current = before + drawn() + rest.split(END, 1)[1]
    if write:
        MAP.write_text(current, encoding="utf-8")
    elif current != text:
        yield f"{relative(MAP)}: the map is not the tree's: python tools/lint.py --write"


def main() -> int:
    """Run all checks."""
    found = [*layers(), *words(), *map_of_files("--write" in sys.argv[1:])]
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
