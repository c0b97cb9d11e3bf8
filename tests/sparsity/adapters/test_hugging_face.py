"""The real Trainer, with a callback that prunes."""

import importlib
import importlib.util
import shutil
import sys

import pytest
import torch

from featherweight.errors import ModelError, ResumeError, SettingError, UnknownNameError
from featherweight.sparsity import Masks, Pruner
from featherweight.sparsity.schedules import ACDC, SET, Cubic, OneShot, RigL

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed: pip install -r the extra dev", allow_module_level=True)

import transformers
from transformers import BertConfig, BertForSequenceClassification

from featherweight.sparsity.adapters.hugging_face import PrunerCallback

BERT = {"vocab_size": 20, "num_attention_heads": 2, "max_position_embeddings": 8, "num_labels": 3}
BERT |= {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}


def bert():
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**BERT))


def sentences(count=32):
    tokens = torch.randint(1, 20, (count, 6), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row.sum() % 3} for row in tokens]


def trainer(folder, pruning, model=None, **more):
    usual = {"per_device_train_batch_size": 8, "max_steps": 12, "learning_rate": 0.01, "weight_decay": 0.1}
    usual |= {
        "lr_scheduler_type": "linear",
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "seed": 3,
    }
    usual |= {"save_strategy": "no", "logging_strategy": "no"}
    data = sentences()
    return transformers.Trainer(
        model=bert() if model is None else model,
        args=transformers.TrainingArguments(str(folder), **usual | more),
        train_dataset=data,
        eval_dataset=data,
        callbacks=[pruning],
    )


def zeros(model, pruner):
    return sum(int((model.get_parameter(name) == 0).sum()) for name in pruner.masks)


class Watches(transformers.TrainerCallback):
    """Checks the zeros after every step, and notes the sparsity."""

    def __init__(self, pruning):
        self.pruning, self.levels = pruning, []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.pruning.pruner.masks.check(model)
        self.levels.append(self.pruning.pruner.masks.kept)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_follows_the_schedule_in_optimizer_steps_to_exactly_the_target(tmp_path, accumulate):
    pruning = PrunerCallback(sparsity=0.8, schedule=Cubic(begin=0.25, end=0.75, every=3))
    made = trainer(tmp_path, pruning, gradient_accumulation_steps=accumulate)
    watch = Watches(pruning)
    made.add_callback(watch)
    made.train()
    total, cubic = pruning.pruner.masks.numel, Cubic(begin=3, end=9, every=3)
    expected = [round((1 - cubic.sparsity_at(step - step % 3, 0.8)) * total) for step in range(1, 13)]
    assert watch.levels == expected
    assert zeros(made.model, pruning.pruner) == total - round(0.2 * total)
    assert pruning.pruner.ready
    made.model.zero_grad()
    with torch.no_grad():
        made.model.classifier.weight.add_(1)
    made.optimizer.step()  # detached
    assert bool((made.model.classifier.weight != 0).any())


def test_a_pruner_of_the_users_own_is_used(tmp_path):
    model = bert()
    pruner = Pruner(model, 0.9, schedule="one_shot", skip=["classifier"])
    pruning = PrunerCallback(pruner)
    trainer(tmp_path, pruning, model).train()
    assert pruning.pruner is pruner
    pruner.masks.check(model)
    assert bool((model.classifier.weight != 0).all())
    assert pruner.step == 12


def test_the_sparsity_is_in_the_logs(tmp_path, capsys):
    pruning = PrunerCallback(sparsity=0.5, schedule=OneShot(begin=5))
    made = trainer(tmp_path, pruning, logging_strategy="steps", logging_steps=4)
    made.train()
    logged = {entry["step"]: entry["sparsity"] for entry in made.state.log_history if "loss" in entry}
    assert logged == {4: 0.0, 8: pytest.approx(0.5, abs=1e-3), 12: pytest.approx(0.5, abs=1e-3)}
    assert "'sparsity': " in capsys.readouterr().out


RUNS = {
    "gradual": {"criterion": "movement", "schedule": Cubic(begin=2, end=9, every=2)},
    "rigl": {"criterion": "random", "schedule": RigL(begin=0, end=10, every=2)},
    "set": {"schedule": SET(begin=0, end=10, every=3)},
    "acdc": {"schedule": ACDC(begin=2, end=9, every=2)},
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_checkpoint_goes_on_to_the_same_bits_wherever_it_lies(tmp_path, settings):
    def run(folder, resume=None):
        pruning = PrunerCallback(sparsity=0.7, **settings)
        made = trainer(folder, pruning, save_strategy="steps", save_steps=4)
        watch = Watches(pruning)
        made.add_callback(watch)
        made.train(resume_from_checkpoint=resume)
        assert len(watch.levels) == (8 if resume else 12)
        return made.model.state_dict(), pruning.pruner.masks

    whole, masks = run(tmp_path / "whole")
    shutil.move(tmp_path / "whole" / "checkpoint-4", tmp_path / "elsewhere")
    again, same = run(tmp_path / "part", str(tmp_path / "elsewhere"))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert all(torch.equal(mask.keep, same[name].keep) for name, mask in masks.items())


def test_a_checkpoint_of_another_pruning_or_of_none_is_refused(tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 6}
    trainer(tmp_path / "a", PrunerCallback(sparsity=0.7), **saved).train()
    checkpoint = str(tmp_path / "a" / "checkpoint-6")
    with pytest.raises(ResumeError, match=r"of another pruning: it was .*sparsity=0\.7.* and is .*=0\.8"):
        trainer(tmp_path / "b", PrunerCallback(sparsity=0.8)).train(checkpoint)
    trainer(tmp_path / "c", transformers.TrainerCallback(), **saved).train()
    with pytest.raises(ResumeError, match="has no Pruner"):
        trainer(tmp_path / "d", PrunerCallback()).train(str(tmp_path / "c" / "checkpoint-6"))


class Scores(transformers.TrainerCallback):
    """Gives evaluations a score by hand, the higher the better."""

    def __init__(self, scores):
        self.scores = scores

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        metrics["eval_score"] = self.scores[state.global_step]


def with_scores(folder, pruning, scores, resume=None, **more):
    usual = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    usual |= {"load_best_model_at_end": True, "metric_for_best_model": "score", "greater_is_better": True}
    made = trainer(folder, pruning, **usual | more)
    made.add_callback(Scores(scores))
    made.train(resume_from_checkpoint=resume)
    return made


@pytest.mark.parametrize("limit", [None, 1])
def test_the_best_model_is_one_that_is_sparse_with_its_own_masks(tmp_path, limit):
    scores = {2: 9, 4: 9.5, 6: 3, 8: 5, 10: 4, 12: 1}  # dense networks are best
    pruning = PrunerCallback(sparsity=0.8, schedule=RigL(begin=5, end=12, every=1))
    made = with_scores(tmp_path, pruning, scores, save_total_limit=limit)
    assert made.state.best_global_step == 8
    assert made.state.best_metric == 5
    pruning.pruner.masks.check(made.model)
    assert pruning.pruner.step == 8
    best = BertForSequenceClassification.from_pretrained(tmp_path / "checkpoint-8")
    pruning.pruner.masks.check(best)
    total = pruning.pruner.masks.numel
    assert zeros(made.model, pruning.pruner) >= total - round(0.2 * total)


def test_the_best_compressed_model_is_not_lost_to_a_decompressed_one(tmp_path):
    scores = {2: 1, 4: 5, 6: 9, 8: 9.5, 10: 2, 12: 3}
    pruning = PrunerCallback(sparsity=0.8, schedule=ACDC(begin=3, end=9, every=2))
    made = with_scores(tmp_path, pruning, scores, save_total_limit=2)
    assert (made.state.best_global_step, made.state.best_metric) == (4, 5)
    assert made.state.best_model_checkpoint.endswith("checkpoint-4")
    pruning.pruner.masks.check(made.model)
    assert pruning.pruner.ready


def test_the_best_of_before_is_known_after_going_on(tmp_path):
    scores = {2: 9, 4: 9.5, 6: 5, 8: 3, 10: 2, 12: 1}
    settings = {"sparsity": 0.8, "schedule": RigL(begin=5, end=12, every=1)}
    whole = with_scores(tmp_path, PrunerCallback(**settings), scores)
    pruning = PrunerCallback(**settings)
    again = with_scores(tmp_path, pruning, scores, resume=str(tmp_path / "checkpoint-8"))
    assert again.state.best_global_step == 6
    pruning.pruner.masks.check(again.model)
    assert pruning.pruner.step == 6
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])


def test_one_sparse_evaluation_is_better_than_all_dense_ones(tmp_path):
    pruning = PrunerCallback(sparsity=0.8, schedule=OneShot(begin=11))
    made = with_scores(tmp_path, pruning, {2: 9, 4: 8, 6: 7, 8: 6, 10: 5, 12: 1})
    assert (made.state.best_global_step, made.state.best_metric) == (12, 1)
    pruning.pruner.masks.check(made.model)


def test_training_twice_holds_the_zeros(tmp_path):
    model, pruning = bert(), PrunerCallback(sparsity=0.8, schedule=Cubic(begin=0, end=12))
    made = trainer(tmp_path, pruning, model)
    made.train()
    masks = pruning.pruner.masks
    made.train()
    masks.check(model)
    assert pruning.pruner.step == 24
    assert Masks.from_zeros(model).sparsity >= 0.799


def test_what_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"takes a fw.Pruner, or the settings of one"):
        PrunerCallback(bert())
    with pytest.raises(SettingError, match=r"takes a fw.Pruner, or the settings of one.*sparsity"):
        PrunerCallback(Pruner(bert()), sparsity=0.5)
    with pytest.raises(SettingError, match=r"no setting 'sparsty'. There are: sparsity, criterion"):
        PrunerCallback(sparsty=0.5)
    with pytest.raises(SettingError, match="0 <= sparsity < 1"):
        PrunerCallback(sparsity=2)
    with pytest.raises(UnknownNameError, match="Did you mean 'cubic'"):
        PrunerCallback(schedule="cubik")
    with pytest.raises(SettingError, match="before training begins"):
        _ = PrunerCallback().pruner
    with pytest.raises(SettingError, match="after 13 steps, but the run has 12"):
        trainer(tmp_path, PrunerCallback(schedule=OneShot(13))).train()
    with pytest.raises(ModelError, match="holds none"):
        trainer(tmp_path, PrunerCallback(Pruner(bert(), schedule="one_shot"))).train()
    made = trainer(tmp_path, PrunerCallback())
    made.args.fsdp = ["full_shard"]
    with pytest.raises(SettingError, match="shards"):
        made.callback_handler.on_train_begin(made.args, made.state, made.control)


def test_without_transformers_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "featherweight.sparsity.adapters.hugging_face")
    with pytest.raises(ImportError, match=r"pip install 'transformers\[torch\]>=5'"):
        importlib.import_module("featherweight.sparsity.adapters.hugging_face")
