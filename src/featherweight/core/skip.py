"""What ``skip=`` means: names or patterns of parameters, or of modules, which stand for all inside them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from featherweight.errors import SettingError


def match_skip(
    skip: str | Sequence[str],
    parameters: Sequence[tuple[str, ...]],
    option: str = "skip",
    among: str = "parameter or module of the model",
) -> dict[str, str]:
    """Return the skipped parameters by first name, each with the first pattern that matches it.

    Args:
        skip: names or patterns (``*``, ``?``, ``[...]``).
        parameters: the names of each parameter, several where it is tied.
        option: what the patterns were given as, for errors.
        among: what the parameters are, for errors.

    Raises:
        SettingError: an entry of ``skip`` matches nothing; with near names.
    """
    found: dict[str, str] = {}
    for pattern in [skip] if isinstance(skip, str) else skip:
        hits = [names for names in parameters if any(_matches(pattern, name) for name in names)]
        if not hits:
            near = _near(pattern, [name for names in parameters for name in names])
            raise SettingError(f"{option}={pattern!r} matches no {among}.{near}")
        for names in hits:
            found.setdefault(names[0], pattern)
    return found


def names_of_parameters(model: nn.Module) -> list[tuple[str, ...]]:
    """Return the names of each parameter of ``model``, several where it is tied."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [tuple(every) for every in names.values()]


def names_of_statistics(model: nn.Module) -> dict[nn.Module, tuple[str, ...]]:
    """Return the names of ``running_mean`` of each norm that has one, several where it is used as several."""
    names: dict[nn.Module, tuple[str, ...]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            found = f"{name}.running_mean".removeprefix(".").replace("_orig_mod.", "")
            names[module] = (*names.get(module, ()), found)
    return names


def matches_any(pattern: str, parameters: Sequence[tuple[str, ...]]) -> bool:
    """Whether ``pattern`` matches any of the parameters, each given by its names."""
    return any(_matches(pattern, name) for names in parameters for name in names)


def _matches(pattern: str, name: str) -> bool:
    """Whether ``pattern`` matches the parameter's name or that of any module it lies in."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:stop]), pattern) for stop in range(1, len(parts) + 1))


def _near(pattern: str, names: Sequence[str]) -> str:
    paths = sorted({name.rpartition(".")[0] for name in names} | set(names))
    near = difflib.get_close_matches(pattern, paths, n=3, cutoff=0.4)
    return f" Near names: {', '.join(near)}." if near else f" Parameters begin: {', '.join(names[:3])}, ..."
