"""The documentation site: the Markdown files of the repository as they are, and the API from the docstrings.

``make docs`` builds it from the repository's root. These fail the build: a link, an anchor or a reference without a
target, and a public name without a docstring. Nothing is fetched from the network.
"""

import ast
import importlib
import inspect
import pydoc
import re
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from numpy.typing import ArrayLike
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger
from sphinx.util.typing import stringify_annotation

from fastbert.version import __version__

ROOT = Path(__file__).resolve().parents[1]
# Caption in the navigation -> pages, all of which come after the README.
CONTENTS = {
    "Guides": [
        f"docs/{name}"
        for name in ("training", "tuning", "python", "service", "embedding", "hosts", "gpu", "from-original-fastbert")
    ],
    "Reference": [f"docs/{name}" for name in ("api", "bundle-format", "glossary")],
    "Measurements": ["docs/bench", "docs/performance", "studies/**"],
    "Project": ["CONTRIBUTING", "CHANGELOG"],
}
# The packages whose `__all__` is the public API. A name that several export is documented in the innermost.
PACKAGES = [
    *(f"fastbert.{name}" for name in ("runtime.cpp", "runtime", "export", "benchmarks.tuning", "benchmarks")),
    *("fastbert.importing", "fastbert.data", "fastbert"),
]

project = "fastbert"
author = "the fastbert authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "studies/**.md"]
exclude_patterns = [".*", "build", "demo", "tests"]
nitpicky = True
default_role = "py:obj"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
html_theme = "furo"
html_title = "fastbert"
html_copy_source = False
html_extra_path = ["index.html"]  # leads to README.html
html_last_updated_fmt = None

_log = getLogger(__name__)


class PublicNames(SphinxDirective):
    """``{public-names} PACKAGE``: what the package exports, with its docstrings."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the autodoc directives of the package's names and parse them."""
        package = importlib.import_module(self.arguments[0])
        lines = ["```{eval-rst}", f".. automodule:: {package.__name__}", ""]
        elsewhere = []
        for name in getattr(package, "__all__", ()):
            value = getattr(package, name)
            home = _home(name, value)
            if home != package.__name__:
                elsewhere.append(f":py:obj:`{name} <{home}.{name}>`")
            elif inspect.isclass(value) or inspect.isfunction(value):
                for problem in _undocumented(name, value):
                    _log.warning("%s.%s has no docstring", package.__name__, problem, location=self.get_location())
                kind = "function" if inspect.isfunction(value) else "class"
                kind = "exception" if kind == "class" and issubclass(value, Exception) else kind
                members = [] if kind == "function" else ["   :members:"]
                lines += ["", f".. auto{kind}:: {package.__name__}.{name}", *members, ""]
            else:
                lines += ["", f".. py:data:: {name}", *_value_shown(value), ""]
        if elsewhere:
            lines[3:3] = [f"Also from its inner packages: {', '.join(elsewhere)}.", ""]
        holder = nodes.Element()
        self.state.nested_parse(StringList([*lines, "```"], source=self.arguments[0]), 0, holder)
        return holder.children


def _home(name: str, value: Any) -> str:
    exporting = [package for package in PACKAGES if name in getattr(importlib.import_module(package), "__all__", ())]
    module = getattr(value, "__module__", "")
    return next((package for package in exporting if module.startswith(f"{package}.")), exporting[0])


def _value_shown(value: Any) -> list[str]:
    text = repr(value)
    return [f"   :value: {text}"] if len(text) < 100 else []


def _undocumented(name: str, value: Any) -> list[str]:
    parts = {name: value}
    if inspect.isclass(value):
        parts |= {f"{name}.{part}": member for part, member in vars(value).items() if _is_public_method(part, member)}
    # a dataclass without a docstring gets its signature as one
    return [part for part, found in parts.items() if not found.__doc__ or found.__doc__.startswith(f"{name}(")]


def _is_public_method(name: str, member: Any) -> bool:
    return not name.startswith("_") and isinstance(member, staticmethod | classmethod | property | type(_home))


@cache
def _names_in_the_source() -> set[str]:
    """Return every name that the code defines or imports: what a docstring may speak of without a separate page."""
    found = set()
    for folder in ("fastbert", "export", "runtime", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for field in ("name", "id", "arg", "attr"):
                    found.add(getattr(node, field, None))
    return found


def _known_without_a_page(app: Sphinx, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Show a reference to something that exists but is not public as plain text; leave others to fail the build."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    exists = target.rpartition(".")[2] in _names_in_the_source() or pydoc.locate(target) is not None
    return content if exists else None


def _folders_as_text(app: Sphinx, tree: nodes.document) -> None:
    """A link to a folder works where the repository is shown; the site has no page for it."""
    for link in list(tree.findall(addnodes.pending_xref)):
        if link["reftype"] == "myst" and Path(tree["source"]).parent.joinpath(link["reftarget"]).is_dir():
            link.replace_self(link.children)


def _skip(app: Sphinx, kind: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    return True if (getattr(value, "__doc__", None) or "").startswith("Alias for field number") else None


def _short_array_types(
    app: Sphinx, kind: str, name: str, value: Any, options: Any, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """NumPy's aliases reach Sphinx written out, over several lines each."""

    def short(text: str | None) -> str | None:
        text = text and text.replace(stringify_annotation(ArrayLike, "smart"), "~numpy.typing.ArrayLike")
        return text and re.sub(r"~?numpy\.ndarray\[.*?, ~?numpy\.dtype\[(.*?)\]\]", r"~numpy.typing.NDArray[\1]", text)

    return short(arguments), short(returns)


def _add_contents(app: Sphinx, document: str, source: list[str]) -> None:
    """Append the navigation to the README, whose own list of links is for readers of the repository."""
    if document == root_doc:
        for caption, pages in CONTENTS.items():
            source[0] += "\n".join(
                ["", "```{toctree}", ":hidden:", ":glob:", f":caption: {caption}", *pages, "```", ""]
            )


def setup(app: Sphinx) -> None:
    """Connect what Sphinx and MyST do not have."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _short_array_types)
    app.connect("doctree-read", _folders_as_text)
    app.connect("source-read", _add_contents)
    app.connect("missing-reference", _known_without_a_page)
