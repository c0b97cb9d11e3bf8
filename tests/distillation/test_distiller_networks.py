"""Distillers of networks of the zoo, of encoders of torch, and of compiled ones."""

import pytest
import torch
from tests.distillation.distilling import Near, Net, batch, distiller, hooks
from torch import nn

from featherweight import zoo


def test_a_compiled_student():
    student, (x, y) = Net(), batch()
    compiled = torch.compile(student, backend="eager")
    with distiller(student=compiled, loss=Near()) as d:
        a = d((x, y))
        b = d.loss(student(x), (x, y))
        torch.testing.assert_close(a, b)
    torch.compiler.reset()


@pytest.mark.parametrize("loss", ["kd + at", "hints", "crd + sp", "dkd", "rkd + cosine"])
def test_networks_of_the_zoo(loss):
    torch.manual_seed(0)
    x, y = torch.randn(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])
    teacher = zoo.build("vit_tiny") if "cosine" in loss else zoo.build("resnet20", in_channels=1)
    student = zoo.networks.small_cnn.SmallCNN(widths=(4, 8, 8, 8))
    with distiller(teacher, student, (x, y), loss=loss) as d:
        d((x, y)).backward()
    assert bool(student.convs[0].weight.grad.abs().sum() > 0)


@pytest.mark.parametrize("loss", ["kd + minilm", "tinybert"])
def test_attention_of_transformers(loss):
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 28, 28), torch.tensor([0, 1])
    build = zoo.networks.vit.VisionTransformer
    teacher, student = build(depth=2, dim=16, heads=2), build(depth=1, dim=8, heads=2)
    with distiller(teacher, student, (x, y), loss=loss) as d:
        d((x, y)).backward()
    assert bool(student.blocks[0].attn.qkv.weight.grad.abs().sum() > 0)
    assert hooks(teacher, student) == 0


class Reader(nn.Module):
    """A classifier of padded texts, whose encoder packs them into nested tensors where it infers."""

    def __init__(self, width, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(9, width)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, 3)

    def forward(self, input_ids, attention_mask):
        seen = self.encoder(self.words(input_ids), src_key_padding_mask=attention_mask == 0)
        return self.head((seen * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("loss", ["kd", "hints + minilm + tinybert"])
def test_encoders_of_torch_are_read_where_inference_packs_padded_texts(loss):
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    texts = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    values = []
    for is_packed in (True, False):
        teacher, student = Reader(8, seed=1), Reader(4)
        teacher.encoder.enable_nested_tensor = student.encoder.enable_nested_tensor = is_packed
        with distiller(teacher, student, texts, loss=loss, alpha=1.0) as d:
            values.append(float(d(texts).detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert torch.backends.mha.get_fastpath_enabled()
