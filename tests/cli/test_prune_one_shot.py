"""``featherweight prune --one-shot``: layer by layer, without training; and what else it makes reachable."""

from __future__ import annotations

import json

import pytest
import torch

import featherweight as fw
from featherweight.cli.batches import make_batches, some_of
from featherweight.cli.network import make_network
from featherweight.cli.pruning import one_shot as flow
from featherweight.sparsity.criteria import criteria
from featherweight.sparsity.oneshot import SparseGPT, methods

WORDS = ["--data", "mynet:data", "--one-shot"]
LAYERS = ("0.weight", "2.weight")
PRUNABLE = 8 * 16 + 16 * 3


def expected(method="sparsegpt", sparsity=0.5, examples=128, **settings):
    model = make_network("mynet:net", None)
    data = some_of(make_batches("mynet:data").train, examples)
    fw.prune_oneshot(model, sparsity, data, method=method, batches=None, progress=False, **settings)
    return model.state_dict()


def same(state, other):
    return all(torch.equal(state[name], value) for name, value in other.items())


@pytest.mark.parametrize("method", list(methods))
def test_it_is_what_the_library_does(invoke, mynet, method):
    result = invoke("prune", "mynet:net", *WORDS, method, "--json", "a.json")
    assert result.exit_code == 0, result.output
    state = fw.load("small.safetensors")
    assert same(state, expected(method))
    assert sum(int(state[name].count_nonzero()) for name in LAYERS) == PRUNABLE // 2
    record = json.loads((mynet / "a.json").read_text())
    assert record["one_shot"] == method
    assert [layer["name"] for layer in record["layers"]] == list(LAYERS)
    assert record["layers"][0]["samples"] == 64
    assert record["accuracy_after"] == fw.evaluate(
        fw.load_model("small.safetensors", into=make_network("mynet:net", None)),
        make_batches("mynet:data").test,
    )
    assert "2.weight" in result.stdout
    assert "1/2  0.weight  50.00% zero" in result.stderr
    assert not list(mynet.glob(".small*")), "the layers of a finished run are removed"


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["--sparsity", "0.6", "--allocation", "erk"], {"sparsity": 0.6, "allocation": "erk"}),
        (["--pattern", "1:2"], {"pattern": "1:2"}),
        (["--damping", "0.5"], {"damping": 0.5}),
        (["--keep-bias"], {"correct_bias": False}),
        (["--examples", "20"], {"examples": 20}),
        (["--skip", "2"], {"skip": ["2"]}),
        (["--criterion", "snip", "--allocation", "global"], {"criterion": "snip", "allocation": "global"}),
        (
            ["--layer-sparsity", "0.*=0.25", "--sparsity", "0.4"],
            {"allocation": {"0.*": 0.25}, "sparsity": 0.4},
        ),
    ],
)
def test_options_reach_the_library(invoke, mynet, words, settings):
    result = invoke("prune", "mynet:net", *WORDS, "sparsegpt", *words)
    assert result.exit_code == 0, result.output
    state = fw.load("small.safetensors")
    assert same(state, expected(**settings))
    assert not same(state, expected())


def test_what_becomes_of_batch_norm(invoke, mynet):
    (mynet / "normed.py").write_text(
        "import torch\n\ndef net():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16),\n"
        "        torch.nn.Linear(16, 3))\n"
    )
    found = {}
    for way in ("", "match", "reestimate", "keep"):
        words = ["--batch-norm", way] if way else []
        result = invoke("prune", "normed:net", *WORDS, "wanda", *words)
        assert result.exit_code == 0, result.output
        found[way] = fw.load("small.safetensors")["1.running_mean"]
    assert torch.equal(found["keep"], torch.zeros(16))
    assert torch.equal(found[""], found["match"])
    assert not torch.equal(found["match"], found["keep"])
    assert not torch.equal(found["match"], found["reestimate"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--one-shot", "sparsgpt", "--data", "mynet:data"], "Did you mean 'sparsegpt'?"),
        (["--one-shot", "obs"], "--one-shot looks at data: give --data"),
        ([*WORDS, "obs", "--epochs", "2"], "--epochs would do nothing with --one-shot: nothing is trained"),
        ([*WORDS, "obs", "--schedule", "cubic"], "--schedule would do nothing with --one-shot"),
        ([*WORDS, "obs", "--teacher", "dense", "--alpha", "0.5"], "--teacher, --alpha would do nothing with"),
        ([*WORDS, "obs", "--structured", "--macs", "0.5"], "first --structured alone"),
        ([*WORDS, "obs", "--criterion", "magnitude"], "criterion='magnitude' would do nothing"),
        ([*WORDS, "wanda", "--damping", "0.1"], "damping=0.1 would do nothing"),
        ([*WORDS, "obs", "--damping", "-1"], "damping is a fraction"),
        ([*WORDS, "obs", "--examples", "some"], "--examples is a number of examples, at least 1, or all"),
        ([*WORDS, "obs", "--pattern", "2:4", "--sparsity", "0.3"], "lowest sparsity that works is 0.5"),
        ([*WORDS, "obs", "--batch-norm", "anew"], "batch_norm is one of 'match', 'reestimate', 'keep'"),
        ([*WORDS, "obs", "--run-dir", "mynet.py"], "is a file"),
        ([*WORDS, "obs", "--run-dir", "mynet.py/layers"], "'mynet.py' is a file"),
        ([*WORDS, "obs", "--macs", "0.5"], "--macs would do nothing without --structured"),
        (
            ["--examples", "9", "--keep-bias"],
            "--examples, --correct-bias would do nothing without --one-shot",
        ),
        (["--layer-sparsity", "0"], "--layer-sparsity is PATTERN=FRACTION"),
        (["--layer-sparsity", "0=0.5", "--layer-sparsity", "0=0.6"], "once for each pattern"),
        (["--layer-sparsity", "nothing=0.5"], "matches no prunable weight"),
        (["--begin", "0.1"], "--begin would do nothing without --data"),
        (["--begin", "2", "--data", "mynet:data"], "--begin 2 is behind the end of --schedule cubic, 0.5"),
        (["--begin", "-1", "--data", "mynet:data"], "begin is a step of at least 0, or a fraction"),
    ],
)
def test_what_is_refused(refused, mynet, words, says):
    before = sorted(mynet.iterdir())
    assert says in " ".join(refused("prune", "mynet:net", *words).split())
    assert [p for p in sorted(mynet.iterdir()) if p.name != "__pycache__"] == before


def interrupted_after(monkeypatch, calls, number):
    """Make the run stop when so many layers were solved; ``calls`` counts them."""
    original = SparseGPT()

    def counted(problem):
        if len(calls) == number:
            raise KeyboardInterrupt
        calls.append(problem)
        return original(problem)

    monkeypatch.setitem(methods._entries, "sparsegpt", counted)
    counted.__qualname__ = "counted"


@pytest.mark.parametrize("where", [[], ["--run-dir", "layers"]])
def test_interrupted_it_goes_on(invoke, mynet, monkeypatch, where):
    calls = []
    with monkeypatch.context() as patch:
        interrupted_after(patch, calls, 1)
        result = invoke("prune", "mynet:net", *WORDS, "sparsegpt", *where)
        assert result.exit_code == 130
        assert "The same command goes on" in result.stderr
        assert not (mynet / "small.safetensors").exists()
        calls.clear()
        interrupted_after(patch, calls, 2)
        assert invoke("prune", "mynet:net", *WORDS, "sparsegpt", *where).exit_code == 0
    assert len(calls) == 1  # the other layer was there
    assert same(fw.load("small.safetensors"), expected())
    assert (mynet / "layers").exists() == bool(where)


def test_a_folder_of_another_run_is_refused(invoke, refused, mynet):
    assert invoke("prune", "mynet:net", *WORDS, "obs", "--run-dir", "layers").exit_code == 0
    said = refused("prune", "mynet:net", *WORDS, "alps", "--run-dir", "layers")
    assert "another method" in said
    assert "--run-dir" in said


def test_layers_of_other_data_are_not_taken(invoke, mynet):
    for words in (["--examples", "20"], ["--examples", "all"]):
        result = invoke("prune", "mynet:net", *WORDS, "obs", "--run-dir", "layers", *words)
        assert result.exit_code == 0, result.output
    assert same(fw.load("small.safetensors"), expected("obs", examples=None))


def test_no_epoch_is_said_to_be_chosen(invoke, mynet):
    result = invoke("prune", "mynet:net", "--data", "mynet:two", "--one-shot", "obs")
    assert result.exit_code == 0, result.output
    assert "Accuracy on the validation split" in result.stdout
    assert "chosen" not in result.stdout


def test_one_that_does_nothing_is_noticed(invoke, mynet, monkeypatch):
    monkeypatch.setattr(flow, "prune_oneshot", lambda *args, **settings: type("M", (), {"layers": ()}))
    result = invoke("prune", "mynet:net", *WORDS, "obs")
    assert result.exit_code == 1
    assert "weights are not zero after pruning" in result.stderr


def test_sparsities_of_layers_while_fine_tuning(invoke, mynet):
    words = ["--data", "mynet:data", "--epochs", "1", "--sparsity", "0.5", "--layer-sparsity", "2.*=0.25"]
    result = invoke("prune", "mynet:net", *words)
    assert result.exit_code == 0, result.output
    state = fw.load("small.safetensors")
    assert int(state["2.weight"].count_nonzero()) == 36
    assert int(state["0.weight"].count_nonzero()) == PRUNABLE // 2 - 36


@pytest.mark.parametrize("criterion", list(criteria))
def test_every_criterion_can_be_used(invoke, mynet, criterion):
    begin = ["--begin", "0.3"] if criterion == "movement" else []
    words = ["--data", "mynet:data", "--epochs", "1", "--sparsity", "0.5"]
    result = invoke("prune", "mynet:net", *words, "--criterion", criterion, *begin)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp", "sensitivity"])
def test_every_allocation_can_be_used(invoke, mynet, allocation):
    words = [*WORDS, "wanda", "--allocation", allocation]
    result = invoke("prune", "mynet:net", *words)
    assert result.exit_code == 0, result.output
    state = fw.load("small.safetensors")
    assert sum(int(state[name].count_nonzero()) for name in LAYERS) == PRUNABLE // 2
