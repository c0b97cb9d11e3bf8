"""An ONNX node in plain Python, and the handlers of operators by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from featherweight._registry import Registry
from featherweight.errors import UnsupportedError

if TYPE_CHECKING:
    from featherweight.runtime.lowering.builder import Builder


@dataclass(frozen=True)
class Node:
    """One node: ``inputs`` has "" for what is left out; attributes are numbers, strings, lists and arrays."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def output(self) -> str:
        """Its first output."""
        return self.outputs[0]

    def input(self, place: int) -> str:
        """Return the name of an input, "" where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def axis(self, given: int, rank: int) -> int:
        """Return an axis counted from the front; raises UnsupportedError for one that is not there."""
        if not -rank <= given < rank:
            raise self.refuse(f"it has no axis {given}: its input has {rank} dimensions")
        return int(given) % rank

    def refuse(self, reason: str) -> UnsupportedError:
        """Return the error that says why this node cannot be lowered."""
        return UnsupportedError(reason)


Handler: TypeAlias = "Callable[[Node, Builder], None]"
handlers: Registry[Handler] = Registry("ONNX operator")


def handles(*operators: str) -> Callable[[Handler], Handler]:
    """Return a decorator that files a handler under the names of ``operators``."""

    def file(handler: Handler) -> Handler:
        for operator in operators:
            handlers.register(operator)(handler)
        return handler

    return file


def node_of(proto: Any, number: int) -> Node:
    """Return an onnx.NodeProto as a Node; one without a name is named after its output."""
    from onnx import helper, numpy_helper

    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.type == attribute.TENSOR:
            value = numpy_helper.to_array(value)
        elif isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif attribute.type in (attribute.INTS, attribute.FLOATS):
            value = list(value)
        attributes[attribute.name] = value
    outputs = tuple(proto.output)
    name = proto.name or next(filter(None, outputs), f"{proto.op_type}_{number}")
    return Node(proto.op_type, name, tuple(proto.input), outputs, attributes)
