"""Each allocation against numbers worked out by hand, and LAMP against its definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featherweight.sparsity.allocation import allocations, apportion
from featherweight.sparsity.allocation.lamp import lamp_scores


def test_uniform_keeps_the_same_fraction():
    scores = {"a": torch.rand(10, 10), "b": torch.rand(4, 5), "c": torch.rand(80)}
    assert allocations["uniform"](scores, 20) == {"a": 10, "b": 2, "c": 8}


def test_global_takes_the_highest_wherever_they_are():
    scores = {"a": torch.tensor([9.0, 8.0, 1.0]), "b": torch.tensor([7.0, 0.5, 0.2])}
    assert allocations["global"](scores, 3) == {"a": 2, "b": 1}
    assert allocations["global"](scores, 1) == {"a": 1, "b": 0}


def test_erk_follows_the_sum_of_dimensions():
    # sums 16+8+3+3=30 and 20+10=30: the same number of weights each
    scores = {"conv": torch.rand(16, 8, 3, 3), "fc": torch.rand(20, 10)}
    assert allocations["erk"](scores, 100) == {"conv": 50, "fc": 50}


def test_erk_fills_small_layers_and_shares_the_rest():
    scores = {"big": torch.rand(100, 100), "small": torch.rand(5, 4)}
    assert allocations["erk"](scores, 1000) == {"big": 980, "small": 20}


def test_lamp_scores_equal_the_definition():
    w = torch.tensor([3.0, -1.0, 2.0, 2.0]).abs()
    # in falling order 3, 2, 2, 1: the squares over the sum of all squares as large or larger, ties by index
    expected = torch.tensor([9 / 9, 4 / 13, 4 / 17, 1 / 18], dtype=torch.float64)
    assert torch.allclose(lamp_scores(w), expected)


def test_lamp_never_empties_a_layer_of_small_weights():
    scores = {"large": torch.rand(50, 50) + 10, "tiny": torch.rand(50, 50) * 1e-6}
    assert allocations["global"](scores, 100) == {"large": 100, "tiny": 0}
    assert allocations["lamp"](scores, 100)["tiny"] > 20


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 50)), min_size=1, max_size=8), st.floats(0, 1))
def test_apportion_is_exact_and_within_limits(layers, fraction):
    weights = {str(i): weight for i, (weight, _) in enumerate(layers)}
    limits = {str(i): limit for i, (_, limit) in enumerate(layers)}
    total = round(fraction * sum(limits.values()))
    counts = apportion(weights, limits, total)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= limits[name] for name in counts)


@pytest.mark.parametrize("total", [1, 10, 33])
def test_apportion_is_proportional_where_nothing_is_full(total):
    counts = apportion({"a": 1, "b": 2, "c": 3}, dict.fromkeys("abc", 1000), total)
    assert all(abs(counts[n] - total * w / 6) < 1 for n, w in {"a": 1, "b": 2, "c": 3}.items())
