"""Criteria on networks of Hugging Face: batches are mappings, and the models compute their own losses."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader

from featherweight.core.prunable import find_prunable
from featherweight.errors import SettingError
from featherweight.sparsity import Pruner, prune
from featherweight.sparsity.criteria import Context, Wanda, criteria
from featherweight.sparsity.layer_inputs import valid_positions
from featherweight.sparsity.schedules import OneShot

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

GRADIENTS = ["gradient", "taylor", "snip", "fisher", "grasp"]
SIZES = {"num_attention_heads": 2, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 24}


def bert(kind="BertForSequenceClassification"):
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=12, num_labels=3, **SIZES)
    return getattr(transformers, kind)(config)


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=12, n_embd=16, n_head=2, n_layer=1, bos_token_id=1, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config)


def t5():
    config = transformers.T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_heads=2, num_layers=1, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config)


MODELS = {"bert": bert, "gpt2": gpt2, "t5": t5}


def made(name):
    torch.manual_seed(0)
    return MODELS[name]().train()


def examples(name):
    """Texts as a tokenizer gives them, of several lengths, with labels."""
    generator = torch.Generator().manual_seed(0)
    for number, length in enumerate((6, 3, 4, 5)):
        ids = torch.randint(2, 50, (length,), generator=generator).tolist()
        labels = {"bert": number % 3, "gpt2": ids + [-100] * (6 - length), "t5": [*ids[:3], -100]}
        yield {
            "input_ids": ids + [0] * (6 - length),
            "attention_mask": [1] * length + [0] * (6 - length),
            "labels": labels[name],
        }


def loader(name):
    """What the Trainer reads: a mapping that is no dict."""

    def collate(some):
        return transformers.BatchEncoding(transformers.default_data_collator(some))

    return DataLoader(list(examples(name)), batch_size=2, collate_fn=collate)


def scored(criterion, model, data):
    weights = {w.name: w.tensor.detach() for w in find_prunable(model).weights}
    return criterion(weights, Context(model, data))


def naive(name, model, data):
    """Score by the loss that the model computes of its labels."""
    model = copy.deepcopy(model).eval()
    weights = {w.name: w.tensor for w in find_prunable(model).weights}
    if name == "fisher":
        data = [{k: v[i : i + 1] for k, v in batch.items()} for batch in data for i in range(2)]
    found = [
        torch.autograd.grad(model(**batch).loss, list(weights.values()), allow_unused=True) for batch in data
    ]
    formulas = {
        "gradient": lambda w, g: g.mean(0).abs(),
        "snip": lambda w, g: (w * g.mean(0)).abs(),
        "taylor": lambda w, g: ((w * g) ** 2).mean(0),
        "fisher": lambda w, g: ((w * g) ** 2).mean(0) / 2,
    }
    scores = {}
    for (each, weight), several in zip(weights.items(), zip(*found, strict=True), strict=True):
        g = torch.stack([torch.zeros_like(weight) if one is None else one for one in several])
        scores[each] = formulas[name](weight.detach(), g)
    return scores


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("name", ["gradient", "taylor", "snip", "fisher"])
def test_against_the_loss_of_the_model(name, model_name):
    model = made(model_name)
    found = scored(criteria[name], model, loader(model_name))
    expected = naive(name, model, loader(model_name))
    assert found.keys() == expected.keys()
    for each, score in expected.items():
        assert float(score.max()) > 0
        torch.testing.assert_close(found[each], score, rtol=1e-3, atol=float(score.max()) * 1e-4)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("name", [*GRADIENTS, "wanda"])
def test_pruning_is_exact_and_holds_in_the_model(name, model_name):
    model = made(model_name)
    masks = prune(model, 0.5, criterion=name, data=loader(model_name))
    masks.check(model)
    assert masks.kept == masks.numel // 2
    assert bool(model.eval()(**next(iter(loader(model_name)))).loss.isfinite())


@pytest.mark.parametrize("model_name", MODELS)
def test_movement_learns_in_a_loop_of_ones_own(model_name):
    model = made(model_name)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruner = Pruner(model, 0.5, criterion="movement", schedule=OneShot(begin=2))
    pruner.attach(optimizer)
    weights = {w.name: w.tensor for w in find_prunable(model).weights}
    sums = dict.fromkeys(weights, 0)
    for batch in [*loader(model_name), *loader(model_name)][:3]:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        if pruner.step < 2:
            sums = {each: sums[each] - 0.1 * w.detach() * w.grad for each, w in weights.items()}
        optimizer.step()
    pruner.masks.check(model)
    assert pruner.masks.kept == pruner.masks.numel // 2
    kept = torch.cat([mask.keep.flatten() for mask in pruner.masks.values()])
    moved = torch.cat([sums[each].flatten() for each in pruner.masks])
    assert float(moved[kept].mean()) > float(moved[~kept].mean())


def test_wanda_leaves_padding_out_and_takes_what_reaches_the_weights():
    model, batch = made("bert").eval(), next(iter(loader("bert")))
    inner = model.bert.encoder.layer[0].intermediate.dense
    seen = []
    handle = inner.register_forward_hook(lambda module, given, output: seen.append(given[0].detach()))
    model(**batch)
    handle.remove()
    norms = seen[0][batch["attention_mask"] != 0].norm(dim=0)
    found = scored(Wanda(), model, [batch])["bert.encoder.layer.0.intermediate.dense.weight"]
    torch.testing.assert_close(found, inner.weight.detach().abs() * norms)


def test_wanda_of_the_transposed_layers_of_gpt2():
    model, batch = made("gpt2").eval(), next(iter(loader("gpt2")))
    layer, seen = model.transformer.h[0].mlp.c_fc, []
    handle = layer.register_forward_hook(lambda module, given, output: seen.append(given[0].detach()))
    model(**batch)
    handle.remove()
    norms = seen[0][batch["attention_mask"] != 0].norm(dim=0)
    found = scored(Wanda(), model, [batch])["transformer.h.0.mlp.c_fc.weight"]
    torch.testing.assert_close(found, layer.weight.detach().abs() * norms[:, None])  # (inputs, outputs)


@pytest.mark.parametrize(("pattern", "size"), [("2:4", 4), ("per_output", 16)])
def test_patterns_of_gpt2_run_along_the_inputs(pattern, size):
    """Its weights are (inputs, outputs)."""
    how = {"criterion": "wanda", "pattern": pattern, "allocation": "uniform"}
    masks = prune(made("gpt2"), 0.5, **how, data=loader("gpt2"))
    for name in ("attn.c_attn", "mlp.c_fc", "attn.c_proj"):
        keep = masks[f"transformer.h.0.{name}.weight"].keep
        assert keep.shape[0] == 16
        assert bool((keep.T.reshape(-1, size).sum(1) == size // 2).all()), name


def test_the_mask_of_an_encoder_is_not_that_of_a_decoder():
    batch = next(iter(loader("t5")))
    longer = {**batch, "labels": torch.ones_like(batch["input_ids"])}
    assert valid_positions(batch, made("t5")).sum() == 9
    assert valid_positions(longer, made("t5")) is None
    assert valid_positions(longer, made("bert")).sum() == 9
    model, found = made("t5"), {}
    scores = scored(Wanda(), model, [longer])
    handle = (
        model.decoder.block[0]
        .layer[0]
        .SelfAttention.q.register_forward_hook(
            lambda module, given, output: found.update(given=given[0].detach())
        )
    )
    model.eval()(**longer)
    handle.remove()
    weight = model.decoder.block[0].layer[0].SelfAttention.q.weight.detach().abs()
    expected = weight * found["given"].flatten(0, 1).norm(dim=0)
    torch.testing.assert_close(scores["decoder.block.0.layer.0.SelfAttention.q.weight"], expected)


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_model_without_a_head_has_no_loss_and_says_so(name):
    torch.manual_seed(0)
    with pytest.raises(SettingError, match="neither loss nor logits"):
        prune(bert("BertModel"), 0.5, criterion=name, data=loader("bert"))
