"""Random numbers follow from seed and epoch, and from nothing else."""

import random

import numpy as np
import pytest
import torch

from featherweight.training.streams import drawn_apart, epoch_seed, preserved_generators, seed_all


class Drawing:
    """A loader whose batches are random numbers of the global generator."""

    def __iter__(self):
        return (torch.rand(2) for _ in range(5))


def test_no_two_epochs_share_a_seed():
    seeds = {epoch_seed(s, e, r) for s in range(5) for e in range(50) for r in range(4)}
    assert len(seeds) == 5 * 50 * 4
    assert epoch_seed(2, 7, 0) == 2 * 100003 + 7


def test_data_and_model_do_not_disturb_each_other():
    seed_all(0)
    alone = [batch.tolist() for batch in drawn_apart(Drawing(), 3)]
    mixed, drawn = [], []
    seed_all(1)
    for batch in drawn_apart(Drawing(), 3):
        mixed.append(batch.tolist())
        drawn.append(float(torch.rand(1)))
    seed_all(1)
    assert mixed == alone
    assert drawn == [float(torch.rand(1)) for _ in range(5)]


@pytest.mark.parametrize("skip", [0, 2, 5])
def test_skipping_draws_what_is_skipped(skip):
    whole = [batch.tolist() for batch in drawn_apart(Drawing(), 3)]
    assert [batch.tolist() for batch in drawn_apart(Drawing(), 3, skip)] == whole[skip:]


def test_another_seed_gives_other_data():
    first, second = ([b.tolist() for b in drawn_apart(Drawing(), seed)] for seed in (0, 1))
    assert first != second


def test_the_callers_generators_are_given_back():
    def draws():
        return float(torch.rand(1)), random.random(), float(np.random.rand())

    def from_seed_7():
        torch.manual_seed(7), random.seed(7), np.random.seed(7)

    from_seed_7()
    expected = draws()
    from_seed_7()
    with preserved_generators(torch.device("cpu")):
        seed_all(0)
        assert draws() != expected
    assert draws() == expected
