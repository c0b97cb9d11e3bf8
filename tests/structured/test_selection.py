"""Which units go: the least important, no further than the target, and not below the floors."""

import numpy as np
import pytest
import torch
from torch import nn

from featherweight.core.trace import trace
from featherweight.errors import SettingError
from featherweight.structured import cost
from featherweight.structured.axes import trace_axes
from featherweight.structured.groups import find_groups
from featherweight.structured.importance import Context, importances
from featherweight.structured.selection import Floors, Ranking, smallest_cut


@pytest.fixture
def ranked():
    """Return a function that ranks the units of a small network."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    tracing = trace_axes(trace(model, torch.zeros(1, 6)))
    groups = find_groups(tracing)
    context = Context(model, dict(model.named_parameters()))

    def make(criterion="l2", scope="global", **floors):
        scores = [importances[criterion](group, context) for group in groups]
        return Ranking(tracing, groups, scores, scope, Floors(**floors))

    return make


def kept(cut):
    return [
        int(cut.kept(cut.tracing.axes[cut.tracing.stored[f"{layer}.weight"]][0]).sum()) for layer in (0, 2)
    ]


def test_the_least_important_go_first(ranked):
    ranking = ranked(scope="group")
    cut = ranking.cut(0.25)
    for group, scores in zip(ranking.groups, ranking.scores, strict=True):
        gone = np.isin(group.units, cut.removed)
        assert gone.sum() == len(group) // 4
        assert scores[gone].max() < scores[~gone].min()


def test_nothing_and_everything(ranked):
    assert kept(ranked().cut(0)) == [16, 32]
    assert kept(ranked().cut(1)) == [1, 1]
    assert kept(ranked(min_keep=3).cut(1)) == [3, 3]


def test_numbers_of_units_are_rounded_up(ranked):
    for share in np.linspace(0, 1, 9):
        assert all(count % 8 == 0 for count in kept(ranked(round_to=8).cut(share)))
    assert kept(ranked(round_to=20).cut(1)) == [
        1,
        20,
    ]  # a group that is smaller than a multiple is not rounded


@pytest.mark.parametrize("scope", ["global", "group"])
@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
def test_a_target_is_reached_and_not_by_far(ranked, scope, share):
    ranking = ranked(scope=scope)
    target = share * cost.macs(ranking.cut(0))
    cut = smallest_cut(ranking, cost.macs, target, "macs=...")
    assert cost.macs(cut) <= target
    assert cost.macs(cut) > target - 0.12 * cost.macs(ranking.cut(0))


def test_a_target_below_the_floors_says_how_far_it_gets(ranked):
    ranking = ranked(min_keep=8)
    least = cost.params(ranking.cut(1))
    with pytest.raises(SettingError, match=f"{least:,} are left, more than 10"):
        smallest_cut(ranking, cost.params, 10, "params=10")


@pytest.mark.parametrize("criterion", ["l1", "l2", "fpgm", "random"])
def test_criteria_score_each_unit(ranked, criterion):
    for group, scores in zip(ranked().groups, ranked(criterion).scores, strict=True):
        assert scores.shape == (len(group),)
        assert np.isfinite(scores).all()
        assert len(np.unique(scores)) > 1


@pytest.mark.parametrize("setting", [{"min_keep": 0}, {"round_to": 2.5}, {"round_to": True}])
def test_floors_are_checked(setting):
    with pytest.raises(SettingError, match="at least 1"):
        Floors(**setting)
