"""fw.save and fw.load: bit for bit, all or nothing, never a pickle."""

import copy

import pytest
import torch
from torch import nn

from featherweight.artifact import inspect
from featherweight.artifact.errors import PickleRefusedError, TooLargeError
from featherweight.errors import ModelError, SettingError
from featherweight.structured.checkpoint import load, save

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.bfloat16,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.complex64,
]


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 5)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.head = nn.Linear(6, 20, bias=False)
        self.head.weight = self.embed.weight


def pruned(model, sparsity=0.9):
    for parameter in model.parameters():
        if parameter.dim() > 1:
            magnitude = parameter.detach().abs()
            parameter.data[magnitude < magnitude.flatten().quantile(sparsity)] = 0
    return model


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def assert_same(got, expected):
    assert list(got) == list(expected)
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype
        assert got[name].shape == tensor.shape
        assert torch.equal(bits(got[name]), bits(tensor)), name


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_state_dict_comes_back_bit_for_bit(path):
    model = pruned(Net())
    report = save(model, path)
    assert report.file_bytes == path.stat().st_size
    assert_same(load(path), model.state_dict())


def test_into_a_class(path):
    torch.manual_seed(1)
    model, fresh = pruned(Net()), Net()
    save(model, path)
    assert load(path, into=fresh) is fresh
    assert_same(fresh.state_dict(), model.state_dict())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(path, dtype):
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (96,), generator=generator, dtype=torch.uint8)
    state = {"x": raw.view(dtype).reshape(-1, 4), "scalar": raw.view(dtype)[1].clone()}
    save(state, path)
    assert_same(load(path), state)


def test_odd_tensors(path):
    special = torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-45, 3e38, 0.0])
    special[2:3].view(torch.int32).fill_(0x7FC12345)  # a NaN with a payload
    state = {
        "special": special,
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 7),
        "transposed": torch.arange(12.0).reshape(3, 4).T,
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "strided": torch.arange(20)[::3],
        "expanded": torch.ones(1).expand(4),
        "all zero": torch.zeros(1000),
        "conjugate": torch.ones(3, dtype=torch.complex64).mul_(1j).conj(),
    }
    save(state, path)
    got = load(path)
    conjugate = got.pop("conjugate")
    assert torch.equal(conjugate, state.pop("conjugate").resolve_conj())
    assert_same(got, state)


def test_loaded_tensors_own_writable_memory(path):
    save({"a": torch.ones(8), "b": torch.ones(8)}, path)
    state = load(path)
    state["a"].add_(1)
    assert torch.equal(state["b"], torch.ones(8))


def test_tied_weights_are_written_once_and_come_back_tied(path):
    model = Tied()
    report = save(model, path)
    assert report.elements == 120
    assert inspect(path).tensors[1].coding == "same"
    state = load(path)
    assert list(state) == ["embed.weight", "head.weight"]
    assert state["embed.weight"].data_ptr() == state["head.weight"].data_ptr()
    fresh = load(path, into=Tied())
    assert fresh.head.weight is fresh.embed.weight
    assert torch.equal(fresh.head.weight, model.embed.weight)


def test_equal_but_separate_tensors_come_back_separate(path):
    save({"a": torch.zeros(4), "b": torch.zeros(4)}, path)
    state = load(path)
    assert state["a"].data_ptr() != state["b"].data_ptr()


@pytest.mark.parametrize(("values", "narrow"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_rounded_values_come_back_in_their_own_dtype(path, values, narrow):
    model = pruned(Net())
    report = save(model, path, values=values)
    got = load(path)
    for name, tensor in model.state_dict().items():
        expected = tensor.to(narrow).to(tensor.dtype) if tensor.is_floating_point() else tensor
        assert torch.equal(got[name], expected), name
    assert report.unrounded == ()
    assert report.file_bytes < save(model, path).file_bytes


def test_what_would_overflow_or_vanish_stays_fp32(path):
    state = {
        "overflow": torch.tensor([[1e6, 1.0]]),
        "variance": torch.tensor([1e-9, 1.0]),
        "infinite": torch.tensor([float("inf"), 1.0]),
        "weight": torch.tensor([[1e-9, -1e-9, 1.0, 0.0]]),
    }
    report = save(state, path, values="fp16")
    assert report.unrounded == ("overflow", "variance")
    got = load(path)
    assert_same(
        {n: got[n] for n in ("overflow", "variance")}, {n: state[n] for n in ("overflow", "variance")}
    )
    assert torch.equal(got["infinite"], state["infinite"])
    assert got["weight"].tolist() == [[2**-24, -(2**-24), 1.0, 0.0]]


def test_double_precision_is_kept_or_rounded_as_asked(path):
    state = {"x": torch.tensor([[1.0 + 2**-40, 0.1]], dtype=torch.float64)}
    save(state, path)
    assert_same(load(path), state)
    save(state, path, values="fp16")
    assert torch.equal(load(path)["x"], state["x"].half().double())


def test_fp16_bf16_and_whole_numbers_are_never_rounded(path):
    state = {
        "half": torch.tensor([1 + 2**-10], dtype=torch.float16),
        "brain": torch.tensor([1e30], dtype=torch.bfloat16),
        "count": torch.tensor([2**40 + 1]),
        "flag": torch.tensor([True, False]),
    }
    for values in ("fp16", "bf16"):
        save(state, path, values=values)
        assert_same(load(path), state)


def test_wrapped_models_are_saved_and_filled_as_the_model_inside(path):
    model = Net()
    save(torch.nn.DataParallel(model), path)
    assert_same(load(path), model.state_dict())
    save(torch.compile(model, backend="eager"), path)
    assert_same(load(path), model.state_dict())
    compiled = torch.compile(Net(), backend="eager")
    assert load(path, into=compiled) is compiled
    assert_same(compiled._orig_mod.state_dict(), model.state_dict())


def test_a_compiled_submodule_leaves_no_trace_in_the_names(path):
    model, other = Net(), Net()
    expected = copy.deepcopy(model.state_dict())
    model.conv = torch.compile(model.conv, backend="eager")
    save(model, path)
    assert_same(load(path, into=other).state_dict(), expected)
    other.conv = torch.compile(Net().conv, backend="eager")
    load(path, into=other)
    assert torch.equal(other.conv.weight, expected["conv.weight"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_module_keeps_its_dtype(path, dtype):
    model = Net()
    save(model, path)
    assert torch.equal(load(path, into=Net().to(dtype)).head.weight, model.head.weight.to(dtype))


def test_a_file_that_does_not_fit_is_explained_and_changes_nothing(path):
    state = Net().state_dict()
    del state["conv.bias"]
    state["extra"] = torch.ones(1)
    state["head.weight"] = torch.ones(2, 2)
    state["norm.num_batches_tracked"] = torch.tensor(1.0)
    save(state, path)
    model = Net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError) as caught:
        load(path, into=model)
    for words in (
        "missing in the file: conv.bias",
        "unexpected in the file: extra",
        "head.weight [2, 2] in the file, [5, 8] in the module",
        "norm.num_batches_tracked torch.float32 in the file, torch.int64 in the module",
        "Nothing was changed",
    ):
        assert words in str(caught.value)
    assert_same(model.state_dict(), before)


def test_a_module_on_the_meta_device_is_refused_not_left_empty(path):
    save(Net(), path)
    with torch.device("meta"):
        model = Net()
    with pytest.raises(ModelError, match=r"on the meta device.*to_empty.*conv\.weight"):
        load(path, into=model)
    filled = load(path, into=model.to_empty(device="cpu"))
    assert_same(filled.state_dict(), load(path))


def test_a_failure_half_way_leaves_the_module_as_it_was(path):
    class Refusing(Net):
        def _load_from_state_dict(self, *args, **kwargs):
            super()._load_from_state_dict(*args, **kwargs)

    model = Refusing()
    model.head.register_load_state_dict_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    before = copy.deepcopy(model.state_dict())
    save(Net(), path)
    with pytest.raises(KeyboardInterrupt):
        load(path, into=model)
    assert_same(model.state_dict(), before)


def test_what_cannot_be_saved_is_refused_and_the_old_file_stays(path):
    path.write_bytes(b"old")
    for state, words in (
        ({"x": torch.eye(3).to_sparse()}, "strided"),
        ({"x": torch.empty(3, device="meta")}, "meta"),
        ({"x": torch.ones(2, dtype=torch.complex128)}, "complex128"),
        ({"x": [1, 2]}, "is a list"),
    ):
        with pytest.raises(ModelError, match=words):
            save(state, path)
    with pytest.raises(SettingError, match="fp32, fp16, bf16"):
        save({"x": torch.ones(1)}, path, values="int3")  # pyright: ignore
    assert path.read_bytes() == b"old"


def test_metadata_comes_back(path):
    save({"x": torch.ones(1)}, path, metadata={"epoch": "3", "é": "µ"})
    assert inspect(path).metadata == {"epoch": "3", "é": "µ"}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_loaded(path, zipped):
    torch.save({"x": torch.ones(1)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(PickleRefusedError, match="can run code"):
        load(path)


def test_a_plain_safetensors_file_is_read(path):
    from safetensors.torch import save_file

    state = {"b": torch.randn(3, 4).bfloat16(), "a": torch.arange(3, dtype=torch.int8), "c": torch.randn(5)}
    save_file(state, path)
    got = load(path)
    assert set(got) == set(state)
    assert all(torch.equal(got[name], state[name]) for name in state)


def test_the_size_limit_is_passed_on(path):
    save({"x": torch.zeros(1000)}, path)
    assert load(path, max_bytes=4000)["x"].shape == (1000,)
    with pytest.raises(TooLargeError, match="max_bytes=4000"):
        load(path, max_bytes=3999)
