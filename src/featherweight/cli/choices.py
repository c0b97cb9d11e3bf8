"""What an option takes, for ``--help``: read off the folders, one file a method, without importing torch."""

from __future__ import annotations

import re
from importlib.resources import files

_REGISTERED = re.compile(r'^@?\w+\.(?:register|form)\("([^"]+)"', re.MULTILINE)


def choices(axis: str) -> str:
    """Return the names of the methods of ``axis``, a folder such as "sparsity/criteria", with commas.

    A test holds them against the names in the registry.
    """
    folder = files("featherweight").joinpath(axis)
    sources = [file.read_text() for file in folder.iterdir() if file.name.endswith(".py")]
    return ", ".join(sorted(name for text in sources for name in _REGISTERED.findall(text)))
