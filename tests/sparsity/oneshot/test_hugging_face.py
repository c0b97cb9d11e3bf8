"""One-shot pruning of networks of Hugging Face: batches are mappings, padding does not count."""

import pytest
import torch

from featherweight.core.prunable import find_prunable
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.oneshot import prune_oneshot
from featherweight.sparsity.oneshot._joined import NotJoinedError, joined
from featherweight.sparsity.oneshot._passes import Passes

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 32}


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=12, num_labels=3, **SIZES)
    return transformers.BertForSequenceClassification(config).eval()


def batches(padding=0):
    """Texts of 3 to 6 tokens, with so many tokens of padding more."""
    generator = torch.Generator().manual_seed(0)
    for lengths in ([6, 3, 4, 5], [5, 6, 3, 3]):
        ids = torch.randint(1, 50, (4, 6), generator=generator)
        mask = (torch.arange(6 + padding) < torch.tensor(lengths)[:, None]).long()
        ids = torch.nn.functional.pad(ids, (0, padding)) * mask
        yield {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 2, 0])}


def test_padding_changes_nothing():
    results = []
    for padding in (0, 5):
        model = bert()
        masks = prune_oneshot(model, 0.6, list(batches(padding)), progress=False)
        masks.check(model)
        results.append((model, masks))
    (short, masks), (long, others) = results
    assert {layer.samples for layer in masks.layers} == {35, 8}  # tokens; and texts, in pooler and classifier
    assert [layer.samples for layer in masks.layers] == [layer.samples for layer in others.layers]
    for name, mask in masks.items():
        assert torch.equal(mask.keep, others[name].keep)
        assert torch.allclose(short.get_parameter(name), long.get_parameter(name), atol=1e-4)


def test_padding_that_is_not_masked_counts():
    model, data = bert(), [{**batch, "attention_mask": None} for batch in batches()]
    weights = find_prunable(model).weights
    passes = Passes(model, Calibration.of(data))
    assert passes.moments(weights[0], 1).samples == 48


def test_the_transposed_linear_layers_of_gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=12, n_embd=16, n_head=2, n_layer=1, bos_token_id=1, eos_token_id=1
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    data = [{**batch, "labels": batch["input_ids"]} for batch in batches()]
    masks = prune_oneshot(model, 0.5, data, progress=False, pattern="2:4")
    masks.check(model)
    assert masks.kept == masks.numel // 2
    attention = masks["transformer.h.0.attn.c_attn.weight"].keep  # (inputs, outputs)
    assert bool((attention.T.reshape(48, 4, 4).sum(2) == 2).all())


def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=12, n_embd=16, n_head=2, n_layer=2, bos_token_id=1, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config).eval()


def of_lengths(lengths, of_tokens):
    for batch, length in zip(batches(), lengths, strict=True):
        short = {name: value[:, :length] for name, value in batch.items() if value.ndim == 2}
        yield {**short, "labels": short["input_ids"] if of_tokens else batch["labels"]}


@pytest.mark.parametrize(("make", "of_tokens"), [(bert, False), (gpt2, True)])
def test_sequences_of_several_lengths_are_padded_and_joined(make, of_tokens, monkeypatch):
    own = []
    moments = Passes.moments
    monkeypatch.setattr(Passes, "moments", lambda self, *args: own.append(args) or moments(self, *args))
    found = []
    for limit in (None, 0):
        model = make()
        data = list(of_lengths((6, 4), of_tokens))
        masks = prune_oneshot(model, 0.5, data, memory_limit=limit, progress=False)
        found.append((model, masks))
        assert bool(own) == (limit == 0)
    (once, masks), (each, others) = found
    assert [layer.samples for layer in masks.layers] == [layer.samples for layer in others.layers]
    for name, parameter in once.named_parameters():
        assert torch.allclose(parameter, each.get_parameter(name), atol=1e-4), name


def test_padding_that_a_network_looks_at_is_not_added():
    class Looks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.linear = torch.nn.Embedding(50, 8), torch.nn.Linear(8, 3)

        def forward(self, input_ids, attention_mask):
            return self.linear(self.embed(input_ids).mean(1))

    model = Looks()
    data = [{k: v for k, v in batch.items() if k != "labels"} for batch in of_lengths((6, 4), False)]
    with pytest.raises(NotJoinedError, match=r"linear\.weight gets something else"):
        joined(model, find_prunable(model).weights, data, float("inf"))
