"""A rewound training has everything that the first one had at that step: bit for bit."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

import featherweight as fw
from featherweight.core.holding import Holding
from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.errors import ArtifactError, SettingError
from featherweight.sparsity.lottery import training as lottery_training
from featherweight.sparsity.lottery.branches import Start, Step, branches
from featherweight.sparsity.lottery.folder import Folder
from featherweight.sparsity.lottery.lineage import Lineage
from featherweight.sparsity.lottery.rewinding import RewindPoint
from featherweight.sparsity.lottery.training import perform, train
from featherweight.training.rates import one_cycle

STEPS = 15  # of a training: 3 epochs of 5 batches


def dense(toy, folder, **changes):
    """Train the dense network; return its lineage and its record."""
    lineage = Lineage(toy.experiment(**changes), Folder(folder), 0)
    return lineage, perform(lineage, Step(0, "dense", 0))


def state_after(toy, lineage, step):
    """Return what a plain run of fit has after ``step`` steps, without any code of the lottery."""

    class Look:
        ready, sparsity, taken = True, 0.0, 0

        def attach(self, optimizer):
            self.optimizer = optimizer
            self.handle = optimizer.register_step_post_hook(self.after)

        def after(self, *_):
            self.taken += 1
            if self.taken == step:
                self.model = {k: v.clone() for k, v in model.state_dict().items()}
                self.moments = moments_of(self.optimizer)

        def detach(self):
            self.handle.remove()

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    model, look = lineage.network(), Look()
    data = lineage.data
    settings = replace(lineage.experiment.settings, seed=0)
    history = fw.fit(model, data.train, data.validate, settings, pruner=look, progress=False)
    return look, model, history


def moments_of(optimizer):
    state = optimizer.state_dict()["state"]
    return {n: {k: torch.as_tensor(v).clone() for k, v in parts.items()} for n, parts in state.items()}


def equal(state, other):
    return all(torch.equal(value, other[name]) for name, value in state.items())


class Spy(Holding):
    """Masks that note what the model and the optimizer are when a training is resumed."""

    seen = None

    def attach(self, optimizer):
        super().attach(optimizer)
        self.optimizer = optimizer

    def load_state_dict(self, state, /):
        super().load_state_dict(state)
        if Spy.seen is None:
            model = {k: v.clone() for k, v in self.model.state_dict().items()}
            Spy.seen = model, moments_of(self.optimizer), self.optimizer.param_groups[0]["lr"], self.step


def halved(lineage):
    """Return masks that keep every second weight."""
    return Masks(
        {n: Mask((torch.arange(m.numel) % 2 == 0).view(m.keep.shape)) for n, m in lineage.whole.items()}
    )


@pytest.mark.parametrize("step", [3, 5, 7])  # within an epoch, at its end, in the second
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_state_after_a_rewind_is_that_of_the_step(toy, tmp_path, monkeypatch, step, optimizer):
    lineage, _ = dense(toy, tmp_path, rewind=step, training={"optimizer": optimizer, "learning_rate": 0.01})
    wanted, _, _ = state_after(toy, lineage, step)
    monkeypatch.setattr(lottery_training, "Holding", Spy)
    monkeypatch.setattr(Spy, "seen", None)
    masks = halved(lineage)
    train(lineage, Start(masks, lineage.rewind_point), tmp_path / "rewound")
    model, moments, rate, taken = Spy.seen
    assert taken == step
    for name, value in wanted.model.items():
        expected = value.masked_fill(~masks[name].keep, 0) if name in masks else value
        assert torch.equal(model[name], expected), name
    assert moments.keys() == wanted.moments.keys()
    for number, parts in wanted.moments.items():
        assert all(torch.equal(moments[number][key], value) for key, value in parts.items())
    assert rate == pytest.approx(0.01 * one_cycle(step / STEPS, 0.25), rel=1e-12)


@pytest.mark.parametrize("step", [1, 5, 7])
@pytest.mark.parametrize("more", [{}, {"optimizer": "adamw", "learning_rate": 0.01}, {"ema_decay": 0.9}])
def test_rewinding_with_nothing_pruned_is_the_dense_run_again(toy, tmp_path, step, more):
    lineage, _ = dense(toy, tmp_path, rewind=step, training=more)
    _, model, history = state_after(toy, lineage, step)
    start = Start(lineage.whole, lineage.rewind_point)
    again, rewound = train(lineage, start, tmp_path / "rewound")
    for one, other in zip(history.epochs, rewound.epochs, strict=True):
        assert replace(one, seconds=0, sparsity=0) == replace(other, seconds=0, sparsity=0)
    if history.best.epoch >= start.point.epochs:  # an earlier choice is not taken over
        assert equal(model.state_dict(), again.state_dict())


def test_finding_the_rewind_point_does_not_change_the_dense_run(toy, tmp_path):
    with_point, without = (dense(toy, tmp_path / str(k), rewind=k)[1] for k in (7, 0))
    assert replace(with_point, experiment="") == replace(without, experiment="")


@pytest.mark.parametrize("forgotten", ["optimizer", "scheduler", "norm", "stream"])
def test_sabotage_a_rewind_that_forgets_something_is_another_run(toy, tmp_path, forgotten):
    lineage, _ = dense(toy, tmp_path, rewind=7)
    point = lineage.rewind_point
    training, model = dict(point.training), dict(point.model)
    if forgotten == "optimizer":
        training["optimizer"] = training["optimizer"] | {"state": {}}
    elif forgotten == "scheduler":
        training["scheduler"] = training["scheduler"] | {"last_epoch": 0}
    elif forgotten == "norm":
        model["1.running_mean"] = torch.zeros(16)
    else:
        training["processes"] = [training["processes"][0] | {"stream": [torch.Generator().get_state()]}]
    whole, broken = (
        train(lineage, Start(lineage.whole, one), tmp_path / name)[0].state_dict()
        for name, one in (("whole", point), ("broken", RewindPoint(7, model, training)))
    )
    assert not equal(whole, broken)


def test_rewinding_to_the_start_is_the_initialisation(toy, tmp_path):
    dense(toy, tmp_path, rewind=0)
    torch.manual_seed(0)
    fresh = toy.net().state_dict()
    point = RewindPoint.load(tmp_path / "seed-0" / "rewind.safetensors")
    assert point.step == 0
    assert point.training is None
    assert all(torch.equal(value, fresh[name]) for name, value in point.model.items())
    assert point.model.keys() == fresh.keys()


def test_with_the_learning_rate_alone_the_weights_stay(toy, tmp_path):
    lineage, _ = dense(toy, tmp_path, rewind="learning rate")
    trained = fw.load(tmp_path / "seed-0" / "dense" / "level-00.safetensors")
    start = branches["ticket"]().start(lineage, 1)
    assert start.point.step == 0
    assert start.point.training is None
    assert all(torch.equal(value, trained[name]) for name, value in start.point.model.items())
    perform(lineage, Step(1, "ticket", 0))
    first = fw.load(tmp_path / "seed-0" / "ticket" / "level-01.safetensors")
    second = branches["ticket"]().start(lineage, 2).point.model
    assert all(torch.equal(value, first[name]) for name, value in second.items())


@pytest.mark.parametrize(("rewind", "step"), [(0.2, 3), (4, 4), (0.0, 0), ("learning rate", 0)])
def test_a_fraction_is_a_step_of_the_run(toy, rewind, step):
    assert toy.experiment(rewind=rewind).rewind_step(STEPS) == step


def test_rewinding_past_the_end_is_refused_before_anything_is_written(toy, tmp_path):
    with pytest.raises(SettingError, match="rewind=15 is step 15, but a training has 15 steps"):
        fw.lottery.run(toy.experiment(rewind=15), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_rewind_point_is_a_safetensors_file(finished):
    _, folder, _ = finished
    path = folder / "seed-0" / "rewind.safetensors"
    with safe_open(path, "pt") as file:
        assert "featherweight.lottery.rewind" in file.metadata()
    tensors = fw.load(path)
    assert "model/0.weight" in tensors
    assert any(name.endswith("momentum_buffer") for name in tensors)


def test_something_else_is_refused(finished, tmp_path):
    _, folder, _ = finished
    with pytest.raises(ArtifactError, match="is not a rewind point"):
        RewindPoint.load(folder / "seed-0" / "dense" / "level-00.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    content = (folder / "seed-0" / "rewind.safetensors").read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError):
        RewindPoint.load(damaged)
