"""Schedules against their formulas."""

import itertools
import math
from dataclasses import dataclass

import pytest

from featherweight.errors import SettingError
from featherweight.sparsity.schedules import (
    ACDC,
    SET,
    Cubic,
    Growth,
    Iterative,
    Linear,
    OneShot,
    RigL,
    Schedule,
)


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
        lambda: SET(fraction=0),
        lambda: SET(fraction=1),
        lambda: RigL(fraction=True),
        lambda: RigL(fraction="0.3"),
        lambda: RigL(begin=0, end=10, every=10),
        lambda: RigL(begin=0.5, end=0.2),
        lambda: RigL(begin=0, end=10),
        lambda: ACDC(begin=0, end=10, every=10),
        lambda: ACDC(begin=0, end=20, every=0),
        lambda: Growth(1.1, "random"),
        lambda: Growth(0.5, "magnitude"),
    ],
)
def test_bad_times_are_refused(make):
    with pytest.raises(SettingError):
        make()


def test_set_moves_the_same_fraction_at_even_intervals():
    schedule = SET(begin=2, end=30, every=10, fraction=0.2)
    assert [s for s in range(50) if schedule.updates_at(s)] == [2]
    assert {s: schedule.growth_at(s) for s in range(50) if schedule.growth_at(s)} == {
        12: Growth(0.2, "random"),
        22: Growth(0.2, "random"),
    }
    assert [schedule.sparsity_at(s, 0.9) for s in (1, 2, 40)] == [0.0, 0.9, 0.9]


def test_rigl_is_evci_and_others():
    schedule = RigL(begin=0, end=100, every=25, fraction=0.3)
    moves = {s: schedule.growth_at(s) for s in range(200) if schedule.growth_at(s)}
    assert list(moves) == [25, 50, 75]
    assert {move.by for move in moves.values()} == {"gradient"}
    half = math.sqrt(0.5)
    expected = [0.15 * (1 + half), 0.15, 0.15 * (1 - half)]
    assert [move.fraction for move in moves.values()] == pytest.approx(expected)


def test_without_every_weights_move_a_hundred_times_and_not_more_often_than_each_ten_steps():
    assert [s for s in range(3000) if RigL(begin=0, end=2000).growth_at(s)] == list(range(20, 2000, 20))
    assert [s for s in range(99) if SET(begin=5, end=50).growth_at(s)] == [15, 25, 35, 45]


def test_acdc_is_that_of_peste_and_others_in_100_epochs():
    schedule = ACDC().planned(1000)
    compressed = [step // 50 for step in range(0, 1000, 50) if schedule.sparsity_at(step, 0.9)]
    assert compressed == [2, 4, 6, 8, 10, 12, 14, 17, 18, 19]
    updates = [step for step in range(1001) if schedule.updates_at(step)]
    assert updates == [*range(100, 751, 50), 850]
    assert {schedule.sparsity_at(step, 0.9, initial=0.2) for step in range(1000)} == {0.2, 0.9}


def test_acdc_is_ready_while_it_is_compressed():
    schedule = ACDC(begin=2, end=8, every=2)
    assert [schedule.sparsity_at(s, 0.9) > 0 for s in range(10)] == [schedule.ready_at(s) for s in range(10)]
    assert [s for s in range(10) if schedule.ready_at(s)] == [2, 3, 8, 9]
    assert not ACDC().ready_at(10**6)


@pytest.mark.parametrize("steps", range(20, 300, 7))
def test_acdc_ends_compressed_after_a_decompressed_phase_however_its_fractions_round(steps):
    schedule = ACDC().planned(steps)
    assert schedule.ready_at(schedule.end)
    assert not schedule.ready_at(schedule.end - 1)
    phases = [ready for ready, _ in itertools.groupby(map(schedule.ready_at, range(steps)))]
    assert phases[-1]
    assert phases.count(True) >= 2


def test_what_changes_last_and_which_bring_weights_back():
    changes = [(s.grows, s.last) for s in (Cubic(end=9), OneShot(4), SET(end=50), RigL(end=60), ACDC(end=70))]
    assert changes == [(False, 9), (False, 4), (True, 50), (True, 60), (True, 70)]


def test_a_schedule_of_ones_own_needs_no_more_than_before():
    @dataclass(frozen=True)
    class Mine(Schedule):
        def updates_at(self, step):
            return step == self.begin

        def _between(self, progress, initial, target):
            return target

    assert Mine(begin=3).growth_at(3) is None
    assert [Mine(begin=3).ready_at(step) for step in (2, 3)] == [False, True]
    assert not Mine().grows
