"""One-shot pruning on a GPU as on the CPU, the data where a loader left them; skipped without a GPU."""

import copy

import pytest
import torch
from oneshot_toy import NETWORKS, data_of, quietly, state, trained

from featherweight.sparsity.oneshot import methods, prune_oneshot

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


@pytest.fixture(params=[False, True], ids=["exact", "tf32"])
def tf32(request, monkeypatch):
    """Without and with TF32, which convolutions of cuDNN use unless told otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", request.param)
    return request.param


def outputs(model, data):
    device = next(model.parameters()).device
    with torch.no_grad():
        return torch.cat([model(x.to(device)).cpu() for x, _ in data])


def distance(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "4x1"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", methods)
def test_one_shot_comes_as_near_as_on_the_cpu(method, name, pattern, tf32, tmp_path):
    model, _ = trained(name)
    there = copy.deepcopy(model).cuda()
    batches = data_of(NETWORKS[name][1])
    seen = torch.cat([x for x, _ in batches])
    with torch.no_grad():
        dense = model.eval()(seen)
    how = {"method": method, "pattern": pattern, "progress": False}
    masks = prune_oneshot(there, 0.5, batches, run_dir=tmp_path, **how)
    prune_oneshot(model, 0.5, batches, **how)
    masks.check(there)
    with torch.no_grad():
        here, found = model(seen), there(seen.cuda()).cpu()
    assert there.training == model.training
    errors = [float((each - dense).norm() / dense.norm()) for each in (found, here)]
    assert errors[0] < 1.1 * errors[1] + 0.01, errors


@pytest.mark.parametrize("name", NETWORKS)
def test_one_pass_prunes_as_a_pass_a_layer_does(name, tf32, own_passes):
    found, (dense, data) = [], trained(name)
    for limit in (None, 0):
        model = copy.deepcopy(dense).cuda()
        quietly(model, 0.5, data, memory_limit=limit, batch_norm="keep")
        if limit is None:
            assert own_passes == ["cross.in_proj_weight"] * (name == "attention")
        found.append(model)
    once, each = (outputs(model, data) for model in found)
    assert distance(once, each) < (0.1 if tf32 else 1e-3) * distance(each, outputs(dense, data))
    assert all(value.device.type == "cuda" for value in state(found[0]).values())


@pytest.mark.parametrize("way", ["match", "reestimate", "keep"])
@pytest.mark.parametrize("limit", [None, 0])
def test_batch_norm_is_treated_as_on_the_cpu(way, limit, tf32):
    dense, data = trained("convolutional")
    there, here = copy.deepcopy(dense).cuda(), copy.deepcopy(dense)
    for model in (there, here):
        quietly(model, 0.8, data, batch_norm=way, memory_limit=limit)
    for mine, other in zip(there.modules(), here.modules(), strict=True):
        if isinstance(mine, torch.nn.BatchNorm2d):
            assert mine.running_var.device.type == "cuda"
            assert distance(mine.running_var.cpu(), other.running_var) < 0.05
    wanted = outputs(dense, data)
    errors = [distance(outputs(model, data), wanted) for model in (there, here)]
    assert errors[0] < 1.1 * errors[1] + 0.01, errors


class Reads(torch.nn.Module):
    """Attends to what a mask lets it see."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(50, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.inner = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = torch.nn.Linear(16, 4)

    def forward(self, input_ids, attention_mask):
        x = self.inner(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        return self.head((x * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True))


def test_sequences_of_several_lengths_go_through_together(own_passes):
    generator = torch.Generator().manual_seed(0)
    data = [
        {
            "input_ids": torch.randint(50, (32, length), generator=generator),
            "attention_mask": (torch.arange(length) < 2 + torch.arange(32)[:, None] % (length - 1)).long(),
        }
        for length in (5, 9, 7)
    ]
    there, here = Reads().cuda().eval(), Reads().eval()
    for model in (there, here):
        quietly(model, 0.5, data)
        assert not own_passes
    with torch.no_grad():
        found, wanted = (
            [m(**{k: v.to(d) for k, v in batch.items()}).cpu() for batch in data]
            for m, d in ((there, "cuda"), (here, "cpu"))
        )
    assert all(distance(a, b) < 0.05 for a, b in zip(found, wanted, strict=True))
