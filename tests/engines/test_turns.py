"""Sides take turns, and each is timed by the same clock."""

import itertools

import pytest

from featherweight.engines import Spread, in_turns, turns


def test_sides_take_turns_whose_first_call_does_not_count():
    calls, now = [], itertools.count(0.0, 0.25)

    def side(name):
        return lambda: calls.append(name)

    times = in_turns({"a": side("a"), "b": side("b")}, seconds=0.1, clock=lambda: next(now))
    assert calls == (["a"] * 4 + ["b"] * 4) * 2
    assert times == {name: Spread(250.0, 250.0, 250.0, 6) for name in "ab"}


def test_it_goes_on_for_as_long_as_is_asked():
    now = itertools.count(0.0, 0.01)
    times = in_turns({"a": lambda: None, "b": lambda: None}, seconds=1.0, clock=lambda: next(now))
    assert times["a"].calls == times["b"].calls == pytest.approx(24, abs=3)


def test_a_spread_is_median_and_quartiles():
    spread = Spread.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (spread.median, spread.low, spread.calls) == (3.0, 1.5, 5)
    assert str(spread) == "3 [1.5-52]"


def test_sides_rest_before_their_turn(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(turns, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    work = {"a": lambda: now.__setitem__(0, now[0] + 0.002), "b": lambda: None}
    times = in_turns(work, seconds=0.0, rest=0.5, clock=lambda: now[0])
    assert now[0] == pytest.approx(4 * 0.5 + 8 * 0.002)
    assert times["a"].median == pytest.approx(2.0)  # the rest is not timed
