"""Pruning in the ``Trainer`` of Hugging Face's transformers (5 and later), by a callback.

>>> from featherweight.sparsity.adapters.hugging_face import PrunerCallback
>>> pruning = PrunerCallback(sparsity=0.9, schedule="cubic")
>>> Trainer(model=model, args=arguments, train_dataset=data, callbacks=[pruning]).train()

The schedule's fractions are of the Trainer's optimizer steps. The state of the Pruner is saved within that of
the optimizer, so ``resume_from_checkpoint`` goes on exactly, wherever the checkpoint lies. With
``load_best_model_at_end`` only evaluations at which the network was as sparse as asked count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch.optim import Optimizer

from featherweight.errors import ResumeError, SettingError
from featherweight.sparsity.adapters._lent import Lent
from featherweight.sparsity.pruner import Pruner

try:
    from transformers import TrainerCallback
except ImportError as error:
    if TYPE_CHECKING:
        raise
    raise ImportError(
        "featherweight.sparsity.adapters.hugging_face needs transformers 5 or later: "
        "pip install 'transformers[torch]>=5'."
    ) from error

_ENTRY = "featherweight_pruner"  # in the first parameter group of a saved optimizer


@dataclass
class _Best:
    """What the Trainer knows of its best model, while the network was as sparse as asked."""

    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None

    def take(self, state: Any) -> None:
        for name in vars(self):
            setattr(self, name, getattr(state, name))

    def give(self, state: Any) -> None:
        for name, value in vars(self).items():
            setattr(state, name, value)


class PrunerCallback(TrainerCallback):
    """Prunes the Trainer's model while it trains; adds "sparsity" to what is logged."""

    def __init__(self, pruner: Pruner | None = None, /, **settings: Any) -> None:
        """Take a Pruner of the Trainer's model, or the settings of one, which is made when training begins.

        Args:
            pruner: a Pruner that is not attached.
            settings: the arguments of ``fw.Pruner`` but the model: sparsity, criterion, schedule, ...

        Raises:
            SettingError: both were given, or a setting is wrong.
        """
        self._lent = Lent(pruner, settings)
        self._best, self._masks_of_best = _Best(), cast("dict[str, Any] | None", None)
        self._state: Any = None
        self._handle: Any = None

    @property
    def pruner(self) -> Pruner:
        """The Pruner; raises SettingError where it was made of settings and training did not begin yet."""
        return self._lent.pruner

    # Events of the Trainer, in the order in which they come

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Plan the schedule, go on from the checkpoint, and attach the Pruner.

        Raises:
            SettingError: the schedule does not fit the run, or the weights are sharded over processes.
            ModelError: there is nothing to prune, or the Pruner is of another model.
            ResumeError: the checkpoint is of another pruning, or has none.
        """
        if args.deepspeed or args.fsdp:
            raise SettingError("DeepSpeed and FSDP cut weights into shards, and masks are of whole weights.")
        optimizer = _plain(kwargs["optimizer"])
        saved = optimizer.param_groups[0].pop(_ENTRY, None)
        if saved is None and state.global_step > 0:
            raise ResumeError(
                "The checkpoint has no Pruner: it was saved without a PrunerCallback, or without the "
                "optimizer (save_only_model). Load its model and train anew."
            )
        self._lent.begin(kwargs["model"], state.max_steps, [optimizer], saved)
        self._state, self._best, self._masks_of_best = state, _Best(), None
        if saved is not None:
            self._best, self._masks_of_best = _Best(**saved["best"]), saved["masks_of_best"]
            self._best.give(state)
        self._release()
        self._handle = optimizer.register_state_dict_post_hook(self._add_state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget an evaluation at which the network was not as sparse as asked."""
        self._note_best(state, saves=False)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Add the sparsity to the logs, and to the history."""
        if logs is not None:
            logs["sparsity"] = self.pruner.sparsity
        if state.log_history:
            state.log_history[-1]["sparsity"] = self.pruner.sparsity

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the masks of the best model."""
        self._note_best(state, saves=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the Pruner, detached, in the state that belongs to the weights of the model."""
        self._release()
        loads = args.load_best_model_at_end and state.best_model_checkpoint is not None
        if loads and self._masks_of_best is not None:
            self.pruner.load_state_dict(self._masks_of_best)
        self.pruner.detach()

    # Pieces

    def _note_best(self, state: Any, saves: bool) -> None:
        if not self.pruner.ready:
            self._best.give(state)
            return
        self._best.take(state)
        if saves and state.best_global_step == state.global_step:
            self._masks_of_best = self.pruner.state_dict()

    def _add_state(self, optimizer: Optimizer, saved: dict[str, Any]) -> None:
        """Put the Pruner into the state of the optimizer that is being saved."""
        self._note_best(self._state, saves=True)  # the Trainer is about to write what it knows of the best
        saved["param_groups"][0][_ENTRY] = self._lent.state() | {
            "best": dict(vars(self._best)),
            "masks_of_best": self._masks_of_best,
        }

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = None


def _plain(optimizer: Any) -> Optimizer:
    return getattr(optimizer, "optimizer", optimizer)  # Accelerate wraps it
