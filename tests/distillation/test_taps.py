"""Hooks see what a network computes, keep nothing, and leave nothing behind."""

import copy
import gc
import pickle
import subprocess
import sys
import weakref
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from featherweight import zoo
from featherweight.distillation.attention_taps import attention_at, find_attention
from featherweight.distillation.taps import Tap, Taps, expand
from featherweight.distillation.watch import Watch
from featherweight.errors import ModelError, SettingError


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def layers(count):
    model = nn.Module()
    model.layer = nn.ModuleList(nn.Sequential(nn.Linear(1, 1)) for _ in range(count))
    return model


def test_patterns_stand_for_one_part_of_a_path_in_natural_order():
    assert expand(layers(12), "layer.*") == tuple(f"layer.{i}" for i in range(12))
    assert expand(layers(12), "layer.?") == tuple(f"layer.{i}" for i in range(10))
    assert expand(layers(12), "layer.1*.0") == ("layer.1.0", "layer.10.0", "layer.11.0")
    assert expand(layers(2), "layer.1") == ("layer.1",)


def test_a_path_that_is_none_is_refused_with_the_nearest_names():
    with pytest.raises(SettingError, match=r"no module 'layers\.1'.*layer\.1"):
        expand(layers(3), "layers.1")
    with pytest.raises(SettingError, match="no module"):
        expand(layers(3), "")
    model = network()
    with pytest.raises(SettingError, match="no module '7'"):
        Taps(model, [Tap("0"), Tap("7")])
    assert hooks(model) == 0


def test_outputs_and_inputs_are_those_of_the_pass():
    model, x = network(), torch.randn(2, 4)
    taps = Taps(model, [Tap("0"), Tap("2", "input")])
    model(x)
    seen = taps.take()
    assert torch.equal(seen[Tap("0")], model[0](x))
    assert torch.equal(seen[Tap("2", "input")], model[0](x).relu())
    assert seen[Tap("0")].requires_grad


@dataclass
class Record:
    number: int
    hidden: torch.Tensor


@pytest.mark.parametrize(
    "wrap", [lambda y: (None, y, y + 1), lambda y: {"x": 3, "y": [y]}, lambda y: Record(1, y)]
)
def test_the_first_tensor_of_a_structure_is_taken(wrap):
    class Wrapping(nn.Module):
        def forward(self, x):
            return wrap(x * 2)

    model, x = nn.Sequential(Wrapping()), torch.randn(2, 3)
    taps = Taps(model, [Tap("0")])
    model(x)
    assert torch.equal(taps.take()[Tap("0")], x * 2)


def test_of_several_calls_the_last_is_kept():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    model, x = Twice(), torch.randn(2, 3)
    taps = Taps(model, [Tap("layer")])
    out = model(x)
    assert taps.take()[Tap("layer")] is out


def test_nothing_is_kept_once_it_was_taken_and_hooks_go():
    model = network()
    taps = Taps(model, [Tap("0")])
    model(torch.randn(2, 4))
    ref = weakref.ref(taps.take()[Tap("0")])
    gc.collect()
    assert ref() is None
    with pytest.raises(ModelError, match="did not run"):
        taps.take()
    assert hooks(model) == 1
    taps.close()
    taps.close()
    assert hooks(model) == 0


def test_what_is_written_over_in_place_is_copied_from_then_on():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True))
    taps, x = Taps(model, [Tap("0"), Tap("1")]), torch.randn(5, 4)
    model(x)
    assert bool((taps.take()[Tap("0")] >= 0).all())
    assert taps.clobbered == {Tap("0")}
    model(x)
    before = taps.take()[Tap("0")]
    assert torch.equal(before, nn.functional.linear(x, model[0].weight, model[0].bias))
    before.square().sum().backward()
    assert model[0].weight.grad is not None


@pytest.mark.parametrize("reentrant", [True, False])
def test_activations_that_are_computed_again_in_the_backward_pass_are_not_kept(reentrant):
    model = network()
    taps = Taps(model, [Tap("0")])
    x = torch.randn(2, 4, requires_grad=True)
    out = checkpoint(model, x, use_reentrant=reentrant)
    taps.take()
    out.sum().backward()
    with pytest.raises(ModelError, match="did not run"):
        taps.take()


def test_inference_mode_is_no_obstacle():
    model = network()
    taps = Taps(model, [Tap("0")])
    with torch.inference_mode():
        model(torch.randn(2, 4))
        assert taps.take()[Tap("0")].shape == (2, 6)


def test_a_compiled_network_is_tapped():
    model, x = network(), torch.randn(2, 4)
    taps = Taps(model, [Tap("0")])
    compiled = torch.compile(model, backend="eager")
    for _ in range(2):
        compiled(x).sum().backward()
        seen = taps.take()[Tap("0")]
        assert torch.equal(seen, model[0](x))
        taps.forget()
    taps.close()
    compiled(x)
    assert taps._seen == {}
    torch.compiler.reset()


def test_a_network_that_was_compiled_and_run_before_is_refused():
    model, x = network(), torch.randn(2, 4)
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    taps = Taps(model, [Tap("0")])
    compiled(x)
    with pytest.raises(ModelError, match=r"did not run.*compiler\.reset"):
        taps.take()
    torch.compiler.reset()


# Attention


def read(model, x):
    layers_ = find_attention(model)
    watch = Watch(model, [], layers_)
    reading = watch.read(model(x))
    watch.close()
    return [reading.attention[layer] for layer in layers_]


def probabilities(heads):
    return (heads.query @ heads.key.mT / heads.query.shape[-1] ** 0.5).softmax(-1)


def test_fused_queries_keys_and_values_of_the_zoo():
    model = zoo.build("vit_tiny").eval()
    x = torch.randn(2, 1, 28, 28)
    seen = []
    handle = model.blocks[3].attn.register_forward_hook(lambda m, i, o: seen.append((i[0], o)))
    heads = read(model, x)
    handle.remove()
    assert len(heads) == 4
    assert heads[3].query.shape == (2, 4, 50, 32)
    mixed = (probabilities(heads[3]) @ heads[3].value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(model.blocks[3].attn.proj(mixed), seen[0][1])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kdim", [None, 6])
def test_multihead_attention_of_torch(batch_first, kdim):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, kdim=kdim, vdim=kdim)

        def forward(self, x, memory):
            return self.attention(x, key=memory, value=memory)

    torch.manual_seed(0)
    model = Net().eval()
    nn.init.normal_(model.attention.in_proj_bias)
    x, memory = torch.randn(3, 5, 8), torch.randn(3, 5, kdim or 8)
    layer = attention_at(model, "attention")
    watch = Watch(model, [], [layer])
    _, expected = model(x, memory)
    heads = watch.read(None).attention[layer]
    torch.testing.assert_close(probabilities(heads).mean(1), expected)


def test_keys_that_heads_share_are_repeated():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_heads = 4
            self.q_proj, self.k_proj, self.v_proj = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)

        def forward(self, x):
            return self.q_proj(x) + torch.cat([self.k_proj(x), self.v_proj(x)], -1)

    model, x = nn.Sequential(Grouped()), torch.randn(2, 3, 8)
    (heads,) = read(model, x)
    assert heads.query.shape == heads.key.shape == heads.value.shape == (2, 4, 3, 2)
    own = model[0].k_proj(x)
    torch.testing.assert_close(heads.key[:, 0], own[..., :2])
    torch.testing.assert_close(heads.key[:, 1], own[..., :2])
    torch.testing.assert_close(heads.key[:, 2], own[..., 2:])


def test_where_there_is_no_attention_the_error_says_what_was_looked_for():
    with pytest.raises(ModelError, match=r"Found: none.*q_proj/k_proj/v_proj.*num_attention_heads"):
        attention_at(network(), "0")
    with pytest.raises(ModelError, match=r"holds 4 attention layers.*blocks\.0\.attn"):
        attention_at(zoo.build("vit_tiny"), "blocks")
    assert attention_at(zoo.build("vit_tiny"), "blocks.1").path == "blocks.1.attn"


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "ViT", "GPT2", "Llama"])
def test_hugging_face(kind):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
    settings = {
        "Bert": sizes | {"intermediate_size": 8},
        "DistilBert": {"vocab_size": 20, "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 8},
        "ViT": {
            "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 8,
            "image_size": 8, "patch_size": 4,
        },
        "GPT2": {"vocab_size": 20, "n_embd": 12, "n_layer": 2, "n_head": 3},
        "Llama": sizes | {"intermediate_size": 8, "num_key_value_heads": 1},
    }[kind]  # fmt: skip
    try:
        config = getattr(transformers, f"{kind}Config")(**settings, attn_implementation="eager")
        model = getattr(transformers, f"{kind}Model")(config).eval()
    except ModuleNotFoundError as error:  # a torchvision of another build beside it
        pytest.skip(str(error))
    given = (
        {"pixel_values": torch.randn(2, 3, 8, 8)}
        if kind == "ViT"
        else {"input_ids": torch.randint(20, (2, 5))}
    )
    found = find_attention(model)
    assert len(found) == 2
    assert all(layer.heads == 3 for layer in found)
    watch = Watch(model, [], found)
    outputs = model(**given, output_attentions=True)
    reading = watch.read(outputs)
    heads = [reading.attention[layer] for layer in found]
    assert all(h.query.shape == h.key.shape == h.value.shape for h in heads)
    if kind in ("Bert", "DistilBert", "ViT"):  # the others have a causal mask or rotary positions
        for each, expected in zip(heads, outputs.attentions, strict=True):
            torch.testing.assert_close(probabilities(each), expected)


# Wrappers

SCRIPT = """
import os
import torch, torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from featherweight.distillation.distiller import Distiller
from featherweight.distillation.losses import DistillationLoss

class Near(DistillationLoss):
    features = "blocks"
    def forward(self, student, teacher, lesson):
        return sum((a - b).square().mean() for a, b in zip(student.features, teacher.features))

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))

dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
batch = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
values = []
for wrap in (lambda m: m, nn.parallel.DistributedDataParallel, fully_shard):
    student, teacher = network(), network()
    with torch.no_grad():
        teacher[0].weight.add_(1)
    plain = student
    if wrap is fully_shard:
        mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
        fully_shard(student[0], mesh=mesh)
        student = fully_shard(student, mesh=mesh)
    else:
        student = wrap(student)
    settings = {"loss": Near(), "features": [("0", "0")], "precision": "fp32"}
    with Distiller(teacher, student, batch, **settings) as distiller:
        loss = distiller(batch)
        loss.backward()
        grad = plain[0].weight.grad
        grad = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
        values.append((float(loss.detach()), float(grad.sum())))
assert values[0] == values[1] == values[2], values
print("ok", flush=True)
os._exit(0)
"""


@pytest.mark.slow
def test_networks_that_are_wrapped_for_several_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.endswith("ok\n"), done.stderr[-3000:]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_a_tapped_network_is_not_watched(copied):
    model = network()
    taps = Taps(model, [Tap("0"), Tap("2", "input")])
    copied(model)(torch.randn(2, 4))
    with pytest.raises(ModelError, match="did not run"):
        taps.take()
    model(torch.randn(2, 4))
    assert len(taps.take()) == 2
