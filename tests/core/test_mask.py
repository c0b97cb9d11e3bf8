"""Exact counts, ties by index: against a naive reference."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from featherweight.core.mask import Mask, kth_largest
from featherweight.errors import MaskError, SettingError


def naive_top(scores, kept):
    """Sort by falling score, then by rising index."""
    flat = scores.reshape(-1).tolist()
    chosen = sorted(range(len(flat)), key=lambda i: (-flat[i], i))[:kept]
    keep = torch.zeros(len(flat), dtype=torch.bool)
    keep[chosen] = True
    return keep.view(scores.shape)


@given(
    npst.arrays("float32", npst.array_shapes(max_dims=4), elements=st.sampled_from([-1, 0, 0.5, 2])),
    st.floats(0, 1),
)
def test_top_equals_the_naive_reference_under_ties(array, fraction):
    scores = torch.from_numpy(array)
    kept = round(fraction * scores.numel())
    mask = Mask.top(scores, kept)
    assert mask.kept == kept
    assert torch.equal(mask.keep, naive_top(scores, kept))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_kth_largest(dtype):
    values = torch.tensor([3, 1, 2, 2, 5], dtype=dtype)
    assert [kth_largest(values, k).item() for k in (1, 2, 3, 4, 5)] == [5, 3, 2, 2, 1]


@given(
    npst.arrays(
        "float32", npst.array_shapes(max_dims=1), elements=st.sampled_from([-np.inf, 0, 1, 2, np.inf])
    )
)
def test_kth_largest_equals_sorting_whatever_is_shared(array):
    flat = torch.from_numpy(array)
    expected = flat.sort(descending=True).values.tolist()
    assert [kth_largest(flat, k).item() for k in range(1, len(array) + 1)] == expected


@pytest.mark.parametrize("dead", [0, 1, 2, 32, 64])
def test_kth_largest_with_few_or_many_dead(dead):
    flat = torch.arange(64.0)
    flat[:dead] = -torch.inf
    assert [kth_largest(flat, k).item() for k in range(1, 65)] == flat.flip(0).tolist()


def test_infinite_scores_are_kept_first_and_dropped_first():
    scores = torch.tensor([1.0, torch.inf, -torch.inf, 0.0])
    assert Mask.top(scores, 1).keep.tolist() == [False, True, False, False]
    assert Mask.top(scores, 3).keep.tolist() == [True, True, False, True]


def test_does_not_change_the_scores():
    scores = torch.tensor([3.0, 1.0, 2.0])
    Mask.top(scores, 2)
    assert scores.tolist() == [3.0, 1.0, 2.0]


def test_more_than_quantile_can_take():
    scores = torch.arange(17_000_000, dtype=torch.float32).remainder_(1_000_003)
    assert Mask.top(scores, 1_700_000).kept == 1_700_000


def test_rejects_what_is_no_mask_and_impossible_counts():
    with pytest.raises(MaskError, match="bool"):
        Mask(torch.ones(2))
    with pytest.raises(SettingError, match=r"0\.\.2, got 3"):
        Mask.top(torch.ones(2), 3)


def test_sparsity_counts_zeros():
    mask = Mask(torch.tensor([True, False, False, False]))
    assert (mask.kept, mask.numel, mask.sparsity) == (1, 4, 0.75)
