"""Surgery: a network's tensors are cut in place, and its modules told their new sizes.

The network keeps its class where its forward can be told: its attributes are set so that it computes what
the rewritten graph computes. Where sizes are written into the forward itself, the rewritten graph is the
result instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from featherweight.core.trace import Example, as_arguments, evaluating
from featherweight.structured.attributes import (
    Attributes,
    combinations,
    guesses,
    is_width,
    known_sizes,
    set_attributes,
)
from featherweight.structured.configuration import as_attributes, entries_by_name, fit_configuration
from featherweight.structured.cut import Cut
from featherweight.structured.rewrite import put, rewritten, shrink, tensors_of
from featherweight.structured.verify import difference, disturbed

TOLERANCE = 1e-4
TRIALS = 200


@dataclass(frozen=True)
class Fitted:
    """A cut network that keeps its class.

    Attributes:
        attributes: what was set on which module.
        trials: how often the network was run to find that out.
    """

    attributes: Attributes
    trials: int


def operate(model: nn.Module, cut: Cut, example: Example, small: nn.Module | None = None) -> Fitted | None:
    """Cut ``model`` in place and set its attributes; None, and the model as it was, if none fit.

    Args:
        model: the network.
        cut: what goes.
        example: inputs.
        small: the graph rewritten for the cut while the model was disturbed; None: it is made here.
    """
    if small is None:
        with disturbed(model):  # scales of almost zero would let any attribute fit
            small = rewritten(cut)
    saved = {name: (tensor.data, tensor.grad) for name, tensor in tensors_of(model).items()}
    shrink(model, cut.stored)
    known = known_sizes(model, cut)
    before = set_attributes(model, known)
    args, kwargs = as_arguments(example)
    with evaluating(model), _with_tensors_of(small, model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = _fitted(_Search(model, cut, args, kwargs, small(*args, **kwargs)), known)
    if fitted is None:
        set_attributes(model, before)
        for name, tensor in tensors_of(model).items():
            put(tensor, *saved[name])
    return fitted


def _fitted(search: _Search, known: Attributes) -> Fitted | None:
    """Set attributes of modules and entries of the model's configuration with which it fits; None if none do.

    Args:
        search: the network, whose tensors are cut.
        known: the attributes of torch.nn's modules, which are set.
    """
    model = search.model
    entries = fit_configuration(model, search.cut, search.computes)
    before = set_attributes(model, as_attributes(model, entries))
    fitted = search.run()
    if fitted is None and entries:  # a forward that reads them needs the old ones
        entries = {}
        set_attributes(model, before)
        fitted = search.run()
    if fitted is None:
        set_attributes(model, before)
        return None
    found = _joined(known, fitted.attributes)
    if not entries:
        entries = entries_by_name(model, found)
        before = set_attributes(model, as_attributes(model, entries))
        if entries and not search.computes(model):
            set_attributes(model, before)
            entries = {}
    return Fitted(_joined(found, as_attributes(model, entries)), search.trials)


def _joined(some: Attributes, more: Attributes) -> Attributes:
    return some | {path: some.get(path, {}) | values for path, values in more.items()}


@contextmanager
def _with_tensors_of(other: nn.Module, model: nn.Module) -> Generator[None]:
    """Let ``model`` run with the values of another network of the same sizes, then with its own again."""
    mine, theirs = tensors_of(model), tensors_of(other)
    own = {name: mine[name].data for name in mine.keys() & theirs.keys()}
    try:
        for name in own:
            mine[name].data = theirs[name].data
        yield
    finally:
        for name, data in own.items():
            mine[name].data = data


class _Search:
    """Looks for the attributes with which the cut model computes ``expected``.

    Modules of one class are taken to need the same attributes. The class of the module that a run fails in
    is given its next combination, until a run does not fail and gives what it should.
    """

    def __init__(
        self, model: nn.Module, cut: Cut, args: tuple[Any, ...], kwargs: Mapping[str, Any], expected: Any
    ) -> None:
        self.model, self.cut, self.args, self.kwargs, self.expected = model, cut, args, kwargs, expected
        self.options = guesses(model, cut)
        self.trials = 0
        self.failed_in: list[str] = []

    def computes(self, network: nn.Module) -> bool:
        """Whether ``network`` gives what it should."""
        try:
            with torch.no_grad():
                return _alike(self.expected, network(*self.args, **self.kwargs))
        except Exception:  # of the user's forward
            return False

    def run(self) -> Fitted | None:
        classes = self._by_class()
        choices = {kind: list(combinations(self._names(paths))) for kind, paths in classes.items()}
        at = dict.fromkeys(choices, 0)
        while self.trials < TRIALS:
            attributes = self._attributes(classes, {kind: choices[kind][n] for kind, n in at.items()})
            before = set_attributes(self.model, attributes)
            if self._fits():
                return Fitted(self._needed(attributes, before), self.trials)
            set_attributes(self.model, before)
            kind = self._to_blame(classes, choices, at)
            if kind is None:
                return None
            at[kind] += 1
        return None

    def _needed(self, attributes: Attributes, before: Attributes) -> Attributes:
        """Return those without which it does not fit, and those that are widths by their name.

        A number of another kind, such as ``block_size``, may have had the value of a size by chance.
        """
        kept = {path: dict(values) for path, values in attributes.items()}
        for name in sorted({name for values in attributes.values() for name in values}):
            old = {
                path: {name: before[path][name]}
                for path, values in kept.items()
                if name in values and not is_width(name, self.options[path][name])
            }
            new = set_attributes(self.model, old)
            if old and self._fits():
                for path in old:
                    del kept[path][name]
            else:
                set_attributes(self.model, new)
        return {path: values for path, values in kept.items() if values}

    def _by_class(self) -> dict[type[nn.Module], list[str]]:
        found: dict[type[nn.Module], list[str]] = {}
        for path in self.options:
            found.setdefault(type(self.model.get_submodule(path)), []).append(path)
        return found

    def _names(self, paths: list[str]) -> dict[str, list[Any]]:
        """Return the attributes that any module of a class may need; the choice is which value they get."""
        most: dict[str, int] = {}
        for path in paths:
            for name, values in self.options[path].items():
                most[name] = max(most.get(name, 0), len(values))
        return {name: list(range(number)) for name, number in most.items()}

    def _attributes(
        self, classes: Mapping[type[nn.Module], list[str]], chosen: Mapping[type[nn.Module], dict[str, Any]]
    ) -> Attributes:
        return {
            path: {
                name: values[min(chosen[kind][name], len(values) - 1)]
                for name, values in self.options[path].items()
                if name in chosen[kind]
            }
            for kind, paths in classes.items()
            for path in paths
        }

    def _fits(self) -> bool:
        self.trials += 1
        self.failed_in = []
        handles = [
            module.register_forward_hook(self._left(path), always_call=True)
            for path, module in self.model.named_modules()
        ]
        self.done: list[str] = []
        try:
            result = self.model(*self.args, **self.kwargs)
        except Exception:
            return False
        finally:
            for handle in handles:
                handle.remove()
        self.failed_in = []
        return _alike(self.expected, result)

    def _left(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if output is None:
                self.failed_in.append(path)

        return hook

    def _to_blame(
        self, classes: Mapping[Any, list[str]], choices: Mapping[Any, list[Any]], at: Mapping[Any, int]
    ) -> type[nn.Module] | None:
        """Return the class to give another combination: of the innermost module that failed, or any."""
        for path in self.failed_in:
            kind = type(self.model.get_submodule(path))
            if kind in classes and at[kind] + 1 < len(choices[kind]):
                return kind
        return next((kind for kind in classes if at[kind] + 1 < len(choices[kind])), None)


def _alike(expected: Any, got: Any) -> bool:
    try:
        return difference(expected, got) < TOLERANCE
    except (ValueError, RuntimeError):  # another number of outputs, or other sizes
        return False
