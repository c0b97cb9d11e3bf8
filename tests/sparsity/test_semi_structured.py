"""2:4 on CUDA: what is converted and why not; with a GPU, that outputs are those of the zeros."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from featherweight.errors import ModelError
from featherweight.sparsity import prune, semi_structured, to_semi_structured
from featherweight.sparsity.semi_structured import Backend, is_two_of_four, reason_against

HERE = Backend("cuSPARSELt", (16, 16))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 24), nn.Linear(24, 10))


def two_of_four(outputs, inputs, dtype=torch.float16):
    return torch.tensor([0.0, 1.0, 2.0, 0.0], dtype=dtype).repeat(outputs, inputs // 4)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (two_of_four(3, 8), True),
        (torch.zeros(3, 8), True),
        (torch.tensor([[0.0, 1.0, 0.0, 0.0]]), True),
        (torch.tensor([[1.0, 0.0, 2.0, 3.0]]), False),
        (torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]]), True),
        (torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]]), False),
        (torch.zeros(3, 6), False),
        (torch.zeros(4, 4, 3), False),
    ],
)
def test_what_two_of_four_is(weight, expected):
    assert is_two_of_four(weight) is expected


def test_pruning_makes_it():
    model = network()
    assert not is_two_of_four(model[0].weight)
    prune(model, 0.5, pattern="2:4")
    assert all(is_two_of_four(model[number].weight) for number in (0, 2, 3))


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (two_of_four(32, 64), None),
        (two_of_four(32, 64, torch.bfloat16), None),
        (two_of_four(32, 64, torch.float32), "torch.float32: convert the model first, with .half()"),
        (torch.ones(32, 64, dtype=torch.float16), "not 2:4 sparse"),
        (two_of_four(24, 64), "24 outputs and 64 inputs: cuSPARSELt takes multiples of 16 and 16"),
        (two_of_four(32, 24), "32 outputs and 24 inputs"),
    ],
)
def test_why_a_weight_cannot_be_converted(weight, says):
    found = reason_against(weight, HERE)
    assert found is None if says is None else says in found


def test_the_sizes_are_those_that_torch_checks():
    for name, backend in (
        ("SparseSemiStructuredTensorCUSPARSELT", Backend.of((9, 0), True)),
        ("SparseSemiStructuredTensorCUTLASS", Backend.of((8, 6), False)),
    ):
        for dtype in (torch.float16, torch.bfloat16):
            least = getattr(torch.sparse, name)._DTYPE_SHAPE_CONSTRAINTS[dtype]
            assert backend.multiples == (least.sparse_min_rows, least.sparse_min_cols)


@pytest.mark.parametrize(
    ("capability", "has_cusparselt", "name"),
    [
        ((7, 5), True, None),
        ((7, 5), False, None),
        ((8, 0), True, "cuSPARSELt"),
        ((8, 9), False, "CUTLASS"),
        ((9, 0), True, "cuSPARSELt"),
        ((9, 0), False, None),
        ((12, 0), True, "cuSPARSELt"),
    ],
)
def test_which_back_end_there_is(capability, has_cusparselt, name):
    backend = Backend.of(capability, has_cusparselt)
    assert (backend and backend.name) == name


def test_a_dense_model_is_refused_on_any_machine():
    with pytest.raises(ModelError, match=r"None of the 3 linear layers.*is 2:4 sparse.*pattern=\"2:4\""):
        to_semi_structured(network())


def test_off_the_gpu_nothing_is_converted_and_the_report_says_so():
    model = network()
    prune(model, 0.5, pattern="2:4")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    weights = [model[number].weight for number in (0, 2, 3)]
    report = to_semi_structured(model)
    assert report.converted == ()
    assert [layer.name for layer in report.layers] == ["0", "2", "3"]
    assert str(report).startswith("0 of 3 linear layers converted\n0  on cpu: ")
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert all(model[number].weight is weight for number, weight in zip((0, 2, 3), weights, strict=True))


def test_weights_that_others_use_are_left_alone():
    model = nn.ModuleDict(
        {
            "tied": nn.Linear(16, 16),
            "again": nn.Linear(16, 16),
            "masked": nn.Linear(16, 16),
            "encoder": nn.TransformerEncoderLayer(16, 2, 32),
        }
    )
    prune(model, 0.5, pattern="2:4")
    model["again"].weight = model["tied"].weight
    torch_prune.identity(model["masked"], "weight")
    reasons = {layer.name: layer.reason for layer in to_semi_structured(model).layers}
    assert reasons["tied"] == reasons["again"] == "its weight is tied to another layer's"
    assert reasons["masked"].startswith("parametrised")
    assert "fast path" in reasons["encoder.linear1"]
    assert "encoder.self_attn.out_proj" not in reasons, "it is no plain linear layer"


@pytest.mark.parametrize(
    ("capability", "has_cusparselt", "says"),
    [((7, 5), True, "compute capability 7.5"), ((9, 0), False, "built without cuSPARSELt")],
)
def test_gpus_without_kernels_are_named(monkeypatch, capability, has_cusparselt, says):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cusparselt, "is_available", lambda: has_cusparselt)
    assert says in semi_structured._backend(torch.device("cuda:0"))


def test_what_fails_on_the_way_changes_nothing(monkeypatch):
    model = network()
    prune(model, 0.5, pattern="2:4")
    made = []

    def second_fails(weight):
        made.append(weight)
        if len(made) == 2:
            raise RuntimeError("out of memory")
        return torch.zeros_like(weight)

    monkeypatch.setattr(semi_structured, "_reason", lambda *args: None)
    monkeypatch.setattr(semi_structured, "_sparse", second_fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        to_semi_structured(model)
    assert bool((model[0].weight != 0).any())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
def test_on_a_gpu_the_outputs_are_those_of_the_zeros():
    model = network().half().cuda()
    prune(model, 0.5, pattern="2:4")
    x = torch.randn(32, 64, device="cuda", dtype=torch.float16)
    with torch.inference_mode():
        expected = model(x)
        report = to_semi_structured(model)
        assert report.converted == ("0",), str(report)
        assert torch.allclose(model(x), expected, atol=1e-2, rtol=1e-2)
    assert isinstance(model[0].weight.data, torch.sparse.SparseSemiStructuredTensor)
