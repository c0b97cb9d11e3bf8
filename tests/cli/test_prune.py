"""``featherweight prune`` of a network of the user's own."""

from __future__ import annotations

import copy
import json

import pytest
import torch

import featherweight as fw
from featherweight.cli.pruning import weights as flow

PRUNABLE = 8 * 16 + 16 * 3


@pytest.fixture
def trained(mynet):
    """Weights for mynet:net, trained."""
    from featherweight.cli.batches import make_batches
    from featherweight.cli.network import make_network

    model, batches = make_network("mynet:net", None), make_batches("mynet:data")
    fw.fit(
        model,
        batches.train,
        batches.validate,
        fw.TrainingSettings(epochs=8, learning_rate=0.1),
        progress=False,
    )
    fw.save(model, "w.safetensors")
    return model


def kept(state):
    return sum(int(state[name].count_nonzero()) for name in ("0.weight", "2.weight"))


def test_with_data(invoke, trained, mynet):
    words = ["--weights", "w.safetensors", "--data", "mynet:data", "--sparsity", "0.5", "--epochs", "2"]
    result = invoke("prune", "mynet:net", *words, "--json", "a.json")
    assert result.exit_code == 0, result.output
    record = json.loads((mynet / "a.json").read_text())
    state = fw.load("small.safetensors")
    assert kept(state) == PRUNABLE // 2
    assert record["sparsity"] == 0.5
    assert record["nonzero"] == sum(int(value.count_nonzero()) for value in state.values())
    assert record["params"] == PRUNABLE + 19
    assert record["bytes_compact"] == (mynet / "small.safetensors").stat().st_size
    assert (record["examples"], record["accuracy_split"]) == (16, "test")
    again = fw.load_model("small.safetensors", into=copy.deepcopy(trained))
    from featherweight.cli.batches import make_batches

    test = make_batches("mynet:data").test
    assert record["accuracy_after"] == fw.evaluate(again, test)
    assert record["accuracy_before"] == fw.evaluate(trained, test)
    assert "bias or scale (one dimension): 0.bias, 2.bias" in result.stdout
    assert not list(mynet.glob(".small*")), "the checkpoints of a finished run are removed"


def test_without_a_test_split_says_so(invoke, trained, mynet):
    words = ["--weights", "w.safetensors", "--data", "mynet:two", "--epochs", "1", "--sparsity", "0.3"]
    result = invoke("prune", "mynet:net", *words, "--json", "a.json")
    assert "validation split, 16 examples (on which the epoch was chosen, too)" in result.stdout
    assert json.loads((mynet / "a.json").read_text())["accuracy_split"] == "validation"


def test_without_data(invoke, trained, mynet):
    words = ["--weights", "w.safetensors", "--sparsity", "0.75", "--skip", "2", "--json", "a.json"]
    result = invoke("prune", "mynet.py:net", *words)
    assert result.exit_code == 0, result.output
    state, expected = fw.load("small.safetensors"), copy.deepcopy(trained)
    fw.prune(expected, 0.75, skip=["2"])
    assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
    assert json.loads((mynet / "a.json").read_text())["accuracy_after"] is None
    assert "skipped by '2': 2.weight" in result.stdout


def test_values_are_rounded(invoke, trained, mynet):
    invoke("prune", "mynet:net", "--weights", "w.safetensors", "--sparsity", "0.5", "--values", "fp16")
    info = {tensor.name: tensor for tensor in fw.artifact.inspect("small.safetensors").tensors}
    assert info["0.weight"].stored == "F16"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--criterion", "magnitud"],
            "No criterion is called 'magnitud'. Did you mean 'magnitude'? There are:",
        ),
        (["--allocation", "x"], "No allocation is called 'x'"),
        (["--pattern", "2-4"], "No pattern is called '2-4'. Did you mean '2:4'? There are: 1x4, 2:4,"),
        (["--pattern", "4:2"], "N:M keeps N of M, 1 <= N < M"),
        (["--pattern", "2:4", "--sparsity", "0.3"], "the lowest sparsity that works is 0.5, got 0.3"),
        (["--schedule", "x", "--data", "mynet:data"], "No schedule is called 'x'"),
        (["--schedule", "cubic"], "--schedule would do nothing without --data"),
        (
            ["--epochs", "2", "--learning-rate", "1"],
            "--epochs, --learning-rate would do nothing without --data",
        ),
        (["--epochs", "0", "--data", "mynet:data"], "epochs is a whole number of at least 1"),
        (["--sparsity", "90"], "sparsity is the fraction of zeros"),
        (["--values", "int3"], "values must be one of fp32, fp16, bf16"),
        (["--skip", "nothing.*"], "matches no parameter"),
        (["--data", "mynet:four"], "returned 4 things"),
        (["--data", "mynet:generator"], "has no length"),
        (["--weights", "none.safetensors"], "none.safetensors"),
        (["--out", "nowhere/a.safetensors"], "--out 'nowhere/a.safetensors': its folder does not exist"),
    ],
)
def test_what_is_refused(refused, mynet, words, says):
    before = sorted(mynet.iterdir())
    assert says in " ".join(refused("prune", "mynet:net", *words).split())
    assert [p for p in sorted(mynet.iterdir()) if p.name != "__pycache__"] == before


@pytest.mark.parametrize("data", [[], ["--data", "mynet:data", "--epochs", "1"]])
def test_in_a_pattern(invoke, trained, mynet, data):
    words = ["--weights", "w.safetensors", "--sparsity", "0.5", "--pattern", "1:2", *data]
    result = invoke("prune", "mynet:net", *words)
    assert result.exit_code == 0, result.output
    state = fw.load("small.safetensors")
    for name in ("0.weight", "2.weight"):
        assert bool((state[name].reshape(-1, 2).count_nonzero(1) == 1).all())


def test_a_pruner_that_does_nothing_is_noticed(invoke, mynet, monkeypatch):
    (mynet / "small.safetensors").write_bytes(b"as it was")
    monkeypatch.setattr(flow, "prune", lambda *args, **settings: None)
    monkeypatch.setattr(flow, "progressive_prune", lambda model, *args, **settings: copy.deepcopy(model))
    for data in ([], ["--data", "mynet:data"]):
        result = invoke("prune", "mynet:net", *data)
        assert result.exit_code == 1, result.output
        assert "weights are not zero after pruning" in result.stderr
    assert (mynet / "small.safetensors").read_bytes() == b"as it was"


def test_interrupted_it_goes_on(invoke, trained, mynet, monkeypatch):
    words = ["--weights", "w.safetensors", "--data", "mynet:data", "--sparsity", "0.5", "--epochs", "3"]
    invoke("prune", "mynet:net", *words, "--out", "whole.safetensors")
    original, calls = flow.progressive_prune, []

    def interrupted(*args, **settings):
        from featherweight.training import run

        close = run.Run._close_epoch

        def stop(self, validation):
            close(self, validation)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(run.Run, "_close_epoch", stop)
            return original(*args, **settings)

    monkeypatch.setattr(flow, "progressive_prune", interrupted)
    result = invoke("prune", "mynet:net", *words)
    assert result.exit_code == 130
    assert "The same command goes on" in result.stderr
    assert not (mynet / "small.safetensors").exists()
    monkeypatch.setattr(flow, "progressive_prune", lambda *a, **s: (calls.append(1), original(*a, **s))[1])
    result = invoke("prune", "mynet:net", *words)
    assert "goes on at epoch 2" in result.stderr
    assert (mynet / "small.safetensors").read_bytes() == (mynet / "whole.safetensors").read_bytes()
