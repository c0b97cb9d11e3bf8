"""Networks by name, for the images of a data set."""

from pathlib import Path

import pytest
import torch

from featherweight.errors import SettingError, UnknownNameError
from featherweight.zoo import build, network_names, options_of

ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v1", {"width": 0.25, "stride": 8}),
        ("mobilenet_v2", {"width": 0.5, "stride": 8}),
        ("small_cnn", {"widths": [4, 8, 8]}),
        ("resnet20", {"widths": (4, 6, 8)}),
        ("vgg16_bn", {"hidden": 16}),
        ("vit_c_tiny", {"patch": 2, "dim": 24, "depth": 2, "heads": 3}),
        ("vit_tiny", {"patch": 7, "dim": 24, "depth": 2, "heads": 3}),
    ],
)
def test_options_of_a_network_reach_it(name, options):
    assert options_of(name).keys() >= options.keys()
    with torch.device("meta"):
        smaller, whole = build(name, image_size=28, **options), build(name)
        if name != "vgg16_bn":
            assert smaller.eval()(torch.empty(2, 1, 28, 28)).shape == (2, 10)
    count = [sum(p.numel() for p in model.parameters()) for model in (smaller, whole)]
    assert count[0] < count[1]


@pytest.mark.parametrize("name", network_names())
def test_every_option_has_a_default_of_the_type_that_is_taken(name):
    assert all(type(value) in (int, float, tuple) for value in options_of(name).values())
    with torch.device("meta"):
        build(name, **options_of(name))


def test_options_are_checked():
    with pytest.raises(SettingError, match=r"small_cnn takes no option 'width'\. Did you mean 'widths'\?"):
        build("small_cnn", width=2)
    with pytest.raises(SettingError, match="a whole number, got True"):
        build("vit_tiny", depth=True)
    with pytest.raises(SettingError, match="a whole number, got 'a'"):
        build("small_cnn", widths=(4, "a"))


@pytest.mark.parametrize("name", [name for name in network_names() if options_of(name)])
def test_the_page_of_the_zoo_names_every_option(name):
    rows = (ROOT / "docs" / "reference" / "zoo.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith("| `") and f"`{name}`" in row.split("|")[1]]
    assert all(f"`{option}`" in row for option in options_of(name))
