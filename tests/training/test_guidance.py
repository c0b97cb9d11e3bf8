"""What makes the loss of a batch, and learns along with the model."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.errors import ResumeError, SettingError, TrainingError
from featherweight.training import Guidance, TrainingSettings, fit
from featherweight.training.objective import Objective, accuracy, inputs_of, nothing_of


def settings(**more):
    return TrainingSettings(**{"epochs": 3, "learning_rate": 0.01, "precision": "fp32"} | more)


def by_hand(model, guidance, batches, epochs, clip):
    """Constant rate, SGD with Nesterov momentum over both, weights decayed and biases not."""
    both = [*model.parameters(), *guidance.parameters()]
    groups = [{"params": [p for p in both if p.ndim > 1], "weight_decay": 0.1}]
    groups += [{"params": [p for p in both if p.ndim == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, 0.01, momentum=0.9, nesterov=True)
    losses, step = [], 0
    for _ in range(epochs):
        values = []
        for batch in batches:
            guidance.set_progress(step / (epochs * len(batches)))
            optimizer.zero_grad()
            loss = guidance.loss(model(batch[0]), batch)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(both, clip)
            optimizer.step()
            values.append(float(loss.detach()))
            step += 1
        losses.append(sum(values) / len(values))
    return losses


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_numbers_are_those_of_the_recipe(toy, clip):
    batches = list(toy.loaders()[0])
    model, guidance, other, beside = toy.Net(), toy.Copying(), toy.Net(), toy.Copying()
    assert isinstance(guidance, Guidance)
    more = settings(rate="constant", weight_decay=0.1, clip=clip)
    history = fit(model, batches, None, more, guidance=guidance, progress=False)
    assert [record.train_loss for record in history.epochs] == by_hand(other, beside, batches, 3, clip)
    assert toy.digest(model) == toy.digest(other)
    assert toy.digest(guidance) == toy.digest(beside)
    assert toy.digest(guidance) != toy.digest(toy.Copying())
    assert guidance.heard == [step / 18 for step in range(18)]


def test_the_progress_of_accumulated_batches_is_that_of_their_step(toy):
    guidance = toy.Copying()
    fit(toy.Net(), *toy.loaders(), settings(epochs=1, accumulate=4), guidance=guidance, progress=False)
    assert guidance.heard == [0.0] * 4 + [0.5] * 2


def test_the_outputs_are_float32_also_in_bf16(toy):
    seen = []

    class Look(toy.Copying):
        def loss(self, outputs, batch):
            seen.append((outputs.dtype, self.training))
            return super().loss(outputs, batch)

    fit(
        toy.Net(),
        *toy.loaders(),
        settings(epochs=1, precision="bf16"),
        guidance=Look().eval(),
        progress=False,
    )
    assert set(seen) == {(torch.float32, True)}


# Going on from a checkpoint


def run(toy, run_dir, crash_at=0, guidance=None):
    model, guidance = toy.Net(dropout=0.3), guidance or toy.Copying()
    made, calls = guidance.loss, []

    def loss(outputs, batch):
        calls.append(1)
        if len(calls) == crash_at:
            toy.crash()
        return made(outputs, batch)

    guidance.loss = loss
    history = fit(
        model,
        *toy.loaders(noise=0.3),
        settings(checkpoint_every=2 if run_dir else None),
        guidance=guidance,
        pruner=toy.ZeroSmallest(model),
        run_dir=run_dir,
        progress=False,
    )
    return toy.digest(model) + toy.digest(guidance), [record.train_loss for record in history.epochs]


@pytest.mark.parametrize("crash_at", [9, 13])
def test_a_crashed_run_goes_on_to_the_same_bits(toy, tmp_path, crash_at):
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path, crash_at)
    assert run(toy, tmp_path) == run(toy, None)


@pytest.mark.parametrize("name", ["view.weight", "mean"])
def test_sabotage_a_checkpoint_of_another_guidance_state_shows(toy, tmp_path, name):
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path, 9)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["processes"][0]["guidance"][name] += 0.1
    torch.save(state, tmp_path / "checkpoint.pt")
    assert run(toy, tmp_path) != run(toy, None)


def test_a_checkpoint_of_another_guidance_is_refused(toy, tmp_path):
    run(toy, tmp_path)
    other = toy.Copying()
    other.fingerprint = lambda: "Copying others"
    with pytest.raises(ResumeError, match="guidance was 'Copying' and is 'Copying others' now"):
        run(toy, tmp_path, guidance=other)
    model = toy.Net()
    with pytest.raises(ResumeError, match="guidance was 'Copying' and is None now"):
        fit(
            model,
            *toy.loaders(),
            settings(),
            pruner=toy.ZeroSmallest(model),
            run_dir=tmp_path,
            progress=False,
        )


# Batches


def test_batches_may_be_inputs_alone(toy):
    batches = list(toy.loaders()[0])
    digests = []
    for form in (batches, [x for x, _ in batches]):
        model = toy.Net()
        fit(model, form, batches[:1], settings(epochs=1), guidance=toy.Copying(), progress=False)
        digests.append(toy.digest(model))
    assert digests[0] == digests[1]


def test_forms_of_inputs():
    x, y = torch.ones(2), torch.zeros(2)
    for batch in (x, (x,), [x], (x, y)):
        assert inputs_of(batch) is x
    assert inputs_of(mapping := {"a": x}) is mapping
    with pytest.raises(TrainingError, match=r"A batch is .* got a tuple of 3"):
        inputs_of((x, y, y))


def test_without_guidance_batches_need_targets(toy):
    with pytest.raises(TrainingError, match="got a Tensor"):
        fit(toy.Net(), [torch.ones(2, 8)], None, settings(), progress=False)


def test_unlabelled_examples_are_not_counted():
    scores = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    assert accuracy(scores, torch.tensor([0, 0, -100])) == (1, 2)


def test_nothing_reaches_every_output_and_is_0_for_infinite_ones():
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    nothing = nothing_of({"x": a * math.inf, "y": (b * 2, [torch.ones(1)]), "z": type("Z", (), {})()})
    assert nothing.item() == 0
    (nothing + c.sum()).backward()
    assert a.grad is not None
    assert b.grad is not None
    assert c.grad.tolist() == [1, 1]


# What is refused


def test_a_loss_beside_it_is_refused(toy):
    model = toy.Net()
    before = toy.digest(model)
    with pytest.raises(SettingError, match="loss= and guidance= both"):
        fit(model, *toy.loaders(), settings(), loss=F.cross_entropy, guidance=toy.Copying())
    with pytest.raises(SettingError, match="label_smoothing belongs to the default loss; guidance="):
        fit(model, *toy.loaders(), settings(label_smoothing=0.1), guidance=toy.Copying())
    assert toy.digest(model) == before


def test_its_failures_say_what_with(toy):
    class Wrong(toy.Copying):
        def loss(self, outputs, batch):
            return outputs @ torch.ones(7)

    objective = Objective(
        None, None, label_smoothing=0.0, precision="fp32", channels_last=False, guidance=Wrong()
    )
    with pytest.raises(TrainingError, match=r"The guidance failed with outputs float32 \(2, 3\) and batch"):
        objective.loss(toy.Net(), (torch.ones(2, 8), torch.tensor([0, 1])))
