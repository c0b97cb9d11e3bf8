"""mkdocs hook: fills in tables and pictures, so that none can go stale.

`<!-- table: NAME -->` becomes the table of a registry, `<!-- record: NAME -->` that of a benchmark's record,
and `<!-- picture: NAME -->` a picture of one.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from featherweight._registry import Registry

# What a page may ask for: the module and the name of a registry there.
REGISTRIES = {
    "criteria": ("featherweight.sparsity.criteria", "criteria"),
    "allocations": ("featherweight.sparsity.allocation", "allocations"),
    "patterns": ("featherweight.sparsity.patterns", "patterns"),
    "schedules": ("featherweight.sparsity.schedules", "schedules"),
    "one-shot methods": ("featherweight.sparsity.oneshot", "methods"),
    "structured criteria": ("featherweight.structured.importance", "importances"),
    "block criteria": ("featherweight.structured.depth.importance", "block_importances"),
    "distillation losses": ("featherweight.distillation.losses", "losses"),
    "networks": ("featherweight.zoo._registry", "networks"),
    "data sets": ("featherweight.zoo._registry", "data_sets"),
}
MARK = re.compile(r"<!-- table: (.+?) -->")
RECORD = re.compile(r"<!-- record: (.+?) -->")
PICTURE = re.compile(r"<!-- picture: (.+?) -->")
# Colours of pictures that follow the page's light or dark scheme: ink, faint lines, ground.
SCHEME = {"#1f2430": "currentColor", "#d3d7de": "#80808059", "#fdfdfe": "var(--md-default-bg-color)"}
ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables and pictures of one page; called by mkdocs."""
    for mark, fill in ((MARK, table), (RECORD, record), (PICTURE, picture)):
        markdown = mark.sub(lambda found, fill=fill: fill(found[1]), markdown)
    return markdown


def record(name: str) -> str:
    """Return the record of a benchmark as a Markdown table."""
    return benchmark_tables().TABLES[name]()


def picture(name: str) -> str:
    """Return the picture of a benchmark's record as SVG, in the colours of the page."""
    svg = benchmark_tables().PICTURES[name]()
    for colour, variable in SCHEME.items():
        svg = svg.replace(colour, variable)
    return f"<figure>{svg}</figure>" if svg.startswith("<svg") else svg


def benchmark_tables() -> Any:
    """Return the module of tables of benchmarks, which are not installed."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("benchmarks.tables")


def table(name: str) -> str:
    """Return a registry as a Markdown table: a row an entry, from the docstrings of it and of its file."""
    registry = find(name)
    head = ["| name | what it does | formula, source |", "| --- | --- | --- |"]
    rows = [f"| `{entry}` | {summary(registry[entry])} | {origin(registry[entry])} |" for entry in registry]
    return "\n".join(head + rows)


def find(name: str) -> Registry[Any]:
    """Return the registry that pages call ``name``, with everything registered that ships."""
    module, attribute = REGISTRIES[name]
    importlib.import_module("featherweight.zoo")  # registers networks and data sets
    return getattr(importlib.import_module(module), attribute)


def summary(thing: Any) -> str:
    """Return the first sentence of what documents ``thing``."""
    return cell(paragraph(inspect.getdoc(thing) or ""))


def origin(thing: Any) -> str:
    """Return the first two paragraphs of the docstring of the file that defines ``thing``."""
    module = inspect.getdoc(importlib.import_module(thing.__module__)) or ""
    return cell(" ".join(module.split("\n\n")[:2]))


def paragraph(text: str) -> str:
    """Return the first paragraph of ``text``."""
    return text.split("\n\n", maxsplit=1)[0]


def cell(text: str) -> str:
    """Return ``text`` on one line, fit for a cell of a table: pipes escaped, addresses made links."""
    line = " ".join(text.split()).replace("``", "`").replace("|", r"\|")
    return re.sub(r"https?://[^\s)]*[^\s).,;]", lambda address: f"<{address[0]}>", line)
