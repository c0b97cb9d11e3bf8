"""The choice of kernels, with milliseconds that the test makes up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featherweight.runtime import tuning
from featherweight.runtime.graph import Constant, Graph, Input, Operation
from featherweight.runtime.tuning import Settings


def network(*zeros: float) -> Graph:
    """A chain of pointwise convolutions, each with so many zeros."""
    operations: list[Operation] = []
    constants: dict[str, Constant] = {}
    for place, fraction in enumerate(zeros):
        weight = np.ones((10, 10, 1, 1), np.float32)
        weight.reshape(-1)[: round(100 * fraction)] = 0
        constants[f"w{place}"] = Constant(weight)
        inputs = (f"v{place}",) if place else ("x",)
        layer = Operation("conv", f"l{place}", inputs, (f"v{place + 1}",), {}, {"weight": f"w{place}"})
        operations.append(layer)
    return Graph((Input("x", (1, 10, 4, 4)),), (f"v{len(zeros)}",), tuple(operations), constants)


class FakeSession:
    """Takes as long as ``cost`` says for each layer's attributes."""

    def __init__(self, graph: Graph, cost: Any) -> None:
        self.times = {layer.name: cost(layer) for layer in graph.operations}

    def profile(self, *inputs: Any, repeats: int) -> Any:
        rows = [
            type("Row", (), {"operation": name, "milliseconds": ms / 2}) for name, ms in self.times.items()
        ]
        return type("Profile", (), {"rows": rows * 2})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    def with_cost(cost: Any) -> None:
        monkeypatch.setattr(tuning, "of_graph", lambda graph, threads, isa: FakeSession(graph, cost))

    return with_cost


def test_each_layer_gets_what_was_faster_for_it(measured: Any) -> None:
    def cost(layer: Operation) -> float:
        sparse = layer.attributes["kernel"] == "sparse"
        return {"l0": 1.0 if sparse else 2.0, "l1": 2.0 if sparse else 1.0}.get(layer.name, 1.0)

    measured(cost)
    graph = tuning.tuned(network(0.9, 0.9, 0.0), Settings())
    assert [layer.attributes["kernel"] for layer in graph.operations] == ["sparse", "dense", "dense"]


@pytest.mark.parametrize("sparse", [1.0, 0.98])
def test_of_about_equals_dense_stays(measured: Any, sparse: float) -> None:
    measured(lambda layer: sparse if layer.attributes["kernel"] == "sparse" else 1.0)
    graph = tuning.tuned(network(0.9), Settings())
    assert graph.operations[0].attributes["kernel"] == "dense"


def test_positions_are_tried_for_all_convolutions_and_channels_for_sparse_ones(measured: Any) -> None:
    best = (tuning.POSITIONS[-1], tuning.CHANNELS[-2])

    def cost(layer: Operation) -> float:
        slow = 2.0 if layer.attributes["kernel"] == ("sparse" if layer.name == "l1" else "dense") else 1.0
        blocks = layer.attributes.get("blocks", (0, 0))
        return slow - 0.2 * (blocks[0] == best[0]) - 0.2 * (blocks[1] == best[1])

    measured(cost)
    graph = tuning.tuned(network(0.9, 0.9, 0.0), Settings())
    assert [layer.attributes["blocks"] for layer in graph.operations] == [best, (best[0], 0), (best[0], 0)]


def test_without_zeros_sparse_kernels_are_not_tried(measured: Any) -> None:
    tried: set[str] = set()
    measured(lambda layer: tried.add(layer.attributes["kernel"]) or 1.0)
    tuning.tuned(network(0.0, 0.1), Settings())
    assert tried == {"dense"}


def test_without_measuring_many_zeros_are_sparse() -> None:
    graph = tuning.untuned(network(0.9, 0.5))
    assert [layer.attributes["kernel"] for layer in graph.operations] == ["sparse", "dense"]
    assert graph.constants["w0"].storage == "sparse"
