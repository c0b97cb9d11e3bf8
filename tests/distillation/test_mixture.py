"""Sums of losses from a line, a mapping or objects, and what is refused."""

import math

import pytest

from featherweight.distillation.losses import DistillationLoss, losses
from featherweight.distillation.mixture import name_of, terms_of
from featherweight.errors import SettingError, UnknownNameError


def told(loss):
    return [(term.name, term.weight) for term in terms_of(loss)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kd", [("kd", 1)]),
        ("kd + 50*sp", [("kd", 1), ("sp", 50)]),
        ("  2 * kd+sp ", [("kd", 2), ("sp", 1)]),
        (".5*kd + 1e3*sp + 2.5e-2*mse", [("kd", 0.5), ("sp", 1000), ("mse", 0.025)]),
        ("2.*mse+1e+3*sp", [("mse", 2), ("sp", 1000)]),
    ],
)
def test_a_line_is_read(line, expected):
    assert told(line) == expected


def test_names_become_losses_with_their_defaults_in_order():
    first, second = terms_of("rkd + dkd")
    assert type(first.loss) is losses["rkd"]
    assert type(second.loss) is losses["dkd"]
    assert second.loss.beta == 8


def test_every_registered_loss_has_a_name_that_a_line_can_say():
    for name in losses:
        assert told(f"3*{name}") == [(name, 3)]


def test_each_reading_makes_losses_of_its_own():
    assert terms_of("crd")[0].loss is not terms_of("crd")[0].loss


def test_an_object_is_taken_as_it_is():
    loss = losses["kd"](temperature=2.0)
    (term,) = terms_of(loss)
    assert term.loss is loss
    assert (term.name, term.weight) == ("kd", 1)


def test_a_mapping_has_names_and_objects():
    loss = losses["kd"](temperature=2.0)
    assert told({loss: 3, "sp": 0.5}) == [("kd", 3), ("sp", 0.5)]
    assert terms_of({loss: 3})[0].loss is loss


def test_a_loss_that_is_not_registered_is_called_by_its_class():
    class Mine(DistillationLoss):
        pass

    class Softer(losses["kd"]):
        pass

    assert name_of(Mine()) == "Mine"
    assert name_of(Softer()) == "Softer"
    assert told({"kd": 1, Mine(): 2}) == [("kd", 1), ("Mine", 2)]


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'dkd'\?.*There are: .*kd.*rkd"):
        terms_of("kd + 2*dkdd")


@pytest.mark.parametrize(
    "line", ["", "kd +", "kd + + sp", "kd*2", "-1*kd", "2 kd", "kd - sp", "1e*kd", "2*", "k d"]
)
def test_a_line_that_cannot_be_read_is_shown(line):
    with pytest.raises(SettingError, match="Cannot read") as caught:
        terms_of(line)
    assert repr(line) in str(caught.value)


@pytest.mark.parametrize("loss", ["kd + kd", {"kd": 1, losses["kd"](): 2}])
def test_a_loss_that_comes_twice_is_refused(loss):
    with pytest.raises(SettingError, match="twice"):
        terms_of(loss)


@pytest.mark.parametrize("weight", [0, -1, math.inf, math.nan, "2", None, True])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(SettingError, match="weight of sp"):
        terms_of({"kd": 1, "sp": weight})


def test_a_weight_of_zero_in_a_line_is_refused():
    with pytest.raises(SettingError, match="weight of kd"):
        terms_of("0*kd")


@pytest.mark.parametrize("loss", [{}, None, 3, ["kd"], losses["kd"]])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(SettingError):
        terms_of(loss)


@pytest.mark.parametrize("key", [3, None, ("kd", 1)])
def test_keys_of_a_mapping_are_names_or_losses(key):
    with pytest.raises(SettingError):
        terms_of({key: 1.0})
