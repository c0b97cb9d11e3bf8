"""Where branches part, of records that are written down here."""

import pytest

from featherweight.errors import DataError
from featherweight.sparsity.lottery.records import LevelRecord
from featherweight.sparsity.lottery.summary import curves, lasting, parting, statements


def record(branch, level, seed, test, validation=0.5):
    kept = round(1000 * 0.8**level)
    return LevelRecord("", branch, seed, level, kept, 1000, validation, test, 100, 10, 10, 0, 1.0)


def of(branch, *levels, first=1):
    """Return records: a level each, an accuracy for each seed."""
    return [
        record(branch, level, seed, value)
        for level, values in enumerate(levels, start=first)
        for seed, value in enumerate(values)
    ]


DENSE = of("dense", (0.90, 0.91), first=0)
TICKET = of("ticket", (0.90, 0.92), (0.91, 0.93), (0.90, 0.92), (0.88, 0.90))
RANDOM = of("random_init", (0.89, 0.91), (0.88, 0.90), (0.85, 0.87), (0.87, 0.89))


def test_they_part_where_the_bands_are_apart():
    found = parting(TICKET + RANDOM)
    assert (found.level, found.until) == (2, 3)  # at 4 they overlap again
    assert found.gain == pytest.approx(0.03)
    assert found.spread == pytest.approx(0.0)
    assert found.last == pytest.approx(0.512)
    assert str(found) == (
        "ticket and random re-initialisation part at 64.0% of the weights (level 2): 92.00% (91.00 to 93.00) "
        "against 89.00% (88.00 to 90.00) test accuracy, +3.00 ± 0.00 points paired over 2 seeds. They stay "
        "apart down to 51.2%."
    )


def test_one_level_alone_is_chance():
    other = of("random_init", (0.80, 0.81), (0.91, 0.93), (0.90, 0.92), (0.88, 0.90))
    found = parting(TICKET + other)
    assert found.level is None
    assert "do not part down to 41.0% of the weights" in str(found)


def test_two_levels_on_different_sides_are_chance_too():
    other = of("random_init", (0.80, 0.81), (0.98, 0.99), (0.90, 0.92), (0.88, 0.90))
    assert parting(TICKET + other).level is None


def test_the_last_level_stands_for_itself():
    other = of("random_init", (0.90, 0.92), (0.91, 0.93), (0.90, 0.92), (0.80, 0.81))
    found = parting(TICKET + other)
    assert (found.level, found.until) == (4, 4)
    assert "the sparsest one" in str(found)


def test_bands_that_touch_are_not_apart():
    other = of("random_init", (0.88, 0.90), (0.89, 0.91), (0.88, 0.90), (0.86, 0.88))
    assert parting(TICKET + other).level is None


def test_only_seeds_that_both_have_are_compared():
    more = [record("ticket", level, 7, 0.1) for level in range(1, 5)]
    assert parting(TICKET + more + RANDOM) == parting(TICKET + RANDOM)


def test_of_one_seed_nothing_is_said_of_the_spread():
    found = parting([r for r in TICKET + RANDOM if r.seed == 0])
    assert (found.level, found.spread) == (None, None)
    assert "of one seed no spread is known; at 41.0% of the weights 88.00% against 87.00%" in str(found)


def test_branches_without_common_levels():
    assert parting(TICKET) is None
    assert parting(TICKET + of("random_init", (0.9,), first=9)) is None


def test_validation_stands_in_for_a_missing_test():
    pairs = [("ticket", 0.7), ("random_init", 0.6)]
    found = parting([record(branch, 1, seed, None, value) for branch, value in pairs for seed in (0, 1)])
    assert found.split == "validation"
    assert found.gain == pytest.approx(0.1)


def test_how_long_tickets_are_as_good_as_the_dense_network():
    assert lasting(DENSE + TICKET).remaining == pytest.approx(0.512)  # the next one's mean is 0.89
    assert lasting(DENSE + of("ticket", (0.8, 0.8))) is None
    assert lasting(TICKET) is None


def test_curves_have_mean_and_band_by_level():
    found = curves(DENSE + TICKET)
    assert list(found) == ["dense", "ticket"]
    assert [spread.remaining for spread in found["ticket"].values()] == [0.8, 0.64, 0.512, 0.41]
    second = found["ticket"][2]
    assert (second.low, second.high, second.mean) == (0.91, 0.93, pytest.approx(0.92))


def test_no_records_is_an_error():
    with pytest.raises(DataError, match="no records"):
        curves([])
    with pytest.raises(DataError, match="ticket, seed 0, level 1 has no test accuracy"):
        curves([record("ticket", 1, 0, None)], "test")


def test_statements_are_sentences_with_numbers():
    said = statements(DENSE + TICKET + RANDOM)
    assert len(said) == 2
    assert said[0].startswith("Tickets are as good as the dense network (90.50% (90.00 to 91.00)")
    assert "down to 51.2% of the weights" in said[0]
    assert said[1].startswith("Ticket and random re-initialisation part at 64.0%")
