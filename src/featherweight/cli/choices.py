"""What an option takes, for ``--help``: read off the folders, one file a method, without importing torch."""

from __future__ import annotations

from importlib.resources import files


def choices(axis: str) -> str:
    """Return the names of the methods of ``axis``, a folder of ``featherweight.sparsity``, with commas.

    A file ``global_.py`` is the method "global": a test holds the names against those of the registry.
    """
    folder = files("featherweight").joinpath("sparsity", axis)
    sources = [file.name for file in folder.iterdir() if file.name.endswith(".py")]
    methods = {name.removesuffix(".py").rstrip("_") for name in sources if not name.startswith("_")}
    return ", ".join(sorted(methods))
