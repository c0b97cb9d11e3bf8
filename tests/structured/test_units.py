"""Units: whatever is stated about axes holds for every choice of what is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight.structured.units import NONE, Units, Why, fixed

WHY = Why("a test")


def leaves(units, axis):
    return sorted(set(units.resolve(axis).ravel().tolist()) - {NONE})


def cut(units, axis, removed):
    """Return which indices go when the leaf units ``removed`` go: the definition, index by index."""
    return np.array([any(int(u) in removed for u in row if u != NONE) for row in units.resolve(axis)])


@st.composite
def statements(draw):
    """Return units about which several things were said, and what was said."""
    units, said = Units(), []
    axes = [
        units.fresh(size)
        for size in draw(st.lists(st.sampled_from([2, 3, 4, 6, 8, 12]), min_size=2, max_size=5))
    ]
    for _ in range(draw(st.integers(1, 8))):
        what = draw(st.sampled_from(["unite", "split", "merge", "cat", "slice", "freeze", "shuffle"]))
        axis = draw(st.sampled_from(axes))
        if what == "unite":
            alike = [other for other in axes if len(other) == len(axis)]
            other = draw(st.sampled_from(alike))
            units.unite(axis, other, WHY)
            said.append(("alike", axis, other))
        elif what == "split":
            size = draw(st.sampled_from([d for d in range(1, len(axis) + 1) if len(axis) % d == 0]))
            outer, inner = units.split(axis, [size, len(axis) // size])
            axes += [outer, inner]
            said.append(("product", axis, outer, inner))
        elif what == "merge" and len(axis) <= 12:
            other = draw(st.sampled_from([a for a in axes if len(a) <= 12]))
            axes.append(units.merge([axis, other]))
            said.append(("product", axes[-1], axis, other))
        elif what == "cat":
            other = draw(st.sampled_from(axes))
            width = max(axis.shape[1], other.shape[1])
            padded = [
                np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=NONE) for a in (axis, other)
            ]
            axes.append(np.concatenate(padded))
        elif what == "slice":
            axes.append(axis[: max(1, len(axis) // 2)])
        elif what == "shuffle":
            axes.append(axis[::-1])
        elif what == "freeze":
            units.freeze(axis, WHY)
            said.append(("frozen", axis))
    return units, axes, said


@settings(max_examples=300, deadline=None)
@given(statements(), st.randoms(use_true_random=False))
def test_what_was_said_holds_for_whatever_is_cut(everything, random):
    units, axes, said = everything
    every = sorted({u for axis in axes for u in leaves(units, axis)})
    for share in (0.1, 0.5):
        removed = {u for u in every if random.random() < share}
        for what, *about in said:
            gone = [cut(units, axis, removed) for axis in about]
            if what == "alike":
                assert (gone[0] == gone[1]).all()
            elif what == "product":
                assert (gone[0].reshape(len(gone[1]), -1) == gone[1][:, None] | gone[2][None]).all()
            else:
                assert not gone[0].any()


def test_outputs_viewed_as_heads_times_channels():
    units = Units()
    outputs = units.fresh(12)
    heads, channels = units.split(outputs, [3, 4])
    assert len(leaves(units, heads)) == 3
    assert len(leaves(units, channels)) == 4
    head = leaves(units, heads)[1]
    assert cut(units, outputs, {head}).nonzero()[0].tolist() == [4, 5, 6, 7]


def test_two_products_of_the_same_shape_are_united_factor_by_factor():
    units = Units()
    a, b = units.fresh(12), units.fresh(12)
    heads, channels = units.split(a, [3, 4])
    other = units.split(b, [3, 4])
    units.unite(a, b, WHY)
    assert leaves(units, heads) == leaves(units, other[0])
    assert leaves(units, channels) == leaves(units, other[1])
    assert len(leaves(units, a)) == 7


def test_a_product_and_plain_units():
    units = Units()
    a, plain = units.fresh(12), units.fresh(12)
    units.split(a, [3, 4])
    units.unite(a, plain, WHY)
    assert leaves(units, plain) == leaves(units, a)
    assert len(leaves(units, plain)) == 7


def test_finer_factors_of_a_product():
    units = Units()
    a = units.fresh(24)
    units.split(a, [4, 6])
    parts = units.split(a, [2, 2, 6])
    assert [len(leaves(units, part)) for part in parts] == [2, 2, 6]


def test_concatenation_keeps_its_parts_apart():
    units = Units()
    a, b, weight = units.fresh(3), units.fresh(4), units.fresh(7)
    units.unite(np.concatenate([a, b]), weight, WHY)
    assert leaves(units, weight[:3]) == leaves(units, a)
    assert leaves(units, weight[3:]) == leaves(units, b)


def test_channel_shuffle():
    units = Units()
    channels = units.fresh(6)
    groups, inside = units.split(channels, [2, 3])
    shuffled = units.merge([inside, groups])
    gone = cut(units, shuffled, {leaves(units, inside)[0]})
    assert gone.tolist() == [True, True, False, False, False, False]


def test_meeting_a_fixed_axis_freezes_with_the_reason():
    units = Units()
    a = units.fresh(3)
    units.unite(a, fixed(3), Why("tokens", "aten.add.Tensor", "blocks.0"))
    assert leaves(units, a) == []
    assert [str(why) for why in units.why_frozen(a)] == ["tokens (aten.add.Tensor in blocks.0)"]


def test_freezing_a_product_freezes_its_factors():
    units = Units()
    a = units.fresh(6)
    heads, channels = units.split(a, [2, 3])
    units.freeze(a[:1], WHY)
    assert len(leaves(units, heads)) == 1
    assert len(leaves(units, channels)) == 2


def test_sizes_that_do_not_fit():
    units = Units()
    with pytest.raises(ValueError, match="3 and 4"):
        units.unite(units.fresh(3), units.fresh(4), WHY)
    with pytest.raises(ValueError, match="viewed as 5"):
        units.split(units.fresh(12), [5, 2])
