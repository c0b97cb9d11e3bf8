"""What layers see of the data: their Hessians, the order of passes, the memory."""

import pytest
import torch
from oneshot_toy import NETWORKS, data_of, quietly, trained
from torch import nn

from featherweight.core.prunable import find_prunable
from featherweight.core.rows import to_rows
from featherweight.errors import ModelError
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.layer_inputs import LayerInput
from featherweight.sparsity.oneshot import Solution, methods
from featherweight.sparsity.oneshot._moments import InputMoments
from featherweight.sparsity.oneshot._passes import Passes


@pytest.mark.parametrize("network", NETWORKS)
def test_hessians_are_those_of_the_inputs(network):
    model, data = trained(network, 0)
    weights = find_prunable(model).weights
    passes = Passes(model, Calibration.of(data))
    uses = passes.uses(weights)
    for weight in weights:
        # of w' = w + d, the outputs change by the energy of d under H: which a forward pass shows
        rows = to_rows(weight.tensor.detach(), weight.output_dim, weight.groups)
        moments = passes.moments(weight, uses[weight.name])
        h, mean = moments.hessian, moments.mean
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


@pytest.mark.parametrize(
    ("layer", "hessians", "columns"),
    [
        (nn.Conv2d(8, 8, 3, groups=2), 2, 36),  # four inputs a group
        (nn.Conv2d(1, 64, 5), 1, 25),  # one input, one group
        (nn.Conv2d(8, 16, 3, groups=8), 8, 9),
    ],
)
def test_a_convolution_has_a_hessian_a_group(layer, hessians, columns):
    passes = Passes(nn.Sequential(layer), Calibration.of([(torch.randn(2, layer.in_channels, 6, 6), None)]))
    (weight,) = find_prunable(passes.model).weights
    assert passes.moments(weight, 1).hessian.shape == (hessians, columns, columns)


def test_sums_are_let_go_of_as_moments_are_made():
    sums = InputMoments("weight", 4)
    sums.add(LayerInput("weight", torch.ones(1, 6, 3), range(4)))
    assert torch.equal(sums.result().hessian, torch.ones(1, 3, 3))
    with pytest.raises(ModelError, match="no input reached"):
        sums.result()


def precisions():
    backends = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    return [getattr(backend, "fp32_precision", torch.get_float32_matmul_precision()) for backend in backends]


def test_products_are_of_full_precision_whatever_the_user_allows(monkeypatch):
    found = []

    def spy(problem):
        found.append((precisions(), torch.is_autocast_enabled("cpu")))
        return methods["sparsegpt"](problem)

    add = torch.Tensor.baddbmm_
    monkeypatch.setattr(
        torch.Tensor, "baddbmm_", lambda *a, **k: (found.append((precisions(), False)), add(*a, **k))[1]
    )
    model, data = trained("linear", 0)
    torch.set_float32_matmul_precision("high")
    try:
        before = precisions()
        with torch.autocast("cpu"):
            quietly(model, 0.5, data, method=spy, memory_limit=0)
        assert precisions() == before
    finally:
        torch.set_float32_matmul_precision("highest")
    assert "tf32" in before or before == ["high"] * 2
    assert len(found) >= 3 * (len(data) + 1)
    assert all(exact in (["ieee"] * 2, ["highest"] * 2) and not lower for exact, lower in found)


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
