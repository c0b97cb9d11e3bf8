"""The native engine against the naive reference: operations, chains of them, threads, kernels and tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight import _native, runtime
from featherweight.artifact.errors import ManifestError
from featherweight.errors import ArtifactError, GraphError, InputError, SettingError
from featherweight.runtime import fwfile, reference, tuning
from featherweight.runtime.activation import KINDS, Activation
from featherweight.runtime.graph import Constant, Graph, Input, Operation
from featherweight.runtime.native import NativeEngine
from featherweight.runtime.operations import schemas
from featherweight.runtime.session import of_graph

SOURCE = np.random.default_rng(5)
PARAMETERS = {"min": -0.5, "max": 0.7, "slope": 0.2, "offset": 0.4, "alpha": 1.3}


def floats(*shape: int, zeros: float = 0.0) -> np.ndarray:
    array = SOURCE.standard_normal(shape).astype(np.float32)
    return array * (SOURCE.random(shape) >= zeros)


def activation(kind: str) -> Activation:
    return Activation(kind, tuple(PARAMETERS[name] for name in KINDS[kind]))


def single(op: str, *shapes: tuple[int, ...], **parts: Any) -> tuple[Graph, dict[str, np.ndarray]]:
    """Return a graph of one operation, with inputs of free first sizes, and inputs for it."""
    arrays = {f"x{place}": floats(*shape) for place, shape in enumerate(shapes)}
    given: dict[str, np.ndarray] = parts.pop("constants", {})
    constants = {role: Constant(array.astype(np.float32)) for role, array in given.items()}
    operation = Operation(op, op, tuple(arrays), ("y",), parts, {role: role for role in constants})
    inputs = tuple(Input(name, (None, *array.shape[1:])) for name, array in arrays.items())
    return fwfile.with_storage(Graph(inputs, ("y",), (operation,), constants)), arrays


def check(graph: Graph, arrays: dict[str, np.ndarray], threads: int = 1, isa: str | None = None) -> Any:
    """Hold the native engine against the reference; returns its outputs."""
    expected = reference.run(graph, arrays)
    session = of_graph(graph, threads, isa)
    got = session.run(arrays)
    outputs = got if isinstance(got, dict) else {graph.outputs[0]: got}
    for name, array in expected.items():
        assert outputs[name].shape == array.shape
        assert outputs[name].dtype == array.dtype
        np.testing.assert_allclose(outputs[name], array, rtol=2e-4, atol=2e-4)
    return outputs


P = (2, 6, 9, 11)
WEIGHT = {"weight": floats(8, 6, 3, 3), "bias": floats(8)}
SPARSE = {"weight": floats(8, 6, 3, 3, zeros=0.9), "bias": floats(8)}
THIN = {"weight": floats(33, 70, zeros=0.9)}
B = {"b": floats(6, 1, 1)}
CASES: list[Any] = [
    single("conv", P, constants=WEIGHT, pads=[1, 1, 1, 1]),
    single("conv", P, constants=SPARSE, pads=[1, 2, 0, 1], strides=[2, 1], kernel="sparse"),
    single("conv", P, constants=SPARSE, dilations=[2, 3], pads=[2, 3, 2, 3], kernel="sparse"),
    single("conv", P, constants=WEIGHT, strides=[2, 2], kernel="dense"),
    single("conv", P, (2, 8, 9, 11), constants=SPARSE, pads=[1, 1, 1, 1], activation=activation("relu")),
    single("conv", P, constants={"weight": floats(12, 1, 3, 3)}, groups=6, pads=[1, 1, 1, 1]),
    single("conv", P, constants={"weight": floats(6, 2, 3, 3)}, groups=3, pads=[1, 1, 1, 1]),
    single("conv", (1, 6, 1, 37), constants={"weight": floats(4, 6, 1, 5)}, pads=[0, 2, 0, 2]),
    single("conv_transpose", P, constants={"weight": floats(6, 4, 3, 3), "bias": floats(4)}, strides=[2, 2]),
    single(
        "conv_transpose",
        P,
        constants={"weight": floats(6, 2, 3, 2)},
        groups=2,
        strides=[2, 3],
        pads=[1, 0, 1, 1],
        output_pads=[1, 2],
    ),
    single("linear", (5, 7), constants={"weight": floats(3, 7), "bias": floats(3)}),
    single("linear", (2, 9, 70), constants=THIN, kernel="sparse"),
    single(
        "linear",
        (4, 70),
        (4, 33),
        constants=THIN,
        activation=activation("gelu"),
    ),
    single("matmul", (2, 3, 4, 5), (2, 3, 5, 6)),
    single("max_pool", P, kernel=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0]),
    single("max_pool", P, kernel=[3, 3], strides=[2, 2], ceil=True),
    single("max_pool", P, kernel=[2, 2], strides=[3, 3], ceil=True, pads=[1, 1, 1, 1]),
    single("max_pool", P, kernel=[2, 2], dilations=[2, 3]),
    single("average_pool", P, kernel=[3, 3], pads=[1, 1, 1, 1], strides=[2, 1]),
    single("average_pool", P, kernel=[3, 3], pads=[1, 1, 1, 1], count_pads=True, ceil=True, strides=[2, 2]),
    single("global_average_pool", P),
    single("global_max_pool", P),
    *(single("unary", P, activation=activation(kind)) for kind in KINDS if kind != "sqrt"),
    *(single(op, P, constants=B) for op in ("add", "sub", "mul", "div")),
    *(single(op, P, constants=B, swapped=True) for op in ("add", "sub", "mul")),
    *(single(op, P, (2, 1, 9, 1)) for op in ("add", "sub", "mul")),
    single("add", P, P, activation=activation("relu")),
    single("affine", P, constants={"scale": floats(6), "shift": floats(6)}, activation=activation("silu")),
    single("affine", (3, 6), constants={"scale": floats(6), "shift": floats(6)}),
    single("concat", P, (2, 3, 9, 11), axis=1),
    single("concat", P, P, axis=3),
    single("slice", P, starts=[1, -4], ends=[5, 2**31 - 1], axes=[1, 3], steps=[2, 1]),
    single("slice", P, starts=[-1], ends=[-(2**31) + 1], axes=[2], steps=[-2]),
    single("pad", P, pads=[0, 0, 1, 2, 0, 0, 3, 0], value=0.5),
    single("pad", P, pads=[0, 0, 1, 2, 0, 0, 3, 0], mode="reflect"),
    single("pad", P, pads=[0, 1, 1, 2, 0, 0, 3, 0], mode="edge"),
    single("resize", P, scales=[2.0, 3.0], mode="nearest", coordinates="asymmetric", rounding="floor"),
    single("resize", P, scales=[0.6, 2.5], mode="nearest"),
    single("resize", P, sizes=[5, 13], mode="linear", coordinates="align_corners"),
    single("resize", P, scales=[2.0, 1.7], mode="linear"),
    single("resize", P, sizes=[1, 4], mode="linear", coordinates="pytorch_half_pixel"),
    single("reshape", P, shape=[0, 2, 3, -1]),
    single("transpose", P, permutation=[0, 2, 3, 1]),
    single("depth_to_space", (2, 8, 3, 5), block=2, mode="DCR"),
    single("depth_to_space", (2, 8, 3, 5), block=2, mode="CRD"),
    single("channel_shuffle", P, groups=3),
    single("reduce_mean", P, axes=[1, 3], keep=False),
    single("softmax", P, axis=1),
    single("log_softmax", P, axis=1),
    single("log_softmax", P, axis=3),
    single("normalize", P, axis=1, epsilon=1e-5),
    single("normalize", P, axis=3, epsilon=0.5),
    single("arg_max", P, axis=1, keep=False),
    single("cast", P, dtype="int32"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].operations[0].op)
@pytest.mark.parametrize("threads", [1, 2])
def test_as_the_reference(case: Any, threads: int) -> None:
    check(*case, threads=threads)


def test_every_operation_has_a_case() -> None:
    assert {graph.operations[0].op for graph, _ in CASES} == set(schemas)


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))


@settings(max_examples=60, deadline=None)
@given(
    SHAPES,
    st.integers(1, 9),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.sampled_from(["sparse", "dense"]),
    st.floats(0, 1),
)
def test_any_convolution(
    shape: Any, outputs: int, kernel: Any, strides: Any, pads: Any, dilations: Any, how: str, zeros: float
) -> None:
    reach = [dilations[axis] * (kernel[axis] - 1) + 1 for axis in range(2)]
    if any(shape[2 + axis] + pads[axis] + pads[2 + axis] < reach[axis] for axis in range(2)):
        return
    constants = {"weight": floats(outputs, shape[1], *kernel, zeros=zeros), "bias": floats(outputs)}
    window = {"strides": strides, "pads": pads, "dilations": dilations}
    check(*single("conv", shape, constants=constants, kernel=how, **window))


KINDS_OF_STEP = ["conv", "sparse", "down", "act", "add", "gate", "pool", "cat", "up"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS_OF_STEP), st.integers(0, 3)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 3), st.integers(5, 30), st.integers(5, 30))
def test_any_network(steps: list[tuple[str, int]], batch: int, height: int, width: int) -> None:
    """Convolutions, pooling, sums and gates over values of several sizes."""
    graph = built(steps, height, width)
    check(fwfile.with_storage(graph), {"x": floats(batch, 4, height, width)})


def built(steps: list[tuple[str, int]], height: int, width: int) -> Graph:
    operations: list[Operation] = []
    constants: dict[str, Constant] = {}
    values = {"x": (4, height, width)}

    def add(op: str, inputs: tuple[str, ...], shape: Any, weight: Any = None, **more: Any) -> None:
        name = f"{op}{len(operations)}"
        roles = {}
        if weight is not None:
            constants[f"{name}.weight"] = Constant(weight)
            roles["weight"] = f"{name}.weight"
        operations.append(Operation(op, name, inputs, (name,), more, roles))
        values[name] = shape

    for step, back in steps:
        x = list(values)[-1 - back % len(values)]
        c, h, w = values[x]
        match step:
            case "conv":
                add("conv", (x,), (5, h, w), floats(5, c, 3, 3) / 3, pads=[1, 1, 1, 1])
            case "sparse":
                weight = floats(6, c, 1, 1, zeros=0.7)
                add("conv", (x,), (6, h, w), weight, kernel="sparse", activation=activation("hard_swish"))
            case "down":
                shape = (4, (h - 1) // 2 + 1, (w - 1) // 2 + 1)
                add("conv", (x,), shape, floats(4, c, 3, 3) / 3, pads=[1, 1, 1, 1], strides=[2, 2])
            case "act":
                add("unary", (x,), (c, h, w), activation=activation("sigmoid"))
            case "add":
                same = next(name for name in values if values[name] == (c, h, w))
                add("add", (x, same), (c, h, w))
            case "gate":
                add("global_average_pool", (x,), (c, 1, 1))
                add("mul", (x, list(values)[-1]), (c, h, w))
            case "pool":
                add("max_pool", (x,), (c, h, w), kernel=[3, 3], pads=[1, 1, 1, 1])
            case "cat":
                same = next(name for name in values if values[name][1:] == (h, w))
                add("concat", (x, same), (c + values[same][0], h, w), axis=1)
            case _:
                nearest = {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"}
                add("resize", (x,), (c, 2 * h, 2 * w), scales=[2.0, 2.0], **nearest)
    outputs = tuple(list(values)[-2:])
    return Graph((Input("x", (None, 4, None, None)),), outputs, tuple(operations), constants)


NETWORK = fwfile.with_storage(built([("sparse", 0), ("conv", 0), ("gate", 0), ("down", 1)], 12, 13))


FEATURES = _native.cpu_features()


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512", "neon"])
def test_each_instruction_set(isa: str) -> None:
    if isa != "portable" and not FEATURES.get({"avx512": "avx512f"}.get(isa, isa)):
        with pytest.raises(SettingError, match=isa):
            of_graph(NETWORK, 1, isa)
        return
    check(NETWORK, {"x": floats(2, 4, 12, 13)}, isa=isa)


def test_results_do_not_depend_on_threads() -> None:
    x = floats(2, 4, 12, 13)
    one, two = (of_graph(NETWORK, threads).run(x) for threads in (1, 2))
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


def test_shapes_may_change_between_runs() -> None:
    session = of_graph(NETWORK, 1)
    for shape in ((1, 4, 12, 13), (3, 4, 7, 9), (1, 4, 12, 13)):
        x = floats(*shape)
        for name, array in reference.run(NETWORK, {"x": x}).items():
            np.testing.assert_allclose(session.run(x)[name], array, rtol=1e-4, atol=1e-4)


def test_profile_has_a_row_for_each_convolution() -> None:
    session = of_graph(NETWORK, 1)
    profile = session.profile(floats(1, 4, 12, 13), repeats=3)
    rows = {row.operation: row for row in profile.rows if row.macs}
    assert rows["conv0"].macs == 6 * 4 * 12 * 13
    weight = NETWORK.constants["conv0.weight"].array
    assert rows["conv0"].macs_done == np.count_nonzero(weight) * 12 * 13
    assert all(row.milliseconds >= 0 for row in profile.rows)
    assert profile.isa in str(profile)


def test_tuning_measures_and_keeps_results() -> None:
    settings = tuning.Settings(threads=1, inputs=(floats(1, 4, 12, 13),))
    graph = tuning.tuned(NETWORK, settings)
    layers = [layer for layer in graph.operations if layer.op == "conv"]
    assert all(layer.attributes["kernel"] in ("sparse", "dense") for layer in layers)
    x = {"x": floats(1, 4, 12, 13)}
    expected = reference.run(NETWORK, x)
    for name, array in check(graph, x).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-4)


def test_a_file_runs(tmp_path: Path) -> None:
    fwfile.write(tmp_path / "a.fw", NETWORK)
    session = runtime.load(tmp_path / "a.fw", threads=1)
    x = floats(1, 4, 12, 13)
    for name, array in of_graph(NETWORK, 1).run(x).items():
        np.testing.assert_array_equal(session.run(x)[name], array)
    assert session.threads == 1


def test_a_picture_that_is_too_small_is_told() -> None:
    graph, _ = single("max_pool", P, kernel=[5, 5])
    graph = Graph((Input("x0", (None, 6, None, None)),), graph.outputs, graph.operations, graph.constants)
    with pytest.raises(InputError, match="max_pool"):
        of_graph(graph, 1).run(floats(1, 6, 3, 3))


def test_instructions_that_are_none(tmp_path: Path) -> None:
    fwfile.write(tmp_path / "a.fw", NETWORK)
    with pytest.raises(SettingError, match="sse9"):
        runtime.load(tmp_path / "a.fw", isa="sse9")


def test_broken_bytes_are_refused_or_run(tmp_path: Path) -> None:
    """Whatever a bit does to a file: an error of ours, or a session that runs or refuses its inputs."""
    data, path = fwfile.to_bytes(NETWORK), tmp_path / "broken.fw"
    source = np.random.default_rng(1)
    x = floats(1, 4, 12, 13)
    refused = 0
    for _ in range(200):
        broken = bytearray(data)
        broken[source.integers(len(data))] ^= 1 << source.integers(8)
        path.write_bytes(bytes(broken))
        try:
            runtime.load(path, threads=1).run(x)
        except (ArtifactError, InputError, SettingError):
            refused += 1
    assert 0 < refused < 200  # a bit of a name or a size is seen, one of a value is not


MOST = 2**20
LIMITED: list[tuple[Graph, int]] = [
    *(
        (single("conv", P, constants=WEIGHT, **{name: [MOST, 1]})[0], MOST)
        for name in ("strides", "dilations")
    ),
    (single("conv", P, constants=WEIGHT, pads=[0, MOST, 0, 0])[0], MOST),
    (single("conv", P, constants=WEIGHT, groups=MOST)[0], MOST),
    (single("conv", P, constants=WEIGHT, blocks=[0, MOST])[0], MOST),
    (single("conv_transpose", P, constants=WEIGHT, output_pads=[0, MOST])[0], MOST),
    (single("max_pool", P, kernel=[1, MOST])[0], MOST),
    (single("channel_shuffle", P, groups=MOST)[0], MOST),
    (single("depth_to_space", P, block=4096)[0], 4096),
    (single("resize", P, scales=[65535.0, 1.0], mode="nearest")[0], 65535),
]


@pytest.mark.parametrize(("graph", "most"), LIMITED, ids=lambda value: getattr(value, "op", None))
def test_both_readers_have_the_same_limits(graph: Graph, most: int) -> None:
    data = fwfile.to_bytes(graph)
    assert runtime.Session(NativeEngine.opened(data, 1, None))
    beyond = data.replace(f"{most}".encode(), f"{most + 1}".encode())
    assert beyond != data
    with pytest.raises(ManifestError, match="attribute"):
        NativeEngine.opened(beyond, 1, None)
    (operation,) = graph.operations
    further = {name: _raised(value, most) for name, value in operation.attributes.items()}
    with pytest.raises(GraphError, match="expected"):
        Operation(operation.op, "it", operation.inputs, operation.outputs, further, operation.constants)


def _raised(value: Any, most: int) -> Any:
    if isinstance(value, tuple):
        return [_raised(each, most) for each in value]
    return most + 1 if value == most and not isinstance(value, bool) else value
