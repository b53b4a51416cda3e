"""What no published linter knows of this project: its layers, its words, and the map of its files.

python tools/lint.py            check; exit with 1 if anything is found
python tools/lint.py --write    write the map in docs/dev/design.md anew, then check
"""

from __future__ import annotations

import ast
import itertools
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
    ("os", "tokio", "py", "fuzzing"),
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
# Outside of src/sys and src/os a platform is named only to choose a file for it: at a `mod`. file -> why not there.
PLATFORMS_NAMED = {
    "src/py/c_api.rs": "on Windows a declaration names the library that has the function",
    "src/process/reaper.rs": "what a descriptor names is cloned under the reaper's lock",
}

# Two files that import each other because they are the two halves of one thing. A room's own file and its parts,
# `stream/mod.rs` and `stream/reader.rs`, are so too.
HALVES = {
    frozenset({"sys::bsd::kqueue", "sys::bsd::wake"}),  # the queue, and what wakes the thread that waits in it
    frozenset({"sys::windows::iocp", "sys::windows::shared_port"}),  # the port, and the same port in asyncio's hands
}

# Where each of two files is for another system, both may have a type of one name: the contract's.
SYSTEMS = (
    ("linux", ("src/sys/linux/",)),
    ("bsd", ("src/sys/bsd/",)),
    ("unix", ("src/sys/unix/", "src/os/unix.rs", "src/py/popen_posix.rs")),
    ("windows", ("src/sys/windows/", "src/os/windows.rs", "src/py/popen_windows.rs", "src/py/proactor.rs")),
)
# It takes the place of rustix's kqueue, and has its names.
STAND_IN = "src/sys/libkqueue/"
# The classes of Python's interface have their names from asyncio.
PYTHON_CLASSES = {"Process"}
ALTERNATIVES = ({"linux", "bsd"}, {"linux", "windows"}, {"bsd", "windows"}, {"unix", "windows"})

LONGEST_FILE, LONGEST_FUNCTION = 600, 60

# Not the user of that name, which is a constant or a string.
WORDS = re.compile(r"(?<![\"'])\b(?!NOBODY)(?i:nobody|somebody|whoever|so\s+many)\b")
WORDS_IN = [
    f"{folder}/**/*" for folder in (".github", "benches", "docs", "examples", "fuzz", "python", "src", "tests", "tools")
]
WORDS_KINDS = {".c", ".md", ".py", ".pyi", ".rs", ".toml", ".yml"}

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


def use_paths(code: str) -> Iterator[list[str]]:
    """Every path that the code of a Rust file imports or names from a module on, in its segments."""

    def expand(prefix: str, tree: str) -> Iterator[str]:
        depth, start = 0, 0
        for at, character in enumerate(tree + ","):
            depth += (character == "{") - (character == "}")
            if character == "," and depth == 0:
                head, brace, rest = tree[start:at].strip().partition("{")
                yield from expand(prefix + head, rest.rpartition("}")[0]) if brace else [prefix + head]
                start = at + 1

    uses = r"\buse ([^;]+);"
    for tree in re.findall(uses, code):
        yield from (path.split(" as ")[0].split("::") for path in expand("", tree))
    yield from (path.split("::") for path in re.findall(r"\b(?:crate|super)(?:::\w+)+", re.sub(uses, "", code)))


def module_of(path: Path) -> tuple[str, ...]:
    """`src/stream/reader.rs` is `stream::reader`; the folder's own file and `src/lib.rs` have the folder's name."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def mutual_imports() -> Iterator[str]:
    """Pairs of files of which each imports the other."""
    files = {module_of(path): path for path in (ROOT / "src").rglob("*.rs")}

    def absolute(module: tuple[str, ...], path: list[str]) -> tuple[str, ...]:
        if path[0] == "crate":
            return tuple(path[1:])
        up = next((number for number, name in enumerate(path) if name != "super"), len(path))
        return (
            *(module[: len(module) - up] if path[0] in ("self", "super") else module),
            *path[max(up, path[0] == "self") :],
        )

    def found(path: tuple[str, ...]) -> tuple[str, ...]:
        return next((path[:length] for length in range(len(path), 0, -1) if path[:length] in files), ())

    # What a room's own file passes on is its part's.
    passed_on = {}
    for module, path in files.items():
        for names in re.findall(r"\bpub(?:\([^)]*\))? (use [^;]+;)", code_of(path)):
            for name in use_paths(names):
                whole = absolute(module, name)
                passed_on[(*module, whole[-1])] = found(whole)
    imports = {}
    for module, path in files.items():
        wholes = [absolute(module, name) for name in use_paths(code_of(path))]
        imports[module] = {passed_on.get(whole) or found(whole) for whole in wholes} - {module}
    for one, others in imports.items():
        for other in sorted(others):
            kin = one[: len(other)] == other or other[: len(one)] == one
            halves = frozenset({"::".join(one), "::".join(other)})
            if one < other and one in imports[other] and not kin and halves not in HALVES:
                yield f"{relative(files[one])} and {relative(files[other])} import each other"


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
            elif its is not None and its > mine:
                yield f"{file}: imports {imported}, which is in a layer above"


def platforms() -> Iterator[str]:
    """Code for one platform where no platform has a name."""
    condition = r"#!?\[cfg(?:_attr)?\([^\]]*\b(?:unix|windows|target_os|target_vendor|target_family)\b[^\]]*\]"
    chosen = re.compile(rf"((?:{condition}\s*)+)(?!\s*#)\s*(.*)")
    for path in sorted((ROOT / "src").rglob("*.rs")):
        name = relative(path)
        if name.startswith(("src/sys/", "src/os/")) or name in PLATFORMS_NAMED:
            continue
        for match in chosen.finditer(code_of(path)):
            if not re.match(r"(pub(\([a-z]+\))? )?mod \w+", match[2]):
                yield f"{name}: is for one platform: {match[2]!r} (src/os, src/sys)"


def system_of(file: str) -> str | None:
    """Which system a file is for, if it is for one."""
    return next((system for system, places in SYSTEMS if file.startswith(places)), None)


def homonyms() -> Iterator[str]:
    """Names of types that mean two things."""
    declared: dict[str, list[str]] = {}
    for path in sorted((ROOT / "src").rglob("*.rs")):
        names = re.findall(
            r"^(?:\s*(?:pub(?:\([a-z]+\))? )?(?:struct|enum|union|trait)|(?:pub(?:\([a-z]+\))? )?type) (\w+)",
            code_of(path),
            re.MULTILINE,
        )
        for name in () if path.stem.endswith("_tests") or relative(path).startswith(STAND_IN) else set(names):
            declared.setdefault(name, []).append(relative(path))
    for name, files in sorted(declared.items()):
        if name in PYTHON_CLASSES:
            continue
        for one, other in itertools.combinations(files, 2):
            if {system_of(one), system_of(other)} not in ALTERNATIVES:
                yield f"{name}: is a type in {one} and another in {other}"


def contract() -> Iterator[str]:
    """Names in the table of what a platform supplies that no platform supplies."""
    file = ROOT / "src/sys/mod.rs"
    rows = re.findall(r"^//! \| (.*?) \|", file.read_text(encoding="utf-8"), re.MULTILINE)
    supplied = "\n".join(code_of(path) for path in sorted((ROOT / "src/sys").rglob("*.rs")))
    for name in re.findall(r"`(?:\w+::)?(\w+)`", "\n".join(rows)):
        if not re.search(rf"\b(?:fn|struct|enum|trait|type|const) {name}\b", supplied):
            yield f"{relative(file)}: {name} is in the contract and on no platform"


def unsafe_code() -> Iterator[str]:
    """Files with unsafe code that the design does not name."""
    named = MAP.read_text(encoding="utf-8").split(BEGIN, 1)[0]
    for path in sorted((ROOT / "src").rglob("*.rs")):
        name = relative(path)
        if not name.startswith("src/sys/") and re.search(r"\bunsafe\b", code_of(path)) and f"`{name}`" not in named:
            yield f"{name}: has unsafe code, and {relative(MAP)} does not say so"


def sizes() -> Iterator[str]:
    """Files and functions that are probably two."""
    for pattern in ("src/**/*.rs", "tests/**/*.rs", "benches/**/*.rs", "*.py", "*/**/*.py"):
        for path in sorted(ROOT.glob(pattern)):
            if relative(path).startswith(("target", ".")):
                continue
            text = path.read_text(encoding="utf-8")
            if (count := text.count("\n")) > LONGEST_FILE:
                yield f"{relative(path)}: has {count} lines"
            for line, name, length in functions(path.suffix, text):
                if length > LONGEST_FUNCTION:
                    yield f"{relative(path)}:{line}: {name} has {length} lines"


def functions(suffix: str, text: str) -> Iterator[tuple[int, str, int]]:
    """The functions of a file: where each begins, its name, and its lines."""
    if suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1
        return
    # As rustfmt lays it out: a body ends with the brace that is indented as its head is.
    for match in re.finditer(
        r"^( *)(?:[a-z]+(?:\([a-z]+\))? |\"C\" )*fn (\w+)[^;{]*\{\n(?s:.*?)^\1\}$", text, re.MULTILINE
    ):
        yield text.count("\n", 0, match.start()) + 1, match[2], match[0].count("\n") + 1


def examples() -> Iterator[str]:
    """Examples of the crate's documentation that show no effect."""
    for path in sorted((ROOT / "src").rglob("*.rs")):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^ *//[/!] ```\n((?: *//[/!].*\n)*?) *//[/!] ```$", text, re.MULTILINE):
            if "assert" not in match[1]:
                yield f"{relative(path)}:{text.count(chr(10), 0, match.start()) + 1}: the example asserts nothing"


def words() -> Iterator[str]:
    """Words in place of which a comment should name who or what acts, or how much."""
    for pattern in ["*.md", "*.toml", *WORDS_IN]:
        for path in sorted(ROOT.glob(pattern)):
            if path.suffix not in WORDS_KINDS or "target" in path.relative_to(ROOT).parts:
                continue
            if path == Path(__file__).resolve():  # names them
                continue
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
    found = [
        *layers(),
        *platforms(),
        *homonyms(),
        *contract(),
        *unsafe_code(),
        *sizes(),
        *examples(),
        *mutual_imports(),
        *words(),
        *map_of_files("--write" in sys.argv[1:]),
    ]
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
