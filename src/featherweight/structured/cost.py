"""What a cut network costs: parameters and MACs, computed from sizes alone.

A MAC is a multiply-accumulate of a convolution, matrix product, attention or recurrent layer, as in
``fw.profile``, which counts them where they run.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from featherweight._registry import Registry
from featherweight.core.trace import Call, refs
from featherweight.structured.cut import Cut
from featherweight.structured.rules.linear import letters_of

Shape = tuple[int, ...]


class Sizes:
    """The sizes of a call's tensors after a cut."""

    def __init__(self, call: Call, cut: Cut) -> None:
        self.call, self.cut = call, cut

    def __call__(self, argument: str) -> Shape:
        """Return the sizes of a tensor argument."""
        return self.cut.shape(self.call.arguments[argument].name)

    def all(self, argument: str | None = None) -> list[Shape]:
        """Return the sizes of each tensor in an argument, or in all of them."""
        values: Any = self.call.arguments if argument is None else self.call.arguments[argument]
        return [self.cut.shape(ref.name) for ref in refs(values)]

    @property
    def output(self) -> Shape:
        """Sizes of the first output."""
        return self.cut.shape(self.call.outputs[0])


Formula = Callable[[Sizes], int]

formulas: Registry[Formula] = Registry("MAC formula")


def params(cut: Cut) -> int:
    """Return the number of parameters of the cut network."""
    stored, parameters = cut.tracing.stored, cut.tracing.graph.parameters
    return sum(prod(cut.shape(value)) for name, value in stored.items() if name in parameters)


def macs(cut: Cut) -> int:
    """Return the MACs of one forward pass of the cut network on inputs of the traced sizes."""
    return sum(formulas[call.op](Sizes(call, cut)) for call in cut.tracing.graph.calls if call.op in formulas)


def _formula(*names: str) -> Callable[[Formula], Formula]:
    def register(function: Formula) -> Formula:
        for name in names:
            formulas.register(f"aten.{name}")(function)
        return function

    return register


@_formula(
    "conv1d.default", "conv2d.default", "conv3d.default",
    "conv1d.padding", "conv2d.padding", "conv3d.padding",
)  # fmt: skip
def _convolution(sizes: Sizes) -> int:
    return prod(sizes.output) * prod(sizes("weight")[1:])


@_formula("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def _transposed(sizes: Sizes) -> int:
    return prod(sizes("input")) * prod(sizes("weight")[1:])


@_formula("linear.default")
def _linear(sizes: Sizes) -> int:
    return prod(sizes.output) * sizes("weight")[-1]


@_formula("matmul.default", "mm.default", "bmm.default", "mv.default", "dot.default", "vdot.default")
def _product(sizes: Sizes) -> int:
    return prod(sizes.output) * sizes.all()[0][-1]


@_formula("addmm.default", "baddbmm.default", "addmv.default")
def _added_product(sizes: Sizes) -> int:
    return prod(sizes.output) * sizes.all()[1][-1]


@_formula("einsum.default")
def _einsum(sizes: Sizes) -> int:
    """Each pair of operands of a chain would cost less; of two operands it is exact."""
    terms = sizes.call.arguments["equation"].replace(" ", "").partition("->")[0].split(",")
    letters: dict[str, int] = {}
    for term, shape in zip(terms, sizes.all("tensors"), strict=True):
        for letter, size in zip(letters_of(term, len(shape)), shape, strict=True):
            letters[letter] = max(size, letters.get(letter, 1))
    return prod(letters.values()) if len(terms) > 1 else 0


@_formula("scaled_dot_product_attention.default")
def _attention(sizes: Sizes) -> int:
    query, key, value = sizes("query"), sizes("key"), sizes("value")
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


@_formula("lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input")
def _recurrent(sizes: Sizes) -> int:
    steps = prod(sizes("input")[:-1])
    return steps * sum(prod(shape) for shape in sizes.all("params") if len(shape) == 2)


@_formula("lstm_cell.default", "gru_cell.default", "rnn_tanh_cell.default", "rnn_relu_cell.default")
def _cell(sizes: Sizes) -> int:
    return prod(sizes("input")[:-1]) * (prod(sizes("w_ih")) + prod(sizes("w_hh")))


@_formula("tensordot.default")
def _tensordot(sizes: Sizes) -> int:
    own = sizes("self")
    return prod(sizes.output) * prod(own[d] for d in sizes.call.arguments["dims_self"])


@_formula("inner.default")
def _inner(sizes: Sizes) -> int:
    return prod(sizes.output) * (sizes("self") or (1,))[-1]
