"""mkdocs hook: fills in tables, so that none can go stale.

`<!-- table: NAME -->` becomes the table of a registry, `<!-- record: NAME -->` that of a benchmark's record.
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
    "structured criteria": ("featherweight.structured.importance", "importances"),
    "block criteria": ("featherweight.structured.depth.importance", "block_importances"),
    "networks": ("featherweight.zoo._registry", "networks"),
    "data sets": ("featherweight.zoo._registry", "data_sets"),
}
MARK = re.compile(r"<!-- table: (.+?) -->")
RECORD = re.compile(r"<!-- record: (.+?) -->")
ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables of one page; called by mkdocs."""
    return RECORD.sub(lambda mark: record(mark[1]), MARK.sub(lambda mark: table(mark[1]), markdown))


def record(name: str) -> str:
    """Return the record of a benchmark as a Markdown table."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("benchmarks.tables").TABLES[name]()


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
    return re.sub(r"https?://[^\s)]+", lambda address: f"<{address[0]}>", line)
