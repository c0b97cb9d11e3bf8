"""The walk over an ONNX graph: node by node, each by the handler of its operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from featherweight.errors import GraphError, OnnxError, UnsupportedError
from featherweight.runtime.graph import Graph, Input
from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.fold import fold
from featherweight.runtime.lowering.known import evaluate, is_arithmetic
from featherweight.runtime.lowering.node import Node, handlers, node_of
from featherweight.runtime.lowering.source import Source, load
from featherweight.runtime.operations.pointwise import DTYPES

_DOMAINS = ("", "ai.onnx")
_MOST_SHOWN = 40


def lower(source: Source) -> Graph:
    """Return an ONNX network as a Graph, not fused yet.

    Args:
        source: the path of an ``.onnx`` file, its bytes, or an onnx.ModelProto.

    Raises:
        OnnxError: it cannot be read.
        UnsupportedError: the runtime lacks some of its operators: all of them are listed.
    """
    with np.errstate(all="ignore"):  # infinities in weights are the network's own
        return _lowered(fold(load(source)))


def _lowered(model: Any) -> Graph:
    builder = Builder(list(_inputs(model.graph)))
    _constants(model.graph, builder)
    nodes = [(node_of(proto, number), proto) for number, proto in enumerate(model.graph.node)]
    wanted = _needed(model.graph, [node for node, _ in nodes])
    problems = [
        problem for node, proto in nodes if node.name in wanted for problem in _lower(node, proto, builder)
    ]
    outputs = [value.name for value in model.graph.output]
    if not problems:
        try:
            return builder.graph(outputs)
        except (UnsupportedError, GraphError) as error:
            problems = [f"the outputs {outputs}: {error}"]
    raise UnsupportedError(_listed(problems))


def _lower(node: Node, proto: Any, builder: Builder) -> Iterator[str]:
    """Lower one node; yields what is wrong with it, if anything is."""
    if proto.domain not in _DOMAINS:
        yield f"{node.op} of {proto.domain!r} ({node.name}): only operators of ONNX itself are known"
        return
    try:
        if evaluate(node, proto, builder):
            return
        complete = all(builder.has(name) for name in node.inputs if name)
        if node.op not in handlers and (complete or not is_arithmetic(node.op)):
            yield f"{node.op} ({node.name})"
            return
        if not complete:
            return  # what made it is in the list already
        builder.node = node
        handlers[node.op](node, builder)
    except (UnsupportedError, GraphError) as error:
        yield f"{node.op} ({node.name}): {error}"
    except MemoryError:
        yield f"{node.op} ({node.name}): it takes more memory than there is"
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
        yield f"{node.op} ({node.name}): its inputs or attributes are not what ONNX asks for ({error})"


def _needed(graph: Any, nodes: list[Node]) -> set[str]:
    """Return the names of the nodes that outputs come from."""
    wanted = {value.name for value in graph.output}
    needed: set[str] = set()
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            needed.add(node.name)
            wanted.update(node.inputs)
    return needed


def _listed(problems: list[str]) -> str:
    shown = "".join(f"\n  {problem}" for problem in problems[:_MOST_SHOWN])
    more = f"\n  and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
    return (
        f"The runtime cannot run this network; {len(problems)} of its nodes are the reason:{shown}{more}\n"
        "Nothing was written. Replace those layers, or run the network elsewhere."
    )


def _inputs(graph: Any) -> Iterator[Input]:
    from onnx import helper

    held = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name in held:
            continue
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise OnnxError(f"input {value.name!r} must be a tensor with a number of dimensions.")
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        try:
            yield Input(value.name, tuple(_sizes(kind.shape.dim)), dtype)
        except GraphError as error:
            advice = "" if dtype in DTYPES else " Export the network with float32 inputs."
            raise UnsupportedError(f"{error}{advice}") from error


def _sizes(dims: Iterable[Any]) -> Iterator[int | None]:
    for dim in dims:
        yield int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None


def _constants(graph: Any, builder: Builder) -> None:
    from onnx import numpy_helper

    if graph.sparse_initializer:
        raise OnnxError("the network has sparse_initializers, which are not read. Store them dense.")
    for tensor in graph.initializer:
        try:
            builder.know(tensor.name, numpy_helper.to_array(tensor))
        except (ValueError, TypeError) as error:
            raise OnnxError(f"tensor {tensor.name!r} cannot be read: {error}") from error
