"""Factories are found by name, in the current folder too; what is not found is said."""

from __future__ import annotations

import pytest

from featherweight.cli.example import example_of
from featherweight.cli.network import fingerprint, make_network
from featherweight.cli.resolve import call_factory, find_factory, is_factory, name_and_options
from featherweight.errors import FeatherweightError, ModelError, SettingError


def test_a_module_of_the_current_folder(mynet):
    assert call_factory("mynet:number", "model") == 7


def test_a_module_in_a_package(mynet):
    (mynet / "package").mkdir()
    (mynet / "package" / "inner.py").write_text("class Thing: pass")
    assert type(call_factory("package.inner:Thing", "model")).__name__ == "Thing"


def test_a_file_elsewhere_with_a_module_beside_it(mynet, monkeypatch):
    (mynet / "deep").mkdir()
    (mynet / "deep" / "beside.py").write_text("value = 5")
    (mynet / "deep" / "one.py").write_text("from beside import value\ndef make(): return value")
    assert call_factory("deep/one.py:make", "model") == 5
    assert find_factory("deep/one.py:make", "model") is find_factory("./deep/one.py:make", "data")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mynet:", "not of the form"),
        (":net", "not of the form"),
        ("mynet:a.b", "not of the form"),
        ("nowhere:net", "no module is called 'nowhere'"),
        ("mynet.deep:net", "no module is called 'mynet.deep'"),
        ("nowhere.py:net", "there is no file 'nowhere.py'"),
        ("mynet:nett", "Did you mean 'net'"),
        ("mynet.py:zzz", "It defines: net, data"),
        ("mynet:constant", "constant is a int, not a function"),
        ("mynet:broken", "RuntimeError: it is broken"),
        ("mynet:leaves", "SystemExit: 3"),
        ("faulty:net", "importing it failed: ModuleNotFoundError: No module named 'absent'"),
        ("faulty.py:net", "importing it failed: ModuleNotFoundError: No module named 'absent'"),
    ],
)
def test_what_is_wrong_is_said(mynet, spec, says):
    (mynet / "faulty.py").write_text("import absent")
    with pytest.raises(SettingError, match=says):
        call_factory(spec, "model")


def test_a_network_must_be_a_module(mynet):
    with pytest.raises(ModelError, match=r"returned a int, expected a torch\.nn\.Module"):
        make_network("mynet:number", None)


def test_the_same_command_makes_the_same_network(mynet):
    assert fingerprint(make_network("mynet:net", None)) == fingerprint(make_network("mynet:net", None))
    assert fingerprint(make_network("mynet:net", None)) != fingerprint(
        make_network("mynet:net", None, seed=1)
    )


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("w.safetensors", "is a file.*mynet:make --weights w.safetensors"),
        ("mynet.py", "is a file.*named module:factory"),
        ("no_such", "A network of your own is named module:factory"),
    ],
)
def test_what_is_no_network_says_how_one_is_named(mynet, spec, says):
    with pytest.raises(SettingError, match=says):
        make_network(spec, None)


def test_networks_of_the_zoo(mynet):
    assert type(make_network("small_cnn", None)).__name__ == "SmallCNN"
    with pytest.raises(FeatherweightError, match="No trained network is called 'no_such'"):
        make_network("no_such", None)


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("resnet20", "resnet20", {}),
        ("mobilenet_v1:width=0.25,stride=8", "mobilenet_v1", {"width": 0.25, "stride": 8}),
        ("small_cnn:widths=4,8,8,8,classes=5", "small_cnn", {"widths": (4, 8, 8, 8), "classes": 5}),
        ("vit_tiny:depth = 2, dim = wide", "vit_tiny", {"depth": 2, "dim": "wide"}),
    ],
)
def test_options_are_read(spec, name, options):
    assert not is_factory(spec)
    assert name_and_options(spec) == (name, options)


@pytest.mark.parametrize("spec", ["mynet:net", "a=b/net.py:make", "net.py:", "package.module:Class"])
def test_a_factory_has_no_options(spec):
    assert is_factory(spec)


def test_networks_with_options(mynet):
    model = make_network("mobilenet_v1:width=0.25,stride=8,in_channels=3", None)
    assert model.classifier.in_features == 256
    shape = example_of("mobilenet_v1:width=0.25,stride=8,in_channels=3", model, (), None, "To see").shape
    assert shape == (1, 3, 32, 32)
    assert len(make_network("vit_tiny:depth=2,image_size=32,dim=16,heads=2", None).blocks) == 2


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mobilenet_v1:widht=0.25", r"no option 'widht'\. Did you mean 'width'\? Its own are: width=1\.0"),
        ("mobilenet_v1:width=wide", "width of mobilenet_v1 is a number, got 'wide'"),
        ("mobilenet_v1:stride=3", r"stride is one of 1, 2, 4, 8, 16, 32, got 3"),
        ("mobilenet_v1:width=1,width=2", "'width' comes twice"),
        ("mobilenet_v1:0.25,width=1", "'0.25' is no option. .*mobilenet_v1:classes=5"),
        ("small_cnn:widths=4", "widths of small_cnn is several whole numbers, got 4"),
        ("small_cnn:widths=4,0", "widths are numbers of channels"),
        ("resnet20:widths=4,8", "widths are 3 numbers of channels"),
        ("resnet50:width=2", "Its own are: none"),
        ("vit_tiny:depth=2.5", "depth of vit_tiny is a whole number, got 2.5"),
        ("vit_tiny:image_size=big", "image_size of vit_tiny is a whole number"),
        ("vit_tiny:classes=2.5", "classes of vit_tiny is a whole number"),
        ("fashion_cnn:width=2", "fashion_cnn is trained, and takes no options"),
        ("nonesuch:width=2", "A network of your own is named module:factory"),
    ],
)
def test_options_that_are_refused(mynet, spec, says):
    with pytest.raises(SettingError, match=says):
        make_network(spec, None)
