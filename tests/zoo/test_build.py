"""Networks by name, for the images of a data set."""

import pytest
import torch

from featherweight.errors import SettingError, UnknownNameError
from featherweight.zoo import build, network_names


@pytest.mark.parametrize("name", network_names())
def test_every_network_takes_the_images_it_is_built_for(name):
    with torch.device("meta"):
        model = build(name, in_channels=3, classes=7, image_size=32).eval()
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 7)


def test_without_a_size_the_default_holds():
    assert build("lenet_300_100")(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    with pytest.raises(SettingError, match="image_size"):
        build("lenet_300_100")(torch.zeros(1, 1, 32, 32))


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet20'.*vit_tiny"):
        build("resnet21")
