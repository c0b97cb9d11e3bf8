"""Structured pruning in one call: targets, what is left alone, and what it says when it cannot."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from featherweight.errors import ModelError, SettingError, SurgeryError, TraceError
from featherweight.profile import profile
from featherweight.structured import prune as module
from featherweight.structured.importance import importances
from featherweight.structured.prune import prune_structured
from featherweight.zoo import build

INPUTS = torch.randn(2, 1, 28, 28)


@pytest.fixture
def cnn():
    torch.manual_seed(0)
    return build("small_cnn").eval()


@pytest.fixture
def wrong(monkeypatch):
    """A rewriting that makes a mistake."""

    def rewritten(cut):
        small = right(cut)
        small.get_parameter("convs.1.weight").data.mul_(-1)
        return small

    right = module.rewritten
    monkeypatch.setattr(module, "rewritten", rewritten)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_third_of_the_macs_in_the_same_class(cnn):
    before = copy.deepcopy(cnn)
    small, surgery = prune_structured(cnn, INPUTS, macs=1 / 3)
    assert small is cnn
    assert surgery.macs == (profile(before, INPUTS).macs, profile(small, INPUTS).macs)
    assert 0.3 < surgery.macs[1] / surgery.macs[0] <= 1 / 3
    assert surgery.params == (count(before), count(small))
    assert surgery.difference < 1e-4
    assert small.convs[1].out_channels == len(small.convs[1].weight) == surgery.widths[1][2]


@pytest.mark.parametrize("target", ["keep", "params", "macs"])
@pytest.mark.parametrize("scope", ["global", "group"])
def test_targets_and_scopes(cnn, target, scope):
    _, surgery = prune_structured(cnn, INPUTS, **{target: 0.5}, scope=scope)
    if target == "keep":
        before, after = (sum(widths[place] for widths in surgery.widths) for place in (1, 2))
        assert after == before / 2
    else:
        before, after = getattr(surgery, target)
        assert 0.4 < after / before <= 0.5


@pytest.mark.parametrize("scope", ["global", "group"])
@pytest.mark.parametrize("keep", [0.29, 0.5, 0.777])
@pytest.mark.parametrize("floors", [{}, {"round_to": 32}, {"min_keep": 10}])
def test_keep_leaves_at_most_that(cnn, scope, keep, floors):
    _, surgery = prune_structured(cnn, INPUTS, keep=keep, scope=scope, **floors)
    before, after = (sum(widths[place] for widths in surgery.widths) for place in (1, 2))
    assert after <= keep * before
    assert surgery.reached.predicted == surgery.reached.achieved == after / before
    if not floors and scope == "global":
        assert after == int(keep * before)
    if not floors and scope == "group":
        assert all(after == int(keep * before) for _, before, after in surgery.widths)


@pytest.mark.parametrize("scope", ["global", "group"])
@pytest.mark.parametrize("floors", [{"min_keep": 60}, {"round_to": 64}])
def test_a_keep_below_the_floors_says_how_far_it_gets(cnn, scope, floors):
    least = 32 + 3 * 60 if "min_keep" in floors else 1 + 3 * 64
    with pytest.raises(SettingError, match=rf"keep=0\.1 cannot be reached: .* floor {least} are left, more"):
        prune_structured(cnn, INPUTS, keep=0.1, scope=scope, **floors)


@pytest.mark.parametrize("target", ["keep", "params", "macs"])
def test_a_fresh_network_whose_channels_score_alike(cnn, target):
    _, surgery = prune_structured(cnn, INPUTS, **{target: 0.5}, criterion="bn_scale")
    assert 0.45 < surgery.reached.achieved <= 0.5
    left = [after / before for _, before, after in surgery.widths]
    assert max(left) - min(left) < 0.05


def seconds(model):
    """Stand in for a clock: a microsecond a parameter, and one for the network."""
    return 1e-6 * (1 + count(model))


def test_latency_by_a_clock_of_the_users_own(cnn):
    before = count(cnn)
    small, surgery = prune_structured(cnn, INPUTS, latency=0.5, clock=seconds)
    reached = surgery.reached
    assert (reached.target, reached.asked) == ("latency", 0.5)
    assert 0.45 < reached.predicted <= 0.5
    assert reached.achieved == reached.predicted == pytest.approx((1 + count(small)) / (1 + before))


def test_latency_that_is_measured(cnn):
    inputs = torch.randn(64, 1, 28, 28)
    _, surgery = prune_structured(cnn, inputs, latency=0.6)
    assert surgery.macs[1] < surgery.macs[0]
    assert surgery.reached.predicted <= 0.6
    assert surgery.reached.achieved > 0


def test_a_latency_that_cannot_be_reached_says_how_far_it_gets(cnn):
    state = copy.deepcopy(cnn.state_dict())
    with pytest.raises(SettingError, match=r"latency=0\.5 cannot be reached.*1 are left"):
        prune_structured(cnn, INPUTS, latency=0.5, clock=lambda model: 3.0)
    with pytest.raises(SettingError, match="it returned 'fast'"):
        prune_structured(cnn, INPUTS, latency=0.5, clock=lambda model: "fast")
    with pytest.raises(SettingError, match="would do nothing"):
        prune_structured(cnn, INPUTS, macs=0.5, clock=seconds)
    assert all(torch.equal(tensor, state[name]) for name, tensor in cnn.state_dict().items())


def test_an_error_after_the_cut_leaves_the_network_as_it_was(cnn):
    state = copy.deepcopy(cnn.state_dict())
    optimizer = torch.optim.SGD(cnn.parameters(), 0.1)

    def broken(model):
        if cnn.convs[1].out_channels < 64:  # what was predicted is cut and looked at
            raise RuntimeError("the clock stopped")
        return seconds(model)

    with pytest.raises(RuntimeError, match="the clock stopped"):
        prune_structured(cnn, INPUTS, latency=0.5, clock=broken, optimizer=optimizer)
    assert cnn.convs[1].out_channels == 64
    assert all(torch.equal(tensor, state[name]) for name, tensor in cnn.state_dict().items())
    small, _ = prune_structured(cnn, INPUTS, latency=0.5, clock=seconds, optimizer=optimizer)
    assert count(small) < sum(tensor.numel() for tensor in state.values())


def test_an_interrupt_while_the_result_is_put_together_undoes_the_cut(cnn, monkeypatch):
    state = copy.deepcopy(cnn.state_dict())

    def interrupted(cut):
        if cnn.convs[1].out_channels < 64:
            raise KeyboardInterrupt
        return real(cut)

    real = module.cost.macs
    monkeypatch.setattr(module.cost, "macs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune_structured(cnn, INPUTS, keep=0.5)
    assert cnn.convs[1].out_channels == 64
    assert all(torch.equal(tensor, state[name]) for name, tensor in cnn.state_dict().items())


def test_a_rule_that_is_wrong_is_named_by_its_group(cnn, wrong):
    with pytest.raises(SurgeryError, match=r"for group 'convs\.\d\.weight', which is cut together in convs"):
        prune_structured(cnn, INPUTS, keep=0.5)


def test_what_was_predicted_is_counted_on_the_result(cnn):
    for target in ("params", "macs", "keep"):
        _, surgery = prune_structured(copy.deepcopy(cnn), INPUTS, **{target: 0.5})
        assert surgery.reached.predicted == surgery.reached.achieved <= 0.5
        assert f"{target}: 0.5 at most was asked" in str(surgery)


@pytest.mark.parametrize("criterion", importances)
def test_every_criterion_cuts(cnn, criterion):
    data = [(INPUTS, torch.tensor([1, 2]))]
    _, surgery = prune_structured(cnn, INPUTS, keep=0.5, scope="group", criterion=criterion, data=data)
    assert [after for _, _, after in surgery.widths] == [16, 32, 64, 128]


def test_taylor_takes_what_the_loss_does_not_need(cnn):
    with torch.no_grad():
        cnn.convs[3].weight[:, 5] *= 100  # large, and without effect: nothing comes out of channel 5
        cnn.norms[2].weight[5] = cnn.norms[2].bias[5] = 0
    settings = {"keep": 0.8, "scope": "group", "data": [(INPUTS, torch.tensor([1, 2]))]}
    _, surgery = prune_structured(copy.deepcopy(cnn), INPUTS, criterion="taylor", **settings)
    assert 5 not in surgery.kept["convs.2.weight"][0]
    _, surgery = prune_structured(cnn, INPUTS, criterion="l2", **settings)
    assert 5 in surgery.kept["convs.2.weight"][0]


def test_a_latency_compares_networks_of_one_form(cnn):
    seen = []

    def clock(module):
        seen.append(type(module).__name__)
        return seconds(module)

    prune_structured(cnn, INPUTS, latency=0.5, clock=clock)
    assert set(seen) == {"GraphModule"}


LABELS = torch.tensor([1, 2])


class Named(nn.Module):
    """Takes batches of names, and may compute its own loss."""

    def __init__(self, own):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.own = nn.Linear(6, 12), nn.Linear(12, 3), own

    def forward(self, x, labels=None):
        scores = self.b(torch.relu(self.a(x)))
        if labels is None or not self.own:
            return scores
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


@pytest.mark.parametrize("own", [False, True])
def test_gradients_on_batches_with_names(own):
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    settings = {"keep": 0.5, "criterion": "taylor"}
    _, expected = prune_structured(Named(own), {"x": x}, data=[({"x": x}, LABELS)], **settings)
    _, surgery = prune_structured(Named(own), {"x": x}, data=[{"x": x, "labels": LABELS}], **settings)
    assert surgery.kept == expected.kept


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "gave no batch"),
        (3, "got a int"),
        ([3], "batch of data= is .inputs, targets.*got a int"),
        ([{"x": 1}], "mapping with 'labels'; got a dict"),
    ],
)
def test_data_of_another_form(cnn, data, message):
    with pytest.raises(SettingError, match=message):
        prune_structured(cnn, INPUTS, keep=0.5, criterion="taylor", data=data)


def test_a_model_without_gradients_or_values(cnn):
    data = [(INPUTS, LABELS)]
    with pytest.raises(ModelError, match="Every parameter is frozen"):
        prune_structured(cnn.requires_grad_(False), INPUTS, keep=0.5, criterion="taylor", data=data)
    with pytest.raises(ModelError, match="on the meta device"):
        prune_structured(cnn.to("meta"), INPUTS, keep=0.5)


@pytest.mark.parametrize("example", [None, 3, "x"])
def test_inputs_that_are_none(cnn, example):
    with pytest.raises(SettingError, match=r"example_inputs is a tensor.*got a (NoneType|int|str)"):
        prune_structured(cnn, example, keep=0.5)


@pytest.mark.parametrize(
    "scores",
    [
        lambda group: torch.ones(3),
        lambda group: 3,
        lambda group: None,
        lambda group: np.full(len(group), np.nan),
        lambda group: np.full(len(group), np.inf),
        lambda group: ["a"] * len(group),
    ],
)
def test_what_a_criterion_returns_is_checked(cnn, scores):
    before = count(cnn)
    with pytest.raises(SettingError, match=r"each unit, 32 in group 'convs\.0\.weight'"):
        prune_structured(cnn, INPUTS, keep=0.5, criterion=lambda group, context: scores(group))
    assert count(cnn) == before


def test_a_criterion_may_return_tensors(cnn):
    _, surgery = prune_structured(cnn, INPUTS, keep=0.5, criterion=lambda group, _: torch.ones(len(group)))
    assert surgery.reached.achieved == 0.5


def test_taylor_without_data(cnn):
    with pytest.raises(SettingError, match="pass data="):
        prune_structured(cnn, INPUTS, keep=0.5, criterion="taylor")


def test_what_is_skipped_stays(cnn):
    _, surgery = prune_structured(cnn, INPUTS, keep=0.5, scope="group", skip=["convs.1", "norms.3"])
    assert [after for _, _, after in surgery.widths] == [32, 64, 64, 256]
    assert surgery.skipped == ("convs.0.weight", "convs.1.weight", "convs.3.weight")
    assert "left alone on request: convs.1.weight" in str(surgery)


def test_a_size_in_the_forward_gives_the_rewritten_graph(written):
    model = written()
    small, surgery = prune_structured(model, torch.randn(4, 6), keep=0.5)
    assert small is not model
    assert surgery.attributes is None
    assert (count(small), count(model)) == (63, 123)
    assert small(torch.randn(4, 6)).shape == (4, 3)


@pytest.mark.usefixtures("wrong")
def test_a_wrong_cut_is_refused_and_nothing_is_changed(cnn):
    before = {name: tensor.clone() for name, tensor in cnn.state_dict().items()}
    with pytest.raises(SurgeryError, match="differs from the same network"):
        prune_structured(cnn, INPUTS, keep=0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in cnn.state_dict().items())


@pytest.mark.usefixtures("wrong")
def test_a_last_layer_of_zeros_hides_nothing(cnn):
    nn.init.zeros_(cnn.fc.weight)
    with pytest.raises(SurgeryError):
        prune_structured(cnn, INPUTS, keep=0.5)
    assert not cnn.fc.weight.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "one of keep=, params=, macs="),
        ({"keep": 0.5, "macs": 0.5}, "got keep=0.5, macs=0.5"),
        ({"macs": 3.0}, "between 0 and 1, got 3.0"),
        ({"keep": 0.5, "scope": "all"}, "global, group"),
        ({"keep": 0.5, "criterion": "l3"}, "l1, l2"),
        ({"keep": 0.5, "skip": "convz"}, "convs"),
        ({"keep": 0.5, "skip": None}, "skip is a sequence of names"),
        ({"keep": 0.5, "skip": [3]}, "skip is a sequence of names"),
        ({"latency": 0.5, "clock": 3}, "clock is a function"),
        ({"keep": 0.5, "criterion": None}, "criterion is a name or a function"),
        ({"params": 1e-6}, "cannot be reached"),
    ],
)
def test_settings_are_checked_before_anything_is_changed(cnn, settings, message):
    before = count(cnn)
    with pytest.raises(SettingError, match=message):
        prune_structured(cnn, INPUTS, **settings)
    assert count(cnn) == before


def test_nothing_to_cut_and_nothing_to_trace():
    with pytest.raises(ModelError, match=r"0\.weight\[0\]: output of the network"):
        prune_structured(nn.Sequential(nn.Linear(4, 4)), torch.randn(1, 4), keep=0.5)

    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(TraceError, match="cannot trace Branching"):
        prune_structured(Branching(), torch.randn(3), keep=0.5)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    "adamw, fused": lambda p: torch.optim.AdamW(p, 0.01, fused=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("where", ["in place", "rewritten"])
def test_training_goes_on_with_the_state_that_is_left(written, name, where):
    torch.manual_seed(0)
    model = (
        written() if where == "rewritten" else nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    )
    first = "a" if where == "rewritten" else "0"
    inputs, optimizer = torch.randn(4, 6), OPTIMIZERS[name](model.parameters())
    model(inputs).square().sum().backward()
    optimizer.step()
    key = "momentum_buffer" if name == "sgd" else "exp_avg"
    momentum = optimizer.state[model.get_parameter(f"{first}.weight")][key].clone()
    small, surgery = prune_structured(model, inputs, keep=0.5, optimizer=optimizer)
    kept = list(surgery.kept[f"{first}.weight"][0])
    weight = small.get_parameter(f"{first}.weight")
    assert torch.equal(optimizer.state[weight][key], momentum[kept])
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in small.parameters()}
    before = weight.detach().clone()
    optimizer.zero_grad()
    small(inputs).square().sum().backward()
    optimizer.step()
    assert weight.grad.shape == weight.shape == (6, 6)
    assert not torch.equal(weight, before)
