"""Trained networks: loaded by name or file, with a card; what is committed is as good as its card says."""

import copy

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight.errors import DataError, ModelError, SettingError, UnknownNameError
from featherweight.zoo import Card, build, card_of, default_loaders, trained_names


@pytest.mark.parametrize("name", trained_names())
def test_by_name_with_a_card_that_copies_keep(name):
    model = fw.load_model(name)
    card = card_of(copy.deepcopy(model))
    assert not model.training
    assert card is not None
    assert card.name == name
    assert card.test_examples == 10_000
    assert name in card.recipe


@pytest.mark.slow
@pytest.mark.parametrize("name", trained_names())
def test_is_as_good_as_its_card_says(name):
    """On 1,000 validation images, so that the test set is not read again and again."""
    model = fw.load_model(name)
    try:
        validation = fw.load_data(card_of(model).data_set).validation.subset(range(1000))
    except DataError as error:
        pytest.skip(str(error))
    assert fw.evaluate(model, validation.loader(250)) > card_of(model).accuracy - 0.02


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UnknownNameError, match=r"'nonesuch'.*fashion_cnn"):
        fw.load_model("nonesuch")


def test_from_a_file_into_a_class(tmp_path):
    model = build("small_cnn")
    fw.save(model, tmp_path / "w.safetensors")
    loaded = fw.load_model(tmp_path / "w.safetensors", into=build("small_cnn"))
    assert not loaded.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )


def test_a_file_needs_a_class_that_fits(tmp_path):
    fw.save(build("small_cnn"), tmp_path / "w.safetensors")
    with pytest.raises(SettingError, match="into="):
        fw.load_model(tmp_path / "w.safetensors")
    other = nn.Linear(2, 2)
    before = other.weight.detach().clone()
    with pytest.raises(ModelError):
        fw.load_model(tmp_path / "w.safetensors", into=other)
    assert torch.equal(other.weight, before)


def test_a_model_of_ones_own_has_no_data():
    with pytest.raises(SettingError, match="pass loaders"):
        default_loaders(nn.Linear(2, 2))


def test_card_round_trip():
    card = Card("a", "b", "c", 1, 10, 0.93, 10_000, "python -m x")
    assert Card.from_json(card.to_json()) == card
