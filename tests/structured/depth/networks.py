"""Networks of blocks, as they are written out in the world."""

import torch
from torch import nn
from torch.nn import functional as F


class PreActivation(nn.Module):
    """``x + f(x)`` with norms and activations first; in place as many write it."""

    def __init__(self, inplace):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.inplace = inplace

    def forward(self, x):
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.relu(norm(y), inplace=self.inplace))
        if self.inplace:
            x += y
            return x
        return x + y


class PreActivationNet(nn.Module):
    def __init__(self, inplace=False, depth=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(*(PreActivation(inplace) for _ in range(depth)))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.relu(self.blocks(self.stem(x))).mean((2, 3)))


class Bottleneck(nn.Module):
    """As in torchvision: activations in place, the sum written over the branch."""

    def __init__(self, channels, stride):
        super().__init__()
        out = 8 if stride == 1 else 16
        self.conv1, self.bn1 = nn.Conv2d(channels, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if channels == out else nn.Conv2d(channels, out, 1, stride)

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += identity
        return self.relu(y)


class StagedNet(nn.Module):
    """Two stages; the block between them changes the number of channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1 = nn.Sequential(Bottleneck(8, 1), Bottleneck(8, 1))
        self.layer2 = nn.Sequential(Bottleneck(8, 2))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.layer2(self.layer1(F.relu(self.stem(x)))).mean((2, 3)))


class Attention(nn.Module):
    """Returns a tuple, its weights second."""

    def __init__(self, dim=16, heads=2):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.heads = heads

    def forward(self, x, mask=None):
        n, t, _ = x.shape
        q, k, v = (
            f(x).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        weights = (q @ k.transpose(-1, -2) / 3).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(n, t, -1), weights


class PreNormLayer(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, dim=16):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.proj = Attention(dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 32), nn.GELU(), nn.Linear(32, dim))

    def forward(self, x):
        x = x + self.proj(self.attn(self.norm1(x))[0])
        return x + self.mlp(self.norm2(x))


class WrittenLayer(nn.Module):
    """All in one forward, with a scale of its own that no module holds."""

    def __init__(self, dim=16):
        super().__init__()
        self.norm, self.scale = nn.LayerNorm(dim), nn.Parameter(torch.full((dim,), 0.5))
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.up, self.down = nn.Linear(dim, 32), nn.Linear(32, dim)

    def forward(self, x):
        n, t, d = x.shape
        y = self.norm(x)
        q, k, v = (f(y).view(n, t, 2, 8).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)
        x = x + self.scale * self.o(mixed)
        return x + self.down(F.gelu(self.up(x)))


class ParallelLayer(nn.Module):
    """Attention and perceptron of the same input, as in GPT-J."""

    def __init__(self, dim=16):
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(dim), Attention(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 32), nn.GELU(), nn.Linear(32, dim))

    def forward(self, x):
        y = self.norm(x)
        return x + self.attn(y)[0] + self.mlp(y)


class SelfOutput(nn.Module):
    def __init__(self, inner, dim):
        super().__init__()
        self.dense, self.norm, self.dropout = nn.Linear(inner, dim), nn.LayerNorm(dim), nn.Dropout(0.1)

    def forward(self, hidden, x):
        return self.norm(self.dropout(self.dense(hidden)) + x)


class PostNormLayer(nn.Module):
    """As BERT's in Hugging Face: norms after the sums, keyword arguments, a tuple returned."""

    def __init__(self, dim=16):
        super().__init__()
        self.attention, self.attention_output = Attention(dim), SelfOutput(dim, dim)
        self.intermediate, self.output = nn.Linear(dim, 32), SelfOutput(32, dim)
        self.kind = "full"

    def forward(self, hidden_states, attention_mask=None):
        mixed, weights = self.attention(hidden_states, attention_mask)
        x = self.attention_output(mixed, hidden_states)
        return self.output(F.gelu(self.intermediate(x)), x), weights


class Encoder(nn.Module):
    """A stack of layers; those that return tuples are called with keywords, and asked for their kind."""

    def __init__(self, layer, depth=3, tuples=False):
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.layers = nn.ModuleList(layer() for _ in range(depth))
        self.head, self.tuples = nn.Linear(16, 5), tuples

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            if not self.tuples:
                x = layer(x)
            elif layer.kind == "full":
                x = layer(hidden_states=x, attention_mask=None)[0]
        return self.head(x.mean(1))


class TransformerEncoder(nn.Module):
    """Layers of torch.nn, whose stack looks into them."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.embed, self.encoder = (
            nn.Linear(6, 16),
            nn.TransformerEncoder(layer, 3, enable_nested_tensor=False),
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))


IMAGES, TOKENS = (2, 3, 8, 8), (2, 5, 6)
NETWORKS = {
    "pre-activation": (PreActivationNet, IMAGES),
    "pre-activation, in place": (lambda: PreActivationNet(inplace=True), IMAGES),
    "staged": (StagedNet, IMAGES),
    "pre-norm": (lambda: Encoder(PreNormLayer), TOKENS),
    "written out": (lambda: Encoder(WrittenLayer), TOKENS),
    "parallel": (lambda: Encoder(ParallelLayer), TOKENS),
    "post-norm, tuples": (lambda: Encoder(PostNormLayer, tuples=True), TOKENS),
    "torch.nn": (TransformerEncoder, TOKENS),
}


def attention_first(blocks, scene):
    """Rank attention below all else."""
    return [not block.name.endswith("self_attn") for block in blocks]


# Settings with which a torch.nn.TransformerEncoder cannot keep its class: it looks into its first layer.
ATTENTION = {"block_unit": "branch", "block_criterion": attention_first}


def make(name):
    """Return a network, always the same, with norms that are not trivial, and inputs for it."""
    torch.manual_seed(0)
    network, shape = NETWORKS[name]
    model = network().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.add_(0.2 * torch.rand_like(buffer))
    return model, torch.randn(shape)
