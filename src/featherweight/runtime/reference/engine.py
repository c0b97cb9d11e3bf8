"""The reference with the face of the native engine: slow, and right. ``isa="reference"`` asks for it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy.typing as npt

from featherweight.errors import InputError
from featherweight.runtime.graph import Graph, infer_dtypes, infer_shapes
from featherweight.runtime.reference.run import run

Array = npt.NDArray[Any]


class ReferenceEngine:
    """Runs a Graph in numpy."""

    isa = "reference"
    threads = 1

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def inputs(self) -> list[tuple[str, str, list[int | None]]]:
        """Return name, dtype and sizes of each input."""
        return [(value.name, value.dtype, list(value.shape)) for value in self._graph.inputs]

    def outputs(self) -> list[tuple[str, str, list[int | None]]]:
        """Return name, dtype and sizes of each output."""
        shapes, dtypes = infer_shapes(self._graph), infer_dtypes(self._graph)
        return [
            (name, dtypes[name], [size if isinstance(size, int) else None for size in shapes[name]])
            for name in self._graph.outputs
        ]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the outputs in their order."""
        inputs = {value.name: array for value, array in zip(self._graph.inputs, arrays, strict=True)}
        results = run(self._graph, inputs)
        return [results[name] for name in self._graph.outputs]

    def run_into(self, arrays: Sequence[Array], out: Sequence[Array]) -> None:
        """Write the outputs into arrays of theirs."""
        for place, (target, result) in enumerate(zip(out, self.run(arrays), strict=True)):
            if (target.dtype, target.shape) != (result.dtype, result.shape):
                raise InputError(f"out: array {place} should be {result.dtype} of shape {result.shape}.")
            target[...] = result

    def clone(self, threads: int | None) -> ReferenceEngine:
        """Return itself: it keeps nothing."""
        del threads
        return self

    def profile(self, arrays: Sequence[Array], repeats: int) -> list[tuple[str, str, float, int, int]]:
        """Return one row for the whole network: its median milliseconds."""
        times: list[float] = []
        for _ in range(repeats):
            begin = perf_counter()
            self.run(arrays)
            times.append(1e3 * (perf_counter() - begin))
        return [("network", "numpy", statistics.median(times), 0, 0)]
