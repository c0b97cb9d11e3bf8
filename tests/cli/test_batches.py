"""Data of every accepted form, and what is said of others."""

from __future__ import annotations

import pytest

from featherweight.cli.batches import make_batches, some_of, try_out
from featherweight.cli.resolve import call_factory
from featherweight.errors import DataError


def test_three_loaders(mynet):
    batches = make_batches("mynet:data")
    assert (len(batches.train), len(batches.validate), len(batches.test)) == (4, 1, 1)


def test_two_loaders(mynet):
    assert make_batches("mynet:two").test is None


def test_an_object_with_attributes(mynet):
    assert len(make_batches("mynet:Splits").train) == 4


def test_a_data_set_of_the_zoo(folder):
    batches = make_batches("digits")
    inputs, targets = next(iter(batches.test))
    assert inputs.ndim == 4
    assert len(inputs) == len(targets)


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("number", "returned a int"),
        ("four", "returned 4 things"),
        ("generator", "train is a generator, which has no length"),
        ("triples", "its first batch is a tuple of int, int, int"),
        ("empty", "train has no batch"),
        ("dataset", "wrap it in a torch DataLoader"),
    ],
)
def test_other_forms_are_refused(mynet, factory, says):
    with pytest.raises(DataError, match=says):
        make_batches(f"mynet:{factory}")


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("wide", r"train: The network failed with inputs float32 \(4, 9\)"),
        (
            "classes",
            r"train: The loss failed with outputs float32 \(4, 3\) and targets int64 \(4,\) of 7\.\.7",
        ),
    ],
)
def test_data_that_do_not_fit_the_network_are_refused(mynet, factory, says):
    batches = make_batches(f"mynet:{factory}")
    with pytest.raises(DataError, match=says):
        try_out(call_factory("mynet:net", "model"), batches, f"mynet:{factory}")


def test_data_that_fit_pass(mynet):
    model = call_factory("mynet:net", "model").train()
    try_out(model, make_batches("mynet:data"), "mynet:data")
    assert model.training


@pytest.mark.parametrize(
    ("examples", "expected"),
    [(1, [0]), (20, [0]), (21, [0, 2]), (60, [0, 1, 3]), (81, [0, 1, 2, 3, 4]), (None, [0, 1, 2, 3, 4])],
)
def test_some_of_it_is_from_all_over(examples, expected):
    batches = [({"x": None}, [index] * 20) for index in range(5)]
    assert [targets[0] for _, targets in some_of(batches, examples)] == expected
    assert (some_of(batches, examples) is batches) == (len(expected) == 5)
    mappings = [{"labels": targets} for _, targets in batches]
    assert [batch["labels"][0] for batch in some_of(mappings, examples)] == expected
