"""``featherweight prune --structured`` of a network of the user's own."""

from __future__ import annotations

import copy
import json
import warnings

import pytest
import torch

import featherweight as fw
from featherweight.cli.batches import make_batches
from featherweight.cli.network import make_network
from featherweight.cli.pruning import channels, narrowing
from featherweight.cli.resolve import call_factory
from featherweight.structured.prune import prune_structured

PARAMS = 8 * 16 + 16 + 16 * 3 + 3

MORE = """
class Written(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)).view(-1, 16))

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(8, 12), torch.nn.Linear(12, 8)

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))

class Layer(torch.nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = Block(), Block()
        for block, scale in ((self.first, first), (self.second, second)):
            block.b.weight.data *= scale

    def forward(self, x):
        x = x + self.first.b(torch.relu(self.first.a(x)))
        return x + self.second.b(torch.relu(self.second.a(x)))

def layers():
    return torch.nn.Sequential(torch.nn.Linear(8, 8), Layer(0.5, 9), Layer(2, 2), torch.nn.Linear(8, 3))

def blocks():
    return torch.nn.Sequential(torch.nn.Linear(8, 8), Block(), Block(), Block(), torch.nn.Linear(8, 3))
"""


@pytest.fixture
def ours(mynet, monkeypatch):
    """mynet.py with more networks, and weights for mynet:net, trained."""
    (mynet / "mynet.py").write_text((mynet / "mynet.py").read_text() + MORE)
    monkeypatch.setattr(channels, "SECONDS", 0.05)
    model, batches = make_network("mynet:net", None), make_batches("mynet:data")
    settings = fw.TrainingSettings(epochs=8, learning_rate=0.1)
    fw.fit(model, batches.train, batches.validate, settings, progress=False)
    fw.save(model, "w.safetensors")
    return mynet


@pytest.fixture
def prune(invoke, ours):
    """Prune mynet:net with words, and return the record and what was said."""

    def call(*words, model="mynet:net", weights=("--weights", "w.safetensors")):
        result = invoke("prune", "--structured", model, *weights, *words, "--json", "a.json")
        assert result.exit_code == 0, result.output
        return json.loads((ours / "a.json").read_text()), result.stdout

    return call


def test_without_data(prune, ours):
    record, said = prune("--params", "0.5", "--input-shape", "2,8")
    net = make_network("mynet:net", ours / "w.safetensors")
    expected, surgery = prune_structured(copy.deepcopy(net), torch.randn(2, 8), params=0.5)
    again = fw.load("small.safetensors", into=make_network("mynet:net", None))
    for name, value in expected.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert record["params"] == list(surgery.params) == [PARAMS, record["params"][1]]
    assert record["widths"] == [{"name": "0.weight", "before": 16, "after": surgery.widths[0][2]}]
    assert (record["asked"], record["predicted"]) == (0.5, surgery.reached.predicted)
    assert record["achieved"] == pytest.approx(record["params"][1] / PARAMS)
    assert record["macs"] == [2 * (8 * 16 + 16 * 3), 2 * (8 + 3) * surgery.widths[0][2]]
    assert record["bytes_compact"] == (ours / "small.safetensors").stat().st_size
    assert (record["accuracy"], record["steps"], record["input_shape"]) == (None, [], [[2, 8]])
    assert record["speedup"] == pytest.approx(record["times"][0]["median"] / record["times"][1]["median"])
    assert "50.00% asked" in said
    assert "same tensors bit for bit" in said


def test_with_data_it_learns_in_steps(prune, ours):
    words = ["--macs", "0.4", "--steps", "2", "--epochs", "2", "--learning-rate", "0.1", "--penalty", "1"]
    record, said = prune("--data", "mynet:data", *words, "--report", "r.html")
    again = fw.load("small.safetensors", into=make_network("mynet:net", None))
    assert record["accuracy"][1] == fw.evaluate(again, make_batches("mynet:data").test)
    assert (record["split"], record["examples"]) == ("test", 16)
    assert len(record["steps"]) == 2
    assert record["steps"][1]["params"] == record["params"][1] == sum(p.numel() for p in again.parameters())
    assert record["macs"][1] <= 0.4 * record["macs"][0]
    assert record["predicted"] == pytest.approx(record["achieved"])
    assert "16 examples" in said
    page = (ours / "r.html").read_text()
    assert page.count("<svg") == 2
    assert "after each fine-tuning" in page
    assert f"{record['widths'][0]['after']} of 16" in page
    assert not list(ours.glob(".small*")), "the checkpoints of a finished run are removed"


def test_channels_first_then_weights(prune, ours):
    words = ["--keep", "0.5", "--sparsity", "0.5", "--allocation", "uniform", "--values", "fp16"]
    record, said = prune(*words, "--input-shape", "1,8")
    state = fw.load("small.safetensors")
    assert state["0.weight"].shape == (8, 8)
    for name in ("0.weight", "2.weight"):
        assert int(state[name].count_nonzero()) == state[name].numel() // 2
    assert record["nonzero"][1] == sum(int(value.count_nonzero()) for value in state.values())
    assert (record["sparsity"], record["params"][1]) == (0.5, 8 * 8 + 8 + 8 * 3 + 3)
    assert "nonzero parameters" in said
    record, _ = prune(
        "--keep", "0.5", "--sparsity", "0.5", "--data", "mynet:two", "--epochs", "1", "--steps", "1"
    )
    state = fw.load("small.safetensors")
    assert sum(int(state[f"{n}.weight"].count_nonzero()) for n in (0, 2)) == (8 * 8 + 8 * 3) // 2
    assert record["split"] == "validation"


def test_a_rewritten_graph(prune, ours):
    record, said = prune("--keep", "0.5", "--input-shape", "2,8", model="mynet:Written", weights=())
    assert not record["same_class"]
    assert "rewritten graph" in said


def test_blocks(prune, ours):
    record, said = prune("--blocks", "1", "--input-shape", "2,8", model="mynet:blocks", weights=())
    (name,) = record["removed_blocks"]
    assert f"Removed whole: {name}" in said
    assert [width["after"] for width in record["widths"] if width["name"].startswith(name)] == [0]
    again = fw.load("small.safetensors", into=make_network("mynet:blocks", None))
    assert sum(p.numel() for p in again.parameters()) == record["params"][1] < record["params"][0]
    words = ["--blocks", "1", "--params", "0.5", "--sparsity", "0.5", "--skip", f"{name}.a"]
    record, _ = prune(*words, "--input-shape", "2,8", model="mynet:blocks", weights=())
    assert record["params"][1] <= 0.5 * record["params"][0]


def test_blocks_alone_with_data_are_fine_tuned(prune, ours):
    words = ["--blocks", "1", "--data", "mynet:data", "--epochs", "3", "--learning-rate", "0.1"]
    record, said = prune(*words, model="mynet:blocks", weights=())
    (name,) = record["removed_blocks"]
    (step,) = record["steps"]
    assert (record["target"], record["asked"]) == ("blocks", record["achieved"])
    assert record["achieved"] == pytest.approx(2 / 3)
    again = fw.load("small.safetensors", into=make_network("mynet:blocks", None))
    assert record["params"] == [record["params"][0], sum(p.numel() for p in again.parameters())]
    assert step["params"] == record["params"][1] < record["params"][0]
    assert step["tuned"] == fw.evaluate(again, make_batches("mynet:data").validate)
    assert f"Removed whole: {name}" in said
    assert "Left of its blocks: 66.67%." in said
    assert not list(ours.glob(".small*"))
    before = make_network("mynet:blocks", None).state_dict()
    assert not torch.equal(again.state_dict()["0.weight"], before["0.weight"]), "it was trained"


def test_by_what_blocks_are_chosen_and_what_they_are(prune, ours):
    removed = {}
    for unit in ("block", "branch"):
        for criterion in ("similarity", "loss"):
            words = ["--data", "mynet:data", "--epochs", "1", "--block-criterion", criterion]
            record, _ = prune(*words, "--blocks", "1", "--block-unit", unit, model="mynet:layers", weights=())
            removed[unit, criterion] = record["removed_blocks"]
    network = make_network("mynet:layers", None)
    (train, _, _) = call_factory("mynet:data", "data")
    for (unit, criterion), found in removed.items():
        _, surgery = prune_structured(
            copy.deepcopy(network),
            train[0][0][:1],
            blocks=1,
            block_criterion=criterion,
            block_unit=unit,
            data=train,
        )
        assert list(surgery.removed_blocks) == found
    assert removed["block", "similarity"] != removed["branch", "similarity"]
    assert removed["branch", "loss"] != removed["branch", "similarity"]


def test_what_is_left_alone(prune, ours):
    words = [
        "--keep",
        "0.5",
        "--input-shape",
        "2,8",
        "--skip",
        "1.a.bias",
        "--scope",
        "group",
        "--round-to",
        "4",
    ]
    record, said = prune(*words, model="mynet:blocks", weights=())
    assert record["skipped"] == ["1.a.weight"]
    kept = {width["name"]: width["after"] for width in record["widths"]}
    assert kept["1.a.weight"] == 12
    assert kept["2.a.weight"] == 4  # a multiple of 4; with 8, more than half of all would be left
    assert "1.a.weight (left alone)" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "takes one of --keep, --params, --macs and --latency"),
        (["--keep", "0.5", "--macs", "0.5"], "got --keep 0.5 and --macs 0.5"),
        (["--macs", "33"], "macs is the fraction that is left"),
        (["--macs", "0.5"], "To cut the network without --data, give the sizes of an input"),
        (["--macs", "0.5", "--criterion", "l3"], "No structured criterion is called 'l3'"),
        (["--macs", "0.5", "--scope", "x"], "scope is one of global, group"),
        (["--macs", "0.5", "--min-keep", "0"], "min_keep is a number of units"),
        (
            ["--macs", "0.5", "--steps", "2", "--penalty", "1"],
            "--steps, --penalty would do nothing without --data",
        ),
        (["--macs", "0.5", "--epochs", "2"], "--epochs would do nothing without --data"),
        (["--macs", "0.5", "--steps", "0", "--data", "mynet:data"], "--steps is the number of cuts"),
        (["--macs", "0.5", "--penalty", "0", "--data", "mynet:data"], "--penalty is the strength"),
        (["--macs", "0.5", "--allocation", "erk"], "--allocation would do nothing without --sparsity"),
        (["--macs", "0.5", "--blocks", "x"], "'auto' or 'only'"),
        (["--blocks", "auto", "--data", "mynet:data"], "takes one of --keep, --params, --macs"),
        (["--blocks", "1", "--block-criterion", "x"], "'x'. There are: loss, similarity"),
        (["--blocks", "1", "--block-criterion", "loss"], "Here data are --data module:factory"),
        (["--blocks", "1", "--block-unit", "x"], "block_unit is one of block, branch"),
        (
            ["--macs", "0.5", "--block-criterion", "loss"],
            "--block-criterion would do nothing without --blocks",
        ),
        (
            ["--blocks", "0", "--macs", "0.5", "--block-unit", "branch"],
            "--block-unit would do nothing without --blocks",
        ),
        (
            ["--blocks", "1", "--steps", "2", "--min-keep", "2", "--data", "mynet:data"],
            "--steps, --min-keep would do nothing with --blocks alone",
        ),
        (["--macs", "0.5", "--values", "int3"], "values must be one of"),
        (["--macs", "0.5", "--sparsity", "90"], "sparsity is the fraction of zeros"),
        (
            ["--macs", "0.01", "--input-shape", "1,8"],
            "macs=0.01 cannot be reached: with every group at its floor 11 are left, more than 1.76; that is "
            "a fraction of 0.0625.",
        ),
        (
            ["--keep", "0.2", "--min-keep", "8", "--data", "mynet:data", "--report", "r.html"],
            "keep=0.2 cannot be reached: with every group at its floor 8 are left, more than 3.2; that is a "
            "fraction of 0.5.",
        ),
        (["--macs", "0.5", "--input-shape", "1,9"], "--input-shape 1,9 does not fit: the forward pass"),
        (["--macs", "0.5", "--input-shape", "1,8", "--skip", "no.*"], "matches no parameter"),
        (["--macs", "0.5", "--report", "nowhere/r.html"], "--report 'nowhere/r.html'"),
        (["--macs", "0.5", "--data", "mynet:four"], "returned 4 things"),
    ],
)
def test_what_is_refused(refused, mynet, words, says):
    before = sorted(mynet.iterdir())
    assert says in " ".join(refused("prune", "--structured", "mynet:net", *words).split())
    assert [p for p in sorted(mynet.iterdir()) if p.name != "__pycache__"] == before


@pytest.mark.parametrize(
    "words",
    [
        ["--keep", "0.5"], ["--params", "0.5"], ["--macs", "0.5"], ["--latency", "0.5"], ["--scope", "group"],
        ["--min-keep", "2"], ["--round-to", "8"], ["--blocks", "1"], ["--block-criterion", "loss"],
        ["--block-unit", "block"], ["--steps", "1"], ["--penalty", "1"],
        ["--input-shape", "1,8"], ["--report", "r.html"],
    ],
)  # fmt: skip
def test_its_options_do_nothing_without_it(refused, mynet, words):
    assert f"{words[0]} would do nothing without --structured" in refused("prune", "mynet:net", *words)


@pytest.mark.parametrize("data", [["--input-shape", "1,8"], ["--data", "mynet:data", "--epochs", "1"]])
def test_a_pruner_that_cuts_nothing_is_noticed(invoke, ours, monkeypatch, data):
    (ours / "small.safetensors").write_bytes(b"as it was")
    _, surgery = prune_structured(make_network("mynet:net", None), torch.zeros(1, 8), macs=0.5)
    step = narrowing.Step(0.5, 1, 1, 1.0, 1.0)
    monkeypatch.setattr(narrowing, "prune_structured", lambda model, *a, **s: (model, surgery))
    monkeypatch.setattr(narrowing, "progressive_prune_structured", lambda model, *a, **s: (model, (step,)))
    result = invoke("prune", "--structured", "mynet:net", "--macs", "0.5", *data)
    assert result.exit_code == 1, result.output
    assert "nothing was cut: 195 of 195 parameters are left" in result.stderr
    assert (ours / "small.safetensors").read_bytes() == b"as it was"


def test_one_that_cuts_too_little_is_noticed(invoke, ours, monkeypatch):
    honest = narrowing.prune_structured

    def lazy(*args, macs, **settings):
        return honest(*args, macs=0.9, **settings)

    monkeypatch.setattr(narrowing, "prune_structured", lazy)
    result = invoke("prune", "--structured", "mynet:net", "--macs", "0.5", "--input-shape", "1,8")
    assert result.exit_code == 1, result.output
    assert "at most 50.00% were to be" in result.stderr


def test_a_file_that_gives_another_network_is_noticed(invoke, ours, monkeypatch):
    honest = channels.load

    def other(path, into):
        network = honest(path, into=into)
        with torch.no_grad():
            network[0].weight[0] += float(into is network and network.training is False)
        return network

    monkeypatch.setattr(channels, "load", other)
    result = invoke("prune", "--structured", "mynet:net", "--macs", "0.5", "--input-shape", "1,8")
    assert result.exit_code == 1, result.output
    assert "is not the network that was saved" in result.stderr
    assert not (ours / "small.safetensors").exists()


def test_interrupted_it_goes_on(invoke, ours, monkeypatch):
    words = [
        "--weights",
        "w.safetensors",
        "--data",
        "mynet:data",
        "--macs",
        "0.5",
        "--epochs",
        "3",
        "--steps",
        "2",
    ]
    command = ["prune", "--structured", "mynet:net", *words, "--sparsity", "0.5"]
    assert invoke(*command, "--out", "whole.safetensors").exit_code == 0
    from featherweight.training import run

    close, closed = run.Run._close_epoch, []

    def stop(self, validation):
        close(self, validation)
        closed.append(1)
        if len(closed) in (2, 4):  # within the second step's fine-tuning, and within that of the weights
            raise KeyboardInterrupt

    monkeypatch.setattr(run.Run, "_close_epoch", stop)
    for _ in range(2):
        result = invoke(*command)
        assert result.exit_code == 130, result.output
        assert "The same command goes on" in result.stderr
        assert not (ours / "small.safetensors").exists()
    assert invoke(*command).exit_code == 0
    assert len(closed) == 1 + 3 + 3
    assert (ours / "small.safetensors").read_bytes() == (ours / "whole.safetensors").read_bytes()
    monkeypatch.setattr(run.Run, "_close_epoch", close)


def test_it_says_nothing_of_torch(invoke, ours, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        words = ["--blocks", "1", "--block-unit", "branch", "--macs", "0.6", "--data", "mynet:data"]
        result = invoke("prune", "--structured", "mynet:layers", *words, "--epochs", "1")
    assert result.exit_code == 0, result.output
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", ""), "beside what the command itself prints"
