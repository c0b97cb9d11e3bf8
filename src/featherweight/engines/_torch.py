"""PyTorch, running the program that ``torch.export.save`` wrote; its threads are those of the process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featherweight.engines._base import Array, Engine, InputSpec, Loaded, as_arrays, engines, sizes


def _load(file: Path, threads: int) -> Loaded:
    import torch

    program: Any = torch.export.load(str(file))
    module = program.module()

    def run(arrays: Sequence[Array]) -> list[Array]:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return as_arrays(module(*(torch.from_numpy(array) for array in arrays)))

    names = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return Loaded(tuple(_spec(node.name, node.meta["val"]) for node in nodes), run)


def _spec(name: str, value: Any) -> InputSpec:
    return InputSpec(name, str(value.dtype).removeprefix("torch."), sizes(value.shape))


def _version() -> str:
    import torch

    return str(torch.__version__)


engines.register("torch")(Engine("PyTorch", (".pt2",), _load, _version))
