"""The site: `nox -s docs`, or `pip install '.[docs]'` and `sphinx-build -W docs docs/_build`."""

import ast
from pathlib import Path
from typing import Any

import procio
from procio import _core

ROOT = Path(__file__).resolve().parent.parent

project = "procio"
author = "The procio developers"
copyright = "The procio developers"
version = release = procio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nitpicky = True
# What has no page of its own: type variables, private classes, and names that CPython's inventory lacks.
nitpick_ignore_regex = [("py:.*", r"(procio\.)?(_.*|.*\._.*|.*\.T|T|AsyncIterator|Buffer|File|StrOrBytesPath|Command)")]

intersphinx_mapping = {"python": ("https://docs.python.org/3", None)}
intersphinx_timeout = 10

napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"  # in the docstrings of the compiled classes

templates_path: list[str] = []
python_maximum_signature_line_length = 80
autodoc_type_aliases = {"StrOrBytesPath": "StrOrBytesPath", "File": "File", "Command": "Command"}
html_show_sourcelink = False
html_copy_source = False
html_theme = "furo"
html_title = f"procio {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True


def stubs() -> dict[str, tuple[str, str | None]]:
    """The signatures of the compiled classes' methods, from the stubs: name -> arguments and result."""
    found = {}
    tree = ast.parse((ROOT / "python/procio/_core.pyi").read_text(encoding="utf-8"))
    for node in tree.body:
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = member.args
                if arguments.args and arguments.args[0].arg in ("self", "cls"):
                    arguments.args = arguments.args[1:]
                result = None if member.returns is None else ast.unparse(member.returns)
                found[f"{node.name}.{member.name}"] = (f"({ast.unparse(arguments)})", result)
    return found


STUBS = stubs()


def signature(app: Any, what: str, name: str, obj: Any, options: Any, given: Any, returned: Any) -> Any:
    """A compiled method knows no types: take those of the stub."""
    owner, _, member = name.removeprefix("procio.").rpartition(".")
    compiled = getattr(getattr(_core, owner, None), member, None)
    if what == "method" and compiled is obj and f"{owner}.{member}" in STUBS:
        return STUBS[f"{owner}.{member}"]
    return None


def local_inventory(app: Any, config: Any) -> None:
    """Without a network the site is built all the same; its links to Python's documentation are then text."""
    if app.tags.has("offline"):
        config.intersphinx_mapping = {}
        config.nitpick_ignore_regex = [("py:.*", r"(?!procio\.).*"), *config.nitpick_ignore_regex]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("config-inited", local_inventory, priority=1)
    app.connect("autodoc-process-signature", signature)
