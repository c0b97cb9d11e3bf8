"""Every network of the zoo: its size, its shapes, that all of it learns, and what of it can be pruned."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import featherweight.zoo.networks  # noqa: F401 - registers them
from featherweight.core.prunable import find_prunable
from featherweight.errors import SettingError
from featherweight.zoo._registry import networks
from featherweight.zoo.networks.resnet_cifar import CifarResNet
from featherweight.zoo.networks.vgg import VGG16
from featherweight.zoo.networks.vit import VisionTransformer

# name: (in_channels, classes, parameters, prunable weights); counts of torchvision and of the papers
SIZES = {
    "lenet_300_100": (1, 10, 266_610, 3),
    "mobilenet_v1": (3, 1000, 4_231_976, 28),
    "mobilenet_v2": (3, 1000, 3_504_872, 53),
    "resnet18": (3, 1000, 11_689_512, 21),
    "resnet20": (3, 10, 272_474, 22),
    "resnet50": (3, 1000, 25_557_032, 54),
    "resnet56": (3, 10, 855_770, 58),
    "small_cnn": (1, 10, 390_890, 5),
    "vgg16_bn": (3, 1000, 138_365_992, 16),
    "vit_c_tiny": (1, 10, 828_394, 20),
    "vit_tiny": (1, 10, 803_338, 18),
}
SMALLER = {"vgg16_bn": partial(VGG16, hidden=32)}  # so that a step takes little time and memory
IMAGE = {
    "lenet_300_100": 28,
    "small_cnn": 8,
    "resnet20": 8,
    "resnet56": 8,
    "vit_c_tiny": 28,
    "vit_tiny": 28,
}

every_network = pytest.mark.parametrize("name", sorted(SIZES))


def on_meta(name: str) -> nn.Module:
    in_channels, classes, *_ = SIZES[name]
    with torch.device("meta"):
        return networks[name](in_channels=in_channels, classes=classes)


def batch(name: str, count: int = 4, in_channels: int = 2):
    generator = torch.Generator().manual_seed(0)
    size = IMAGE.get(name, 32)
    return torch.randn(count, in_channels, size, size, generator=generator), torch.arange(count) % 5


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return SMALLER.get(name, networks[name])(in_channels=2, classes=5)


def test_these_are_all():
    assert set(networks) == set(SIZES)


@every_network
def test_parameter_count(name):
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == SIZES[name][2]


@every_network
def test_output_shape_at_full_size(name):
    in_channels, classes, *_ = SIZES[name]
    size = IMAGE.get(name, 224)
    x = torch.empty(2, in_channels, size, size, device="meta")
    assert on_meta(name).eval()(x).shape == (2, classes)


@every_network
def test_a_step_reaches_every_parameter(name):
    model, (x, y) = small(name), batch(name)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    outputs = model(x)
    assert outputs.shape == (4, 5)
    F.cross_entropy(outputs, y).backward()
    optimizer.step()
    for key, value in model.named_parameters():
        assert value.grad is not None, key
        assert value.isfinite().all(), key
        if not key.endswith("bias"):  # that of a convolution before a norm has no effect
            assert not torch.equal(value, before[key]), key


@every_network
def test_starts_at_a_sane_scale(name):
    """An untrained network's loss is not far from that of guessing, and its output depends on its input."""
    x, y = batch(name, count=8)
    model = small(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # one pass settles its statistics
    with torch.no_grad():
        model(x)
        outputs = model.eval()(x)
    assert F.cross_entropy(outputs, y) < 6
    assert outputs.std(0).min() > 1e-4  # linear layers start at 0.01, so three of them make it small


@pytest.mark.parametrize(
    ("name", "layer", "std"),
    [
        ("resnet18", "layer2.0.conv2", (2 / (128 * 9)) ** 0.5),
        ("mobilenet_v1", "features.6.0", (2 / 9) ** 0.5),  # depthwise: one output a group
        ("mobilenet_v2", "features.8.conv.1.0", (2 / 9) ** 0.5),
        ("mobilenet_v2", "classifier.1", 0.01),
    ],
)
def test_initial_weights(name, layer, std):
    weight = small(name).get_submodule(layer).weight.detach()
    assert float(weight.std()) == pytest.approx(std, rel=0.05)
    assert abs(float(weight.mean())) < 0.05 * std


@every_network
def test_prunable_weights(name):
    model = on_meta(name).to_empty(device="cpu")
    prunable = find_prunable(model)
    kinds = (nn.Conv2d, nn.Linear)
    expected = {f"{key}.weight" for key, module in model.named_modules() if isinstance(module, kinds)}
    assert {weight.name for weight in prunable.weights} == expected
    assert len(expected) == SIZES[name][3]
    assert [weight.tensor.shape[0] for weight in prunable.weights if weight.is_output] == [SIZES[name][1]]
    assert prunable.numel > 0.95 * SIZES[name][2] or name in {"mobilenet_v1", "mobilenet_v2"}


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("resnet18", {"conv1.weight", "bn1.weight", "layer2.0.downsample.0.weight", "fc.bias"}),
        ("resnet50", {"layer1.0.conv3.weight", "layer1.0.downsample.1.running_var", "layer4.2.bn3.weight"}),
        ("mobilenet_v2", {"features.0.0.weight", "features.1.conv.1.weight", "features.2.conv.3.bias"}),
        ("mobilenet_v2", {"features.18.1.weight", "classifier.1.weight"}),
        ("vgg16_bn", {"features.0.weight", "features.41.bias", "classifier.0.weight", "classifier.6.bias"}),
    ],
)
def test_names_are_those_of_torchvision(name, some):
    assert some <= set(on_meta(name).state_dict())


def test_resnet50_is_v1_5():
    block = on_meta("resnet50").get_submodule("layer2.0")
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


def test_mobilenet_v2_adds_its_input_where_shapes_allow():
    shortcuts = [m.has_shortcut for m in on_meta("mobilenet_v2").modules() if hasattr(m, "has_shortcut")]
    assert (len(shortcuts), sum(shortcuts)) == (17, 10)


@pytest.mark.parametrize(
    ("name", "block", "last_norm", "after"),
    [
        ("resnet18", "layer1.1", "bn2", F.relu),
        ("resnet50", "layer1.1", "bn3", F.relu),
        ("mobilenet_v2", "features.3", "conv.3", lambda x: x),
    ],
)
def test_a_block_adds_its_input(name, block, last_norm, after):
    """With its last norm at zero a block returns its input, and passes the whole gradient back to it."""
    module = small(name).eval().get_submodule(block)
    nn.init.zeros_(module.get_submodule(last_norm).weight)
    x = torch.randn(1, next(module.parameters()).shape[1], 4, 4).requires_grad_()
    y = module(x)
    assert torch.equal(y, after(x))
    y.sum().backward()
    assert torch.equal(x.grad, (y != 0).float())


def test_a_shortcut_of_another_shape_passes_gradients():
    module = small("resnet18").eval().get_submodule("layer2.0")
    nn.init.zeros_(module.bn2.weight)
    x = torch.randn(1, 64, 4, 4).requires_grad_()
    y = module(x)
    assert torch.equal(y, F.relu(module.downsample(x)))
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).any()


def test_mobilenet_v1_width():
    half = networks["mobilenet_v1"](in_channels=3, classes=1000, width=0.5)
    assert sum(p.numel() for p in half.parameters()) == 1_331_592  # 1.3M in table 7 of the paper
    assert half.classifier.in_features == 512


def test_vit_keeps_patches_apart():
    """Attention must mix tokens, the position embedding must tell them apart."""
    torch.manual_seed(0)
    model = networks["vit_tiny"](in_channels=1, classes=10, image_size=32).eval()
    x = torch.randn(1, 1, 32, 32)
    swapped = torch.cat((x[..., 16:, :], x[..., :16, :]), 2)
    with torch.no_grad():
        assert not torch.allclose(model(x), model(swapped), atol=1e-5)
        model.pos_embed.zero_()
        torch.testing.assert_close(model(x), model(swapped), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: networks["mobilenet_v1"](width=0), "width must be above 0, got 0"),
        (lambda: networks["resnet18"](classes=0), "classes must be above 0, got 0"),
        (lambda: networks["vit_tiny"](image_size=30), "multiple of patch = 4, got 30"),
        (lambda: VisionTransformer(heads=3), "multiple of heads = 3, got 128"),
        (lambda: networks["vit_c_tiny"](patch=7), "power of two .* divides dim = 128, got 7"),
        (lambda: networks["vit_c_tiny"](patch=1), "power of two .* divides dim = 128, got 1"),
        (lambda: networks["vit_c_tiny"](patch=4, dim=6, heads=2), "divides dim = 6, got 4"),
        (lambda: CifarResNet(21), "6 n \\+ 2"),
    ],
)
def test_settings_are_checked(build, message):
    with pytest.raises(SettingError, match=message):
        build()


@pytest.mark.parametrize("name", ["lenet_300_100", "vit_c_tiny", "vit_tiny"])
def test_images_of_another_size_are_named(name):
    with pytest.raises(SettingError, match=r"\(2, 3, 32, 32\).*\(n, 1, 28, 28\).*image_size"):
        networks[name]()(torch.zeros(2, 3, 32, 32))


def maps(model, size=28):
    """Return the heights of the maps after each layer of ``features``."""
    with torch.device("meta"):
        x, found = torch.empty(1, 1, size, size), []
        for layer in model.features:
            x = layer(x)
            found.append(x.shape[2])
    return found


def test_mobilenet_v1_on_small_images():
    """With its own strides six of its layers look at 2x2 pixels and fewer; with stride=8 none does."""
    with torch.device("meta"):
        whole = networks["mobilenet_v1"](in_channels=1).eval()
        finer = networks["mobilenet_v1"](in_channels=1, stride=8).eval()
    assert maps(whole) == [14, 14, 7, 7, 4, 4, *[2] * 6, 1, 1]
    assert maps(finer) == [28, 28, 28, 28, 14, 14, *[7] * 6, 4, 4]
    assert maps(networks["mobilenet_v1"](in_channels=1, stride=1).to("meta").eval()) == [28] * 14


def test_mobilenet_v2_width_and_stride():
    half = networks["mobilenet_v2"](in_channels=3, classes=1000, width=0.5)
    assert sum(p.numel() for p in half.parameters()) == 1_968_680  # torchvision, width_mult=0.5
    wide = networks["mobilenet_v2"](in_channels=3, classes=1000, width=1.4)
    assert sum(p.numel() for p in wide.parameters()) == 6_108_776  # torchvision, width_mult=1.4
    finer = networks["mobilenet_v2"](in_channels=1, width=0.25, stride=8).to("meta").eval()
    assert (maps(finer)[0], maps(finer)[-1]) == (28, 4)


@pytest.mark.parametrize("stride", [0, 3, 64, True, 2.5])
def test_a_stride_that_there_is_not(stride):
    with pytest.raises(SettingError, match="stride is one of 1, 2, 4, 8, 16, 32"):
        networks["mobilenet_v1"](stride=stride)


@pytest.mark.slow
def test_mobilenet_v1_learns_small_images():
    """Stripes down or across, at 28x28 and a quarter of the width."""
    torch.manual_seed(0)
    model = networks["mobilenet_v1"](in_channels=1, classes=2, width=0.25, stride=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    y = torch.arange(32) % 2
    stripes = (torch.arange(28) % 4 < 2).float().expand(28, 28)
    x = torch.where(y.bool()[:, None, None], stripes, stripes.T)[:, None] + torch.randn(32, 1, 28, 28)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (model(x).argmax(1) == y).float().mean() > 0.9
