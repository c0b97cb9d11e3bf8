"""The ONNX project's own tests of nodes (onnx.backend.test), for every operator that is lowered.

A test counts where all its nodes are operators that are lowered, or constants. It passes, on every
instruction set of this machine and within the test's own tolerance, or stands below with the reason why it is
refused. A test that stands there must be refused, in those words: what would pass must leave the list.

These tests give everything as an input of the graph, weights and sizes too. What a network holds as constants
is frozen into initializers here: every input of a node but its first, except of operators in COMPUTED, which
take computed values in each place. `Pad` only moves: its tests of int32 run on the same numbers as float32.
"""

from __future__ import annotations

import fnmatch
import functools
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from featherweight import _native
from featherweight.errors import FeatherweightError
from featherweight.runtime import tuning
from featherweight.runtime.compiling import graph_of
from featherweight.runtime.lowering.node import handlers
from featherweight.runtime.session import of_graph

COMPUTED = {"Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "Concat", "MatMul"}
MOVES = {"Pad"}
FEATURES = {"avx2": "avx2", "avx512": "avx512f", "neon": "neon"}
ISAS = ["portable", *(isa for isa, feature in FEATURES.items() if _native.cpu_features().get(feature))]


@dataclass(frozen=True)
class Skip:
    """Tests that are refused: ``says`` is what the error says, ``tests`` are names without ``test_``."""

    reason: str
    says: str
    tests: str


SKIPS = [
    Skip(
        "float16, bfloat16 and float64 inputs: the runtime takes float32",
        "dtype '(b?float16|float64)' is unknown",
        """cast_FLOAT16_to_* cast_DOUBLE_to_* cast_BFLOAT16_to_FLOAT cast_no_saturate_FLOAT16_to_*
        cast_e8m0_FLOAT16_to_* castlike_FLOAT16_to_*_expanded castlike_DOUBLE_to_*_expanded
        castlike_BFLOAT16_to_FLOAT_expanded castlike_no_saturate_FLOAT16_to_*_expanded
        celu_float16 celu_bfloat16 max_float16 max_float64 min_float16 min_float64 swiglu_float16_expanded""",
    ),
    Skip(
        "inputs of 8 and 16 bits and fewer, and unsigned ones: no network that computes in float32 has them",
        "dtype '(u?int(2|4|8|16|32|64)|float[48]_.*)' is unknown",
        """cast_FLOAT8*_to_* cast_FLOAT4E2M1_to_* cast_UINT?_to_* cast_INT?_to_* cast_e8m0_FLOAT8E8M0_to_*
        castlike_FLOAT8*_expanded castlike_FLOAT4E2M1_to_*_expanded castlike_UINT?_to_*_expanded
        castlike_INT?_to_*_expanded clip_default_int8_*
        add_int8 add_int16 add_uint16 add_uint32 add_uint64
        sub_int8 sub_int16 sub_uint16 sub_uint32 sub_uint64
        mul_int8 mul_int16 mul_uint16 mul_uint32 mul_uint64
        div_int8 div_int16 div_uint16 div_uint32 div_uint64
        max_int8 max_int16 max_uint16 max_uint32 max_uint64
        min_int8 min_int16 min_uint16 min_uint32 min_uint64
        """,
    ),
    Skip(
        "outputs of 8 bits and fewer that are no uint8",
        r"\w+ is not known; known are float32, int64, int32, uint8, bool",
        """cast_FLOAT_to_FLOAT8* cast_FLOAT_to_FLOAT4E2M1 cast_FLOAT_to_UINT? cast_FLOAT_to_INT?
        cast_no_saturate_FLOAT_to_* cast_e8m0_FLOAT_to_FLOAT8E8M0
        castlike_FLOAT_to_FLOAT8*_expanded castlike_FLOAT_to_FLOAT4E2M1_expanded
        castlike_FLOAT_to_UINT?_expanded castlike_FLOAT_to_INT?_expanded
        castlike_no_saturate_FLOAT_to_*_expanded""",
    ),
    Skip(
        "arithmetic on integers and bools: the runtime computes with float32",
        r"it computes with (int32|int64|uint8|bool)",
        """add_uint8 sub_uint8 mul_uint8 div_uint8 div_int32_trunc maxpool_2d_uint8
        reduce_max_bool_inputs reduce_min_bool_inputs reduce_max_empty_set_bool""",
    ),
    Skip(
        "windows of three axes",
        "its window has 3 axes",
        "averagepool_3d_* maxpool_3d_* convtranspose_3d",
    ),
    Skip(
        "an average of a dilated window, which no exporter of PyTorch writes",
        "dilations .* of an average",
        "averagepool_2d_dilations",
    ),
    Skip(
        "the larger of two computed values: no operation of the graph compares two",
        r"it compares \d computed values",
        """max_example max_two_inputs max_float32 max_int32 max_int64 max_uint8
        min_example min_two_inputs min_float32 min_int32 min_int64 min_uint8""",
    ),
    Skip(
        "powers that differ from element to element",
        r"its exponent has shape",
        "pow_example pow pow_bcast_array pow_types_*",
    ),
    Skip(
        "the last of several that are equal",
        "it takes the last of several",
        "argmax_*_select_last_index argmin_*_select_last_index",
    ),
    Skip(
        "training",
        "exported as training",
        """batchnorm_example_training_mode batchnorm_epsilon_training_mode training_dropout_default
        training_dropout_default_mask training_dropout training_dropout_mask""",
    ),
    Skip(
        "outputs that hang on no input",
        "it takes a constant where",
        "constant dropout_default_mask dropout_default_mask_ratio training_dropout_zero_ratio_mask",
    ),
    Skip("the places of the largest of a pool", "its input 'z'", "maxpool_with_argmax_*"),
    Skip("sequences and optionals", "must be a tensor", "identity_sequence identity_opt"),
    Skip(
        "arrays without elements",
        "are not known before the network runs|without elements|got [(](2, )?0(, 4)?,?[)]",
        """reduce_l1_empty_set* reduce_l2_empty_set reduce_max_empty_set reduce_min_empty_set
        reduce_sum_empty_set reduce_sum_empty_set_non_reduced_axis_zero reduce_sum_square_empty_set*
        reshape_allowzero_reordered split_zero_size_splits_opset13 split_zero_size_splits_opset18""",
    ),
    Skip("cubic Resize", "got 'cubic'", "resize_*_cubic resize_*_cubic_a[!n]* resize_*_cubic_A*"),
    Skip("Resize of a part of the picture", "got 'tf_crop_and_resize'", "resize_tf_crop_and_resize*"),
    Skip(
        "Resize that averages, or keeps the shape of what is in the picture",
        "antialias and keep_aspect_ratio_policy",
        "resize_*_antialias resize_*_not_larger resize_*_not_smaller",
    ),
    Skip(
        "half_pixel_symmetric where a part of a pixel is cut off",
        "shifts the rest by half",
        "resize_*_half_pixel_symmetric",
    ),
]
# What comes out otherwise than these tests ask for, each for a reason.
OTHERWISE = {
    "all floats are float32, also those that come out": """cast_FLOAT_to_FLOAT16 cast_FLOAT_to_DOUBLE
    cast_FLOAT_to_BFLOAT16 castlike_FLOAT_to_FLOAT16_expanded castlike_FLOAT_to_DOUBLE_expanded
    castlike_FLOAT_to_BFLOAT16_expanded""",
    "ONNX Runtime and PyTorch align with the last pixel that is made, not with where the picture would end": (
        "resize_downsample_scales_linear_align_corners"
    ),
}


def counts(case: Any) -> bool:
    """Whether all nodes of a test are known."""
    nodes = case.model.graph.node
    return all(node.op_type in (*handlers, "Constant") for node in nodes) and not any(
        node.domain for node in nodes
    )


@functools.cache
def cases() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the tests calculate
        found = {case.name.removeprefix("test_"): case for case in load_model_tests(kind="node")}
    return {name: case for name, case in found.items() if case.model is not None and counts(case)}


def listed(skip: Skip) -> list[str]:
    return [name for name in cases() if any(fnmatch.fnmatchcase(name, each) for each in skip.tests.split())]


SKIPPED = {name: skip for skip in SKIPS for name in listed(skip)}
DIFFERENT = [name for names in OTHERWISE.values() for name in names.split()]


def array_of(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def as_floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with float32 where it moves int32."""
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.INT32:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def frozen(case: Any, inputs: list[Any]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return the network with its constants inside, and the inputs that are left."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    operators = {node.op_type for node in model.graph.node}
    kept: set[str] = set()
    for node in model.graph.node:
        kept.update(node.input if node.op_type in COMPUTED else node.input[:1])
    feeds: dict[str, np.ndarray] = {}
    for value, given in zip(case.model.graph.input, inputs, strict=True):
        if value.name not in kept:
            model.graph.initializer.append(numpy_helper.from_array(array_of(given), value.name))
            model.graph.input.remove(value)
        elif not isinstance(given, list):
            feeds[value.name] = array_of(given)
    if operators <= MOVES and feeds["x"].dtype == np.int32:
        return as_floats(model), {"x": feeds["x"].astype(np.float32)}
    return model, feeds


def outcomes(case: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each output on each instruction set, and what is expected of it; raises what compiling raises."""
    for inputs, outputs in case.data_sets:
        model, feeds = frozen(case, list(inputs))
        graph = tuning.untuned(graph_of(model))
        for isa in ISAS:
            got = of_graph(graph, 1, isa).run(feeds)
            arrays = list(got.values()) if isinstance(got, dict) else [got]
            for array, expected in zip(arrays, map(array_of, outputs), strict=True):
                whole = expected.dtype == np.int32 and {node.op_type for node in model.graph.node} <= MOVES
                yield array, expected.astype(np.float32) if whole else expected


def compare(case: Any) -> None:
    for array, expected in outcomes(case):
        assert array.dtype == expected.dtype
        assert array.shape == expected.shape
        np.testing.assert_allclose(array, expected, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("name", [name for name in cases() if name not in SKIPPED and name not in DIFFERENT])
def test_passes(name: str) -> None:
    compare(cases()[name])


@pytest.mark.parametrize("name", list(SKIPPED))
def test_is_refused_as_listed(name: str) -> None:
    with pytest.raises(FeatherweightError) as caught:
        compare(cases()[name])
    assert re.search(SKIPPED[name].says, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("name", DIFFERENT)
def test_comes_out_otherwise(name: str) -> None:
    with pytest.raises(AssertionError):
        compare(cases()[name])


def test_the_list_has_no_name_twice_or_in_vain() -> None:
    names = [name for skip in SKIPS for name in listed(skip)] + DIFFERENT
    assert len(names) == len(set(names))
    assert set(DIFFERENT) <= set(cases())
    patterns = [pattern for skip in SKIPS for pattern in skip.tests.split()]
    assert [pattern for pattern in patterns if not fnmatch.filter(cases(), pattern)] == []


def test_most_operators_have_such_tests() -> None:
    """The loader found them; a new operator without one is tested in test_lowering alone."""
    tested = {
        node.op_type for name in cases() if name not in SKIPPED for node in cases()[name].model.graph.node
    }
    assert set(handlers) - tested <= {"Swish", "Upsample"}
    assert len(cases()) > 600
