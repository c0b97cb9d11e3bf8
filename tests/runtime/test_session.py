"""Sessions: what goes in, what comes out, and what is refused; clones that run at the same time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from featherweight import runtime
from featherweight.errors import ArtifactError, InputError, SettingError
from featherweight.runtime import fwfile
from featherweight.runtime.activation import Activation
from featherweight.runtime.arrays import as_numpy
from featherweight.runtime.graph import Constant, Graph, Input, Operation
from featherweight.runtime.session import of_graph

RELU = {"activation": Activation("relu")}


@pytest.fixture
def one(tmp_path: Path) -> Any:
    """Relu of (any, 3)."""
    graph = Graph((Input("x", (None, 3)),), ("y",), (Operation("unary", "relu", ("x",), ("y",), RELU),))
    fwfile.write(tmp_path / "one.fw", graph)
    return runtime.load(tmp_path / "one.fw", isa="reference")


@pytest.fixture
def two() -> Any:
    """The sum and the difference of two arrays."""
    operations = (
        Operation("add", "add", ("a", "b"), ("sum",)),
        Operation("sub", "sub", ("a", "b"), ("difference",)),
    )
    inputs = (Input("a", (2, 3)), Input("b", (2, 3)))
    return of_graph(Graph(inputs, ("sum", "difference"), operations), isa="reference")


X = np.float32([[-1, 2, -3], [4, -5, 6]])


def test_one_array_in_one_out(one: Any) -> None:
    np.testing.assert_array_equal(one.run(X), np.maximum(X, 0))
    np.testing.assert_array_equal(one.run({"x": X}), np.maximum(X, 0))
    np.testing.assert_array_equal(one(X), np.maximum(X, 0))


def test_several_in_and_out(two: Any) -> None:
    for outputs in (two.run(X, 2 * X), two.run({"b": 2 * X, "a": X})):
        assert list(outputs) == ["sum", "difference"]
        np.testing.assert_array_equal(outputs["difference"], -X)


def test_torch_tensors_go_in(one: Any) -> None:
    np.testing.assert_array_equal(one.run(torch.from_numpy(X)), np.maximum(X, 0))
    np.testing.assert_array_equal(one.run(torch.from_numpy(X).requires_grad_()), np.maximum(X, 0))


def test_tensors_and_arrays_are_not_copied() -> None:
    tensor = torch.ones(2, 3)
    assert as_numpy(tensor, "x").ctypes.data == tensor.data_ptr()
    assert as_numpy(X, "x") is X
    turned = as_numpy(torch.ones(2, 3).T, "x")
    assert turned.shape == (3, 2)
    assert turned.flags.c_contiguous


@pytest.mark.parametrize("isa", [None, "reference"])
def test_bytes_in_another_order(isa: str | None) -> None:
    session, x = convolution(4, isa), pictures(2, 4, 9, 9)
    np.testing.assert_array_equal(session.run(x.astype(">f4")), session.run(x.astype("<f4")))
    turned = np.dtype(np.float32).newbyteorder("S")
    with pytest.raises(InputError, match="in this machine's order"):
        session.run(x, out=np.empty_like(x, turned))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((X.astype(np.float64),), r"expected float32, got float64. Convert it"),
        ((X[:, :2],), r"expected shape \(any, 3\), got \(2, 2\)"),
        ((X[0],), r"got \(3,\)"),
        ((X[:0],), r"got \(0, 3\)"),
        ((X, X), "takes 1 inputs, .'x'.; got 2"),
        ((), "got 0"),
        (({"z": X},), r"missing \['x'\], unknown \['z'\]"),
        ((object(),), "expected an array of numbers, got object"),
    ],
)
def test_what_does_not_fit_is_told(one: Any, given: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        one.run(*given)


def test_a_tensor_of_another_device(one: Any) -> None:
    with pytest.raises(InputError, match="moved to the CPU"):
        one.run(torch.ones(2, 3, device="meta"))


def test_profile_is_a_table(one: Any) -> None:
    profile = one.profile(repeats=3)
    assert profile.repeats == 3
    assert profile.milliseconds == sum(row.milliseconds for row in profile.rows) > 0
    assert "reference" in str(profile)
    assert "ms" in str(profile)
    with pytest.raises(SettingError, match="repeats"):
        one.profile(repeats=0)


def test_repr(one: Any) -> None:
    assert repr(one) == "Session(x ('any', 3) -> y; reference, 1 thread(s))"


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        runtime.load(tmp_path / "none.fw")
    (tmp_path / "broken.fw").write_bytes(b"broken")
    for isa in (None, "reference"):
        with pytest.raises(ArtifactError, match=r"broken\.fw"):
            runtime.load(tmp_path / "broken.fw", isa=isa)


@pytest.mark.parametrize("isa", [None, "reference"])
def test_a_folder_is_called_one(tmp_path: Path, isa: str | None) -> None:
    with pytest.raises(ArtifactError, match="folder"):
        runtime.load(tmp_path, isa=isa)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="a device or a pipe"):
        runtime.load(tmp_path / "pipe")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_a_name_that_is_no_text(tmp_path: Path, one: Any) -> None:
    del one
    path = (tmp_path / "one.fw").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.fw"))
    np.testing.assert_array_equal(runtime.load(path).run(X), np.maximum(X, 0))
    path.write_bytes(b"broken")
    with pytest.raises(ArtifactError, match=r"udcff\\udce9\.fw"):
        runtime.load(path)
    path.unlink()
    with pytest.raises(ArtifactError, match="no such file"):
        runtime.load(path)


def test_a_name_that_is_no_name() -> None:
    with pytest.raises(ArtifactError, match=r"cannot be read: .*null"):
        runtime.load("a\0.fw")


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 2**40])
def test_threads_that_are_no_number_of_threads(tmp_path: Path, threads: Any) -> None:
    words = re.escape(f"threads must be a whole number from 1 to 1024, got {threads!r}")
    with pytest.raises(SettingError, match=words):
        runtime.load(tmp_path / "none.fw", threads=threads)
    with pytest.raises(SettingError, match=words):
        convolution(4).clone(threads)


def test_threads_of_numpy() -> None:
    assert convolution(4, threads=np.int64(2)).threads == 2  # pyright: ignore[reportArgumentType]


def convolution(channels: int, isa: str | None = None, threads: int = 1) -> Any:
    """Relu of a 3x3 convolution of any batch of pictures."""
    weight = np.random.default_rng(0).standard_normal((channels, channels, 3, 3)).astype(np.float32)
    conv = Operation("conv", "conv", ("x",), ("y",), {**RELU, "pads": [1, 1, 1, 1]}, {"weight": "w"})
    graph = Graph((Input("x", (None, channels, None, None)),), ("y",), (conv,), {"w": Constant(weight)})
    return of_graph(graph, threads, isa)


def pictures(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("isa", [None, "reference"])
def test_a_clone_outlives_the_first(isa: str | None) -> None:
    first, x = convolution(4, isa), pictures(2, 4, 9, 9)
    expected, clone = first.run(x), first.clone()
    assert (clone.threads, clone.isa, repr(clone)) == (first.threads, first.isa, repr(first))
    del first
    np.testing.assert_array_equal(clone.run(x), expected)
    np.testing.assert_array_equal(clone.clone(threads=3).run(x), expected)
    with pytest.raises(SettingError, match="whole number from 1 to 1024, got 0"):
        clone.clone(threads=0)


def test_clones_and_threads_that_share_one_run_at_the_same_time() -> None:
    session = convolution(8, threads=2)
    inputs = [pictures(batch, 8, size, size + 3) for batch, size in ((1, 12), (2, 31), (5, 8), (1, 40))]
    expected = [session.run(x) for x in inputs]
    sessions = [session, session, session.clone(), session.clone(threads=1)]

    def work(place: int) -> bool:
        turns = [(place + turn) % len(inputs) for turn in range(100)]
        return all(np.array_equal(sessions[place].run(inputs[i]), expected[i]) for i in turns)

    with ThreadPoolExecutor(len(sessions)) as pool:
        assert all(pool.map(work, range(len(sessions))))


def test_python_goes_on_while_a_network_runs() -> None:
    session, x, begun = convolution(64), pictures(2, 64, 128, 128), Event()
    session.run(x)

    def work() -> float:
        begun.set()
        begin = time.perf_counter()
        session.profile(x, repeats=5)
        return time.perf_counter() - begin

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        begun.wait()
        longest, last = 0.0, time.perf_counter()
        while not running.done():
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
    assert longest < running.result() / 2


FORKED = """
import os, sys, threading
import numpy as np
from featherweight import runtime
session = runtime.load(sys.argv[1], threads=3)
x = np.ones((2, 3), np.float32)
expected = session.run(x)
child = os.fork()
if child == 0:
    good = all(np.array_equal(session.clone().run(x), expected) for _ in range(3))
    os._exit(0 if good and np.array_equal(session.run(x), expected) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_runs_what_its_parent_opened(tmp_path: Path, one: Any) -> None:
    del one
    subprocess.run([sys.executable, "-c", FORKED, tmp_path / "one.fw"], check=True, timeout=60)


@pytest.mark.parametrize("isa", [None, "reference"])
def test_arrays_for_outputs(isa: str | None) -> None:
    session, x = convolution(4, isa), pictures(2, 4, 9, 9)
    out = np.full_like(x, np.nan)
    assert session.run(x, out=out) is out
    np.testing.assert_array_equal(out, session.run(x))
    named = np.full_like(x, np.nan)
    assert session.run({"x": x}, out={"y": named}) is named
    np.testing.assert_array_equal(named, out)


def test_arrays_for_several_outputs(two: Any) -> None:
    out = {"difference": np.empty_like(X), "sum": np.empty_like(X)}
    got = two.run(X, 2 * X, out=out)
    assert list(got) == ["sum", "difference"]
    assert all(got[name] is out[name] for name in out)
    np.testing.assert_array_equal(out["difference"], -X)
    with pytest.raises(InputError, match=r"gives \['sum', 'difference'\]; got arrays for \['sum'\]"):
        two.run(X, X, out=np.empty_like(X))


@pytest.mark.parametrize("isa", [None, "reference"])
@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.empty((2, 4, 9, 8), np.float32), r"should be float32 of shape \(2, 4, 9, 9\)"),
        (np.empty((2, 4, 9, 9), np.float64), "should be float32"),
        (np.empty((9, 9, 4, 2), np.float32).T, "in C order"),
        (np.broadcast_to(np.float32(0), (2, 4, 9, 9)), "may be written to"),
        ([0.0], "should be a numpy array"),
        ({"z": X}, r"got arrays for \['z'\]"),
    ],
)
def test_arrays_that_outputs_do_not_fit(isa: str | None, out: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        convolution(4, isa).run(pictures(2, 4, 9, 9), out=out)


def test_outputs_are_not_written_over_inputs() -> None:
    memory = pictures(3, 4, 9, 9)
    with pytest.raises(InputError, match="overlaps"):
        convolution(4).run(memory[:2], out=memory[1:])
