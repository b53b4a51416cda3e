"""The pages of the documentation: their blocks of code, their links and their headings.

A comment before a block of Python says what the runner has to know, and is not seen on the page:

    <!-- needs: anyio -->               left out where this module is not installed
    <!-- not run: a notebook's cell --> never run, and why
    <!-- set-up: log = [] -->           executed before the block, in its names

A block of `text` right after a block of Python is what the program prints; `...` in it stands for anything.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from support import ROOT

FENCE = re.compile(r"^```(\{?[\w-]*\}?)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"<!-- (needs|not run|set-up): (.*?) -->", re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    """Every page that a reader is shown."""
    texts = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    built = ROOT / "docs" / "_build"
    found = [path for path in (ROOT / "docs").rglob("*.md") if built not in path.parents]
    return [*texts, ROOT / "tests/README.md", ROOT / "benches/README.md", *sorted(found)]


@dataclasses.dataclass
class Block:
    """A block of Python on a page."""

    line: int
    code: str
    setup: str = ""
    needs: str = ""
    not_run: str = ""
    prints: str | None = None


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of Python of a page."""
    text = path.read_text(encoding="utf-8")
    end = 0
    last: Block | None = None
    for match in FENCE.finditer(text):
        between = text[end : match.start()]
        end = match.end()
        if match[1] == "python":
            said = dict(DIRECTIVE.findall(between[-400:]))
            line = text.count("\n", 0, match.start()) + 1
            if last is not None:
                yield last
            last = Block(line, match[2], said.get("set-up", ""), said.get("needs", ""), said.get("not run", ""))
        elif match[1] == "text" and last is not None and not between.replace("It prints:", "").strip():
            last.prints = match[2]
    if last is not None:
        yield last


def agrees(shown: str, printed: str) -> bool:
    """Whether a program printed what the page shows."""
    pattern = ".*?".join(re.escape(part) for part in shown.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def without_code(text: str) -> str:
    """A page without its blocks and without what is in backquotes."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def links(path: Path) -> Iterator[str]:
    """The targets of a page's links to other pages and headings."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the hosted view and the site make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found
