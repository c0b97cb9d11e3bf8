"""Students of networks of Hugging Face: their configuration makes a network of the student's shape."""

import copy

import pytest
import torch

from featherweight.distillation.students import student_from

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: benchmarks bring it"
)

IDS = {"input_ids": torch.arange(12).reshape(2, 6) % 11, "attention_mask": torch.ones(2, 6).long()}
SMALL = {"vocab_size": 11, "max_position_embeddings": 16}


def bert(layers=4):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=24, **SMALL
    )
    return transformers.BertForSequenceClassification(config).eval()


def distilbert():
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(dim=16, n_layers=4, n_heads=4, hidden_dim=24, **SMALL)
    return transformers.DistilBertForMaskedLM(config).eval()


def llama():
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=11, hidden_size=16, intermediate_size=24, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, head_dim=4, max_window_layers=2, use_sliding_window=True, sliding_window=4,
    )  # fmt: skip
    return transformers.Qwen3ForCausalLM(config).eval()


MAKERS = {
    "bert": (bert, "bert.encoder.layer", "num_hidden_layers"),
    "distilbert": (distilbert, "distilbert.transformer.layer", "n_layers"),
    "qwen3": (llama, "model.layers", "num_hidden_layers"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_other_block_with_a_configuration_that_makes_it(name):
    make, path, entry = MAKERS[name]
    teacher = make()
    student = student_from(teacher, "every other", example_inputs=IDS)
    assert getattr(student.config, entry) == 2
    assert getattr(teacher.config, entry) == 4
    assert student.config.num_attention_heads == 4, "as many as there were layers"
    fresh = type(teacher)(copy.deepcopy(student.config)).eval()
    fresh.load_state_dict(student.state_dict())
    own, theirs = teacher.get_submodule(path), student.get_submodule(path)
    assert len(theirs) == 2
    assert torch.equal(next(theirs[1].parameters()), next(own[2].parameters()))
    with torch.no_grad():
        assert torch.equal(fresh(**IDS).logits, student(**IDS).logits)


def test_it_computes_what_the_kept_blocks_do():
    teacher = bert()
    student = student_from(teacher, [0, 3])
    inner = teacher.bert
    with torch.no_grad():
        hidden = inner.embeddings(IDS["input_ids"])
        for number in (0, 3):
            hidden = inner.encoder.layer[number](hidden)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        expected = teacher.classifier(inner.pooler(hidden))
        found = student(IDS["input_ids"]).logits
    assert torch.allclose(found, expected, atol=1e-6)


def test_layer_numbers_and_kinds_go_with_the_blocks():
    student = student_from(llama(), [0, 3])
    assert [layer.self_attn.layer_idx for layer in student.model.layers] == [0, 1]
    assert student.config.layer_types == ["full_attention", "sliding_attention"]
    with torch.no_grad():
        cached = student.generate(
            torch.tensor([[1, 2, 3]]), max_new_tokens=3, do_sample=False, pad_token_id=0
        )
    assert cached.shape == (1, 6)


def test_hidden_states_are_fewer_and_that_is_no_error():
    teacher = bert()
    teacher.config.output_hidden_states = True
    student = student_from(teacher, 2, example_inputs=IDS)
    with torch.no_grad():
        assert len(student(**IDS).hidden_states) == 3


def test_two_stacks_are_asked_for_and_only_one_is_recounted():
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=11, d_model=16, d_kv=4, d_ff=24, num_layers=4, num_heads=4, decoder_start_token_id=0
    )
    teacher = transformers.T5ForConditionalGeneration(config).eval()
    ids = {"input_ids": IDS["input_ids"], "decoder_input_ids": IDS["input_ids"]}
    student = student_from(teacher, stack="decoder.block", layers=[0, 2], example_inputs=ids)
    assert (student.config.num_layers, student.config.num_decoder_layers) == (4, 2)
    fresh = transformers.T5ForConditionalGeneration(student.config)
    assert fresh.state_dict().keys() == student.state_dict().keys()


def test_a_narrower_one():
    student = student_from(bert(), "first", width=0.5, example_inputs=IDS)
    with torch.no_grad():
        assert student(**IDS).logits.shape == (2, 2)
    assert student.bert.encoder.layer[1].intermediate.dense.out_features == 12
