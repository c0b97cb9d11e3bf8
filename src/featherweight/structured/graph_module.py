"""A network as the graph of its operations: what is returned where sizes are written into a forward.

torch.export notes everything as numbers: that the network was evaluated, and how large the inputs were. Here
the mode and the batch are free again, so that the result trains, evaluates and takes batches of any size, as
the class did. Inputs whose other sizes differ are refused.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_map, tree_map_with_path

from featherweight.core.trace import Example, Graph, as_arguments, trace
from featherweight.errors import TraceError
from featherweight.structured.cut import Cut
from featherweight.structured.graph_inputs import Inputs, batch_of, has_batch
from featherweight.structured.graph_norms import (
    FROZEN,
    TRAINING,
    BatchNormNode,
    batch_norm,
    count_batches,
    evaluating_norms,
    running_mean_of,
)
from featherweight.structured.rewrite import rewritten

# The argument that says whether an operation trains, by operation.
_TRAINS = {
    "batch_norm": "training",
    "instance_norm": "use_input_stats",
    "dropout": "train",
    "dropout_": "train",
    "feature_dropout": "train",
    "feature_dropout_": "train",
    "alpha_dropout": "train",
    "feature_alpha_dropout": "train",
    "rrelu": "training",
    "lstm": "train",
    "gru": "train",
    "rnn_tanh": "train",
    "rnn_relu": "train",
}
_EVALUATED = "featherweight.evaluated"  # node.meta: the value of that argument while evaluating
_INPUTS = "featherweight.inputs"  # module.meta: the inputs that it takes
_TRANSIENT = "featherweight.transient"  # module.meta: buffers that its class does not save


class RewrittenModule(torch.fx.GraphModule):
    """A network as a graph, with the parameter names of its class.

    It takes inputs of the sizes that it was traced with, and batches of any size where those could be freed.

    ``train()`` switches all its dropouts and batch norms, as in the class. Until it is called, those evaluate
    whose modules did so while the network trained, such as frozen batch norms. What the class does only while
    training in Python (stochastic depth, dropout inside scaled_dot_product_attention) is not in the graph.
    """

    def __init__(self, root: nn.Module, graph: torch.fx.Graph) -> None:
        super().__init__(root, graph)
        used = _tensors(self)
        for name, tensor in _tensors(root).items():
            if name not in used:
                _place(self, name, tensor)
        for node in self.graph.nodes:
            if (place := _training_argument(node)) is not None and _EVALUATED not in node.meta:
                node.meta[_EVALUATED] = node.args[place]
        self.eval()

    def train(self, mode: bool = True) -> RewrittenModule:
        """Switch between training and evaluating."""
        super().train(mode)
        if mode:
            for node in self.graph.nodes:
                node.meta.pop(FROZEN, None)
        self.write_mode()
        return self

    def write_mode(self) -> None:
        """Write the mode that it has into its operations; those that were frozen evaluate."""
        for node in self.graph.nodes:
            if (place := _training_argument(node)) is not None:
                trains = self.training and FROZEN not in node.meta
                node.update_arg(place, trains or node.meta[_EVALUATED])
        self.recompile()
        self._written_mode = self.training

    def freeze(self, nodes: Iterable[torch.fx.Node]) -> None:
        """Let operations evaluate until ``train()`` is called."""
        for node in nodes:
            node.meta[FROZEN] = True
        self.write_mode()

    def frozen(self) -> list[bool]:
        """Return which of the operations that have a mode are frozen, in order."""
        return [FROZEN in node.meta for node in _with_mode(self)]

    def batch_norms(self) -> list[BatchNormNode]:
        """Return its batch norms with running statistics."""
        nodes = [node for node in self.graph.nodes if node.target is batch_norm]
        return [BatchNormNode(self, node, node.meta[_EVALUATED]) for node in nodes]

    def save_buffers(self, names: Iterable[str]) -> None:
        """Have those buffers in the state dict, though the class has not."""
        names = frozenset(names)
        self.meta[_TRANSIENT] = tuple(name for name in self.meta.get(_TRANSIENT, ()) if name not in names)
        for path, module in self.named_modules():
            kept = {name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == path}
            module._non_persistent_buffers_set -= kept  # pyright: ignore[reportPrivateUsage]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph.

        Raises:
            ModelError: the inputs are not of the sizes that the graph holds for.
        """
        if (taken := self.meta.get(_INPUTS)) is not None:
            taken.check(args, kwargs)
        if self._written_mode != self.training:  # set as an attribute, as a module may be
            self.write_mode()
        return super().__call__(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> RewrittenModule:
        copied: Any = super().__deepcopy__(memo)
        for name, value in vars(self).items():
            if name not in vars(copied):
                setattr(copied, name, value)
        _do_not_save(copied, copied.meta.get(_TRANSIENT, ()))
        nn.Module.train(copied, self.training)
        copied.write_mode()
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        modes = {module: module.training for module in self.modules()}
        self.eval()  # what is read again is the graph as it evaluates
        self._tracer_cls = None  # that of torch.export cannot be made again; the usual one does
        try:
            made = super().__reduce__()
        finally:
            for module, mode in modes.items():
                module.training = mode
            self.write_mode()
        return _unpickled, (*made, self.meta, self.training, self.frozen())


def _unpickled(
    make: Any, arguments: tuple[Any, ...], meta: dict[str, Any], mode: bool, frozen: Iterable[bool] = ()
) -> RewrittenModule:
    """Return the module of which ``__reduce__`` gave these."""
    plain = make(*arguments)
    module = RewrittenModule(plain, plain.graph)
    module.meta |= meta
    _do_not_save(module, meta.get(_TRANSIENT, ()))
    module.train(mode)
    module.freeze(node for node, is_frozen in zip(_with_mode(module), frozen, strict=False) if is_frozen)
    return module


def check_batch(module: nn.Module, inputs: Example) -> None:
    """Raise ModelError where ``module`` is a graph that does not hold for the sizes of ``inputs``."""
    taken = module.meta.get(_INPUTS) if isinstance(module, torch.fx.GraphModule) else None
    if taken is not None:
        taken.check(*as_arguments(inputs))


def as_module(cut: Cut, model: nn.Module, example: Example) -> RewrittenModule:
    """Return the cut network as a module that trains, evaluates and takes other batch sizes.

    Args:
        cut: of the network's graph.
        model: the network, not cut; it is traced with another batch size to see where that stands.
        example: what it was traced with.
    """
    module = rewritten(cut)
    batch = batch_of(example)
    places = None if batch is None else _places_of_batch(model, cut.tracing.graph, example, batch)
    freed = batch is not None and places is not None and _free_batch(module, places, batch)
    count_batches(module, model)
    result = RewrittenModule(module, module.graph)
    names = tuple(inspect.signature(result.forward).parameters)
    result.meta[_INPUTS] = Inputs.of(names, example, batch, free=freed)
    result.meta[_TRANSIENT] = _not_saved(model)
    _do_not_save(result, result.meta[_TRANSIENT])
    result.train(model.training)
    result.freeze(_evaluating(result, model, {call.name: call.module for call in cut.tracing.graph.calls}))
    return result


def _evaluating(result: RewrittenModule, model: nn.Module, places: Mapping[str, str]) -> list[torch.fx.Node]:
    """Return the operations of modules that evaluate while ``model`` trains; ``places``: their modules."""
    if not model.training:
        return []
    modules = dict(model.named_modules(remove_duplicate=False))
    norms = frozenset(evaluating_norms(model))
    return [
        node
        for node in _with_mode(result)
        if running_mean_of(node) in norms or not modules.get(places.get(node.name, ""), model).training
    ]


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers(remove_duplicate=False)
    )


def _not_saved(model: nn.Module) -> tuple[str, ...]:
    """Return the names of buffers that are not in the state dict."""
    return tuple(
        f"{path}.{own}" if path else own
        for path, module in model.named_modules(remove_duplicate=False)
        for own in module._non_persistent_buffers_set  # pyright: ignore[reportPrivateUsage]
    )


def _do_not_save(model: nn.Module, names: Iterable[str]) -> None:
    """Leave those of ``names`` that are buffers of ``model`` out of its state dict."""
    for name in set(names) & dict(model.named_buffers(remove_duplicate=False)).keys():
        path, _, own = name.rpartition(".")
        model.get_submodule(path)._non_persistent_buffers_set.add(own)  # pyright: ignore[reportPrivateUsage]


def _place(model: torch.fx.GraphModule, name: str, tensor: Tensor) -> None:
    """Give ``model`` a parameter or buffer that no operation uses."""
    path, _, own = name.rpartition(".")
    try:
        parent = model.get_submodule(path)
    except AttributeError:
        model.add_submodule(path, nn.Module())
        parent = model.get_submodule(path)
    if isinstance(tensor, nn.Parameter):
        parent.register_parameter(own, tensor)
    else:
        parent.register_buffer(own, tensor)


def _training_argument(node: torch.fx.Node) -> int | None:
    """Return the place of the argument that says whether the operation trains."""
    if node.target is batch_norm:
        return TRAINING
    schema = getattr(node.target, "_schema", None)
    name = None if schema is None else _TRAINS.get(schema.name.removeprefix("aten::"))
    if schema is None or name is None:
        return None
    place = next((n for n, argument in enumerate(schema.arguments) if argument.name == name), None)
    return place if place is not None and place < len(node.args) else None


def _with_mode(module: torch.fx.GraphModule) -> list[torch.fx.Node]:
    """Return the operations that compute something else while training."""
    return [node for node in module.graph.nodes if _training_argument(node) is not None]


_Place = tuple[str, str]  # a node, and the path of a number in its arguments


def _places_of_batch(model: nn.Module, graph: Graph, example: Example, batch: int) -> set[_Place] | None:
    """Return where numbers stand that are multiples of the batch size; None if that cannot be told.

    The network is traced with another batch too: three times as large and one more, so that halves and
    parities differ, and only multiples of the batch size grow as it does.
    """
    larger_batch = 3 * batch + 1

    def larger(value: Any) -> Any:
        return value[torch.arange(larger_batch) % batch] if has_batch(value, batch) else value

    args, kwargs = as_arguments(example)
    try:
        other = trace(model, tree_map(larger, kwargs if kwargs else args))
    except TraceError:
        return None
    nodes, others = list(graph.program.graph.nodes), list(other.program.graph.nodes)
    if [(n.name, n.target) for n in nodes] != [(n.name, n.target) for n in others]:
        return None
    if not _same_tensors(graph, other):
        return None
    found: set[_Place] = set()
    for node, same in zip(nodes, others, strict=True):
        paths = _multiples(dict(_constants(node)), dict(_constants(same)), batch, larger_batch)
        if paths is None:
            return None
        found |= {(node.name, path) for path in paths}
    return found


def _multiples(mine: dict[str, Any], theirs: dict[str, Any], batch: int, larger: int) -> set[str] | None:
    """Return where the arguments of two nodes differ as their batches do; None if they do so otherwise."""
    if mine.keys() != theirs.keys():
        return None
    differ = {path for path, value in mine.items() if repr(value) != repr(theirs[path])}
    grow = all(
        _is_number(mine[path]) and _is_number(theirs[path]) and mine[path] * larger == theirs[path] * batch
        for path in differ
    )
    return differ if grow else None


def _same_tensors(graph: Graph, other: Graph) -> bool:
    """Whether two graphs hold the same tensors besides their inputs: a size may be written in one."""
    mine, theirs = ({**g.program.state_dict, **g.program.constants} for g in (graph, other))
    if mine.keys() != theirs.keys():
        return False
    return all(_same(value, theirs[name]) for name, value in mine.items() if isinstance(value, Tensor))


def _same(a: Tensor, b: Any) -> bool:
    if a is b:
        return True
    if not isinstance(b, Tensor) or (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
        return False
    return a.data_ptr() == b.data_ptr() or torch.equal(a, b)


def _constants(node: torch.fx.Node) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of everything in a node's arguments; nodes are told by their names."""
    leaves, _ = tree_flatten_with_path((tuple(node.args), dict(node.kwargs)))
    for path, value in leaves:
        yield _written(path), value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _written(path: Any) -> str:
    return "".join(str(key) for key in path)


def _free_batch(module: torch.fx.GraphModule, places: set[_Place], batch: int) -> bool:
    """Compute the numbers at ``places`` from the size of the input; whether all could be."""
    nodes = {node.name: node for node in module.graph.nodes}
    wanted = {name: {path for node, path in places if node == name} for name, _ in places}
    for name, paths in wanted.items():
        numbers = dict(_constants(nodes[name])) if name in nodes else {}
        if any(not _is_number(numbers.get(path)) or numbers[path] % batch for path in paths):
            return False
    if wanted:
        multiples = _Multiples(module.graph, batch)
        for name, paths in wanted.items():
            _replace(nodes[name], paths, batch, multiples)
    module.graph.lint()
    module.recompile()
    return True


def _replace(node: torch.fx.Node, paths: set[str], batch: int, multiples: _Multiples) -> None:
    def new(path: Any, value: Any) -> Any:
        return multiples[value // batch] if _written(path) in paths else value

    args, kwargs = tree_map_with_path(new, (tuple(node.args), dict(node.kwargs)))
    node.args, node.kwargs = args, kwargs


class _Multiples(Mapping[int, torch.fx.Node]):
    """Nodes that compute multiples of the batch size, made when they are first asked for."""

    def __init__(self, graph: torch.fx.Graph, batch: int) -> None:
        self.graph, self.made = graph, dict[int, torch.fx.Node]()
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        first = next(node for node in inputs if has_batch(node.meta.get("val"), batch))
        with graph.inserting_after(inputs[-1]):
            self.made[1] = graph.call_function(torch.ops.aten.sym_size.int, (first, 0))

    def __getitem__(self, times: int) -> torch.fx.Node:
        if times not in self.made:
            with self.graph.inserting_after(self.made[1]):
                self.made[times] = self.graph.call_function(operator.mul, (self.made[1], times))
        return self.made[times]

    def __iter__(self) -> Iterator[int]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)
