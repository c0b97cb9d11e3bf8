"""The real Trainer of Lightning, with a callback that prunes."""

import importlib
import importlib.util
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from featherweight.errors import ModelError, ResumeError, SettingError
from featherweight.sparsity import Pruner
from featherweight.sparsity.schedules import ACDC, SET, Cubic, OneShot, RigL

if importlib.util.find_spec("lightning") is None:
    pytest.skip("lightning is not installed: pip install -r the extra dev", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning

from featherweight.sparsity.adapters.lightning import PrunerCallback

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


class Module(lightning.LightningModule):
    """Written without a thought of pruning; two optimizers by hand, or one automatically."""

    def __init__(self, manual=False):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        self.norm = nn.BatchNorm1d(6)
        self.automatic_optimization = not manual

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self.net(self.norm(x)), y)
        if not self.automatic_optimization:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
        return loss

    def configure_optimizers(self):
        if self.automatic_optimization:
            return torch.optim.AdamW(self.parameters(), 0.01, weight_decay=0.1)
        return [
            torch.optim.SGD(self.norm.parameters(), 0.1),
            torch.optim.SGD(self.net[0].parameters(), 0.1, momentum=0.9),
            torch.optim.SGD(self.net[2].parameters(), 0.1, momentum=0.9),
        ]


class Watches(lightning.Callback):
    """Checks the zeros after every batch, and notes how many weights are kept and what was logged."""

    def __init__(self, pruning):
        self.pruning, self.levels, self.logged = pruning, [], []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.pruning.pruner.masks.check(self.pruning.pruner.model)
        self.levels.append(self.pruning.pruner.masks.kept)
        self.logged.append(float(trainer.callback_metrics["sparsity"]))


class SavesAt(lightning.Callback):
    """Saves a checkpoint after one batch."""

    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def loader(batch=8):
    inputs = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch)


def trainer(folder, *callbacks, epochs=3, **more):
    usual = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    usual |= {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False, "num_sanity_val_steps": 0}
    return lightning.Trainer(
        max_epochs=epochs, default_root_dir=folder, callbacks=list(callbacks), **usual | more
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_follows_the_schedule_in_optimizer_steps_to_exactly_the_target(tmp_path, accumulate):
    pruning = PrunerCallback(sparsity=0.8, schedule=Cubic(begin=0.25, end=0.75, every=3))
    watch, module = Watches(pruning), Module()
    more = {"accumulate_grad_batches": accumulate, "epochs": 3 * accumulate}
    trainer(tmp_path, pruning, watch, **more).fit(module, loader())
    cubic = Cubic(begin=3, end=9, every=3)
    expected = [round((1 - cubic.sparsity_at(step - step % 3, 0.8)) * 144) for step in range(1, 13)]
    assert watch.levels[accumulate - 1 :: accumulate] == expected
    assert watch.logged[-1] == pytest.approx(0.8, abs=0.01)
    assert sum(int((module.net[n].weight == 0).sum()) for n in (0, 2)) == 144 - round(0.2 * 144)
    assert pruning.pruner.ready
    assert pruning.pruner.step == 12


@pytest.mark.parametrize("schedule", [Cubic(begin=0, end=8, every=2), RigL(begin=0, end=8, every=2)])
def test_a_module_that_optimizes_by_hand_counts_the_steps_of_the_first_that_holds_weights(tmp_path, schedule):
    pruning = PrunerCallback(sparsity=0.75, schedule=schedule)
    watch, module = Watches(pruning), Module(manual=True)
    trainer(tmp_path, pruning, watch).fit(module, loader())
    assert pruning.pruner.step == 12
    assert watch.levels[-1] == 36


def test_only_the_network_that_is_named_is_pruned(tmp_path):
    module = Module()
    module.other = nn.Linear(6, 3)
    pruning = PrunerCallback(module="net", sparsity=0.5, schedule="one_shot")
    trainer(tmp_path, pruning).fit(module, loader())
    assert set(pruning.pruner.masks) == {"0.weight", "2.weight"}
    assert bool((module.other.weight != 0).all())


def test_a_pruner_of_the_users_own_is_used_and_detached(tmp_path):
    module = Module()
    pruner = Pruner(module.net, 0.5, schedule=OneShot())
    pruning = PrunerCallback(pruner)
    trainer(tmp_path, pruning).fit(module, loader())
    assert pruning.pruner is pruner
    pruner.masks.check(module.net)
    optimizer = torch.optim.SGD(module.net.parameters(), 0.1)
    pruner.attach(optimizer)  # which refuses where it is attached still
    pruner.detach()


RUNS = {
    "gradual": {"criterion": "movement", "schedule": Cubic(begin=2, end=9, every=2)},
    "rigl": {"criterion": "random", "schedule": RigL(begin=0, end=10, every=2)},
    "set": {"schedule": SET(begin=0, end=10, every=3)},
    "acdc": {"schedule": ACDC(begin=2, end=9, every=2)},
}


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_checkpoint_goes_on_to_the_same_bits(tmp_path, settings, manual):
    path, steps = tmp_path / "some.ckpt", 3 if manual else 1

    def run(*more, **ckpt):
        pruning, module = PrunerCallback(sparsity=0.7, **settings), Module(manual)
        watch = Watches(pruning)
        trainer(tmp_path, pruning, watch, *more).fit(module, loader(), **ckpt)
        assert len(watch.levels) == (8 if ckpt else 12)
        return module.state_dict(), pruning.pruner.masks

    whole, masks = run(SavesAt(path, 4 * steps))
    again, same = run(ckpt_path=path)
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert all(torch.equal(mask.keep, same[name].keep) for name, mask in masks.items())
    assert not [name for name in torch.load(path, weights_only=False)["state_dict"] if "mask" in name]


def test_a_checkpoint_of_another_pruning_or_of_none_is_refused(tmp_path):
    path = tmp_path / "some.ckpt"
    trainer(tmp_path, PrunerCallback(sparsity=0.7), SavesAt(path, 4)).fit(Module(), loader())
    with pytest.raises(ResumeError, match=r"of another pruning: it was .*sparsity=0\.7.* and is .*=0\.8"):
        trainer(tmp_path, PrunerCallback(sparsity=0.8)).fit(Module(), loader(), ckpt_path=path)
    trainer(tmp_path, SavesAt(path, 4)).fit(Module(), loader())
    with pytest.raises(ResumeError, match="has no Pruner"):
        trainer(tmp_path, PrunerCallback()).fit(Module(), loader(), ckpt_path=path)


def test_fitting_twice_holds_the_zeros_and_another_module_gets_its_own(tmp_path):
    module, pruning = Module(), PrunerCallback(sparsity=0.8, schedule=Cubic(begin=0, end=12))
    trainer(tmp_path, pruning).fit(module, loader())
    masks = pruning.pruner.masks
    trainer(tmp_path, pruning).fit(module, loader())
    masks.check(module)
    assert pruning.pruner.step == 24
    other = Module()
    trainer(tmp_path, pruning).fit(other, loader())
    assert pruning.pruner.step == 12
    pruning.pruner.masks.check(other)


def test_a_run_without_end_takes_steps(tmp_path):
    more = {"epochs": -1, "max_time": {"seconds": 1}}
    with pytest.raises(SettingError, match="this run has no end"):
        trainer(tmp_path, PrunerCallback(schedule=Cubic(begin=0.5)), **more).fit(Module(), loader())
    pruning = PrunerCallback(schedule=Cubic(begin=1, end=5))
    trainer(tmp_path, pruning, **more).fit(Module(), loader())
    assert pruning.pruner.ready


def test_what_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"takes a fw\.Pruner, or the settings of one"):
        PrunerCallback(Pruner(Module()), sparsity=0.5)
    with pytest.raises(SettingError, match="module= would do nothing"):
        PrunerCallback(Pruner(Module()), module="net")
    with pytest.raises(SettingError, match="schedule is a name or an object"):
        PrunerCallback(schedule=3)
    with pytest.raises(SettingError, match="no 'body' to prune; it has net, norm"):
        trainer(tmp_path, PrunerCallback(module="body")).fit(Module(), loader())
    with pytest.raises(SettingError, match="after 13 steps, but the run has 12"):
        trainer(tmp_path, PrunerCallback(schedule=OneShot(13))).fit(Module(), loader())
    with pytest.raises(ModelError, match="holds none"):
        trainer(tmp_path, PrunerCallback(Pruner(Module(), schedule="one_shot"))).fit(Module(), loader())
    with pytest.raises(SettingError, match="before training begins"):
        _ = PrunerCallback().pruner
    assert PrunerCallback().state_dict() == {}


def test_a_strategy_that_cuts_weights_is_refused():
    class Strategy:
        restore_checkpoint_after_setup = True

    class Trainer:
        strategy = Strategy()

    with pytest.raises(SettingError, match="Strategy cuts weights into shards"):
        PrunerCallback().on_fit_start(Trainer(), Module())


def test_without_lightning_the_error_says_what_to_install(monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "featherweight.sparsity.adapters.lightning")
    with pytest.raises(ImportError, match="pip install 'lightning>=2"):
        importlib.import_module("featherweight.sparsity.adapters.lightning")
