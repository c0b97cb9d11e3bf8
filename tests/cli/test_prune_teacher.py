"""``featherweight prune --teacher``: the dense network, or another, teaches what is fine-tuned."""

from __future__ import annotations

import json

import pytest
import torch

import featherweight as fw
from featherweight.cli.batches import make_batches
from featherweight.cli.network import make_network
from featherweight.cli.pruning import channels

WORDS = ("--weights", "w.safetensors", "--data", "mynet:data", "--epochs", "2", "--json", "a.json")
WEIGHTS, CHANNELS = ("--sparsity", "0.5"), ("--structured", "--params", "0.5", "--steps", "2")

OTHER = """
def other():
    model = net()
    model.load_state_dict(torch.load("rolled.pt", weights_only=True))
    return model

def four_classes():
    return torch.nn.Linear(8, 4)
"""


@pytest.fixture
def trained(mynet, monkeypatch):
    """Weights for mynet:net, trained; mynet:other is that with its classes in another order."""
    monkeypatch.setattr(channels, "SECONDS", 0.02)
    (mynet / "mynet.py").write_text((mynet / "mynet.py").read_text() + OTHER)
    model, batches = make_network("mynet:net", None), make_batches("mynet:data")
    settings = fw.TrainingSettings(epochs=8, learning_rate=0.1)
    fw.fit(model, batches.train, batches.validate, settings, progress=False)
    fw.save(model, "w.safetensors")
    rolled = {n: v.roll(1, 0) if n.startswith("2.") else v for n, v in model.state_dict().items()}
    torch.save(rolled, "rolled.pt")
    return model


@pytest.mark.parametrize("how", [WEIGHTS, CHANNELS, (*CHANNELS, *WEIGHTS)])
def test_each_way_of_pruning_learns_from_the_dense_network(invoke, trained, mynet, how):
    states = []
    for teacher in ((), ("--teacher", "dense"), ("--teacher", "mynet:other", "--alpha", "0.9")):
        result = invoke("prune", "mynet:net", *WORDS, *how, *teacher)
        assert result.exit_code == 0, result.output
        told = json.loads((mynet / "a.json").read_text())["teacher"]
        assert told == (teacher[1] if teacher else None)
        states.append(fw.load("small.safetensors"))
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert any(not torch.equal(states[first][name], states[second][name]) for name in states[0])
    if how == WEIGHTS:
        assert sum(int(states[1][f"{n}.weight"].count_nonzero()) for n in (0, 2)) == (8 * 16 + 16 * 3) // 2


def test_the_dense_network_is_that_before_the_first_cut(invoke, trained, monkeypatch):
    """With channels and then weights, what is left of the network is no teacher of itself."""
    from featherweight.cli.pruning import narrowing, weights

    seen = []

    def spied(real):
        def spy(*args, **options):
            seen.append(options["teacher"])
            return real(*args, **options)

        return spy

    for module, name in ((narrowing, "progressive_prune_structured"), (weights, "progressive_prune")):
        monkeypatch.setattr(module, name, spied(getattr(module, name)))
    result = invoke("prune", "mynet:net", *WORDS, *CHANNELS, *WEIGHTS, "--teacher", "dense")
    assert result.exit_code == 0, result.output
    assert len(seen) == 2
    for teacher in seen:
        assert all(torch.equal(value, teacher.state_dict()[n]) for n, value in trained.state_dict().items())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--sparsity", "0.5", "--teacher", "dense"), "--teacher would do nothing without --data"),
        ((*WORDS, "--alpha", "0.5"), "--alpha would do nothing without --teacher"),
        ((*WORDS, "--teacher-loss", "kd", "--temperature", "2"), "--teacher-loss, --temperature would do"),
        ((*WORDS, "--teacher", "dense", "--alpha", "2"), "alpha is between 0 and 1"),
        ((*WORDS, "--teacher", "dense", "--teacher-loss", "kdd"), "Did you mean 'kd'"),
        ((*WORDS, "--teacher", "mynet:four_classes"), "logits"),
        ((*WORDS, *CHANNELS, "--teacher", "mynet:four_classes"), "logits"),
        ((*WORDS, "--teacher", "nonesuch"), "nonesuch"),
    ],
)
def test_what_is_refused(refused, trained, mynet, words, says):
    assert says in " ".join(refused("prune", "mynet:net", *words).split())
    assert not (mynet / "small.safetensors").exists()
    assert not list(mynet.glob(".small*")), "nothing is left behind"
