"""From a network to a plain graph of its tensors and operations, through ``torch.export``.

The graph is plain data: names, sizes and numbers. Those who follow a dimension, count or rewrite need
nothing of torch.fx.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from featherweight.core._inline import inline_regions
from featherweight.errors import TraceError

Example = Tensor | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Ref:
    """The use of a tensor: ``name`` is a key of ``Graph.shapes``."""

    name: str


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        name: of its node.
        op: such as "aten.conv2d.default".
        arguments: by the names of the operation's schema, defaults filled in; a tensor is a Ref, a list
            of tensors a list of Refs, and a symbolic size the number it had while tracing.
        outputs: names of the tensors that come out.
        is_pointwise: whether each entry of the output depends on the entries at the same place only.
        module: path of the module whose forward it is in, "" for the network itself.
        module_type: class of that module.
        source: the line of Python that it comes from, "file:line", "" where that is not known.
    """

    name: str
    op: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]
    is_pointwise: bool = False
    module: str = ""
    module_type: str = ""
    source: str = ""


@dataclass(frozen=True)
class Graph:
    """A network as it ran on the example inputs.

    Attributes:
        calls: the operations in order.
        shapes: sizes of every tensor.
        stored: names of tensors that are parameters or buffers of the model, with their state dict names; a
            tied one is there once, by its first name.
        parameters: state dict names of the parameters, in the same way.
        inputs: names of the tensors that the network was given.
        outputs: names of the tensors that it returned.
        program: what torch.export gave, for those who rewrite it.
        aliases: the further names of tied parameters and buffers, each with the first one.
    """

    calls: tuple[Call, ...]
    shapes: Mapping[str, tuple[int, ...]]
    stored: Mapping[str, str]
    parameters: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    program: ExportedProgram = field(repr=False, compare=False)
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])

    def first_name(self, name: str) -> str:
        """Return the name that is in ``stored`` of a parameter or buffer, given any of its names."""
        return self.aliases.get(name, name)

    def stored_in_program(self) -> dict[str, str]:
        """Return the first name of each parameter and buffer, by the names of the program's inputs."""
        signature = self.program.graph_signature
        inputs = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        return {name: self.first_name(target) for name, target in inputs.items()}


def trace(model: nn.Module, example_inputs: Example) -> Graph:
    """Return the graph of ``model`` in evaluation mode.

    Args:
        model: any module that torch.export takes; it is not changed.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments.

    Raises:
        TraceError: the network fails on these inputs, or torch.export cannot trace it, with its own words.
    """
    args, kwargs = as_arguments(example_inputs)
    with evaluating(model):
        program = _exported(model, args, kwargs)
        if _replaces_buffers(program):  # some networks make them at their first forward
            _run(model, args, kwargs)
            program = _exported(model, args, kwargs)
    return read_program(program)


def _exported(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    try:
        with _quiet():
            program = torch.export.export(model, args, kwargs, strict=False)
            inline_regions(program)
    except Exception as error:  # torch.export raises a dozen types
        _run(model, args, kwargs)
        raise TraceError(
            f"torch.export cannot trace {type(model).__name__}: {_first_line(error)}. "
            f"torch.export.export(model.eval(), example_inputs, strict=False) shows all of it."
        ) from error
    return program


def _replaces_buffers(program: ExportedProgram) -> bool:
    """Whether the program ends with new values for buffers, which were attributes that the forward set."""
    copies = [node for node in program.graph.nodes if str(node.target) == "aten.copy_.default"]
    return any(node.args[0].op == "placeholder" for node in copies)


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run the network; raises TraceError if it fails on these inputs: not the tracing does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model(*args, **kwargs)
    except Exception as error:  # whatever the network raises
        given = [_described(value) for value in (*args, *kwargs.values())]
        raise TraceError(
            f"{type(model).__name__} fails on the example inputs, {', '.join(given)}: {_first_line(error)}. "
            f"Do they have the shapes and types that it takes?"
        ) from error


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return type(value).__name__


def _first_line(error: Exception) -> str:
    first = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@contextmanager
def _quiet() -> Generator[None]:
    """Keep back torch's warnings, and what it logs about a failure: a traceback that the error has anyway."""

    def is_remark(record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING  # what TORCH_LOGS asks for

    loggers = [
        logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("torch")
    ]
    for logger in loggers:
        logger.addFilter(is_remark)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_remark)


def read_program(program: ExportedProgram) -> Graph:
    """Return the plain graph of an exported program."""
    return _Reader(program).read()


def as_arguments(example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of a call with ``example``."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return ((example,) if isinstance(example, Tensor) else tuple(example)), {}


@contextmanager
def evaluated(model: nn.Module) -> Generator[None]:
    """Put every module into evaluation mode, and back into its own afterwards."""
    training = {module: module.training for module in model.modules()}
    if any(training.values()):
        model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """``evaluated``, and without gradients."""
    with evaluated(model), torch.no_grad():
        yield


@contextmanager
def unfused() -> Generator[None]:
    """Run attention layers operator by operator.

    The fused fast path of inference hides their products, and packs padded sequences into nested tensors,
    which have no shape.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Reader:
    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.names: dict[torch.fx.Node, Any] = {}  # what a node is in the plain graph: Ref, number, list
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.calls: list[Call] = []
        self.aliases = _aliases(program)

    def read(self) -> Graph:
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self._name_input(node)
            elif node.op == "call_function":
                self._read_call(node)
            elif node.op == "get_attr":
                self.names[node] = None
        stored, inputs = self._signature()
        parameters = frozenset(self.program.graph_signature.parameters) - self.aliases.keys()
        (result,) = (node.args[0] for node in self.program.graph.nodes if node.op == "output")
        outputs = tuple(dict.fromkeys(ref.name for ref in refs(self._plain(result))))
        return Graph(
            tuple(self.calls), self.shapes, stored, parameters, inputs, outputs, self.program, self.aliases
        )

    def _signature(self) -> tuple[dict[str, str], tuple[str, ...]]:
        kinds = (InputKind.PARAMETER, InputKind.BUFFER)
        specs = self.program.graph_signature.input_specs
        targets = {s.arg.name: str(s.target) for s in specs if s.kind in kinds}
        stored = {name: target for name, target in targets.items() if target not in self.aliases}
        inputs = tuple(
            s.arg.name for s in specs if s.kind == InputKind.USER_INPUT and s.arg.name in self.shapes
        )
        return stored, inputs

    def _read_call(self, node: torch.fx.Node) -> None:
        if getattr(node.target, "__name__", "") == "getitem":
            source, index = self._plain(node.args[0]), cast("int", node.args[1])
            self.names[node] = source[index] if isinstance(source, list) else source
            return
        self._name_value(node)
        op, arguments = self._signed(node)
        module, kind = _place(node)
        self.calls.append(
            Call(
                name=node.name,
                op=op,
                arguments=arguments,
                outputs=tuple(ref.name for ref in refs(self.names[node])),
                is_pointwise=torch.Tag.pointwise in getattr(node.target, "tags", ()),
                module=module,
                module_type=kind,
                source=_source(node),
            )
        )

    def _name_input(self, node: torch.fx.Node) -> None:
        """Name an input; one that is tied to an earlier one is that."""
        signature = self.program.graph_signature
        inputs = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        first = self.aliases.get(inputs.get(node.name, ""))
        if first is None:
            self._name_value(node)
        else:
            self.names[node] = Ref(next(name for name, target in inputs.items() if target == first))

    def _name_value(self, node: torch.fx.Node) -> None:
        self.names[node] = self._value(node.name, node.meta.get("val"))

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            self.shapes[name] = tuple(_number(size) for size in value.shape)
            return Ref(name)
        if isinstance(value, tuple | list):
            return [self._value(f"{name}.{index}", part) for index, part in enumerate(value)]  # pyright: ignore
        return _number(value)

    def _signed(self, node: torch.fx.Node) -> tuple[str, dict[str, Any]]:
        """Return the operation's name and its arguments by name, defaults included."""
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            arguments = {str(index): value for index, value in enumerate(node.args)} | node.kwargs
            return str(node.target), {key: self._plain(value) for key, value in arguments.items()}
        arguments: dict[str, Any] = {}
        for index, argument in enumerate(schema.arguments):
            if index < len(node.args):
                arguments[argument.name] = self._plain(node.args[index])
            elif argument.name in node.kwargs:
                arguments[argument.name] = self._plain(node.kwargs[argument.name])
            else:
                arguments[argument.name] = argument.default_value
        return str(node.target), arguments

    def _plain(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return self.names[value]
        if isinstance(value, tuple | list):
            return [self._plain(part) for part in value]  # pyright: ignore
        if isinstance(value, Mapping):
            return {key: self._plain(part) for key, part in value.items()}  # pyright: ignore
        return value


def _aliases(program: ExportedProgram) -> dict[str, str]:
    """Return the further names of tied parameters and buffers, each with the first one."""
    signature = program.graph_signature
    targets = [*signature.inputs_to_parameters.values(), *signature.inputs_to_buffers.values()]
    held = {**program.constants, **program.state_dict}
    first: dict[int, str] = {}
    every = {name: first.setdefault(id(held[name]), name) for name in targets if name in held}
    return {name: same for name, same in every.items() if same != name}


def refs(value: Any) -> Iterator[Ref]:
    """Yield the tensors in a possibly nested argument."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        yield from refs(list(value.values()))  # pyright: ignore
    elif isinstance(value, tuple | list):
        for part in value:  # pyright: ignore
            yield from refs(part)


def _number(value: Any) -> Any:
    """Return the number that a symbolic size had while tracing; other values as they are."""
    hint = getattr(getattr(value, "node", None), "hint", None)
    return value if hint is None else hint


def _place(node: torch.fx.Node) -> tuple[str, str]:
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = list(stack.values())[-1] if stack else ("", "")
    return str(path), kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


def _source(node: torch.fx.Node) -> str:
    """Return the innermost line outside torch."""
    own = str(inspect.getfile(torch)).rpartition("/")[0]
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    places = [line.split(", ") for line in lines if line.startswith("File ")]
    outside = [place for place in places if own not in place[0]]
    if not outside:
        return ""
    file, line = outside[-1][0], outside[-1][1]
    return f"{file.removeprefix('File ').strip(chr(34))}:{line.removeprefix('line ')}"
