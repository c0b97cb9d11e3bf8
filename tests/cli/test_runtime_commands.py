"""featherweight compile, run and bench."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight.runtime import fwfile
from featherweight.runtime.activation import Activation
from featherweight.runtime.graph import Graph, Input, Operation

X = np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtime")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(676, 5)).eval()
    fw.prune(model, 0.8)
    fw.export_onnx(model, torch.from_numpy(X), folder / "net.onnx")
    np.save(folder / "x.npy", X)
    with torch.no_grad():
        return folder, model(torch.from_numpy(X)).numpy()


@pytest.fixture
def compiled(network, invoke):
    folder, _ = network
    if not (folder / "net.fw").exists():
        done = invoke(
            "compile", folder / "net.onnx", "-o", folder / "net.fw", "--threads", 1, "--json", "c.json"
        )
        assert done.exit_code == 0, done.output
        record = json.loads(Path("c.json").read_text())
        assert record["bytes"] == (folder / "net.fw").stat().st_size
        assert record["inputs"][0]["shape"][1:] == [1, 28, 28]
        assert len(record["operations"]) >= 2
        assert "compiled in" in done.stdout
    return folder / "net.fw"


def test_a_compiled_network_runs_on_a_file(network, compiled, invoke):
    folder, expected = network
    done = invoke(
        "run", compiled, "--input", folder / "x.npy", "-o", "y.npz", "--profile", "--json", "r.json"
    )
    assert done.exit_code == 0, done.output
    with np.load("y.npz") as outputs:
        (name,) = outputs.files
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)
    record = json.loads(Path("r.json").read_text())
    assert record["outputs"][name]["shape"] == [2, 5]
    assert record["milliseconds"]["median"] > 0
    assert record["profile"]["threads"] >= 1
    assert max(row["sparsity"] or 0 for row in record["profile"]["operations"]) == pytest.approx(0.8, abs=0.1)
    assert "GFLOP/s" in done.stdout


def test_one_output_is_an_array(network, compiled, invoke):
    folder, expected = network
    done = invoke("run", compiled, "-i", folder / "x.npy", "-o", "y.npy")
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(np.load("y.npy"), expected, rtol=1e-4, atol=1e-5)


def test_outputs_and_names_that_do_not_fit(compiled, invoke, tmp_path):
    done = invoke("run", compiled, "-o", "y.txt")
    assert (done.exit_code, "ends in .npz, or .npy for one output" in done.stderr) == (2, True)
    relu = {"activation": Activation("relu")}
    operations = [Operation("unary", name, ("x",), (name,), relu) for name in "ab"]
    fwfile.write(tmp_path / "two.fw", Graph((Input("x", (1, 2)),), ("a", "b"), tuple(operations)))
    done = invoke("run", tmp_path / "two.fw", "-o", "y.npy")
    assert done.exit_code == 2
    assert "holds one array, and the network gives 2: a, b" in " ".join(done.stderr.split())
    assert invoke("run", tmp_path / "two.fw", "-o", "y.npz").exit_code == 0
    with np.load("y.npz") as outputs:
        assert outputs.files == ["a", "b"]
    assert not any(Path(name).exists() for name in ("y.txt", "y.npy"))


def test_a_name_that_is_too_long(compiled, invoke):
    done = invoke("run", compiled, "-o", "y" * 300 + ".npy")
    assert (done.exit_code, "File name too long" in " ".join(done.stderr.split())) == (2, True)


def test_noise_of_any_batch(compiled, invoke):
    done = invoke("run", compiled, "--batch", 3)
    assert "(3, 5)" in done.stdout
    assert "on noise" in done.stderr


def test_a_network_in_python_is_exported(invoke):
    done = invoke("compile", "lenet_300_100", "--no-tune", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "lenet_300_100.fw" in done.stdout
    assert invoke("run", "lenet_300_100.fw").exit_code == 0


def test_files_are_compared_in_turns(network, compiled, invoke):
    folder, _ = network
    words = ("bench", compiled, folder / "net.onnx", "--against", "onnxruntime", "--threads", "1,2")
    done = invoke(*words, "--seconds", 0.1, "--json", "b.json", "--plot", "b.svg")
    assert done.exit_code == 0, done.output
    comparisons = json.loads(Path("b.json").read_text())["comparisons"]
    assert [one["threads"] for one in comparisons] == [1, 2]
    for one in comparisons:
        own, other = one["rows"]
        assert own["ratio"] == 1
        assert other["ratio"] == other["milliseconds"]["median"] / own["milliseconds"]["median"]
        assert other["difference"] < 1e-4
    assert "ONNX Runtime" in Path("b.svg").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["compile", "missing.onnx"], "there is no such file"),
        (["compile", "x.onnx", "--input-shape", "1,2"], "an .onnx file has both"),
        (["run", "missing.fw"], "there is no such file"),
        (["bench", "missing.fw"], "there is no such file"),
    ],
)
def test_what_cannot_be_done_is_said(words, says, invoke):
    done = invoke(*words)
    assert done.exit_code == 2
    assert says in done.stderr


def test_inputs_and_files_that_do_not_fit(compiled, invoke):
    np.save("wrong.npy", X[:, :, :9])
    done = invoke("run", compiled, "-i", "wrong.npy")
    assert (done.exit_code, "9" in done.stderr) == (2, True)
    done = invoke("run", compiled, "-i", "x=wrong.npy", "-i", "wrong.npy")
    assert "all with a name or none; got ('x=wrong.npy', 'wrong.npy')" in " ".join(done.stderr.split())
    np.savez("several.npz", x=X)
    done = invoke("run", compiled, "-i", "several.npz")
    assert (done.exit_code, "a file of several arrays" in done.stderr) == (2, True)
    Path("not.txt").write_text("a")
    done = invoke("bench", "not.txt", "--against", "onnxruntime")
    assert "is run by none of onnxruntime" in done.stderr
    done = invoke("bench", compiled, "--threads", "0")
    assert "--threads is one or more numbers" in done.stderr
