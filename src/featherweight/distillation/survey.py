"""What the modules of a network give in one pass: who ran, in which order, and which shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from featherweight.core.trace import unfused
from featherweight.distillation.outputs import first_tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """A module that ran.

    Attributes:
        path: of the module.
        module: itself.
        source: shape of its first input, None where it has none.
        shape: of its output, or the first tensor of that.
    """

    path: str
    module: nn.Module
    source: Shape | None
    shape: Shape | None

    @property
    def tokens(self) -> bool:
        """Whether the output has the form of tokens, (n, tokens, width)."""
        return self.shape is not None and len(self.shape) == 3

    @property
    def grid(self) -> tuple[int, int] | None:
        """Height and width, where the output is a map (n, channels, height, width)."""
        return self.shape[2:] if self.shape is not None and len(self.shape) == 4 else None  # pyright: ignore


@dataclass(frozen=True, eq=False)
class Survey:
    """A network and its modules that ran, in the order in which they ended; of several calls, the last.

    Attributes:
        network: without wrappers.
        which: "student" or "teacher", for errors.
        seen: without the network itself.
        image: height and width of the images that it was given, None where they were none.
    """

    network: nn.Module
    which: str
    seen: tuple[Seen, ...]
    image: tuple[int, int] | None

    @property
    def by_path(self) -> dict[str, Seen]:
        """The modules that ran, by path."""
        return {seen.path: seen for seen in self.seen}


def survey(network: nn.Module, which: str, run: Callable[[], Any]) -> Survey:
    """Watch all modules of ``network`` while ``run`` runs it; no hook stays."""
    found: dict[str, Seen] = {}

    def watch(path: str, module: nn.Module) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            found.pop(path, None)
            found[path] = Seen(path, module, _shape((args, kwargs)), _shape(output))

        return module.register_forward_hook(note, with_kwargs=True)

    handles = [watch(path, module) for path, module in network.named_modules()]
    try:
        with unfused():
            run()
    finally:
        for handle in handles:
            handle.remove()
    whole = found.pop("", None)
    image = whole.source[2:] if whole is not None and whole.source and len(whole.source) == 4 else None
    return Survey(network, which, tuple(found.values()), image)  # pyright: ignore[reportArgumentType]


def _shape(thing: Any) -> Shape | None:
    tensor = first_tensor(thing)
    return None if tensor is None else tuple(tensor.shape)
