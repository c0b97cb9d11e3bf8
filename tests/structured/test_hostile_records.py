"""A file from a stranger sets nothing but sizes, and fails in words."""

import copy
import json

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight import artifact
from featherweight.errors import ModelError
from featherweight.structured import attributes, replay
from featherweight.structured.prune import prune_structured
from featherweight.structured.record import KEY, Record

X = torch.randn(4, 6)


class Config:
    """Holds settings, and a function as none."""

    def __init__(self):
        self.hidden, self.name, self.inner = 12, "mine", None

    def to_dict(self):
        return vars(self)


class Net(nn.Module):
    limit = 12

    def __init__(self):
        super().__init__()
        self.a, self.b, self.conv = nn.Linear(6, 12), nn.Linear(12, 3), nn.Conv2d(3, 4, 3, padding=1)
        self.width, self.shape, self.name, self.on = 12, (2, 6), "net", True
        self.rate, self.sizes, self.config = 0.5, [12, 3], Config()

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


@pytest.fixture(scope="module")
def small():
    return prune_structured(Net(), X, keep=0.5)[0]


@pytest.fixture
def file(small, tmp_path):
    """Return a function that writes the file of a cut network with a changed record."""

    def write(change):
        fw.save(small, tmp_path / "small.safetensors")
        (record,) = json.loads(artifact.inspect(tmp_path / "small.safetensors").metadata[KEY])
        text = change if isinstance(change, str) else json.dumps([change(record) or record])
        fw.save(small.state_dict(), tmp_path / "bad.safetensors", metadata={KEY: text})
        return tmp_path / "bad.safetensors"

    return write


def refused(path, match):
    """Check that loading is refused, and that nothing of the network has changed."""
    torch.manual_seed(1)
    model = Net()
    state, attributes = copy.deepcopy(model.state_dict()), snapshot(model)
    with pytest.raises(ModelError, match=match):
        fw.load(path, into=model)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert snapshot(model) == attributes


def snapshot(model):
    held = [{n: v for n, v in vars(m).items() if not n.startswith("_")} for m in model.modules()]
    return [repr({n: vars(v) if isinstance(v, Config) else v for n, v in values.items()}) for values in held]


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("", "forward", 3),
        ("", "__class__", 3),
        ("", "__dict__", 3),
        ("", "_parameters", 3),
        ("", "limit", 3),  # of the class
        ("", "training", 0),
        ("", "on", 1),
        ("", "name", 3),
        ("", "rate", 0),
        ("", "config", 3),
        ("", "new", 3),
        ("", "", 3),
        ("", "width", [6]),
        ("", "width", -6),
        ("", "width", 13),
        ("", "shape", [2]),
        ("", "shape", [2, -6]),
        ("", "shape", 6),
        ("", "sizes", [12, 4]),
        ("", "a.out_features", 6),
        ("", "config.name", 3),
        ("", "config.to_dict", 3),
        ("", "config.__class__", 3),
        ("", "config.inner.width", 3),
        ("", "config..hidden", 3),
        ("", "width", 0),
        ("a", "weight", 3),
        ("a", "out_features", 0),
        ("a", "padding", 0),
        ("conv", "groups", 0),
        ("conv", "padding", [0, 0]),
        ("conv", "kernel_size", [1, 1]),
        ("a.weight", "data", 3),
        ("nowhere", "width", 3),
        ("config", "hidden", 3),
    ],
)
def test_what_is_no_size_is_not_set(file, path, name, value):
    def change(record):
        record["attributes"].setdefault(path, {})[name] = value

    refused(file(change), r"is no size that could become")


@pytest.mark.parametrize(
    "value", ["6", 6.0, True, None, {"a": 1}, ["6", "6"], [[6, 6], 1], [True, 1], float("nan"), []]
)
def test_a_size_of_another_type_is_refused(file, value):
    def change(record):
        record["attributes"][""] = {"width": value, "shape": value}

    refused(file(change), r"record of a surgery is damaged|is no size that could become")


def test_sizes_are_set(file):
    def change(record):
        record["attributes"][""] = {"width": 6, "shape": [1, 6], "sizes": [6, 3]}

    loaded = fw.load(file(change), into=Net())
    assert (loaded.width, loaded.shape, list(loaded.sizes)) == (6, (1, 6), [6, 3])
    assert Record.from_dict(json.loads(artifact.inspect(file(change)).metadata[KEY])[0]).attributes


CHANGES = [
    {"axes": "12:fff0"},
    {"axes": [12]},
    {"axes": ["12"]},
    {"axes": ["x:ff"]},
    {"axes": ["-3:"]},
    {"axes": ["99999999999999:ff"]},
    {"axes": ["12:zz"]},
    {"kept": []},
    {"kept": {"a.weight": [0]}},
    {"kept": {"a.weight": {"-2": 0}}},
    {"kept": {"a.weight": {"x": 0}}},
    {"kept": {"a.weight": {"0": -1}}},
    {"kept": {"a.weight": {"0": 7}}},
    {"kept": {"a.weight": {"0": True}}},
    {"kept": {"a.weight": {"0": "0"}}},
    {"attributes": []},
    {"attributes": {"a": []}},
    {"attributes": "abc"},
    {"example": []},
    {"example": [[], []]},
    {"example": [{}, {}]},
    {"example": [[1], {}]},
    {"example": [[{}], {}]},
    {"example": [[{"value": []}], {}]},
    {"example": [[{"value": 1, "shape": [1]}], {}]},
    {"example": [[{"shape": [-1], "dtype": "float32"}], {}]},
    {"example": [[{"shape": [1.5], "dtype": "float32"}], {}]},
    {"example": [[{"shape": 3, "dtype": "float32"}], {}]},
    {"example": [[{"shape": [1], "dtype": "save"}], {}]},
    {"example": [[{"shape": [1], "dtype": "__class__"}], {}]},
    {"example": [[{"shape": [1], "dtype": None}], {}]},
    {"example": [[{"unknown": 3}], {}]},
    {"example": [[{"list": {}}], {}]},
    {"example": [[{"tuple": [3]}], {}]},
    {"example": [[{"dict": []}], {}]},
    {"example": [[{"list": [], "tuple": []}], {}]},
    {"example": [[{"shape": [1] * 65, "dtype": "float32"}], {}]},
    {"blocks": {}},
    {"blocks": [{"name": 1, "whole": True, "tensors": []}]},
    {"blocks": [{"name": "a", "whole": "no", "tensors": []}]},
    {"blocks": [{"name": "a", "whole": True, "tensors": "ab"}]},
    {"places": {"a": {"argument": True, "length": None, "zeros": False, "tensors": []}}},
    {"places": {"a": {"argument": 0, "length": "3", "zeros": False, "tensors": []}}},
    {"places": {"a": {"argument": 0, "length": None, "zeros": 0, "tensors": []}}},
    {"places": {"a": {"argument": None, "length": None, "zeros": False, "tensors": []}}},
    {"within": 3},
    {"within": None},
]


@pytest.mark.parametrize("change", CHANGES, ids=json.dumps)
def test_a_record_of_other_types(file, change):
    refused(file(lambda record: record | change), "record of a surgery is damaged")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000 + "]" * 10_000,
        '[{"axes":' * 10_000,
        "[" + "9" * 10_000 + "]",
        "nul",
        '"text"',
        "[[]]",
        "[null]",
    ],
    ids=["deep", "cut off", "long number", "no json", "text", "list", "null"],
)
def test_text_that_is_no_record(file, text):
    refused(file(text), "record of a surgery is damaged")


@pytest.mark.parametrize("key", ["axes", "kept", "attributes", "example"])
def test_a_record_that_lacks_something(file, key):
    refused(
        file(lambda record: {k: v for k, v in record.items() if k != key}), "record of a surgery is damaged"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kept": {"a.weight": {"2": 0}}}, "expected 12 along dimension 2"),
        ({"kept": {"a.weight": {"1": 0}}}, "expected 12 along dimension 1"),
        ({"kept": {"a": {"0": 0}}}, "a: not there"),
        ({"within": "a.weight"}, r"no module 'a\.weight'"),
        ({"within": "forward"}, "no module 'forward'"),
        ({"within": ".."}, "no module"),
    ],
)
def test_a_record_of_another_network(file, change, words):
    refused(file(lambda record: record | change), words)


HUGE = [{"shape": [10**6, 10**6], "dtype": "float32"}]


def test_inputs_that_would_fill_the_memory_are_not_made(file):
    change = {"attributes": None, "example": [HUGE, {}]}
    refused(file(lambda record: record | change), "1,000,000,000,000 entries; 4,194,304 at most")


def nested(spec, depth):
    for _ in range(depth):
        spec = {"list": [spec]}
    return spec


def test_inputs_nested_deep_are_refused(file):
    change = {"attributes": None, "example": [[nested(HUGE[0], 17)], {}]}
    refused(file(lambda record: record | change), "record of a surgery is damaged")


@pytest.mark.parametrize(
    "example",
    [
        [[{"shape": [2**11, 2**11 + 1], "dtype": "bool"}], {}],
        [[{"shape": [0, 2**23], "dtype": "float32"}], {}],
        [[nested({"shape": [2**23], "dtype": "float32"}, 3)], {}],
        [[{"shape": [2**21], "dtype": "float32"}, {"tuple": [{"shape": [2**22], "dtype": "bool"}]}], {}],
        [[], {"x": {"dict": {"y": {"shape": [2**23], "dtype": "float32"}}}}],
    ],
)
def test_inputs_are_small_all_together(file, example):
    refused(
        file(lambda record: record | {"attributes": None, "example": example}), "entries; 4,194,304 at most"
    )


def test_inputs_take_no_more_than_was_allowed(file):
    change = {"attributes": None, "example": [[{"shape": [1000, 6], "dtype": "float32"}], {}]}
    path = file(lambda record: record | change)
    with pytest.raises(ModelError, match="24,000 bytes; max_bytes=20,000 at most"):
        fw.load(path, into=Net(), max_bytes=20_000)
    assert fw.load(path, into=Net(), max_bytes=24_000)(torch.randn(3, 6)).shape == (3, 3)


@pytest.mark.parametrize("dtype", ["quint8", "qint32", "float4_e2m1fn_x2"])
def test_types_that_cannot_be_made(file, dtype):
    change = {"attributes": None, "example": [[{"shape": [4, 6], "dtype": dtype}], {}]}
    refused(file(lambda record: record | change), f"an input of type {dtype} and shape")


def test_sizes_that_torch_modules_have_are_known_alike():
    assert {kind for kind, _ in attributes._KNOWN} == set(replay._KNOWN)


def test_a_network_is_no_block_of_itself(file):
    place = {"argument": 0, "length": None, "zeros": False, "tensors": list(Net().state_dict())}
    block = {"name": "", "whole": True, "tensors": []}
    change = {"blocks": [block], "places": {"": place}}
    refused(file(lambda record: record | change), "no such module")
