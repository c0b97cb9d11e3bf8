"""fw.prune_oneshot on networks: exact counts, better than magnitude, given back whole, resumed."""

import copy
import functools
import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import featherweight as fw
from featherweight.core.prunable import find_prunable
from featherweight.core.rows import from_rows, to_rows
from featherweight.errors import ModelError, ResumeError, SettingError, UnknownNameError
from featherweight.sparsity import prune
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.oneshot import Solution, methods, prune_oneshot
from featherweight.sparsity.oneshot._passes import Passes
from featherweight.sparsity.oneshot.prune import _parts


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, groups=4, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, 2),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True), 2, enable_nested_tensor=False
        )
        self.cross = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.inner(x)
        return self.head(self.cross(x[:, :2], x, x)[0].mean(1))


NETWORKS = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)),
        (12,),
    ),
    "convolutional": (convolutional, (2, 8, 8)),
    "attention": (Attention, (6, 16)),
}


def data_of(shape, batches=4, size=64):
    """Few causes, many inputs: as real data are."""
    generator = torch.Generator().manual_seed(1)
    causes = torch.randn(batches * size, 6, generator=generator)
    patterns = torch.randn(6, math.prod(shape), generator=generator)
    x = causes @ patterns + 0.2 * torch.randn(batches * size, math.prod(shape), generator=generator)
    y = (causes[:, 0] > 0).long() + 2 * (causes[:, 1] * causes[:, 2] > 0).long()
    x = x.view(-1, *shape) / 2
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def trained(name, steps=80):
    """Return a network of one's own, and data of one's own."""
    return copy.deepcopy(_trained(name, steps))


@functools.cache
def _trained(name, steps):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    model, data = make(), data_of(shape)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(steps):
        x, y = data[step % len(data)]
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval(), data


def loss_of(model, data):
    with torch.no_grad():
        return sum(float(F.cross_entropy(model(x), y)) for x, y in data) / len(data)


def quietly(model, sparsity, data, **settings):
    return prune_oneshot(model, sparsity, data, progress=False, **settings)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in b)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_loss_is_lower_than_with_magnitude(network):
    losses = {}
    for method in ("magnitude", "sparsegpt", "obs", "alps"):
        model, data = trained(network)
        quietly(model, 0.6, data, method=method, correct_bias=False, reestimate_batch_norm=False)
        losses[method] = loss_of(model, data)
    dense = loss_of(*trained(network))
    magnitude = losses.pop("magnitude") - dense
    assert max(losses.values()) - dense < 0.8 * magnitude
    assert min(losses.values()) - dense < 0.7 * magnitude


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", list(methods))
def test_counts_are_those_of_prune_and_masks_hold(method, network):
    model, data = trained(network, 0)
    masks = quietly(model, 0.6, data, method=method)
    masks.check(model)
    expected = prune(trained(network, 0)[0], 0.6, allocation="uniform")
    assert {name: mask.kept for name, mask in masks.items()} == {n: m.kept for n, m in expected.items()}
    assert masks.kept == round(0.4 * masks.numel)
    assert [layer.kept for layer in masks.layers] == [masks[layer.name].kept for layer in masks.layers]
    assert all(0 <= layer.error < 1 and layer.seconds > 0 and layer.samples > 0 for layer in masks.layers)


@pytest.mark.parametrize("pattern", ["2:4", "1x4", "4x1", "per_output"])
def test_patterns_and_allocations(pattern):
    model, data = trained("convolutional", 0)
    masks = quietly(model, 0.7, data, pattern=pattern, allocation="erk")
    expected = prune(trained("convolutional", 0)[0], 0.7, pattern=pattern, allocation="erk")
    assert masks.kept == expected.kept
    for weight in find_prunable(model).weights:
        rows = to_rows(masks[weight.name].keep, weight.output_dim, weight.groups)
        from featherweight.sparsity.patterns import row_pattern

        again = row_pattern(pattern).mask(rows.double(), masks[weight.name].kept).keep
        assert torch.equal(again, rows)


def test_magnitude_is_prune():
    model, data = trained("convolutional", 5)
    other = trained("convolutional", 5)[0]
    quietly(model, 0.8, data, method="magnitude", correct_bias=False, reestimate_batch_norm=False)
    prune(other, 0.8, allocation="uniform")
    assert same(state(model), state(other))


def test_every_output_of_the_network_keeps_a_weight():
    model, data = trained("linear", 0)
    with torch.no_grad():
        model[4].weight[1] *= 1e-6
    for method in methods:
        pruned, _ = trained("linear", 0)
        pruned.load_state_dict(model.state_dict())
        masks = quietly(pruned, 0.9, data, method=method)
        assert bool(masks["4.weight"].keep.any(1).all()), method


@pytest.mark.parametrize("network", NETWORKS)
def test_hessians_are_those_of_the_inputs(network):
    model, data = trained(network, 0)
    weights = find_prunable(model).weights
    passes = Passes(model, Calibration.of(data))
    uses = passes.uses(weights)
    moments = passes.moments(weights, uses)
    for weight in weights:
        # of w' = w + d, the outputs change by the energy of d under H: which a forward pass shows
        rows = to_rows(weight.tensor.detach(), weight.output_dim, weight.groups)
        h, mean = moments[weight.name].hessian, moments[weight.name].mean
        grouped = rows.reshape(len(h), -1, h.shape[-1])
        outputs = outputs_of_layer(model, weight, data)
        assert torch.allclose(
            ((grouped @ h) * grouped).sum(-1).flatten(), outputs.square().mean(0), rtol=1e-3, atol=1e-6
        )
        assert torch.allclose((grouped @ mean[..., None]).flatten(), outputs.mean(0), rtol=1e-2, atol=1e-4)


def outputs_of_layer(model, weight, data):
    """What the layer adds up before its bias, (samples, outputs), by other means than layer_inputs."""
    owner = model.get_submodule(weight.name.rpartition(".")[0])
    found = []

    def note(module, args, kwargs, output):
        with torch.no_grad():
            if isinstance(module, nn.MultiheadAttention):
                q, k, v = (t.flatten(0, 1) for t in args[:3])
                wq, wk, wv = module.in_proj_weight.chunk(3)
                q = q.repeat_interleave(len(k) // len(q), 0)  # means are all that is looked at
                found.append(torch.cat([q @ wq.T, k @ wk.T, v @ wv.T], 1))
            else:
                bias = 0 if module.bias is None else module.bias
                output = output if output.ndim < 4 else output.movedim(1, -1)
                found.append((output - bias).flatten(0, -2))

    if isinstance(
        owner, nn.modules.linear.NonDynamicallyQuantizableLinear
    ):  # attention calls it as a function
        parent = model.get_submodule(weight.name.rpartition(".")[0].rpartition(".")[0])
        handle = parent.register_forward_hook(
            lambda m, a, o: found.append((o[0] - m.out_proj.bias).flatten(0, -2))
        )
    else:
        handle = owner.register_forward_hook(note, with_kwargs=True)
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            for x, _ in data:
                model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
        handle.remove()
    return torch.cat(found)


def test_a_layer_sees_the_pruned_layers_before_it():
    seen = {}

    def spy(problem):
        seen[problem.weights.shape] = problem.hessian.clone()
        return Solution(
            torch.zeros_like(problem.weights), torch.zeros_like(problem.weights, dtype=torch.bool)
        )

    model, data = trained("linear", 0)
    with torch.no_grad():
        model[0].bias.zero_()
    quietly(model, 0.5, data, method=spy, correct_bias=False)
    assert not bool(seen[(32, 1, 32)].any())
    model, data = trained("linear", 0)
    with torch.no_grad():
        model[0].bias.zero_()
    quietly(model, 0.5, data, method=spy, correct_bias=False, memory_limit=10**6)
    assert bool(seen[(32, 1, 32)].any())  # all share a pass


def test_layers_share_a_pass_as_far_as_memory_allows():
    model, _ = trained("linear", 0)
    weights = find_prunable(model).weights
    layers = [type("L", (), {"weight": w}) for w in weights]  # 12, 32 and 32 columns
    assert [len(part) for part in _parts(layers, None)] == [1, 1, 1]
    assert [len(part) for part in _parts(layers, 1)] == [1, 1, 1]
    assert [len(part) for part in _parts(layers, 4 * (12 * 12 + 32 * 32))] == [2, 1]
    assert [len(part) for part in _parts(layers, 10**6)] == [3]


def test_a_bias_makes_up_for_the_mean():
    before, data = trained("linear")
    errors = {}
    for correct in (False, True):
        model, _ = trained("linear")
        quietly(model, 0.9, data, method="magnitude", correct_bias=correct)
        with torch.no_grad():
            change = torch.cat([model[0](x) - before[0](x) for x, _ in data])
        errors[correct] = change.mean(0).abs().max()
    assert errors[True] < 1e-5 < 1e-2 < errors[False]


def test_a_bias_that_is_frozen_or_shared_stays():
    for frozen in (True, False):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
        if frozen:
            model[0].bias.requires_grad_(False)
        else:
            model[2].bias = model[0].bias
        before = [model[0].bias.clone(), model[4].bias.clone()]
        quietly(model, 0.5, [(torch.rand(32, 6), torch.zeros(32).long())], method="magnitude")
        assert torch.equal(model[0].bias, before[0])
        assert not torch.equal(model[4].bias, before[1])


class OverTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.RNNCell(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


@pytest.mark.parametrize("lengths", [(3, 20), (20, 3)])
def test_batches_that_use_a_weight_more_often_than_the_first_are_seen_whole(lengths):
    data = [(torch.randn(4, length, 4), torch.zeros(4).long()) for length in lengths]
    masks = quietly(OverTime(), 0.5, data)
    samples = {layer.name: layer.samples for layer in masks.layers}
    assert samples["cell.weight_ih"] == 4 * (3 + 20)


def test_batch_norm_is_estimated_anew():
    model, data = trained("convolutional")
    untouched, _ = trained("convolutional")
    quietly(model, 0.8, data)
    quietly(untouched, 0.8, data, reestimate_batch_norm=False)
    assert same(state(trained("convolutional")[0][1]), state(untouched[1]))
    with torch.no_grad():
        first = torch.cat([model[0](x) for x, _ in data])
    assert torch.allclose(model[1].running_mean, first.mean((0, 2, 3)), atol=1e-4)


def test_modes_gradients_hooks_and_random_numbers_are_left_alone():
    model, data = trained("attention", 1)
    model.train()
    model.head.eval()
    gradients = [torch.randn_like(p) for p in model.parameters()]
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    modes = {name: module.training for name, module in model.named_modules()}
    generator = torch.get_rng_state()
    quietly(model, 0.5, data)
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_same_twice_is_the_same():
    results = []
    for _ in range(2):
        model, data = trained("attention", 3)
        quietly(model, 0.5, data, criterion="random", allocation="global", seed=3)
        results.append(state(model))
    assert same(*results)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision(kind):
    model, data = trained("linear")
    model = model.to(kind)
    data = [(x.to(kind), y) for x, y in data]
    masks = quietly(model, 0.5, data)
    masks.check(model)
    assert masks.kept == round(0.5 * masks.numel)
    assert all(p.dtype == kind for p in model.parameters())
    assert math.isfinite(loss_of(model, data))


def test_tied_weights_are_pruned_once_for_all_their_uses():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 4))
    model[2].weight = model[0].weight
    biases = [model[0].bias.clone(), model[2].bias.clone()]
    masks = quietly(model, 0.5, data_of((12,)))
    assert list(masks) == ["0.weight", "4.weight"]
    assert model[2].weight is model[0].weight
    assert masks.layers[0].samples == 2 * 256
    assert torch.equal(model[0].bias, biases[0])  # two biases, one mean: neither is touched
    masks.check(model)


def test_what_was_zero_stays_zero():
    model, data = trained("linear")
    first = prune(model, 0.4)
    masks = quietly(model, 0.7, data)
    for name, mask in masks.items():
        assert not bool((mask.keep & ~first[name].keep).any())
    assert masks.kept == round(0.3 * masks.numel)
    with pytest.raises(SettingError, match="sparse already"):
        quietly(model, 0.5, data)


def test_data_may_be_a_function():
    model, data = trained("linear")
    other, _ = trained("linear")
    quietly(model, 0.6, lambda m: (F.cross_entropy(m(x), y) for x, y in data))
    quietly(other, 0.6, data)
    assert same(state(model), state(other))


def test_a_loader_may_shuffle_and_only_so_many_batches_are_read():
    read = []

    class Loader:
        def __iter__(self):
            for number, batch in enumerate(data_of((12,), 8)):
                read.append(number)
                yield batch

    model, _ = trained("linear", 0)
    masks = quietly(model, 0.5, Loader(), batches=3)
    assert read == [0, 1, 2]
    assert {layer.samples for layer in masks.layers} == {3 * 64}


class Fails(Exception):  # noqa: N818
    pass


def failing(after):
    calls = []

    def method(problem):
        calls.append(problem)
        if len(calls) > after:
            raise Fails
        return methods["sparsegpt"](problem)

    method.__qualname__ = "method"
    return method


@pytest.mark.parametrize("error", [Fails, KeyboardInterrupt])
def test_a_failure_gives_everything_back(error, monkeypatch):
    model, data = trained("convolutional")
    before = state(model)

    def fail(problem, count=[0]):  # noqa: B006
        count[0] += 1
        if count[0] == 3:
            raise error
        return methods["sparsegpt"](problem)

    with pytest.raises(error):
        quietly(model, 0.5, data, method=fail)
    assert same(state(model), before)


def test_an_interrupted_run_goes_on(tmp_path):
    model, data = trained("convolutional")
    before = state(model)
    with pytest.raises(Fails):
        quietly(model, 0.5, data, method=failing(3), run_dir=tmp_path / "run")
    assert same(state(model), before)
    assert len(list((tmp_path / "run").glob("*.safetensors"))) == 3
    masks = quietly(model, 0.5, data, method=failing(2), run_dir=tmp_path / "run")  # two are left
    other, _ = trained("convolutional")
    expected = quietly(other, 0.5, data, method=failing(9))
    assert same(state(model), state(other))
    assert [layer.name for layer in masks.layers] == [layer.name for layer in expected.layers]


def test_a_run_of_other_settings_or_another_network_is_refused(tmp_path):
    model, data = trained("linear")
    quietly(model, 0.5, data, run_dir=tmp_path)
    model, _ = trained("linear")
    with pytest.raises(ResumeError, match="another kept"):
        quietly(model, 0.6, data, run_dir=tmp_path)
    with pytest.raises(ResumeError, match="another damping"):
        quietly(model, 0.5, data, damping=0.1, run_dir=tmp_path)
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    before = state(model)
    with pytest.raises(ResumeError, match="another network"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    assert same(state(model), before)


def test_damaged_files_of_a_run_are_named(tmp_path):
    model, data = trained("linear")
    quietly(model, 0.5, data, run_dir=tmp_path)
    model, _ = trained("linear")
    before = state(model)
    (tmp_path / "0001.safetensors").write_bytes(b"nothing")
    with pytest.raises(ResumeError, match=r"0001\.safetensors is not a finished layer"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    assert same(state(model), before)
    (tmp_path / "0000.safetensors").replace(tmp_path / "0001.safetensors")
    with pytest.raises(ResumeError, match="expected"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    (tmp_path / "settings.json").write_text("[")
    with pytest.raises(ResumeError, match="cannot be read"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    (tmp_path / "settings.json").write_text(json.dumps([1]))
    with pytest.raises(ResumeError, match="no settings"):
        quietly(model, 0.5, data, run_dir=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ResumeError, match="is a file"):
        quietly(model, 0.5, data, run_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"method": "sparsgpt"}, UnknownNameError, "Did you mean 'sparsegpt'"),
        ({"method": 3}, UnknownNameError, "No method is called 3"),
        ({"damping": -1}, SettingError, "damping is"),
        ({"damping": float("nan")}, SettingError, "damping is"),
        ({"damping": True}, SettingError, "damping is"),
        ({"memory_limit": 0}, SettingError, "memory_limit is"),
        ({"batches": 0}, SettingError, "batches is"),
        ({"batches": 1.5}, SettingError, "batches is"),
        ({"pattern": "4:2"}, SettingError, "N:M"),
        ({"pattern": lambda s, k: None, "method": "obs"}, SettingError, "takes the patterns"),
        ({"skip": ["nonesuch"]}, SettingError, "matches no parameter"),
        ({"sparsity": 1.0}, SettingError, "fraction of zeros"),
        ({"sparsity": 0.3, "pattern": "2:4"}, SettingError, "lowest sparsity"),
        ({"data": None}, SettingError, "prune_oneshot looks at data"),
        ({"data": []}, SettingError, "no batch"),
        ({"data": torch.ones(3)}, SettingError, "got a Tensor"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_changes(settings, error, words):
    model, data = trained("linear", 0)
    before = state(model)
    with pytest.raises(error, match=words):
        quietly(model, **{"sparsity": 0.5, "data": data} | settings)
    assert same(state(model), before)


def test_batch_norm_needs_batches():
    model, data = trained("convolutional", 0)

    def losses(m):
        return (F.cross_entropy(m(x), y) for x, y in data)

    with pytest.raises(SettingError, match="reestimate_batch_norm=False"):
        quietly(model, 0.5, losses)
    quietly(model, 0.5, losses, reestimate_batch_norm=False).check(model)


def test_inputs_that_are_not_finite_are_named_and_nothing_changes():
    model, data = trained("linear", 0)
    before = state(model)
    data[2][0][1, 1] = torch.nan
    with pytest.raises(ModelError, match=r"0\.weight: what reaches it is not finite"):
        quietly(model, 0.5, data)
    assert same(state(model), before)


def test_weights_that_no_data_reach_are_named():
    model = nn.LSTM(12, 8)
    with pytest.raises(ModelError, match=r"weight_ih_l0: lstm does not show.*skip="):
        quietly(model, 0.5, [(torch.randn(3, 2, 12), None)])
    wide = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    wide.forward = wide["used"].forward
    with pytest.raises(ModelError, match=r"unused\.weight: nothing reached it"):
        quietly(wide, 0.5, [(torch.randn(3, 4), None)])
    quietly(wide, 0.5, [(torch.randn(3, 4), None)], skip=["unused"])


@pytest.mark.parametrize(
    ("weights", "keep", "words"),
    [
        (lambda w: w, lambda w: torch.ones_like(w).bool(), r"keeps 384 weights, at most 192"),
        (lambda w: w, lambda w: torch.zeros_like(w).bool(), "not zero where its mask"),
        (lambda w: w.flatten(), lambda w: torch.zeros_like(w).bool(), r"of shape \(384,\), expected"),
    ],
)
def test_what_a_method_gives_is_checked(weights, keep, words):
    def method(problem):
        return Solution(weights(problem.weights), keep(problem.weights))

    model, data = trained("linear", 0)
    before = state(model)
    with pytest.raises(ModelError, match=r"0\.weight: the method gave .*" + words):
        quietly(model, 0.5, data, method=method)
    assert same(state(model), before)


def test_weights_that_are_not_finite_are_refused():
    def infinite(problem):
        solution = methods["magnitude"](problem)
        return Solution(solution.weights.masked_fill(solution.keep, torch.inf), solution.keep)

    model, data = trained("linear", 0)
    with pytest.raises(ModelError, match="not finite: raise damping="):
        quietly(model, 0.5, data, method=infinite)


def test_progress_is_a_line_a_layer_on_stderr(capsys):
    model, data = trained("linear", 0)
    prune_oneshot(model, 0.5, data)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("1/3  0.weight  50.00% zero  error ")
    quietly(trained("linear", 0)[0], 0.5, data)
    assert capsys.readouterr().err == ""


def test_it_is_exported():
    assert fw.prune_oneshot is prune_oneshot


def test_rows_and_back_are_what_layers_are_written_by():
    weight = torch.randn(6, 4, 3, 3)
    assert torch.equal(from_rows(to_rows(weight, 0), weight.shape, 0), weight)
