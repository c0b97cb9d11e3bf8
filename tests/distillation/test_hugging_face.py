"""The real Trainer: its loss, its optimizer, its checkpoints."""

import copy
import importlib.util

import pytest
import torch

from featherweight.distillation import Distiller
from featherweight.errors import ModelError, ResumeError, SettingError

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed: pip install -r the extra dev", allow_module_level=True)

import transformers
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from featherweight.distillation.adapters.hugging_face import DistillationMixin, DistillingTrainer

BERT = {"vocab_size": 20, "num_attention_heads": 2, "max_position_embeddings": 8, "num_labels": 3}
HINTS, LAYERS = "kd + hints", [("bert.encoder.layer.0", "bert.encoder.layer.0")]
BERT |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def bert(width, seed):
    torch.manual_seed(seed)
    return BertForSequenceClassification(
        BertConfig(hidden_size=width, intermediate_size=width, num_hidden_layers=1, **BERT)
    )


def gpt(width, seed):
    torch.manual_seed(seed)
    sizes = {"n_embd": width, "n_layer": 1, "n_head": 2, "n_positions": 8, "vocab_size": 20}
    return GPT2LMHeadModel(
        GPT2Config(**sizes, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0)
    )


def sentences(count=32):
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 20, (count, 6), generator=rng)
    return [{"input_ids": row, "labels": row.sum() % 3} for row in tokens]


def texts(count=16):
    """Every other text is labelled from its fifth token on only."""
    rows = [{"input_ids": example["input_ids"]} for example in sentences(count)]
    for number, row in enumerate(rows):
        row["labels"] = row["input_ids"].clone()
        row["labels"][: 4 * (number % 2)] = -100
    return rows


def arguments(folder, **more):
    usual = {"per_device_train_batch_size": 8, "max_steps": 4, "optim": "sgd", "learning_rate": 0.1}
    usual |= {"lr_scheduler_type": "constant", "use_cpu": True, "report_to": [], "disable_tqdm": True}
    usual |= {"save_strategy": "no", "logging_strategy": "no", "seed": 3, "max_grad_norm": 0.0}
    return transformers.TrainingArguments(str(folder), **usual | more)


def collated(examples):
    return transformers.default_data_collator(examples)


def make(folder, student, teacher, data, *, loss="kd", alpha=0.5, **more):
    torch.manual_seed(0)
    pairs = LAYERS if "hints" in loss else "auto"
    distiller = Distiller(
        teacher, student, collated(data[:4]), loss=loss, alpha=alpha, features=pairs, precision="fp32"
    )
    return DistillingTrainer(
        model=student,
        args=arguments(folder, **more),
        train_dataset=data,
        data_collator=collated,
        distiller=distiller,
    )


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def close(a, b, **tolerances):
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], **tolerances)


def test_it_is_the_loop_written_out(tmp_path):
    student, teacher, data = bert(8, 0), bert(16, 1), sentences()
    by_hand, before, seen = copy.deepcopy(student), state(teacher), []
    trainer = make(tmp_path, student, teacher, data, loss=HINTS)
    trainer.data_collator = lambda examples: seen.append(collated(examples)) or seen[-1]
    trainer.train()
    torch.manual_seed(0)  # projectors are drawn
    with Distiller(teacher, by_hand, seen[0], loss=HINTS, features=LAYERS, precision="fp32") as distiller:
        optimizer = torch.optim.SGD([*by_hand.parameters(), *distiller.parameters()], 0.1)
        for batch in seen[:4]:
            by_hand.train()
            optimizer.zero_grad()
            distiller(batch).backward()
            optimizer.step()
    close(state(by_hand), state(student))
    close(state(distiller), state(trainer.distiller))
    close(before, state(teacher), rtol=0, atol=0)


def test_accumulated_batches_are_one_of_their_size(tmp_path):
    students = [bert(8, 0), bert(8, 0)]
    for student, size in zip(students, (8, 4), strict=True):
        make(
            tmp_path,
            student,
            bert(16, 1),
            sentences(),
            loss=HINTS,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
        ).train()
    close(state(students[0]), state(students[1]), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(students[0].classifier.weight, bert(8, 0).classifier.weight)


def test_the_part_on_labels_counts_the_tokens_of_the_step_as_the_trainer_does(tmp_path):
    """With alpha=0 it is the Trainer: every other batch has a third of the labels."""
    learnt, alone = gpt(8, 0), gpt(8, 0)
    more = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    make(tmp_path, learnt, gpt(16, 1), texts(), loss="token", alpha=0.0, **more).train()
    plain = transformers.Trainer(
        model=alone, args=arguments(tmp_path, **more), train_dataset=texts(), data_collator=collated
    )
    plain.train()
    close(state(learnt), state(alone), rtol=1e-4, atol=1e-6)


def test_evaluation_is_the_trainers(tmp_path):
    student, data = bert(8, 0), sentences()
    trainer = make(tmp_path, student, bert(16, 1), data)
    plain = transformers.Trainer(
        model=copy.deepcopy(student), args=arguments(tmp_path), eval_dataset=data, data_collator=collated
    )
    assert trainer.evaluate(data)["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"])


def test_alpha_follows_the_steps(tmp_path):
    trainer = make(tmp_path, bert(8, 0), bert(16, 1), sentences(), alpha=(1.0, 0.0))
    heard, set_progress = [], trainer.distiller.set_progress
    trainer.distiller.set_progress = lambda fraction: heard.append(fraction) or set_progress(fraction)
    trainer.train()
    assert heard == [0.0, 0.25, 0.5, 0.75]


def test_projectors_are_trained_and_go_on_from_a_checkpoint(tmp_path):
    def run(folder, resume=None, **more):
        student = bert(8, 0)
        usual = {"optim": "adamw_torch", "learning_rate": 0.01, "weight_decay": 0.1}
        trainer = make(folder, student, bert(16, 1), sentences(), loss=HINTS, **usual | more)
        first = state(trainer.distiller)
        trainer.train(resume)
        assert first
        assert any(not torch.equal(first[name], value) for name, value in state(trainer.distiller).items())
        return state(student) | {f"projector {n}": v for n, v in state(trainer.distiller).items()}

    whole = run(tmp_path / "whole")
    saved = {"save_strategy": "steps", "save_steps": 2}
    run(tmp_path / "part", **saved)
    close(whole, run(tmp_path / "part", str(tmp_path / "part" / "checkpoint-2"), **saved), rtol=0, atol=0)
    file = tmp_path / "part" / "checkpoint-2" / "distiller_0.pt"
    broken = torch.load(file, weights_only=True)
    broken["state"] = {name: value + 0.1 for name, value in broken["state"].items()}
    torch.save(broken, file)
    other = run(tmp_path / "part", str(file.parent), **saved)
    assert any(not torch.equal(other[name], value) for name, value in whole.items())
    torch.save(broken | {"fingerprint": "another"}, file)
    with pytest.raises(ResumeError, match="another distillation: it was 'another'"):
        run(tmp_path / "part", str(file.parent), **saved)
    file.unlink()
    with pytest.raises(ResumeError, match="is missing"):
        run(tmp_path / "part", str(file.parent), **saved)


def test_projectors_are_in_groups_of_their_own(tmp_path):
    trainer = make(tmp_path, bert(8, 0), bert(16, 1), sentences(), loss=HINTS, weight_decay=0.1)
    optimizer = trainer.create_optimizer()
    assert trainer.create_optimizer() is optimizer
    held = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    decays = {held[id(p)] for p in trainer.distiller.parameters() if p.ndim > 1}
    assert decays == {0.1}
    everything = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(everything) == len({id(p) for p in everything})


def test_what_is_refused(tmp_path):
    student, data = bert(8, 0), sentences()
    with Distiller(bert(16, 1), student, collated(data[:4])) as distiller:
        with pytest.raises(ModelError, match="another student"):
            DistillingTrainer(model=bert(8, 0), args=arguments(tmp_path), distiller=distiller)
        with pytest.raises(SettingError, match="label_smoothing_factor"):
            DistillingTrainer(
                model=student, args=arguments(tmp_path, label_smoothing_factor=0.1), distiller=distiller
            )


def test_the_class_is_made_once():
    from featherweight.distillation.adapters import hugging_face

    assert hugging_face.DistillingTrainer is DistillingTrainer
    assert issubclass(DistillingTrainer, DistillationMixin)
    assert issubclass(DistillingTrainer, transformers.Trainer)
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = hugging_face.Other
