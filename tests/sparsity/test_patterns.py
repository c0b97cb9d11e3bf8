"""Each pattern against a naive reference, on its way to the target, with dead and indispensable weights."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from featherweight.core.mask import Mask
from featherweight.errors import SettingError, UnknownNameError
from featherweight.sparsity import prune
from featherweight.sparsity.patterns import NM, Blocks, PerOutput, patterns, row_pattern, unstructured

SHAPES = [(6, 1, 16), (5, 9, 3), (3, 4, 10), (8, 1, 1), (1, 2, 7)]


def random_scores(shape, seed=0, dead=0.0):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.rand(shape, generator=rng)
    return scores.masked_fill(torch.rand(shape, generator=rng) < dead, -math.inf)


def entries(scores):
    """All indices, highest score first, of equal ones the first."""
    return sorted(itertools.product(*map(range, scores.shape)), key=lambda at: -float(scores[at]))


def naive_nm(scores, kept, n, m):
    """Take the highest scores as long as their group has room."""
    keep = torch.zeros(scores.shape, dtype=torch.bool)
    for o, p, i in entries(scores):
        start = i - i % m
        length = min(m, scores.shape[2] - start)
        room = math.ceil(n * length / m) - int(keep[o, p, start : start + length].sum())
        if room > 0 and int(keep.sum()) < kept and scores[o, p, i] > -math.inf:
            keep[o, p, i] = True
    return keep


def naive_blocks(scores, kept, height, width):
    """Take the blocks of highest mean until one does not fit."""
    outputs, positions, inputs = scores.shape
    found = []
    for top, p, left in itertools.product(
        range(0, outputs, height), range(positions), range(0, inputs, width)
    ):
        block = scores[top : top + height, p, left : left + width]
        found.append((-float(block.double().mean().float()), (top, p, left), block.numel()))
    keep = torch.zeros(scores.shape, dtype=torch.bool)
    for _, (top, p, left), size in sorted(found, key=lambda item: item[0]):
        if int(keep.sum()) + size > kept:
            break
        keep[top : top + height, p, left : left + width] = True
    return keep


def naive_per_output(scores, kept):
    """Deal one weight to each row in turn, its best; the last round goes to the highest scores."""
    rows = [sorted(entries(row[None]), key=lambda at: -float(row[None][at])) for row in scores]
    keep = torch.zeros(scores.shape, dtype=torch.bool)
    for turn in itertools.count():
        offered = [(o, *row[turn][1:]) for o, row in enumerate(rows) if turn < len(row)]
        offered = [at for at in offered if scores[at] > -math.inf]
        offered.sort(key=lambda at: -float(scores[at]))
        for at in offered[: kept - int(keep.sum())]:
            keep[at] = True
        if int(keep.sum()) == kept:
            return keep


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 2), (4, 8), (1, 3), (3, 5)])
@pytest.mark.parametrize("dead", [0.0, 0.3])
def test_n_of_m_equals_the_naive_one(shape, n, m, dead):
    scores = random_scores(shape, dead=dead)
    most = NM(n, m).most([shape])
    for kept in {0, 1, most // 3, most}:
        expected = naive_nm(scores, kept, n, m)
        assert torch.equal(NM(n, m).mask(scores, kept).keep, expected)
        if not dead:
            assert int(expected.sum()) == kept, "counts are exact"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("height", "width"), [(1, 4), (4, 1), (2, 2), (3, 5), (1, 1)])
def test_blocks_equal_the_naive_ones(shape, height, width):
    scores = random_scores(shape)
    for kept in {0, 1, scores.numel() // 3, scores.numel() - 1, scores.numel()}:
        mask = Blocks(height, width).mask(scores, kept)
        assert torch.equal(mask.keep, naive_blocks(scores, kept, height, width))
        assert kept - height * width < mask.kept <= kept


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dead", [0.0, 0.6])
def test_per_output_equals_the_naive_one(shape, dead):
    scores = random_scores(shape, seed=1, dead=dead)
    alive = int((scores > -math.inf).sum())
    for kept in {0, 1, alive // 3, alive}:
        mask = PerOutput().mask(scores, kept)
        assert mask.kept == kept
        assert torch.equal(mask.keep, naive_per_output(scores, kept))


def test_per_output_keeps_as_many_in_each_row_whatever_their_scores():
    scores = torch.rand(4, 1, 10) + torch.arange(4.0).view(4, 1, 1) * 10  # each row above the one before
    assert PerOutput().mask(scores, 20).keep.sum((1, 2)).tolist() == [5, 5, 5, 5]
    assert PerOutput().mask(scores, 22).keep.sum((1, 2)).tolist() == [5, 5, 6, 6]
    assert unstructured(scores, 20).keep.sum((1, 2)).tolist() == [0, 0, 10, 10], (
        "sabotage: it is not so anyway"
    )


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 13)),
    st.integers(2, 6).flatmap(lambda m: st.tuples(st.integers(1, m - 1), st.just(m))),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
def test_n_of_m_on_its_way_is_nested_and_exact_at_last(shape, n_of_m, levels):
    """Whatever levels come before, and wherever their allocation puts what is free, the last is exact."""
    pattern = NM(*n_of_m)
    most, numel = pattern.most([shape]), math.prod(shape)
    scores = random_scores(shape, seed=2)
    for level in [*sorted((most + round(x * (numel - most)) for x in levels), reverse=True), most]:
        restricted = pattern.restrict({"w": scores}, level)["w"]
        mask = pattern.mask(restricted, level)
        assert mask.kept == level
        assert not bool((mask.keep & (scores == -math.inf)).any())
        scores = random_scores(shape, seed=level).masked_fill(~mask.keep, -math.inf)
    n, m = n_of_m
    groups = [
        row[start : start + m] for row in mask.keep.view(-1, shape[2]) for start in range(0, shape[2], m)
    ]
    assert all(int(group.sum()) == math.ceil(n * len(group) / m) for group in groups)


def test_on_the_way_layers_may_differ_only_as_far_as_the_last_mask_can_still_be_met():
    pattern, scores = NM(2, 4), {"a": torch.rand(4, 1, 8), "b": torch.rand(4, 1, 8)}
    assert pattern.floors(scores, 60) == {"a": 24, "b": 24}, "three of four stay"
    assert pattern.floors(scores, 40) == {"a": 16, "b": 16}, "two of four stay"
    assert pattern.floors(scores, 32) == {"a": 0, "b": 0}, "2:4 allows as many: no group needs any"
    alive = {kept: int((pattern.restrict(scores, kept)["a"] > -math.inf).sum()) for kept in (60, 40, 32, 3)}
    assert alive == {60: 32, 40: 24, 32: 16, 3: 16}


@pytest.mark.parametrize("pattern", [NM(2, 4), Blocks(2, 2), PerOutput()])
def test_entries_that_must_stay_stay_and_the_dead_stay_dead(pattern):
    scores = random_scores((6, 2, 8), dead=0.4)
    scores[torch.arange(6), 1, 3] = math.inf
    floor = pattern.floors({"w": pattern.restrict({"w": scores}, 20)["w"]}, 20)["w"]
    mask = pattern.mask(scores, floor)
    assert mask.kept == floor
    assert bool(mask.keep[scores == math.inf].all())
    assert not bool(mask.keep[scores == -math.inf].any())


def test_a_block_is_worth_the_mean_of_what_is_alive_in_it():
    scores = torch.tensor([[[1.0, -math.inf, 3.0, 3.0, 0.0, 9.0, -math.inf, -math.inf]]])
    shared = Blocks(1, 2).restrict({"w": scores}, 0)["w"]
    dead = -math.inf
    assert shared.flatten().tolist() == [1.0, dead, 3.0, 3.0, 4.5, 4.5, dead, dead]
    assert Blocks(1, 2).mask(scores, 5).keep.flatten().tolist() == [1, 0, 1, 1, 1, 1, 0, 0]
    assert Blocks(1, 2).mask(scores, 4).kept == 4


def test_blocks_of_the_largest_scores_do_not_overflow():
    largest = torch.finfo(torch.float32).max
    scores = torch.full((2, 1, 4), largest)
    assert bool((Blocks(2, 2).restrict({"w": scores}, 0)["w"] == largest).all())
    assert Blocks(2, 2).floors({"w": scores}, 8) == {"w": 0}, "nothing has to stay"


def test_ties_go_to_the_first():
    ones = torch.ones(2, 1, 8)
    assert NM(2, 4).mask(ones, 6).keep.int().tolist() == [
        [[1, 1, 0, 0, 1, 1, 0, 0]],
        [[1, 1, 0, 0, 0, 0, 0, 0]],
    ]
    assert Blocks(1, 4).mask(ones, 7).keep.int().tolist() == [[[1, 1, 1, 1, 0, 0, 0, 0]], [[0] * 8]]
    assert PerOutput().mask(ones, 3).keep.int().tolist() == [[[1, 1] + [0] * 6], [[1] + [0] * 7]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2:4", NM(2, 4)),
        ("1:16", NM(1, 16)),
        ("1x4", Blocks(1, 4)),
        ("32x1", Blocks(32, 1)),
        ("per_output", PerOutput()),
    ],
)
def test_names_are_read(name, expected):
    assert patterns[name] == row_pattern(name) == row_pattern(expected) == expected
    assert name in patterns


@pytest.mark.parametrize(
    "name", ["2-4", "two:four", "1x", "x4", "2:4:8", "-1:4", "1 x 4", "any", 24, None, NM]
)
def test_other_names_are_refused_with_the_choices(name):
    assert name not in patterns
    with pytest.raises(UnknownNameError) as error:
        row_pattern(name)
    said = str(error.value)
    assert f"No pattern is called {name!r}." in said
    assert "There are: 1x4, 2:4, per_output, unstructured." in said
    assert (
        "Also names of the form RxC (blocks of R outputs by C inputs, such as 4x1) and N:M (at most" in said
    )


@pytest.mark.parametrize("name", ["4:2", "4:4", "0:4", "0x4", "4x0"])
def test_numbers_that_make_no_pattern_are_refused(name):
    with pytest.raises(SettingError, match=f"got {name}"):
        prune(nn.Linear(4, 4), 0.5, pattern=name)


@pytest.mark.parametrize("make", [lambda: NM(2.0, 4), lambda: Blocks(1.5, 4), lambda: Blocks(1, "4")])
def test_sizes_are_whole_numbers(make):
    with pytest.raises(SettingError, match="got"):
        make()


@pytest.mark.parametrize(
    ("pattern", "sparsity", "lowest"), [("2:4", 0.3, 0.5), (NM(1, 8), 0.5, 0.875), ("2:4", 0.49, 0.5)]
)
def test_a_sparsity_that_the_pattern_does_not_allow_is_refused(pattern, sparsity, lowest):
    model = nn.Linear(64, 64)
    before = model.weight.detach().clone()
    with pytest.raises(SettingError, match=f"lowest sparsity that works is {lowest}, got {sparsity}"):
        prune(model, sparsity, pattern=pattern)
    assert torch.equal(model.weight, before)
    assert prune(model, lowest, pattern=pattern).sparsity == lowest


def test_the_lowest_sparsity_of_sizes_that_are_not_divisible_works():
    model = nn.Linear(7, 3)  # groups of 4 and 3: 2 + 2 of 7 stay
    with pytest.raises(SettingError, match=r"at most 12 of these 21 weights.* is 0\.4286, got 0\.4\."):
        prune(model, 0.4, pattern="2:4")
    assert prune(model, 0.4286, pattern="2:4").kept == 12


def test_a_function_of_scores_in_the_shape_of_the_weight():
    def first_column(scores, kept):
        assert scores.shape == (4, 6)
        keep = torch.zeros(4, 6, dtype=torch.bool)
        keep[:, 0] = True
        return Mask(keep)

    model = nn.Linear(6, 4)
    prune(model, 1 - 4 / 24, pattern=first_column)
    assert bool((model.weight[:, 1:] == 0).all())


def test_the_patterns_show_their_settings():
    assert repr(NM(2, 4)) == "NM(n=2, m=4)"
    assert repr(Blocks(1, 4)) == "Blocks(outputs=1, inputs=4)"
