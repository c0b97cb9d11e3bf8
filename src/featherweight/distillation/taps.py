"""Hooks that note tensors inside a network while it runs, and are taken off again.

A tap takes the output of a module, or one of its inputs: the first tensor where that is a tuple, a mapping
or a record. A module that is called several times in one pass leaves its last call. Where an operation in
place (such as ReLU(inplace=True)) writes over a tapped tensor later in the pass, the tap keeps a copy from
the next pass on; the Distiller finds these with its example.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from featherweight.distillation.outputs import first_tensor
from featherweight.errors import ModelError, SettingError

Side = Literal["output", "input"]


@dataclass(frozen=True)
class Tap:
    """One tensor of a pass.

    Attributes:
        path: of the module.
        side: its "output" or its "input".
        argument: of several inputs, the position.
        keyword: its name, for calls by keyword; "" takes the first tensor whatever it is called.
    """

    path: str
    side: Side = "output"
    argument: int = 0
    keyword: str = ""

    def __str__(self) -> str:
        return self.path if self.side == "output" else f"input of {self.path}"


class Taps:
    """Hooks on a network, from construction to ``close``.

    What a pass left is held until it is taken, or the next pass.

    Attributes:
        clobbered: taps whose tensors were written over in place; they keep copies.
    """

    def __init__(self, network: nn.Module, taps: Iterable[Tap]) -> None:
        """Set the hooks; raises SettingError, leaving none behind, where a path is no module's."""
        self.network, self.taps = network, tuple(dict.fromkeys(taps))
        modules = [(tap, module_at(network, tap.path)) for tap in self.taps]
        self.clobbered: set[Tap] = set()
        self._is_open = True
        self._seen: dict[Tap, tuple[Tensor, int]] = {}
        self._handles = [self._set(tap, module) for tap, module in modules]

    def take(self) -> Mapping[Tap, Tensor]:
        """Return what the last pass left, and forget it.

        Raises:
            ModelError: a tapped module did not run.
        """
        seen, self._seen = self._seen, {}
        missing = [tap for tap in self.taps if tap not in seen]
        if missing and not self._is_open:
            raise ModelError(f"{missing[0].path!r} is watched no more: the Distiller is closed; make one.")
        if missing:
            raise ModelError(
                f"{missing[0].path!r} of {type(self.network).__name__} did not run, or gave no tensor, in "
                f"the pass that the loss is of. A network that torch.compile had compiled before has no "
                f"hooks: make the Distiller first, or call torch.compiler.reset()."
            )
        self.clobbered |= {tap for tap, (tensor, version) in seen.items() if _version(tensor) != version}
        return {tap: tensor for tap, (tensor, _) in seen.items()}

    def forget(self) -> None:
        """Keep nothing of the last pass."""
        self._seen = {}

    def close(self) -> None:
        """Take the hooks off."""
        self._is_open = False
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.forget()

    def _set(self, tap: Tap, module: nn.Module) -> RemovableHandle:
        if tap.side == "output":
            return module.register_forward_hook(_OnOutput(self, tap))
        return module.register_forward_pre_hook(_OnInput(self, tap), with_kwargs=True)

    def note(self, tap: Tap, value: Any) -> None:
        """Keep the first tensor in ``value`` until it is taken."""
        tensor = first_tensor(value)
        if tensor is None or not self._is_open or _is_recomputed():
            return
        if tap in self.clobbered:
            tensor = tensor.clone()
        self._seen[tap] = (tensor, _version(tensor))


def _nothing(*_: Any) -> None:
    """A hook of a network that is not watched."""


def _inert() -> Any:
    return _nothing


class _Hook:
    """One hook. In a copy of the network, or a pickled one, it does nothing: that is another network."""

    def __init__(self, taps: Taps, tap: Tap) -> None:
        self.taps, self.tap = taps, tap

    def __deepcopy__(self, _memo: Any) -> Any:
        return _nothing

    def __reduce__(self) -> Any:
        return _inert, ()


class _OnOutput(_Hook):
    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self.taps.note(self.tap, output)


class _OnInput(_Hook):
    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.taps.note(self.tap, _argument(self.tap, args, kwargs))


def _argument(tap: Tap, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not tap.keyword:
        return (args, kwargs)
    return args[tap.argument] if len(args) > tap.argument else kwargs.get(tap.keyword)


def _version(tensor: Tensor) -> int:
    """Return the number of writes in place; -1 where none are counted."""
    return -1 if torch.compiler.is_compiling() or tensor.is_inference() else tensor._version  # pyright: ignore[reportPrivateUsage]


def _is_recomputed() -> bool:
    """Whether this is a pass within the backward pass, of activations that were not kept (checkpointing)."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1  # pyright: ignore


# Paths


def module_at(network: nn.Module, path: str) -> nn.Module:
    """Return the module at ``path``; raises SettingError with the nearest names where there is none."""
    modules = dict(network.named_modules())
    if path in modules and path:
        return modules[path]
    raise SettingError(
        f"{type(network).__name__} has no module {path!r}. {_nearest(path, sorted(filter(None, modules)))}"
    )


def expand(network: nn.Module, pattern: str) -> tuple[str, ...]:
    """Return the paths that ``pattern`` stands for, in natural order ("layer.2" before "layer.10").

    Args:
        network: whose modules are meant.
        pattern: a path, or one with ``*``, ``?`` or ``[...]``, which stand for something between two dots.

    Raises:
        SettingError: it stands for no module; gives the nearest names.
    """
    paths = [path for path, _ in network.named_modules() if path]
    if pattern in paths:
        return (pattern,)
    hits = sorted((path for path in paths if _fits(path, pattern)), key=_natural)
    if hits:
        return tuple(hits)
    raise SettingError(f"{type(network).__name__} has no module {pattern!r}. {_nearest(pattern, paths)}")


def _fits(path: str, pattern: str) -> bool:
    own, wanted = path.split("."), pattern.split(".")
    return len(own) == len(wanted) and all(map(fnmatchcase, own, wanted))


def _natural(path: str) -> list[tuple[int, int, str]]:
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.findall(r"\d+|\D+", path)]


def _nearest(wanted: str, paths: list[str]) -> str:
    near = difflib.get_close_matches(wanted, paths, n=5, cutoff=0.3) or paths[:5]
    return f"Nearest names: {', '.join(near)}."
