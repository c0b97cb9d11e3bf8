"""The course of the learning rate."""

import pytest
import torch

from featherweight.training.rates import RATES, make_scheduler


def course(rate, steps, warmup=0.25):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make_scheduler(rate, warmup, optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates, optimizer.param_groups[0]["lr"]


def test_one_cycle_climbs_then_falls_to_zero():
    rates, after = course("one_cycle", 100)
    assert rates[0] == pytest.approx(0.08)
    assert rates.index(max(rates)) == 25
    assert rates[25] == 2.0
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert after == pytest.approx(0.0, abs=1e-12)


def test_cosine_is_half_way_at_half_time():
    rates, after = course("cosine", 10)
    assert rates[0] == 2.0
    assert rates[5] == pytest.approx(1.0)
    assert after == pytest.approx(0.0, abs=1e-12)


def test_constant_stays():
    assert set(course("constant", 5)[0]) == {2.0}


@pytest.mark.parametrize("rate", sorted(RATES))
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_every_rate_stays_within_0_and_1(rate, warmup):
    factors = [RATES[rate](step / 50, warmup) for step in range(51)]
    assert all(0 <= factor <= 1 for factor in factors)
