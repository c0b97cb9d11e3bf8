"""Kernels by measuring: the same network with one choice everywhere, then another; each layer keeps its best.

The sessions take turns (A B A B ...), so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy.typing as npt

from featherweight.runtime.fwfile import sparsity, with_storage
from featherweight.runtime.graph import Graph, Operation
from featherweight.runtime.session import Session, of_graph

LEAST_SPARSITY = 0.3  # below it no sparse kernel is faster: it is not tried
GUESSED_SPARSITY = 0.7  # from here on a sparse kernel is taken where nothing is measured
ROUNDS = 3
REPEATS = 5  # runs of each in a round
LONG = 0.2  # seconds of two runs from which on there is one in a round
# What is tried of convolutions, one after the other: vectors of accumulators, then input channels that a
# sparse kernel sums before the next block; 0 is the kernel's own choice.
POSITIONS = (0, 4, 7, 10, 14)
CHANNELS = (0, 32, 48, 64, 96, 128, 192)
WORTH = 0.97  # of the time of the first choice: what is hardly faster was lucky
_LAYERS = ("conv", "linear")

Choice = Mapping[str, Any]  # attributes of a layer
Choose = Callable[[Operation], Choice]


@dataclass(frozen=True)
class Settings:
    """How a network is measured: threads and instructions as it will run, and the inputs."""

    threads: int | None = None
    isa: str | None = None
    inputs: tuple[Any, ...] = ()


def untuned(graph: Graph) -> Graph:
    """Return the graph with a sparse kernel where a layer has many zeros, nothing measured."""
    return chosen(
        graph, lambda layer: {"kernel": "sparse" if _sparsity(graph, layer) >= GUESSED_SPARSITY else "dense"}
    )


def tuned(graph: Graph, settings: Settings) -> Graph:
    """Return the graph with the kernel that was faster for each layer on this machine."""
    unsure = [layer.name for layer in graph.operations if _is_worth_trying(graph, layer)]
    graph = chosen(graph, lambda layer: {} if layer.name in unsure else {"kernel": "dense"})
    graph = _best(graph, unsure, [lambda _: {"kernel": "dense"}, lambda _: {"kernel": "sparse"}], settings)
    convs = [layer for layer in graph.operations if layer.op == "conv"]
    layers = [layer.name for layer in convs]
    graph = _best(graph, layers, [partial(_with_positions, wanted=wanted) for wanted in POSITIONS], settings)
    sparse = [layer.name for layer in convs if layer.attributes.get("kernel") == "sparse"]
    return _best(graph, sparse, [partial(_with_channels, wanted=wanted) for wanted in CHANNELS], settings)


def _with_positions(layer: Operation, wanted: int) -> Choice:
    return {"blocks": (wanted, layer.attributes.get("blocks", (0, 0))[1])}


def _with_channels(layer: Operation, wanted: int) -> Choice:
    return {"blocks": (layer.attributes.get("blocks", (0, 0))[0], wanted)}


def chosen(graph: Graph, choose: Choose) -> Graph:
    """Return the graph with attributes of its layers set, and constants stored as they then should be."""
    operations = [
        replace(operation, attributes={**operation.attributes, **choose(operation)})
        if operation.op in _LAYERS
        else operation
        for operation in graph.operations
    ]
    return with_storage(Graph(graph.inputs, graph.outputs, tuple(operations), graph.constants))


def _is_worth_trying(graph: Graph, layer: Operation) -> bool:
    return layer.op in _LAYERS and _sparsity(graph, layer) >= LEAST_SPARSITY


def _sparsity(graph: Graph, layer: Operation) -> float:
    return sparsity(graph.constants[layer.constants["weight"]].array)


def _best(graph: Graph, layers: list[str], choices: Sequence[Choose], settings: Settings) -> Graph:
    """Return the graph with the fastest choice for each of ``layers``; of about equals the first."""
    if not layers:
        return graph
    candidates = [
        chosen(graph, lambda layer, choose=choose: choose(layer) if layer.name in layers else {})
        for choose in choices
    ]
    times = _times([of_graph(each, settings.threads, settings.isa) for each in candidates], settings.inputs)
    best: dict[str, Choose] = {}
    for layer in layers:
        own = [each.get(layer, float("inf")) for each in times]
        fastest = own.index(min(own))
        best[layer] = choices[fastest if own[fastest] < WORTH * own[0] else 0]
    return chosen(graph, lambda layer: best[layer.name](layer) if layer.name in best else {})


def _times(sessions: list[Session], inputs: tuple[npt.NDArray[Any], ...]) -> list[dict[str, float]]:
    """Return for each session the milliseconds of each operation: the least of its medians."""
    begin = perf_counter()
    sessions[0].profile(*inputs, repeats=1)
    repeats = REPEATS if perf_counter() - begin < LONG else 1
    found: list[dict[str, float]] = [{} for _ in sessions]
    for _ in range(ROUNDS):
        for times, session in zip(found, sessions, strict=True):
            for name, milliseconds in _by_operation(session, inputs, repeats).items():
                times[name] = min(times.get(name, float("inf")), milliseconds)
    return found


def _by_operation(session: Session, inputs: tuple[npt.NDArray[Any], ...], repeats: int) -> dict[str, float]:
    """Return the milliseconds of each operation; steps of one operation add up."""
    sums: dict[str, float] = {}
    for row in session.profile(*inputs, repeats=repeats).rows:
        sums[row.operation] = sums.get(row.operation, 0.0) + row.milliseconds
    return sums
