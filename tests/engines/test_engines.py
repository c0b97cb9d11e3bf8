"""Every engine runs a network as PyTorch does."""

import numpy as np
import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight.engines import InputSpec, engines

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)).eval()
    folder = tmp_path_factory.mktemp("files")
    fw.export_onnx(model, torch.from_numpy(X), folder / "net.onnx", dynamic_batch=False)
    torch.export.save(torch.export.export(model, (torch.from_numpy(X),)), folder / "net.pt2")
    fw.compile(folder / "net.onnx", folder / "net.fw", tune=False)
    with torch.no_grad():
        return folder, model(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("name", list(engines))
def test_an_engine_computes_what_pytorch_does(files, name):
    if name == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: benchmarks bring it")
    folder, expected = files
    engine = engines[name]
    network = engine.load(folder / f"net{engine.suffixes[0]}", 1)
    (spec,) = network.inputs
    assert (spec.dtype, spec.shape[1:]) == ("float32", (3, 8, 8))
    (got,) = network.run([X])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert engine.version()


def test_inputs_of_a_spec():
    source = np.random.default_rng(0)
    noise = InputSpec("x", "float32", (None, 3, None)).example(source, batch=4)
    assert (noise.shape, noise.dtype) == ((4, 3, 1), np.float32)
    assert noise.std() > 0.1
    ids = InputSpec("ids", "int64", (1, 5)).example(source)
    assert ids.tolist() == [[1] * 5]
