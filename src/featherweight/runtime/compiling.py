"""From an ONNX network to a session, and to a ``.fw`` file."""

from __future__ import annotations

import os
from typing import Any

from featherweight.errors import GraphError, UnsupportedError
from featherweight.runtime import fwfile, session, tuning
from featherweight.runtime.arrays import by_name, checked
from featherweight.runtime.fusion import fuse
from featherweight.runtime.graph import MOST_OPERATIONS, Graph, infer_dtypes, infer_shapes
from featherweight.runtime.session import Session


def graph_of(source: Any) -> Graph:
    """Return an ONNX network (path, bytes or onnx.ModelProto) lowered and fused; no kernels are chosen.

    Raises:
        OnnxError: the network cannot be read.
        UnsupportedError: the runtime lacks some of its operators, or it goes beyond the runtime's limits.
    """
    from featherweight.runtime.lowering import lower

    lowered = lower(source)
    try:
        graph = fuse(lowered)
        infer_shapes(graph)
        infer_dtypes(graph)
    except GraphError as error:
        raise UnsupportedError(f"The runtime cannot run this network: {error}") from error
    if len(graph.operations) > MOST_OPERATIONS:
        raise UnsupportedError(
            f"The runtime cannot run this network: {len(graph.operations)} operations; "
            f"the most is {MOST_OPERATIONS}."
        )
    return fwfile.with_storage(graph)


def compile_onnx(
    source: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    example_inputs: Any = None,
    threads: int | None = None,
    isa: str | None = None,
    tune: bool = True,
) -> Session:
    """Lower an ONNX network, choose its kernels, and write it to ``out`` if that is given.

    Args:
        source: the path of an ``.onnx`` file, its bytes, or an onnx.ModelProto.
        out: the ``.fw`` file.
        example_inputs: what kernels are measured with: an array, a tuple of them or a mapping by name.
            Without it random numbers, with 1 for sizes that are not known.
        threads: how many threads will run it.
        isa: the instruction set; by default the best that the processor has.
        tune: measure which kernel is faster for each layer. False: those with many zeros get a sparse one.

    Raises:
        OnnxError: the network cannot be read.
        UnsupportedError: the runtime lacks some of its operators; nothing is written.
    """
    graph = graph_of(source)
    if tune and isa != session.REFERENCE:
        graph = tuning.tuned(graph, tuning.Settings(threads, isa, _inputs(example_inputs, graph)))
    else:
        graph = tuning.untuned(graph)
    ready = session.of_graph(graph, threads, isa)  # refuses what is not there before anything is written
    if out is not None:
        fwfile.write(out, graph)
    return ready


def _inputs(example_inputs: Any, graph: Graph) -> tuple[Any, ...]:
    if example_inputs is None:
        return ()
    given = tuple(example_inputs) if isinstance(example_inputs, tuple | list) else (example_inputs,)
    pairs = zip(by_name(given, graph.inputs), graph.inputs, strict=True)
    return tuple(checked(value, expected) for value, expected in pairs)
