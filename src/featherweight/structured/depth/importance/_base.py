"""What a criterion of depth is: how much each block matters.

A criterion is a callable ``(blocks, scene) -> scores``, one float a block; the lowest goes first. It is asked
again after each removal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from featherweight._registry import Registry
from featherweight.core.batches import LABELS, device_of, loss_of, moved, read_batch
from featherweight.core.trace import Example, as_arguments
from featherweight.errors import SettingError
from featherweight.structured.depth.blocks import Block
from featherweight.structured.depth.bypass import Bypass, bypassed
from featherweight.structured.graph_module import check_batch


@dataclass(frozen=True, eq=False)
class Scene:
    """What a criterion may look at.

    Attributes:
        network: the whole network as a graph.
        example: the example inputs.
        data: batches ``(inputs, targets)``, or mappings of keyword arguments with "labels"; None where none
            were given.
        loss: ``(outputs, targets) -> scalar``.
        gone: blocks that were removed already.
    """

    network: torch.fx.GraphModule
    example: Example
    data: Iterable[Any] | None
    loss: Callable[[Any, Any], Tensor]
    gone: tuple[Block, ...] = ()

    @property
    def bypasses(self) -> tuple[Bypass, ...]:
        """Those of the blocks that were removed already."""
        return tuple(bypass for block in self.gone for bypass in block.bypasses)

    def without(self, *blocks: Block) -> torch.fx.GraphModule:
        """Return the network without those blocks, and without those that were removed already."""
        return bypassed(self.network, [*self.bypasses, *(b for block in blocks for b in block.bypasses)])

    def batches(self) -> Iterator[tuple[Example, Any]]:
        """Yield inputs, in the order of the example's, and targets of the data, on the network's device.

        Raises:
            SettingError: a batch has another form, or other names than the example inputs.
            ModelError: the graph holds for one batch size only, and the inputs have another.
        """
        device = device_of(self.network)
        for item in self.data or ():
            batch = moved(item, device)
            inputs, targets = read_batch(batch)
            if isinstance(self.example, Mapping):
                given = batch if isinstance(batch, Mapping) and LABELS in self.example else inputs
                inputs = _in_order(self.example, cast("Mapping[str, Any]", given))
            check_batch(self.network, inputs)
            yield inputs, targets

    def inputs(self) -> Iterable[Example]:
        """Return the inputs of the data, or the example inputs."""
        return [self.example] if self.data is None else (inputs for inputs, _ in self.batches())


BlockImportance = Callable[[Sequence[Block], Scene], Sequence[float]]

block_importances: Registry[BlockImportance] = Registry("block criterion")


def _in_order(example: Mapping[str, Any], inputs: Any) -> dict[str, Any]:
    """Return keyword arguments in the order in which the network was traced with them."""
    if not isinstance(inputs, Mapping) or inputs.keys() != example.keys():
        got = f"{', '.join(inputs)}" if isinstance(inputs, Mapping) else f"a {type(inputs).__name__}"
        raise SettingError(
            f"The inputs of a batch of data= are those of example_inputs: {', '.join(example)}; got {got}."
        )
    return {name: inputs[name] for name in example}


def mean_loss(network: torch.nn.Module, scene: Scene) -> float:
    """Return the mean loss of ``network``, evaluating, over the batches of the scene's data."""
    losses: list[float] = []
    with torch.no_grad():
        for inputs, targets in scene.batches():
            args, kwargs = as_arguments(inputs)
            losses.append(float(loss_of(network(*args, **kwargs), targets, scene.loss)))
    return sum(losses) / len(losses) if losses else float("nan")
