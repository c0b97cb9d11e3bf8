"""What reaches a weight, times the weight, is what the layer gives: for every layer, however it is called."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.prunable import find_prunable
from featherweight.sparsity import _windows
from featherweight.sparsity.layer_inputs import EnoughError, valid_positions, watched_inputs


def rows_of(weight):
    """(outputs, positions * inputs): written out here, so that the source has no say in it."""
    tensor = weight.tensor.detach()
    if weight.groups > 1:
        tensor = torch.cat([part.transpose(0, 1) for part in tensor.chunk(weight.groups)])
    elif weight.output_dim:
        tensor = tensor.transpose(0, 1)
    return tensor.flatten(2).transpose(1, 2).flatten(1) if tensor.ndim > 2 else tensor


def seen_by(model, run):
    found = []
    weights = find_prunable(model).weights
    with watched_inputs(weights, found.append) as watch, torch.no_grad():
        run(model, watch)
    return found, watch, {weight.name: weight for weight in weights}


def product(given, weight):
    rows = rows_of(weight)[given.outputs.start : given.outputs.stop]
    parts = rows.chunk(len(given.inputs))
    return torch.cat([x @ part.T for x, part in zip(given.inputs, parts, strict=True)], dim=1)


class Free(nn.Module):
    """A module of one's own: a weight, and a function that uses it."""

    def __init__(self, use, *shape):
        super().__init__()
        self.weight, self.use = nn.Parameter(torch.randn(shape)), use

    def forward(self, x):
        return self.use(x, self.weight)


class Conv1D(Free):
    """As in Hugging Face's GPT-2: (inputs, outputs)."""

    def __init__(self):
        super().__init__(lambda x, w: torch.addmm(torch.zeros(5), x.view(-1, 6), w), 6, 5)


LINEAR = {
    "linear": (nn.Linear(6, 5, bias=False), (2, 3, 6)),
    "vector": (nn.Linear(6, 5, bias=False), (6,)),
    "addmm": (Conv1D(), (2, 6)),
    "x @ w.T": (Free(lambda x, w: x @ w.T, 5, 6), (2, 3, 6)),
    "matmul": (Free(lambda x, w: torch.matmul(x, w.t()), 5, 6), (2, 6)),
    "mm": (Free(lambda x, w: x.mm(w.t()), 5, 6), (2, 6)),
    "w @ x": (Free(lambda x, w: (w @ x.mT).mT, 5, 6), (2, 3, 6)),
    "square": (Free(lambda x, w: x @ w.T, 6, 6), (2, 6)),
}


@pytest.mark.parametrize("case", LINEAR)
def test_rows_times_weight_are_the_outputs_of_a_linear_layer(case):
    model, shape = LINEAR[case]
    x = torch.randn(shape)
    (given,), watch, weights = seen_by(model, lambda m, _: m(x))
    expected = model(x).detach().reshape(-1, len(rows_of(weights["weight"])))
    assert torch.allclose(product(given, weights["weight"]), expected, atol=1e-5)
    assert watch.uses == {"weight": 1}
    assert not watch.unseen()


CONVOLUTIONS = {
    "2d": (nn.Conv2d(4, 6, 3, bias=False), (2, 4, 7, 5)),
    "1x1": (nn.Conv2d(4, 6, 1, bias=False), (2, 4, 7, 5)),
    "all at once": (nn.Conv2d(4, 6, (3, 2), (2, 1), (2, 1), (1, 2), 2, bias=False), (2, 4, 7, 6)),
    "depthwise": (nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), (2, 6, 4, 4)),
    "same": (nn.Conv2d(4, 6, (4, 3), padding="same", dilation=(1, 2), bias=False), (2, 4, 7, 5)),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid", bias=False), (2, 4, 7, 5)),
    "reflect": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", bias=False), (2, 4, 7, 5)),
    "without a batch": (nn.Conv2d(4, 6, 3, stride=2, bias=False), (4, 7, 5)),
    "1d": (nn.Conv1d(4, 6, 3, padding=2, groups=2, bias=False), (2, 4, 9)),
    "3d": (nn.Conv3d(2, 3, (2, 3, 1), stride=(1, 2, 1), bias=False), (2, 2, 4, 5, 3)),
    "transposed": (nn.ConvTranspose2d(4, 3, 3, bias=False), (2, 4, 5, 4)),
    "transposed, all at once": (
        nn.ConvTranspose2d(4, 3, (3, 2), (2, 3), (4, 0), (1, 2), dilation=(1, 2), bias=False),
        (2, 4, 5, 4),
    ),
    "transposed, grouped": (
        nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, bias=False),
        (2, 4, 5, 4),
    ),
    "transposed 1d": (nn.ConvTranspose1d(4, 3, 4, 2, 1, bias=False), (2, 4, 5)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("piece", [2**26, 200], ids=["whole", "in pieces"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_rows_times_weight_are_the_outputs_of_a_convolution(case, piece, monkeypatch):
    monkeypatch.setattr(_windows, "PIECE_BYTES", piece)
    model, shape = CONVOLUTIONS[case]
    x = torch.randn(shape)
    found, watch, weights = seen_by(model, lambda m, _: m(x))
    outputs = model(x).detach()
    outputs = outputs if outputs.ndim > model.weight.ndim - 1 else outputs[None]
    expected = torch.movedim(outputs, 1, -1).flatten(0, -2)
    given = torch.cat([product(part, weights["weight"]) for part in found])
    assert torch.allclose(given, expected, atol=1e-5)
    assert (len(found) > 1) == (piece == 200)
    assert watch.uses == {"weight": 1}


def attend(inputs, **settings):
    torch.manual_seed(0)
    model = nn.MultiheadAttention(8, 2, **settings).eval()
    found, watch, weights = seen_by(model, lambda m, _: m(*inputs))
    return model, found, watch, weights


@pytest.mark.parametrize("batch_first", [False, True])
def test_self_attention_shows_both_projections(batch_first):
    x = torch.randn(3, 4, 8)
    model, (into, last), watch, weights = attend((x, x, x), batch_first=batch_first, bias=False)
    assert sorted(into.inputs[0].sum(1).tolist()) == pytest.approx(sorted(x.view(-1, 8).sum(1).tolist()))
    assert into.outputs == range(24)
    with torch.no_grad():
        expected = model(x, x, x)[0]
    expected = expected.transpose(0, 1) if batch_first else expected
    assert torch.allclose(product(last, weights["out_proj.weight"]), expected.reshape(-1, 8), atol=1e-5)
    assert not watch.unseen()


def test_attention_gives_what_it_gives_unwatched():
    torch.manual_seed(0)
    model, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(3, 4, 8)
    with torch.no_grad():
        expected = model(x)
    outputs = []
    _, watch, weights = seen_by(model, lambda m, _: outputs.append(m(x)))
    assert torch.allclose(outputs[0], expected, atol=1e-5)
    assert set(watch.uses) == set(weights)  # the fast path of inference would pass by them all


def test_query_key_and_value_reach_their_own_rows():
    q, k, v = torch.randn(2, 3, 8), torch.randn(5, 3, 8), torch.randn(5, 3, 8)
    _, found, watch, _ = attend((q, k, v))
    by_rows = {(given.outputs.start, given.outputs.stop): given.inputs[0] for given in found[:3]}
    assert by_rows.keys() == {(0, 8), (8, 16), (16, 24)}
    for part, tokens in zip(((0, 8), (8, 16), (16, 24)), (q, k, v), strict=True):
        assert torch.equal(by_rows[part], tokens.reshape(-1, 8))
    assert watch.uses == {"in_proj_weight": 3, "out_proj.weight": 1}


def test_projections_of_their_own_sizes_are_seen():
    q, k, v = torch.randn(2, 3, 8), torch.randn(5, 3, 6), torch.randn(5, 3, 4)
    _, found, watch, _ = attend((q, k, v), kdim=6, vdim=4)
    shapes = {given.name: tuple(given.inputs.shape) for given in found}
    assert shapes["q_proj_weight"] == (1, 6, 8)
    assert shapes["k_proj_weight"] == (1, 15, 6)
    assert shapes["v_proj_weight"] == (1, 15, 4)
    assert not watch.unseen()


def test_only_the_last_projection_can_be_watched():
    model = nn.MultiheadAttention(8, 2)
    weights = [w for w in find_prunable(model).weights if w.name == "in_proj_weight"]
    x, found = torch.randn(2, 3, 8), []
    with watched_inputs(weights, found.append):
        outputs, _ = model(x, x, x)
    assert [given.name for given in found] == ["in_proj_weight"]
    assert torch.equal(outputs, model(x, x, x)[0])


def test_keys_that_are_padding_are_left_out():
    x = torch.randn(3, 4, 8)
    padding = torch.tensor([[False] * 4, [False, False, True, True], [False] * 3 + [True]])
    model = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    found, _, _ = seen_by(model, lambda m, _: m(x, x, x, key_padding_mask=padding))
    assert [given.inputs.shape[1] for given in found] == [9, 9]
    kept = x.transpose(0, 1)[~padding.T]
    assert torch.equal(found[0].inputs[0], kept)


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.flat, self.pooled = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = self.token(x)
        x = self.flat(x.flatten(0, 1)).view_as(x)
        return self.pooled(x[:, 0])


def test_padded_positions_are_left_out_where_rows_are_tokens():
    batch = {"input_ids": None, "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])}
    x = torch.randn(2, 4, 8)

    def run(model, watch):
        watch.valid = valid_positions(batch)
        model(x)

    (token, flat, pooled), _, _ = seen_by(Tower(), run)
    assert torch.equal(token.inputs[0], torch.cat([x[0, :3], x[1, :1]]))
    assert flat.inputs.shape == (1, 4, 8)
    assert pooled.inputs.shape == (1, 2, 8)


@pytest.mark.parametrize(
    "batch", [torch.ones(2, 3), (torch.ones(2), None), {"labels": 1}, {"attention_mask": 1}]
)
def test_batches_without_a_mask_keep_every_position(batch):
    assert valid_positions(batch) is None


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_recurrent_cells_show_inputs_and_state(cell):
    model, x, h = cell(5, 4), torch.randn(3, 5), torch.randn(3, 4)
    state = (h, torch.zeros(3, 4)) if cell is nn.LSTMCell else h
    found, watch, _ = seen_by(model, lambda m, _: m(x, state))
    by_name = {given.name: given.inputs[0] for given in found}
    assert torch.equal(by_name["weight_ih"], x)
    assert torch.equal(by_name["weight_hh"], h)
    assert not watch.unseen()


def test_weights_that_are_not_seen_are_named_with_the_reason():
    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.unused, self.turned = nn.LSTM(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.some, self.mixed = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = self.lstm(x)[0] @ self.turned.weight  # its inputs are the other dimension
            x = F.linear(x, self.some.weight[:2]).repeat(1, 1, 2)
            return torch.einsum("tbi,oi->tbo", x, self.mixed.weight)

    _, watch, _ = seen_by(Strange(), lambda m, _: m(torch.randn(2, 4, 4)))
    reasons = watch.unseen()
    assert watch.uses == {}
    assert "lstm does not show" in reasons["lstm.weight_ih_l0"]
    assert "nothing reached it" in reasons["unused.weight"]
    assert "exchanged" in reasons["turned.weight"]
    assert "a part of it" in reasons["some.weight"]
    assert "einsum does not show" in reasons["mixed.weight"]


def test_tied_weights_and_several_uses_are_counted_under_the_first_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    found, watch, _ = seen_by(model, lambda m, _: m(torch.randn(2, 4)))
    assert [given.name for given in found] == ["0.weight", "0.weight", "3.weight"]
    assert watch.uses == {"0.weight": 2, "3.weight": 1}


def test_uses_come_in_the_order_of_running_and_nothing_is_made_without_a_receiver():
    class Backwards(nn.Sequential):
        def forward(self, x):
            return self[0](self[1](x))

    model = Backwards(nn.Linear(4, 4), nn.Linear(4, 4))
    with watched_inputs(find_prunable(model).weights) as watch:
        model(torch.randn(2, 4))
    assert list(watch.uses) == ["1.weight", "0.weight"]


def test_an_exception_of_the_receiver_stops_the_pass_and_leaves_nothing_behind():
    class Enough(Exception):  # noqa: N818
        pass

    def stop(given):
        raise Enough

    model, before = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(Enough), watched_inputs(find_prunable(model).weights, stop) as watch:
        model(torch.randn(2, 4))
    assert watch.uses == {"0.weight": 1}
    model(torch.randn(2, 4))
    assert watch.uses == {"0.weight": 1}
    assert torch.backends.mha.get_fastpath_enabled() == before
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_pass_is_left_after_the_last_use_that_was_asked_for():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with watched_inputs(find_prunable(model).weights) as watch:
        watch.enough = {"0.weight": 2}
        with pytest.raises(EnoughError):
            model(torch.randn(2, 4))
    assert watch.uses == {"0.weight": 2}


def test_inputs_carry_no_gradient_and_gradients_flow_on():
    model = nn.MultiheadAttention(8, 2)
    found, x = [], torch.randn(2, 3, 8)
    with watched_inputs(find_prunable(model).weights, found.append):
        model(x, x, x)[0].sum().backward()
    assert not any(given.inputs.requires_grad for given in found)
    assert model.out_proj.weight.grad is not None


def test_a_network_in_bfloat16_under_autocast_is_seen():
    model, found = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), []
    weights = find_prunable(model).weights
    with torch.autocast("cpu", torch.bfloat16), watched_inputs(weights, found.append):
        model(torch.randn(2, 4))
    assert [given.name for given in found] == ["0.weight", "1.weight"]
