"""Parameters, MACs and bytes against numbers worked out by hand; functional and fused work is seen."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import featherweight as fw
from featherweight.errors import ModelError, SettingError
from featherweight.profile import time_in_turns
from featherweight.profile.formulas import _recurrent_stack
from featherweight.profile.macs import count_macs
from featherweight.zoo import build


class Attention(nn.Module):
    """Fused qkv, functional attention over (n, tokens, 16), 4 heads."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48, bias=False)

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 4, 4).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v)


def macs(model, *inputs):
    return {row.name: row.macs for row in fw.profile(model, inputs, repeats=2, warmup=0).layers}


def test_convolution_and_linear():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    )
    found = macs(model, torch.randn(2, 3, 8, 8))
    assert found == {"0": 2 * 8 * 3 * 9 * 16, "3": 2 * 128 * 10}


def test_depthwise_and_transposed_convolution():
    assert macs(nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.randn(1, 8, 5, 5)) == {"": 8 * 9 * 25}
    assert macs(nn.ConvTranspose2d(4, 6, 2, stride=2), torch.randn(1, 4, 5, 5)) == {"": 4 * 6 * 4 * 25}


def test_functional_attention_is_counted_where_it_happens():
    found = macs(Attention(), torch.randn(2, 7, 16))
    assert found == {"qkv": 2 * 7 * 16 * 48, "": 2 * 4 * 7 * 7 * (4 + 4)}


def test_fused_attention_layers_hide_nothing():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    found = macs(nn.TransformerEncoder(layer, 1), torch.randn(3, 5, 16))
    projections = 15 * 16 * 48 + 15 * 16 * 16
    assert found["layers.0.self_attn"] == projections + 3 * 2 * 5 * 5 * 16
    assert found["layers.0.linear1"] == found["layers.0.linear2"] == 15 * 16 * 32


def test_recurrent_and_embedding_layers():
    model = nn.Sequential(nn.Embedding(20, 8), nn.LSTM(8, 6, batch_first=True))
    assert macs(model, torch.randint(0, 20, (2, 5))) == {"0": 0, "1": 10 * (8 * 24 + 6 * 24)}


def test_bidirectional_stacked_and_gated_recurrent_layers():
    steps, both = 10, 2
    stacked = nn.LSTM(8, 6, num_layers=2, bidirectional=True)
    assert macs(stacked, torch.randn(5, 2, 8)) == {"": steps * both * 4 * ((8 * 6 + 36) + (12 * 6 + 36))}
    assert macs(nn.GRU(8, 6), torch.randn(5, 2, 8)) == {"": steps * 3 * (8 * 6 + 36)}
    weights = [torch.empty(24, 8), torch.empty(24, 6), torch.empty(24), torch.empty(24)]
    assert _recurrent_stack(torch.empty(5, 2, 8), weights, 4) == 2 * steps * (24 * 8 + 24 * 6)  # as on a GPU


def test_vectors_and_bilinear_forms():
    class Vectors(nn.Module):
        def forward(self, matrix, vector):
            return torch.addmv(vector, matrix, matrix @ vector) @ vector

    assert macs(Vectors(), torch.randn(4, 4), torch.randn(4)) == {"": 16 + 16 + 4}
    assert macs(nn.Bilinear(3, 4, 5), torch.randn(2, 3), torch.randn(2, 4)) == {"": 2 * 5 * (3 * 4 + 4)}


def test_work_of_a_module_that_is_not_registered_counts_where_it_is_called():
    class Hiding(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = [nn.Linear(4, 4)]
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.hidden[0](x))

    assert macs(Hiding(), torch.randn(3, 4)) == {"": 3 * 16, "fc": 3 * 8}


def test_a_module_used_twice_does_its_work_twice():
    layer = nn.Linear(4, 4)
    assert macs(nn.Sequential(layer, nn.ReLU(), layer), torch.randn(3, 4)) == {"0": 2 * 3 * 16}


def test_a_compiled_part_is_seen_through_and_keeps_its_name():
    model = nn.Sequential(torch.compile(nn.Linear(4, 4), backend="eager"), nn.Linear(4, 2))
    assert macs(model, torch.randn(3, 4)) == {"0": 48, "1": 24}


def test_operators_that_are_not_known_are_named():
    @torch.library.custom_op("featherweight_tests::mystery", mutates_args=())
    def mystery(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    class Model(nn.Module):
        def forward(self, x):
            return mystery(x)

    found = fw.profile(Model(), torch.randn(2, 2), repeats=2)
    assert found.uncounted == ("featherweight_tests::mystery",)
    assert "featherweight_tests::mystery" in str(found)
    assert fw.profile(nn.Linear(2, 2), torch.randn(2, 2), repeats=2).uncounted == ()


@pytest.mark.parametrize(
    ("name", "published"),
    [("resnet18", 1_814_073_344), ("resnet50", 4_089_184_256), ("mobilenet_v2", 300_774_272)],
)
def test_published_macs_of_imagenet_networks(name, published):
    """Those of convolution and linear layers on one image of 224x224, without computing anything."""
    with torch.device("meta"):
        model, images = build(name, in_channels=3, classes=1000).eval(), torch.empty(1, 3, 224, 224)
    with torch.no_grad():
        by_module, uncounted = count_macs(model, lambda: model(images))
    assert sum(by_module.values()) == published
    assert not uncounted


def test_the_compiler_is_not_imported_for_it():
    """It takes seconds, several times what measuring a small network takes."""
    code = (
        "import sys, torch, featherweight as fw\n"
        "fw.profile(torch.nn.Linear(2, 2), torch.ones(1, 2), repeats=2)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_counts_bytes_and_totals():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2))
    with torch.no_grad():
        model[0].weight[0] = 0
    found = fw.profile(model, torch.randn(4, 1, 5, 5), repeats=3)
    conv, norm = found.layers
    assert (conv.kind, conv.params, conv.nonzeros, conv.bytes) == ("Conv2d", 18, 9, 72)
    assert (norm.kind, norm.params, norm.macs) == ("BatchNorm2d", 4, 0)
    assert norm.bytes == 4 * 4 * 2 + 8
    assert (found.params, found.bytes, found.macs, found.batch) == (22, 112, 4 * 2 * 9 * 9, 4)
    assert found.latency.repeats == 3
    assert 0 < found.latency.low <= found.latency.median <= found.latency.high


def test_buffers_of_a_module_without_parameters_are_in_the_bytes():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False))
    found = fw.profile(model, torch.randn(2, 4), repeats=2, warmup=0)
    assert found.bytes == sum(t.numel() * t.element_size() for t in model.state_dict().values())


def test_tied_weights_are_counted_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    found = fw.profile(model, torch.randn(1, 4), repeats=2)
    assert found.params == 16
    assert found.macs == 32
    assert fw.count_params(model) == 16


def test_prints_a_table_and_gives_json():
    found = fw.profile(nn.Sequential(nn.Linear(4, 1000)), torch.randn(1, 4), repeats=2)
    assert "Linear" in str(found)
    assert "5,000" in str(found)
    read = json.loads(found.to_json())
    assert read["totals"] == {"params": 5000, "nonzeros": 5000, "macs": 4000, "bytes": 20000}
    assert read["layers"][0]["name"] == "0"


def test_leaves_mode_and_hooks_as_they_were():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2)).train()
    model[2].eval()
    fw.profile(model, torch.randn(2, 4), repeats=2)
    assert [m.training for m in model] == [True, True, False]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_inputs_as_mapping_and_tuple():
    class Two(nn.Module):
        def forward(self, a, b):
            return a @ b

    a, b = torch.randn(3, 4), torch.randn(4, 5)
    assert macs(Two(), a, b) == {"": 60}
    assert fw.profile(Two(), {"b": b, "a": a}, repeats=2).macs == 60


def test_a_failing_forward_names_the_module_and_restores():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(5, 2))).train()
    with pytest.raises(ModelError, match=r"fails in module '1\.0'.*example_inputs"):
        fw.profile(model, torch.randn(2, 4))
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())


def test_what_the_model_keeps_stays_fit_for_training():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.scale = None

        def forward(self, x):
            if self.scale is None:
                self.scale = x.mean() * 0 + 2
            return self.fc(x) * self.scale

    model = Keeping()
    fw.profile(model, torch.randn(2, 2), repeats=2)
    model(torch.randn(2, 2)).sum().backward()
    assert model.fc.weight.grad is not None


def test_parameters_without_values():
    with torch.device("meta"):
        model = nn.Linear(4, 4)
    assert fw.count_params(model, nonzero=False) == 20
    with pytest.raises(ModelError, match=r"'weight' is on the meta device.*nonzero=False"):
        fw.count_params(model)
    with pytest.raises(ModelError, match="has no shape yet"):
        fw.profile(nn.LazyLinear(3), torch.randn(2, 4))


def test_settings():
    with pytest.raises(SettingError, match="at least 2"):
        fw.profile(nn.Linear(1, 1), torch.randn(1, 1), repeats=1)


def test_the_package_is_the_function_too():
    import featherweight.profile as package

    assert package is fw.profile
    assert package.Profile is fw.Profile
    assert isinstance(fw.profile(nn.Linear(2, 2), torch.randn(1, 2), repeats=2), fw.Profile)


def test_count_params():
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.bias)
    assert fw.count_params(model) == 6
    assert fw.count_params(model, nonzero=False) == 8
    assert fw.count_params(nn.DataParallel(model)) == 6


def test_networks_in_turns_are_timed_as_often_and_left_as_they_were():
    calls = []

    class Noted(nn.Linear):
        def forward(self, input):
            calls.append((self.out_features, self.training, torch.is_grad_enabled()))
            return super().forward(input)

    models = {"wide": Noted(8, 64).train(), "narrow": Noted(8, 4).eval()}
    found = time_in_turns(models, torch.randn(2, 8), seconds=0.01)
    assert [c[0] for c in calls] == [64, 4] * (len(calls) // 2), "they take turns"
    assert found["wide"].repeats == found["narrow"].repeats == len(calls) // 2 - 1 >= 5
    assert not any(training or gradients for _, training, gradients in calls)
    assert (models["wide"].training, models["narrow"].training) == (True, False)
    assert 0 < found["narrow"].low <= found["narrow"].median <= found["narrow"].high
