"""Sequences of the teacher: our decoder against a loop, what is masked, and Hugging Face's generate."""

import pytest
import torch
from torch import nn

from featherweight.distillation.generate import sequence_targets
from featherweight.distillation.losses import Lesson, View, losses
from featherweight.errors import DataError, ModelError, SettingError

WORDS, END, PAD = 11, 1, 0


class Causal(nn.Module):
    """Logits from running means of embeddings, dropped out in training; padding counts for nothing."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.head = nn.Embedding(WORDS, 16), nn.Linear(16, WORDS)
        self.drop = nn.Dropout(0.5)

    def forward(self, input_ids, attention_mask=None):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        weight = mask.unsqueeze(2) * 2.0 ** torch.arange(input_ids.shape[1]).view(1, -1, 1)
        mean = (self.embed(input_ids) * weight).cumsum(1) / weight.cumsum(1).clamp_min(1e-9)
        return self.head(self.drop(torch.tanh(3 * mean)))


class Maskless(Causal):
    def forward(self, input_ids):
        return super().forward(input_ids)


class Line(nn.Module):
    """Says the next number, and END after 8."""

    def forward(self, input_ids):
        following = torch.where(input_ids >= 8, END, input_ids + 1)
        return nn.functional.one_hot(following, WORDS).float()


def one_by_one(model, prompt, most):
    """Decode one text, token by token."""
    text = list(prompt)
    for _ in range(most):
        logits = model(torch.tensor([text]))[0, -1]
        text.append(int(logits.argmax()))
        if text[-1] == END:
            break
    return text


@pytest.mark.parametrize("seed", range(4))
def test_greedy_equals_a_loop_over_single_texts(seed):
    teacher = Causal(seed)
    prompts = [[3, 4], [5], [7, 2, 9]]
    ids = torch.tensor([[PAD] * (3 - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (3 - len(p)) + [1] * len(p) for p in prompts])
    batch = {"input_ids": ids, "attention_mask": mask}
    (found,) = sequence_targets(teacher, [batch], max_new_tokens=6, eos_token_id=END, pad_token_id=PAD)
    teacher.eval()
    for row, prompt in enumerate(prompts):
        expected = one_by_one(teacher, prompt, 6)
        seen = found["attention_mask"][row] == 1
        assert found["input_ids"][row][seen].tolist() == expected
        said = found["labels"][row]
        assert said[said != -100].tolist() == expected[len(prompt) :]


def test_prompt_and_padding_are_no_labels_and_the_end_is_one():
    prompts = torch.tensor([[2, 3], [6, 7], [7, 8]])
    (found,) = sequence_targets(Line(), [prompts], max_new_tokens=4, eos_token_id=END)
    assert found["input_ids"].tolist() == [[2, 3, 4, 5, 6, 7], [6, 7, 8, 1, 1, 1], [7, 8, 1, 1, 1, 1]]
    assert found["labels"].tolist() == [
        [-100, -100, 4, 5, 6, 7],
        [-100, -100, 8, 1, -100, -100],
        [-100, -100, 1, -100, -100, -100],
    ]
    assert found["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_stops_as_soon_as_all_texts_have_ended():
    (found,) = sequence_targets(Line(), [torch.tensor([[7], [8]])], max_new_tokens=50, eos_token_id=END)
    assert found["input_ids"].tolist() == [[7, 8, 1], [8, 1, 1]]


def test_without_an_end_all_tokens_are_said():
    (found,) = sequence_targets(Line(), [torch.tensor([[7]])], max_new_tokens=3)
    assert found["labels"].tolist() == [[-100, 8, 1, 2]]


def test_the_teacher_is_given_back_as_it_was():
    teacher = Causal().train()
    teacher.drop.eval()
    first, again = (
        sequence_targets(teacher, [torch.tensor([[3, 4]])], max_new_tokens=8)[0] for _ in range(2)
    )
    assert torch.equal(first["input_ids"], again["input_ids"])  # without dropout
    assert [module.training for module in teacher.modules()] == [True, True, True, False]
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x, None), lambda x: {"input_ids": x, "labels": x}])
def test_batches_of_every_form(form):
    found = sequence_targets(Line(), [form(torch.tensor([[2]])), form(torch.tensor([[4]]))], max_new_tokens=1)
    assert [batch["input_ids"].tolist() for batch in found] == [[[2, 3]], [[4, 5]]]


def test_a_student_learns_to_say_what_the_teacher_says():
    teacher, student = Line(), Maskless(5)
    prompts = torch.tensor([[2, 3], [3, 4], [4, 5]])
    (batch,) = sequence_targets(teacher, [prompts], max_new_tokens=3)
    loss = losses["sequence"]()
    lesson = Lesson(batch["labels"], batch["attention_mask"] != 0)
    optimizer = torch.optim.Adam(student.eval().parameters(), 0.03)
    for _ in range(60):
        optimizer.zero_grad()
        loss(View(student(batch["input_ids"])), View(), lesson).backward()
        optimizer.step()
    (said,) = sequence_targets(student, [prompts], max_new_tokens=3)
    assert torch.equal(said["input_ids"], batch["input_ids"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is a whole number of at least 1, got 0"),
        ({"max_new_tokens": 2, "num_beams": 0}, "num_beams"),
        ({"max_new_tokens": 2, "num_beams": 4}, "num_beams need Hugging Face's generate, which Line has not"),
        ({"max_new_tokens": 2, "do_sample": True}, "do_sample need"),
    ],
)
def test_settings_that_are_none_are_refused_before_a_batch_is_read(options, said):
    def batches():
        pytest.fail("a batch was read")
        yield

    with pytest.raises(SettingError, match=said):
        sequence_targets(Line(), batches(), **options)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (torch.zeros(2, 3), "token numbers"),
        ({"pixels": torch.zeros(2, 3)}, "token numbers"),
        (torch.zeros(3, dtype=torch.long), "token numbers"),
        ({"input_ids": torch.ones(1, 2).long(), "attention_mask": torch.ones(1, 3)}, "does not fit"),
        ({"input_ids": torch.ones(1, 2).long(), "attention_mask": torch.tensor([[1, 0]])}, "on the left"),
        ({"input_ids": torch.ones(1, 3).long(), "attention_mask": torch.tensor([[1, 0, 1]])}, "on the left"),
    ],
)
def test_other_batches_are_refused(batch, said):
    with pytest.raises(DataError, match=said):
        sequence_targets(Line(), [batch], max_new_tokens=2)


def test_padding_needs_a_teacher_that_takes_a_mask():
    batch = {"input_ids": torch.ones(2, 2).long(), "attention_mask": torch.tensor([[0, 1], [1, 1]])}
    with pytest.raises(ModelError, match="Maskless takes no attention_mask"):
        sequence_targets(Maskless(), [batch], max_new_tokens=2)


def test_logits_for_other_positions_are_refused():
    longer = nn.Sequential(nn.Embedding(9, 4), nn.ZeroPad2d((0, 0, 1, 1)))
    with pytest.raises(ModelError, match=r"here \(1, 1\) .* returned \(1, 3, 4\)"):
        sequence_targets(longer, [torch.tensor([[1]])], max_new_tokens=1)


class Told(nn.Module):
    """Stands for a model with generate: notes what it is asked, and answers with ``answer``."""

    def __init__(self, answer, **config):
        super().__init__()
        self.answer, self.asked = answer, {}
        self.config = type("Config", (), config)

    def generate(self, **asked):
        self.asked = asked | {"training": self.training, "grad": torch.is_grad_enabled()}
        return self.answer


def test_generate_is_asked_with_the_configurations_tokens():
    teacher = Told(torch.tensor([[5, 6, 7, 2, 9]]), eos_token_id=[2, 3], pad_token_id=9).train()
    options = {"max_new_tokens": 3, "num_beams": 4, "length_penalty": 0.5}
    (found,) = sequence_targets(teacher, [torch.tensor([[5, 6]])], **options)
    assert found["labels"].tolist() == [[-100, -100, 7, 2, -100]]
    asked = {k: v for k, v in teacher.asked.items() if not isinstance(v, torch.Tensor)}
    assert asked == options | {
        "do_sample": False, "eos_token_id": [2, 3], "pad_token_id": 9, "training": False, "grad": False,
    }  # fmt: skip
    assert teacher.training


def test_of_an_encoder_and_a_decoder_the_labels_are_what_was_decoded():
    teacher = Told(torch.tensor([[0, 4, 1, 0], [0, 5, 6, 1]]), eos_token_id=1, is_encoder_decoder=True)
    ids, mask = torch.tensor([[7, 8, 1], [9, 1, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    (found,) = sequence_targets(teacher, [{"input_ids": ids, "attention_mask": mask}], max_new_tokens=3)
    assert torch.equal(found["input_ids"], ids)
    assert torch.equal(found["attention_mask"], mask)
    assert found["labels"].tolist() == [[4, 1, -100], [5, 6, 1]]


def test_several_texts_for_a_prompt_are_refused():
    with pytest.raises(SettingError, match="one text for each of 1 prompts"):
        sequence_targets(Told(torch.zeros(2, 4).long()), [torch.tensor([[5, 6]])], max_new_tokens=2)


def test_gpt2_says_the_same_by_generate_and_by_our_decoder():
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: benchmarks bring it"
    )
    config = transformers.GPT2Config(
        vocab_size=WORDS, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=END, eos_token_id=END
    )
    torch.manual_seed(0)
    teacher = transformers.GPT2LMHeadModel(config).eval()

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = teacher

        def forward(self, input_ids):
            return self.inner(input_ids)

    prompts = torch.tensor([[3, 4, 5], [9, 8, 7]])
    (ours,) = sequence_targets(Plain(), [prompts], max_new_tokens=8, eos_token_id=END)
    (theirs,) = sequence_targets(teacher, [prompts], max_new_tokens=8)
    assert torch.equal(ours["labels"], theirs["labels"])
    (beams,) = sequence_targets(teacher, [prompts], max_new_tokens=8, num_beams=3)
    assert (beams["labels"][:, 3:] != -100).any()
    loss = losses["sequence"]()
    view, lesson = View(teacher(theirs["input_ids"]).logits), Lesson(theirs["labels"])
    own = teacher(input_ids=theirs["input_ids"], labels=theirs["labels"]).loss
    torch.testing.assert_close(loss(view, View(), lesson), own)
