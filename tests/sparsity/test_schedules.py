"""Schedules against their formulas."""

import pytest

from featherweight.errors import SettingError
from featherweight.sparsity.schedules import Cubic, Iterative, Linear, OneShot


def test_cubic_is_zhu_and_gupta():
    schedule = Cubic(begin=10, end=110, every=10)
    assert schedule.sparsity_at(60, 0.9) == pytest.approx(0.9 - 0.9 * 0.5**3)
    assert schedule.sparsity_at(60, 0.9, initial=0.5) == pytest.approx(0.9 - 0.4 * 0.5**3)


def test_linear():
    assert Linear(begin=0, end=100, every=1).sparsity_at(25, 0.8) == pytest.approx(0.2)


def test_ramp_updates_every_so_often_and_at_the_end():
    schedule = Cubic(begin=3, end=12, every=4)
    assert [s for s in range(20) if schedule.updates_at(s)] == [3, 7, 11, 12]


def test_without_every_a_ramp_takes_a_hundred_updates():
    schedule = Cubic(begin=0, end=1000)
    assert schedule.is_planned
    assert [s for s in range(2000) if schedule.updates_at(s)] == list(range(0, 1001, 10))
    assert [s for s in range(99) if Cubic(begin=0, end=5).updates_at(s)] == [0, 1, 2, 3, 4, 5]


def test_iterative_removes_the_same_fraction_each_round():
    schedule = Iterative(begin=0, end=20, rounds=3)
    assert [s for s in range(30) if schedule.updates_at(s)] == [0, 10, 20]
    kept = [1 - schedule.sparsity_at(s, 0.936) for s in (0, 9, 10, 20)]
    assert kept == pytest.approx([0.4, 0.4, 0.16, 0.064])


def test_one_shot_is_one_update():
    schedule = OneShot(begin=4)
    assert [s for s in range(9) if schedule.updates_at(s)] == [4]
    assert [schedule.sparsity_at(s, 0.9) for s in (3, 4, 5)] == [0.0, 0.9, 0.9]


def test_fractions_are_planned_into_steps():
    planned = Cubic(begin=0.1, end=0.5, every=0.01).planned(1000)
    assert (planned.begin, planned.end, planned.every) == (100, 500, 10)
    assert planned.is_planned
    assert not Cubic(begin=0.1).is_planned
    assert Cubic(begin=0, end=0.5, every=0.01).planned(10).every == 1
    assert Cubic(begin=7, end=9, every=2).planned(1000) == Cubic(begin=7, end=9, every=2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cubic(begin=-1, end=5, every=1),
        lambda: Cubic(begin=0, end=1.5, every=1),
        lambda: Cubic(begin=10, end=5, every=1),
        lambda: Cubic(begin=0, end=5, every=0),
        lambda: Cubic(begin=0, end="5", every=1),
        lambda: Iterative(rounds=1),
        lambda: OneShot(begin=True),
    ],
)
def test_bad_times_are_refused(make):
    with pytest.raises(SettingError):
        make()
