"""Loaders are checked before anything is touched."""

import itertools

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from featherweight.errors import TrainingError
from featherweight.training.loaders import Loaders
from featherweight.training.parallel import make_accelerator


def numbers(count):
    return TensorDataset(torch.arange(count))


def order(seed, epoch):
    loaders = Loaders(DataLoader(numbers(20), 4, shuffle=True), None, make_accelerator(seed))
    return [batch[0].tolist() for batch in loaders.train(epoch, seed=0)]


def test_the_order_follows_from_seed_and_epoch():
    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(1, 0) != order(0, 0)
    assert order(1, 0) != order(0, 1)
    assert sorted(itertools.chain(*order(3, 2))) == list(range(20))


def test_the_data_set_is_told_the_epoch(toy):
    train, validate = toy.loaders()
    loaders = Loaders(train, validate, make_accelerator(0))
    list(loaders.train(4, seed=0)), list(loaders.validate(4, seed=0))
    assert set(train.dataset.epochs) == {4}
    assert set(validate.dataset.epochs) == {4}


def test_a_list_of_batches_will_do():
    loaders = Loaders([1, 2, 3], None, make_accelerator(0))
    assert (loaders.batches, list(loaders.train(0, seed=0))) == (3, [1, 2, 3])


@pytest.mark.parametrize("empty", [[], DataLoader(numbers(3), 4, drop_last=True)])
def test_an_empty_loader_is_refused(empty):
    with pytest.raises(TrainingError, match="train has no batch"):
        Loaders(empty, None, make_accelerator(0))
    with pytest.raises(TrainingError, match="validate has no batch"):
        Loaders([1], empty, make_accelerator(0))


def test_a_loader_without_length_is_refused():
    with pytest.raises(TrainingError, match="train has no length"):
        Loaders((i for i in range(3)), None, make_accelerator(0))


@pytest.mark.parametrize(("given", "words"), [(2, "only 2"), (4, "more")])
def test_a_loader_that_lies_about_its_length_is_refused(given, words):
    class Lying:
        def __len__(self):
            return 3

        def __iter__(self):
            return iter(range(given))

    loaders = Loaders(Lying(), None, make_accelerator(0))
    with pytest.raises(TrainingError, match=f"says it has 3 batches, but in epoch 1 it gave {words}"):
        list(loaders.train(0, seed=0))
