"""A network as the graph of its operations: what is returned where sizes are written into a forward.

torch.export notes everything as numbers: that the network was evaluated, and how large the batch was. Here
both are free again, so that the result trains, evaluates and takes batches of any size, as the class did.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_map, tree_map_with_path

from featherweight.core.trace import Example, Graph, as_arguments, trace
from featherweight.errors import ModelError, TraceError
from featherweight.structured.cut import Cut
from featherweight.structured.graph_norms import TRAINING, BatchNormNode, batch_norm, count_batches
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
_BATCH = "featherweight.batch"  # module.meta: the only batch size that it takes, if it is one
_TRANSIENT = "featherweight.transient"  # module.meta: buffers that its class does not save


class RewrittenModule(torch.fx.GraphModule):
    """A network as a graph, with the parameter names of its class.

    ``train()`` switches dropout and batch norm as in the class. What the class does only while training in
    Python (stochastic depth, dropout inside scaled_dot_product_attention) is not in the graph.
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
        for node in self.graph.nodes:
            if (place := _training_argument(node)) is not None:
                node.update_arg(place, mode or node.meta[_EVALUATED])
        self.recompile()
        self._written_mode = mode
        return self

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
            ModelError: the graph holds for one batch size only, and the inputs have another.
        """
        check_batch(self, (*args, *kwargs.values()))
        if self._written_mode != self.training:  # set as an attribute, as a module may be
            self.train(self.training)
        return super().__call__(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> RewrittenModule:
        copied: Any = super().__deepcopy__(memo)
        for name, value in vars(self).items():
            if name not in vars(copied):
                setattr(copied, name, value)
        _do_not_save(copied, copied.meta.get(_TRANSIENT, ()))
        return copied.train(self.training)

    def __reduce__(self) -> tuple[Any, ...]:
        mode = self.training
        self.eval()  # what is read again is the graph as it evaluates
        self._tracer_cls = None  # that of torch.export cannot be made again; the usual one does
        try:
            made = super().__reduce__()
        finally:
            self.train(mode)
        return _unpickled, (*made, self.meta, mode)


def _unpickled(make: Any, arguments: tuple[Any, ...], meta: dict[str, Any], mode: bool) -> RewrittenModule:
    """Return the module of which ``__reduce__`` gave these."""
    plain = make(*arguments)
    module = RewrittenModule(plain, plain.graph)
    module.meta |= meta
    _do_not_save(module, meta.get(_TRANSIENT, ()))
    return module.train(mode)


def check_batch(module: nn.Module, inputs: Example) -> None:
    """Raise ModelError where a graph holds for one batch size only, and ``inputs`` have another."""
    batch = module.meta.get(_BATCH) if isinstance(module, torch.fx.GraphModule) else None
    args, kwargs = as_arguments(inputs)
    first = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
    if batch is not None and first is not None and first.ndim and first.shape[0] != batch:
        raise ModelError(
            f"This network is a graph in which a batch of {batch} is written, as of the example inputs it "
            f"was cut with; got a batch of {first.shape[0]}. Cut it again with example inputs of the size "
            f"that it will run with."
        )


def as_module(cut: Cut, model: nn.Module, example: Example) -> RewrittenModule:
    """Return the cut network as a module that trains, evaluates and takes other batch sizes.

    Args:
        cut: of the network's graph.
        model: the network, not cut; it is traced with another batch size to see where that stands.
        example: what it was traced with.
    """
    module = rewritten(cut)
    batch = _batch_of(example)
    places = None if batch is None else _places_of_batch(model, cut.tracing.graph, example, batch)
    freed = batch is not None and places is not None and _free_batch(module, places, batch)
    count_batches(module, model)
    result = RewrittenModule(module, module.graph)
    if not freed:
        result.meta[_BATCH] = batch
    result.meta[_TRANSIENT] = _not_saved(model)
    _do_not_save(result, result.meta[_TRANSIENT])
    return result.train(model.training)


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


def _batch_of(example: Example) -> int | None:
    """Return the size of the first dimension of the first tensor."""
    args, kwargs = as_arguments(example)
    sizes = (v.shape[0] for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.ndim)
    return next(sizes, None)


_Place = tuple[str, str]  # a node, and the path of a number in its arguments


def _places_of_batch(model: nn.Module, graph: Graph, example: Example, batch: int) -> set[_Place] | None:
    """Return where numbers stand that are multiples of the batch size; None if that cannot be told."""

    def one_more(value: Any) -> Any:
        tensor = isinstance(value, Tensor) and value.ndim and value.shape[0] == batch
        return torch.cat([value, value[:1]]) if tensor else value

    args, kwargs = as_arguments(example)
    larger = tree_map(one_more, kwargs if kwargs else args)
    try:
        other = trace(model, larger)
    except TraceError:
        return None
    found: set[_Place] = set()
    nodes, others = list(graph.program.graph.nodes), list(other.program.graph.nodes)
    if [(n.name, n.target) for n in nodes] != [(n.name, n.target) for n in others]:
        return None
    for node, same in zip(nodes, others, strict=True):
        mine, theirs = dict(_numbers(node)), dict(_numbers(same))
        if mine.keys() != theirs.keys():
            return None
        for path, value in mine.items():
            if value != theirs[path]:
                if value * (batch + 1) != theirs[path] * batch:
                    return None
                found.add((node.name, path))
    return found


def _numbers(node: torch.fx.Node) -> Iterator[tuple[str, int]]:
    leaves, _ = tree_flatten_with_path((tuple(node.args), dict(node.kwargs)))
    for path, value in leaves:
        if isinstance(value, int) and not isinstance(value, bool):
            yield _written(path), value


def _written(path: Any) -> str:
    return "".join(str(key) for key in path)


def _free_batch(module: torch.fx.GraphModule, places: set[_Place], batch: int) -> bool:
    """Compute the numbers at ``places`` from the size of the input; whether all could be."""
    nodes = {node.name: node for node in module.graph.nodes}
    wanted = {name: {path for node, path in places if node == name} for name, _ in places}
    for name, paths in wanted.items():
        numbers = dict(_numbers(nodes[name])) if name in nodes else {}
        if any(path not in numbers or numbers[path] % batch for path in paths):
            return False
    if wanted:
        multiples = _Multiples(module.graph)
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

    def __init__(self, graph: torch.fx.Graph) -> None:
        self.graph, self.made = graph, dict[int, torch.fx.Node]()
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        first = next(node for node in inputs if isinstance(node.meta.get("val"), Tensor))
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
