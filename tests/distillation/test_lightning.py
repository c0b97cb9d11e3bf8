"""The real Trainer of Lightning: its loss, its optimizer, its checkpoints."""

import importlib.util
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from featherweight.distillation import Distiller
from featherweight.errors import ResumeError, SettingError, TrainingError

if importlib.util.find_spec("lightning") is None:
    pytest.skip("lightning is not installed: pip install -r the extra dev", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning

from featherweight.distillation.adapters.lightning import DistillationCallback

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
HINTS = {"loss": "kd + hints", "features": [("0", "0")]}


def net(width, seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


class Module(lightning.LightningModule):
    """Written without a thought of distillation."""

    def __init__(self, own=False, manual=False, kind="tensor"):
        super().__init__()
        self.net, self.own, self.kind = net(8, 0), own, kind
        self.automatic_optimization = not manual

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y, label_smoothing=0.1)
        return {"loss": loss, "more": 1} if self.kind == "mapping" else loss

    def validation_step(self, batch, batch_idx):
        self.log("validation", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        parameters = self.net.parameters() if self.own else self.parameters()
        optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)]


def loader(batch=8):
    inputs = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch)


def trainer(folder, callback, epochs=2, **more):
    usual = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    usual |= {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False, "num_sanity_val_steps": 0}
    return lightning.Trainer(max_epochs=epochs, default_root_dir=folder, callbacks=[callback], **usual | more)


def callback(**more):
    torch.manual_seed(0)
    given = {"student": "net", "precision": "fp32"} | HINTS | more
    return DistillationCallback(net(16, 1), next(iter(loader())), **given)


def by_hand(epochs=2, accumulate=1, batch=8, **more):
    """The same training, written out."""
    module, teacher = Module(), net(16, 1)
    optimizer = scheduler = None
    torch.manual_seed(0)
    settings = HINTS | more
    hard = None if settings.get("alpha") == 1 else lambda o, t: F.cross_entropy(o, t, label_smoothing=0.1)
    with Distiller(
        teacher, module.net, next(iter(loader())), hard_loss=hard, precision="fp32", **settings
    ) as distiller:
        optimizer = torch.optim.SGD([*module.parameters(), *distiller.parameters()], 0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        steps = 32 // batch
        for epoch in range(epochs):
            for number, part in enumerate(loader(batch)):
                distiller.set_progress((epoch * steps + number) / (epochs * steps))
                optimizer.zero_grad()
                distiller(part).backward()
                optimizer.step()
            scheduler.step()
        return state(module.net), state(distiller)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def close(a, b, **tolerances):
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], **tolerances)


class Kept(DistillationCallback):
    """Keeps the last state of the projectors."""

    def on_train_end(self, trainer, pl_module):
        self.last = state(self.distiller)


def kept(**more):
    made = callback(**more)
    made.__class__ = Kept
    return made


def seeded_setup(made):
    """Draw the projectors as ``by_hand`` does."""
    setup = made.setup

    def at_seed(trainer, pl_module, stage):
        torch.manual_seed(0)
        setup(trainer, pl_module, stage)

    made.setup = at_seed
    return made


@pytest.mark.parametrize("own", [False, True], ids=["all parameters", "those of the network alone"])
@pytest.mark.parametrize("kind", ["tensor", "mapping"])
def test_it_is_the_loop_written_out(tmp_path, own, kind):
    module, made = Module(own=own, kind=kind), seeded_setup(kept())
    trainer(tmp_path, made).fit(module, loader(), loader())
    student, projectors = by_hand()
    close(state(module.net), student)
    close(made.last, projectors)


def test_alpha_follows_the_steps_and_may_be_1(tmp_path):
    for alpha in ((1.0, 0.0), 1.0):
        module = Module()
        trainer(tmp_path, seeded_setup(kept(alpha=alpha))).fit(module, loader())
        close(state(module.net), by_hand(alpha=alpha)[0])


def test_accumulated_batches_are_one_of_their_size(tmp_path):
    module = Module()
    trainer(tmp_path, seeded_setup(kept()), accumulate_grad_batches=2).fit(module, loader(4))
    close(state(module.net), by_hand()[0], rtol=1e-4, atol=1e-6)


def test_the_module_is_left_as_it_was(tmp_path):
    module, made = Module(), callback()
    names, attributes = [*state(module)], set(vars(module))
    trainer(tmp_path, made).fit(module, loader())
    assert [*state(module)] == names
    assert "training_step" not in vars(module)
    assert set(vars(module)) - attributes <= {"_trainer", "_fabric", "_hparams"}
    assert not hasattr(module, "distilled_by")
    assert not [hook for part in module.modules() for hook in part._forward_hooks]
    with pytest.raises(TrainingError, match="from the start of fit"):
        _ = made.distiller


def test_a_checkpoint_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "half.ckpt"

    class Saves(lightning.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(path)

    whole, again = Module(), Module()
    first, second = seeded_setup(kept()), kept()  # other projectors, which are not used
    both = trainer(tmp_path, first)
    both.callbacks.append(Saves())
    both.fit(whole, loader())
    trainer(tmp_path, second).fit(again, loader(), ckpt_path=path)
    close(state(whole), state(again), rtol=0, atol=0)
    close(first.last, second.last, rtol=0, atol=0)
    saved = torch.load(path, weights_only=False)
    assert not [name for name in saved["state_dict"] if "distilled_by" in name]
    with pytest.raises(ResumeError, match="another distillation"):
        trainer(tmp_path, kept(alpha=0.3)).fit(Module(), loader(), ckpt_path=path)


def test_what_is_refused(tmp_path):
    with pytest.raises(SettingError, match="leave hard_loss out"):
        callback(hard_loss=F.cross_entropy)
    for made, module, error, words in [
        (callback(), Module(manual=True), SettingError, "optimizes by hand"),
        (callback(student="body"), Module(), SettingError, "no 'body', its student; it has net"),
        (callback(student="other"), _with_another(), TrainingError, "did not call the student"),
    ]:
        with pytest.raises(error, match=words):
            trainer(tmp_path, made).fit(module, loader())
        assert not hasattr(module, "distilled_by")
        assert "training_step" not in vars(module)


def _with_another():
    module = Module()
    module.other = net(8, 0)
    return module


def test_batches_of_another_form_are_taken_apart(tmp_path):
    class Named(Module):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch["image"], batch["class"]), batch_idx)

    batches = DataLoader([{"image": x, "class": y} for x, y in loader().dataset], 8)
    module = Named()
    made = DistillationCallback(
        net(16, 1),
        next(iter(batches)),
        student="net",
        take=lambda b: (b["image"], b["class"]),
        precision="fp32",
        **HINTS,
    )
    trainer(tmp_path, seeded_setup(made)).fit(module, batches)
    close(state(module.net), by_hand()[0])
