"""Rewrites: each finds what it should, leaves what it must, and keeps what is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight.runtime import reference
from featherweight.runtime.activation import Activation
from featherweight.runtime.fusion import fuse, rewrites
from featherweight.runtime.fusion.fuse import ORDER
from featherweight.runtime.graph import Constant, Graph, Input, Operation

SOURCE = np.random.default_rng(3)
PICTURE = (2, 4, 6, 5)


def floats(*shape: int) -> np.ndarray:
    return SOURCE.standard_normal(shape).astype(np.float32)


class Chain:
    """Builds a graph step by step; a step's value has the step's name."""

    def __init__(self, shape: Sequence[int] = PICTURE) -> None:
        self.input = Input("x", (None, *shape[1:]))
        self.shape = tuple(shape)
        self.operations: list[Operation] = []
        self.constants: dict[str, Constant] = {}

    def __call__(
        self, op: str, *inputs: str, constants: Mapping[str, np.ndarray] | None = None, **attributes: Any
    ) -> str:
        name = f"{op}{len(self.operations)}"
        roles: dict[str, str] = {}
        for role, array in (constants or {}).items():
            roles[role] = f"{name}.{role}"
            self.constants[roles[role]] = Constant(np.asarray(array, np.float32))
        self.operations.append(Operation(op, name, inputs, (name,), attributes, roles))
        return name

    def conv(self, x: str, channels: int = 4, bias: bool = True, **attributes: Any) -> str:
        arrays = {"weight": floats(channels, 4, 3, 3)} | ({"bias": floats(channels)} if bias else {})
        return self("conv", x, constants=arrays, **({"pads": [1, 1, 1, 1]} | attributes))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        return self("linear", x, constants={"weight": floats(outputs, inputs)})

    def unary(self, x: str, kind: str, *parameters: float) -> str:
        return self("unary", x, activation=Activation(kind, parameters))

    def const(self, op: str, x: str, b: Any, **attributes: Any) -> str:
        return self(op, x, constants={"b": np.asarray(b, np.float32)}, **attributes)

    def graph(self, *outputs: str) -> Graph:
        return Graph((self.input,), outputs, tuple(self.operations), self.constants)

    def fused(self, *outputs: str) -> Graph:
        """Return the fused graph, which computes the same."""
        graph = self.graph(*outputs)
        after = fuse(graph)
        x = {"x": floats(*self.shape)}
        expected, got = reference.run(graph, x), reference.run(after, x)
        assert list(got) == list(outputs)
        for name in outputs:
            np.testing.assert_allclose(got[name], expected[name], rtol=2e-4, atol=2e-5)
        return after


def ops(graph: Graph) -> list[str]:
    return [operation.op for operation in graph.operations]


def kind_of(operation: Operation) -> str | None:
    return operation.attributes["activation"].kind if "activation" in operation.attributes else None


def test_the_order_has_every_rewrite() -> None:
    assert sorted(ORDER) == sorted(rewrites)


def test_activation_into_convolution() -> None:
    chain = Chain()
    (only,) = chain.fused(chain.unary(chain.conv("x"), "relu")).operations
    assert (only.op, kind_of(only)) == ("conv", "relu")


def test_an_activation_of_what_others_read_stays() -> None:
    chain = Chain()
    inner = chain.conv("x")
    assert ops(chain.fused(chain.unary(inner, "relu"), inner)) == ["conv", "unary"]


def test_one_activation_only() -> None:
    chain = Chain()
    graph = chain.fused(chain.unary(chain.unary(chain.conv("x"), "sigmoid"), "exp"))
    assert ops(graph) == ["conv", "unary"]


def test_affine_into_convolution_without_a_bias() -> None:
    chain = Chain()
    norm = chain("affine", chain.conv("x", bias=False), constants={"scale": floats(4), "shift": floats(4)})
    (only,) = chain.fused(chain.unary(norm, "relu")).operations
    assert set(only.constants) == {"weight", "bias"}


def test_zeros_stay_zeros() -> None:
    chain = Chain()
    conv = chain.conv("x")
    weight = chain.constants["conv0.weight"].array
    weight[SOURCE.random(weight.shape) < 0.9] = 0
    graph = chain.fused(chain("affine", conv, constants={"scale": -np.ones(4), "shift": floats(4)}))
    after = graph.constants[graph.operations[0].constants["weight"]].array
    assert np.array_equal(after == 0, weight == 0)
    assert not np.signbit(after[after == 0]).any()


def test_affine_into_transposed_convolution_of_groups() -> None:
    chain = Chain()
    made = chain("conv_transpose", "x", constants={"weight": floats(4, 3, 2, 2)}, strides=[2, 2], groups=2)
    norm = chain("affine", made, constants={"scale": floats(6), "shift": floats(6)})
    assert ops(chain.fused(norm)) == ["conv_transpose"]


@pytest.mark.parametrize("pads", [0, 1])
def test_affine_before_convolution(pads: int) -> None:
    """A shift cannot go past padding: the padding is not shifted."""
    chain = Chain()
    norm = chain("affine", "x", constants={"scale": floats(4), "shift": floats(4)})
    weight = {"weight": floats(6, 2, 3, 3)}
    graph = chain.fused(chain("conv", norm, constants=weight, groups=2, pads=[pads] * 4))
    assert ops(graph) == (["affine", "conv"] if pads else ["conv"])


@pytest.mark.parametrize(
    ("op", "swapped", "gone"),
    [
        ("add", False, True),
        ("sub", False, True),
        ("sub", True, True),
        ("mul", False, True),
        ("div", False, True),
        ("div", True, False),
    ],
)
@pytest.mark.parametrize("shape", [(), (4, 1, 1), (1, 4, 1, 1)])
def test_constants_into_convolution(op: str, swapped: bool, gone: bool, shape: tuple[int, ...]) -> None:
    chain = Chain()
    conv = chain.conv(chain.unary("x", "abs"))
    b = np.abs(floats(*shape)) + 1
    after = chain.const(op, conv, b, swapped=swapped)
    assert ops(chain.fused(after))[1:] == (["conv"] if gone else ["conv", op])


def test_a_constant_for_each_column_stays() -> None:
    chain = Chain()
    assert ops(chain.fused(chain.const("mul", chain.conv("x"), floats(5)))) == ["conv", "mul"]


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 5, 3, 4)])
def test_constants_into_linear(shape: tuple[int, ...]) -> None:
    chain = Chain(shape)
    product = chain.linear("x", 4, 6)
    added = chain.const("add", chain.const("mul", product, floats(6)), floats(6))
    graph = chain.fused(chain.unary(added, "gelu"))
    assert ops(graph) == ["linear"]
    assert kind_of(graph.operations[0]) == "gelu"


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 5, 3, 4)])
def test_constants_before_linear(shape: tuple[int, ...]) -> None:
    """The scale and shift of a layer norm go into the product after it."""
    chain = Chain(shape)
    normal = chain.const("add", chain.const("mul", chain("softmax", "x", axis=1), floats(4)), floats(4))
    assert ops(chain.fused(chain.linear(normal, 4, 6))) == ["softmax", "linear"]


def test_a_constant_before_two_readers_stays() -> None:
    chain = Chain((2, 3, 4))
    scaled = chain.const("mul", "x", floats(4))
    assert ops(chain.fused(chain.linear(scaled, 4, 6), chain.linear(scaled, 4, 5)))[0] == "mul"


def test_a_constant_that_makes_the_value_larger_stays() -> None:
    chain = Chain((1, 3, 4))
    assert ops(chain.fused(chain.const("add", chain.linear("x", 4, 6), floats(2, 1, 1)))) == ["linear", "add"]


def test_residual_into_the_later_convolution() -> None:
    chain = Chain()
    first = chain.conv("x")
    second = chain.conv(chain.unary("x", "abs"))
    total = chain.unary(chain("add", second, first), "relu")
    graph = chain.fused(total)
    assert ops(graph) == ["conv", "unary", "conv"]
    last = graph.operations[-1]
    assert last.inputs[1] == first
    assert kind_of(last) == "relu"


def test_a_residual_that_is_made_after_the_convolution() -> None:
    chain = Chain()
    conv = chain.conv("x")
    other = chain("softmax", "x", axis=1)
    graph = chain.fused(chain("add", conv, other))
    assert ops(graph) == ["softmax", "conv"]


def test_no_residual_after_an_activation_or_of_another_shape() -> None:
    chain = Chain()
    assert ops(chain.fused(chain("add", chain.unary(chain.conv("x"), "relu"), "x"))) == ["conv", "add"]
    chain = Chain()
    pooled = chain("global_average_pool", "x")
    assert "add" in ops(chain.fused(chain("add", chain.conv("x"), pooled)))


def test_a_value_added_to_itself() -> None:
    chain = Chain()
    conv = chain.conv("x")
    assert ops(chain.fused(chain("add", conv, conv))) == ["conv", "add"]


def silu(chain: Chain, x: str) -> str:
    return chain("mul", chain.unary(x, "sigmoid"), x)


def hard_swish(chain: Chain, x: str) -> str:
    gate = chain.unary(chain.const("add", x, 3), "clip", 0, 6)
    return chain.const("div", chain("mul", x, gate), 6)


def hard_swish_by_sigmoid(chain: Chain, x: str) -> str:
    return chain("mul", x, chain.unary(x, "hard_sigmoid", 1 / 6, 0.5))


def gelu(chain: Chain, x: str) -> str:
    erf = chain.unary(chain.const("div", x, 2**0.5), "erf")
    return chain.const("mul", chain("mul", x, chain.const("add", erf, 1)), 0.5)


def gelu_halved_first(chain: Chain, x: str) -> str:
    erf = chain.unary(chain.const("mul", x, 2**-0.5), "erf")
    return chain("mul", chain.const("add", erf, 1), chain.const("mul", x, 0.5))


def gelu_tanh(chain: Chain, x: str) -> str:
    cube = chain("mul", chain("mul", x, x), x)
    inner = chain.const("mul", chain("add", x, chain.const("mul", cube, 0.044715)), (2 / np.pi) ** 0.5)
    return chain("mul", chain.const("mul", x, 0.5), chain.const("add", chain.unary(inner, "tanh"), 1))


def softplus(chain: Chain, x: str) -> str:
    """Not found: there is no logarithm to write it with."""
    return chain.unary(x, "softplus")


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (silu, "silu"),
        (hard_swish, "hard_swish"),
        (hard_swish_by_sigmoid, "hard_swish"),
        (gelu, "gelu"),
        (gelu_halved_first, "gelu"),
        (gelu_tanh, "gelu_tanh"),
        (softplus, "softplus"),
    ],
)
def test_functions_are_known_however_they_are_written(write: Any, kind: str) -> None:
    chain = Chain()
    graph = chain.fused(write(chain, chain.conv("x")))
    assert ops(graph) == ["conv"]
    assert kind_of(graph.operations[0]) == kind


def test_a_function_whose_part_is_asked_for_stays() -> None:
    chain = Chain()
    gate = chain.unary("x", "sigmoid")
    assert ops(chain.fused(chain("mul", gate, "x"), gate)) == ["unary", "mul"]


def test_almost_a_function_is_none() -> None:
    chain = Chain()
    gate = chain.unary(chain.const("mul", "x", 1.01), "sigmoid")
    assert ops(chain.fused(chain("mul", gate, "x"))) == ["mul", "mul"]  # the sigmoid ends the first


@pytest.mark.parametrize("keep", [True, False])
def test_a_mean_over_a_picture(keep: bool) -> None:
    chain = Chain()
    graph = chain.fused(chain("reduce_mean", "x", axes=[3, 2], keep=keep))
    assert ops(graph) == ["global_average_pool"] + ([] if keep else ["reshape"])


def test_a_window_as_large_as_the_picture() -> None:
    chain = Chain()
    assert ops(chain.fused(chain("average_pool", "x", kernel=[6, 5]))) == ["global_average_pool"]
    chain = Chain()
    assert ops(chain.fused(chain("average_pool", "x", kernel=[6, 4]))) == ["average_pool"]


def test_padding_into_windows() -> None:
    chain = Chain()
    pad = chain("pad", "x", pads=[0, 0, 1, 0, 0, 0, 2, 1])
    (only,) = chain.fused(chain.conv(pad)).operations
    assert only.attributes["pads"] == (2, 1, 3, 2)
    chain = Chain()
    pad = chain("pad", "x", pads=[0, 0, 1, 1, 0, 0, 1, 1])
    assert ops(chain.fused(chain("average_pool", pad, kernel=[3, 3]))) == ["average_pool"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [0, 1, 0, 0, 0, 0, 0, 0]},
        {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 1.0},
        {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "edge"},
    ],
)
def test_other_padding_stays(attributes: dict[str, Any]) -> None:
    chain = Chain()
    pad = chain("pad", "x", **attributes)
    assert "pad" in ops(chain.fused(chain("average_pool", pad, kernel=[3, 3])))


def test_an_average_that_leaves_padding_out_keeps_the_pad_apart() -> None:
    chain = Chain()
    pad = chain("pad", "x", pads=[0, 0, 1, 1, 0, 0, 1, 1])
    pool = chain("average_pool", pad, kernel=[3, 3], pads=[1, 1, 1, 1])
    assert ops(chain.fused(pool)) == ["pad", "average_pool"]


@pytest.mark.parametrize(("size", "gone"), [((16, 24), True), ((16, 25), False)])
def test_patches_are_a_product(size: tuple[int, int], gone: bool) -> None:
    chain = Chain((2, 3, *size))
    arrays = {"weight": floats(5, 3, 8, 12), "bias": floats(5)}
    patches = chain("conv", "x", constants=arrays, strides=[8, 12])
    graph = chain.fused(chain.unary(patches, "relu"))
    assert ("linear" in ops(graph)) is gone
    assert ("conv" in ops(graph)) is not gone


def test_windows_that_overlap_stay_a_convolution() -> None:
    chain = Chain((1, 3, 24, 24))
    windows = chain("conv", "x", constants={"weight": floats(5, 3, 9, 9)}, strides=[8, 8])
    assert ops(chain.fused(windows)) == ["conv"]


def test_shapes_in_a_row() -> None:
    chain = Chain()
    flat = chain("reshape", "x", shape=[0, 4, -1])
    graph = chain.fused(chain("reshape", chain.unary(flat, "relu"), shape=[0, -1]))
    assert ops(graph) == ["unary", "reshape"]
    chain = Chain()
    turned = chain("transpose", chain("transpose", "x", permutation=[0, 2, 3, 1]), permutation=[0, 3, 1, 2])
    assert ops(chain.fused(chain.unary(turned, "relu"))) == ["unary"]


def test_residuals_of_one_axis() -> None:
    """1-D convolutions are pictures of one row; between two of them nothing is reshaped."""
    chain = Chain((2, 4, 7))

    def conv(x: str) -> str:
        picture = chain("reshape", x, shape=[0, 0, 1, -1])
        made = chain("conv", picture, constants={"weight": floats(4, 4, 1, 3)}, pads=[0, 1, 0, 1])
        return chain("reshape", made, shape=[0, 0, -1])

    first = chain.unary(conv("x"), "relu")
    graph = chain.fused(chain.unary(chain("add", conv(first), first), "relu"))
    assert ops(graph) == ["reshape", "conv", "conv", "reshape"]


def test_sums_of_values_of_other_shapes_stay() -> None:
    chain = Chain((2, 6))
    one, two = chain("reshape", "x", shape=[0, 2, 3]), chain("transpose", "x", permutation=[1, 0])
    other = chain("reshape", chain.unary(two, "relu"), shape=[2, 2, 3])
    assert ops(chain.fused(chain("add", one, other))).count("reshape") == 2


def test_what_does_nothing_goes() -> None:
    chain = Chain()
    x = chain.const("mul", chain.const("add", "x", 0), np.ones((4, 1, 1)))
    x = chain("slice", x, starts=[0], ends=[2**31 - 1], axes=[2], steps=[1])
    x = chain("concat", chain("pad", x, pads=[0] * 8), axis=1)
    assert ops(chain.fused(chain.unary(x, "relu"))) == ["unary"]


def test_a_reversed_axis_is_something() -> None:
    chain = Chain()
    turned = chain("slice", "x", starts=[-1], ends=[-(2**31) + 1], axes=[2], steps=[-1])
    assert ops(chain.fused(turned)) == ["slice"]


def normal(chain: Chain, x: str, axis: int, over: int | None = None) -> str:
    """A layer norm without scale and shift, as exporters write it out."""
    centered = chain("sub", x, chain("reduce_mean", x, axes=[axis], keep=True))
    squares = chain("mul", centered, centered)
    variance = chain("reduce_mean", squares, axes=[axis if over is None else over], keep=True)
    root = chain.unary(chain.const("add", variance, 0.25), "sqrt")
    return chain("div", centered, root)


def test_normalize() -> None:
    chain = Chain()
    (only,) = chain.fused(normal(chain, "x", 3)).operations
    assert (only.op, dict(only.attributes)) == ("normalize", {"axis": 3, "epsilon": 0.25})


def test_a_variance_over_another_axis_is_no_normalization() -> None:
    chain = Chain()
    assert "normalize" not in ops(chain.fused(normal(chain, "x", 3, over=2)))


def test_a_normalization_whose_parts_are_read_stays() -> None:
    chain = Chain()
    made = normal(chain, "x", 3)
    assert "normalize" not in ops(chain.fused(made, "sub1"))


def test_a_norm_over_channels_needs_no_transpositions() -> None:
    chain = Chain()
    turned = chain("transpose", "x", permutation=[0, 2, 3, 1])
    (only,) = chain.fused(chain("transpose", normal(chain, turned, 3), permutation=[0, 3, 1, 2])).operations
    assert (only.op, only.attributes["axis"]) == ("normalize", 1)


def test_split_channels_are_weighed_and_added_whole() -> None:
    chain = Chain()
    cut = chain("reshape", "x", shape=[0, 2, 2, 6, 5])
    numbers = chain("reshape", chain("global_average_pool", "x"), shape=[0, 2, 2, 1, 1])
    total = chain("reduce_mean", chain("mul", cut, numbers), axes=[1], keep=False)
    graph = chain.fused(chain.const("mul", total, 2.0))
    assert ops(graph) == ["global_average_pool", "mul", "slice", "slice", "add"]


@pytest.mark.parametrize(("shape", "axis"), [([0, 2, 2, 6, 5], 2), ([0, 4, 2, 3, 5], 1)])
def test_means_over_other_axes_are_no_sums(shape: Sequence[int], axis: int) -> None:
    chain = Chain()
    graph = chain.fused(chain("reduce_mean", chain("reshape", "x", shape=shape), axes=[axis], keep=False))
    assert "reduce_mean" in ops(graph)


def shuffled(chain: Chain, x: str, groups: int, permutation: Sequence[int] = (0, 2, 1, 3, 4)) -> str:
    """The channels of PICTURE, as ShuffleNet writes it."""
    cut = chain("reshape", x, shape=[0, groups, 4 // groups, 6, 5])
    return chain("reshape", chain("transpose", cut, permutation=list(permutation)), shape=[0, 4, 6, 5])


def test_channel_shuffle() -> None:
    chain = Chain()
    (only,) = chain.fused(shuffled(chain, "x", 2)).operations
    assert (only.op, only.attributes) == ("channel_shuffle", {"groups": 2})


@pytest.mark.parametrize("permutation", [(0, 1, 2, 4, 3), (1, 0, 2, 3, 4), (0, 2, 1, 4, 3)])
def test_other_transpositions_are_no_shuffle(permutation: Sequence[int]) -> None:
    chain = Chain()
    assert "transpose" in ops(chain.fused(shuffled(chain, "x", 2, permutation)))


def test_a_shuffle_whose_parts_are_read_stays() -> None:
    chain = Chain()
    made = shuffled(chain, "x", 2)
    assert ops(chain.fused(made, "transpose1")) == ["reshape", "transpose", "reshape"]


def test_what_nothing_reads_goes_with_its_constants() -> None:
    chain = Chain()
    chain.conv("x")
    graph = chain.fused(chain.unary("x", "relu"))
    assert ops(graph) == ["unary"]
    assert graph.constants == {}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["conv", "relu", "silu", "affine", "scale", "shift", "residual", "pool", "pad", "flip", "reshape"]
        ),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_any_chain_computes_the_same(steps: list[tuple[str, int]]) -> None:
    """Values of one shape, each step on one of the last four of them."""
    chain = Chain()
    values = ["x"]
    for step, back in steps:
        x = values[-1 - back % len(values)]
        match step:
            case "conv":
                made = chain.conv(x, bias=back % 2 == 0)
            case "relu":
                made = chain.unary(x, "relu")
            case "silu":
                made = silu(chain, x)
            case "affine":
                made = chain("affine", x, constants={"scale": floats(4) / 2, "shift": floats(4)})
            case "scale":
                made = chain.const("mul", x, floats(4, 1, 1))
            case "shift":
                made = chain.const("sub", x, floats(1), swapped=True)
            case "residual":
                made = chain("add", x, values[-1])
            case "pool":
                made = chain("max_pool", x, kernel=[3, 3], pads=[1, 1, 1, 1])
            case "pad":
                padded = chain("pad", x, pads=[0, 0, 1, 1, 0, 0, 1, 1])
                made = chain("average_pool", padded, kernel=[3, 3])
            case "flip":
                turned = chain("transpose", x, permutation=[1, 0, 2, 3])
                made = chain("transpose", chain.unary(turned, "tanh"), permutation=[1, 0, 2, 3])
            case _:
                made = chain("reshape", chain("reshape", x, shape=[0, -1]), shape=[0, 4, 6, 5])
        values.append(made)
    chain.fused(*dict.fromkeys(values[-2:]))
