"""Random networks end to end against ONNX Runtime, on every instruction set and by 1 and 2 threads.

A sum of K products whose size is about 1 is off by some sqrt(K) * 6e-8 of the largest, and every layer passes
on what came before; outputs below 1 may be what is left of such values. For each node, off by 1e-8 of the
largest output is usual, and 2e-7 the most of 12,000 networks; BOUND is five times that. An element that is
left out or counted twice is off by 1e-3 or so.

FEATHERWEIGHT_EXAMPLES=5000 draws that many other networks.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

import featherweight as fw
from featherweight import _native
from featherweight.runtime import fwfile, tuning
from featherweight.runtime.session import of_graph


def _random_networks() -> Any:
    path = Path(__file__).with_name("random_networks.py")
    spec = importlib.util.spec_from_file_location("featherweight_random_networks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


networks = _random_networks().networks
MORE = int(os.environ.get("FEATHERWEIGHT_EXAMPLES", "0"))
BOUND, LEAST_SIZE = 1e-6, 1.0
ISAS = ["portable"] + [
    isa
    for isa, feature in {"avx2": "avx2", "avx512": "avx512f", "neon": "neon"}.items()
    if _native.cpu_features().get(feature)
]
PROFILE = settings(
    max_examples=MORE or 100,
    derandomize=not MORE,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
Pairs = Sequence[tuple[np.ndarray, list[np.ndarray]]]


def model_of(nets: SimpleNamespace, net: Any, free: bool = False) -> onnx.ModelProto:
    c, h, w = net.shapes["x"]
    sizes = ("n", c, "h", "w") if free else ("n", c, h, w)
    return nets.model(net.nodes, {"x": sizes}, list(net.outputs), net.constants)


def pairs_of(nets: SimpleNamespace, made: onnx.ModelProto, net: Any, shapes: Sequence[Any]) -> Pairs:
    """Return inputs of each shape with ONNX Runtime's outputs."""
    inputs = [net.source.standard_normal(shape).astype(np.float32) for shape in shapes]
    return [(x, nets.by_onnxruntime(made, {"x": x})) for x in inputs]


def check(session: Any, pairs: Pairs, nodes: int) -> None:
    for x, expected in pairs:
        got = session.run(x)
        outputs = list(got.values()) if isinstance(got, dict) else [got]
        for array, want in zip(outputs, expected, strict=True):
            assert array.shape == want.shape
            assert array.dtype == want.dtype
            off = np.abs(array - want).max() / max(LEAST_SIZE, np.abs(want).max())
            assert off <= BOUND * nodes, f"{session.isa}, {session.threads} threads: off by {off:.2g}"


def batches(net: Any) -> list[tuple[int, ...]]:
    return [(batch, *net.shapes["x"]) for batch in (1, 3)]


@PROFILE
@given(networks())
def test_random_networks(nets: SimpleNamespace, net: Any) -> None:
    made = model_of(nets, net)
    pairs = pairs_of(nets, made, net, batches(net))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.fw"
        fw.compile(made, path, threads=1, tune=False)
        for isa in ISAS:
            for threads in (1, 2):
                check(fw.runtime.load(path, threads, isa), pairs, len(net.nodes))


@PROFILE
@given(networks(free=True))
def test_pictures_of_any_size(nets: SimpleNamespace, net: Any) -> None:
    """One session plans for each size that comes."""
    made = model_of(nets, net, free=True)
    c, h, w = net.shapes["x"]
    pairs = pairs_of(nets, made, net, [(1, c, h, w), (2, c, h + 5, w + 2), (1, c, h, w + 13), (1, c, h, w)])
    session = fw.compile(made, threads=2, tune=False)
    check(session, pairs, len(net.nodes))


@PROFILE
@given(networks(), st.data())
def test_whatever_kernels_are_chosen(nets: SimpleNamespace, net: Any, data: st.DataObject) -> None:
    """Kernels and their blocks change the speed alone."""
    made = model_of(nets, net)
    pairs = pairs_of(nets, made, net, batches(net))
    choices: list[Any] = [{"kernel": "dense"}]
    choices += [
        {"kernel": "sparse", "blocks": blocks} for blocks in product(tuning.POSITIONS, tuning.CHANNELS)
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.fw"
        fw.compile(made, path, threads=1, tune=False)
        graph = fwfile.read(path)
    graph = tuning.chosen(graph, lambda _: data.draw(st.sampled_from(choices)))
    for isa in ISAS:
        check(of_graph(graph, 1, isa), pairs, len(net.nodes))


def test_the_bound_tells_a_weight_left_out(nets: SimpleNamespace) -> None:
    """One small weight of 1152 is 0: the comparison sees it."""
    source = np.random.default_rng(0)
    weight = (source.standard_normal((8, 16, 3, 3)) / 12).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    made = nets.model([node], {"x": ("n", 16, 9, 9)}, ["y"], {"w": weight})
    x = source.standard_normal((1, 16, 9, 9)).astype(np.float32)
    pairs = [(x, nets.by_onnxruntime(made, {"x": x}))]
    check(fw.compile(made, threads=1, tune=False), pairs, 1)
    weight.reshape(-1)[np.abs(weight).argmin()] = 0
    cut_short = nets.model([node], {"x": ("n", 16, 9, 9)}, ["y"], {"w": weight})
    with pytest.raises(AssertionError, match="off by"):
        check(fw.compile(cut_short, threads=1, tune=False), pairs, 7)
