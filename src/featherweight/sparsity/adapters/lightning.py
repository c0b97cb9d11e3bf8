"""Pruning of a LightningModule, by a callback; the module is not edited.

>>> from featherweight.sparsity.adapters.lightning import PrunerCallback
>>> trainer = lightning.Trainer(max_epochs=5, callbacks=[PrunerCallback(sparsity=0.9, schedule="cubic")])
>>> trainer.fit(module, loader)

Works with automatic and manual optimization. The schedule's steps are those of the first optimizer that holds
weights to prune; its fractions are of ``trainer.estimated_stepping_batches``, one step a batch where a module
optimizes by hand. The state of the Pruner is in checkpoints as that of the callback.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import nn

from featherweight.errors import ResumeError, SettingError
from featherweight.sparsity.adapters._lent import Lent
from featherweight.sparsity.pruner import Pruner

try:
    from lightning.pytorch import Callback
except ImportError as missing:
    if TYPE_CHECKING:
        raise
    try:
        from pytorch_lightning import Callback  # its older name
    except ImportError:
        raise ImportError(
            "featherweight.sparsity.adapters.lightning needs Lightning: pip install 'lightning>=2.5'."
        ) from missing


class PrunerCallback(Callback):
    """Prunes a LightningModule, or a network within it, while it trains; logs "sparsity"."""

    def __init__(self, pruner: Pruner | None = None, /, *, module: str = "", **settings: Any) -> None:
        """Take a Pruner, or the settings of one, which is made when ``fit`` begins.

        Args:
            pruner: a Pruner that is not attached, of the module or of a network in it.
            module: path of the network to prune within the LightningModule; "" is all of it.
            settings: the arguments of ``fw.Pruner`` but the model: sparsity, criterion, schedule, ...

        Raises:
            SettingError: a Pruner was given and more, or a setting is wrong.
        """
        if pruner is not None and module:
            raise SettingError("A Pruner knows its network: module= would do nothing.")
        self._lent, self._path = Lent(pruner, settings), module
        self._saved: dict[str, Any] | None = None

    @property
    def pruner(self) -> Pruner:
        """The Pruner; raises SettingError where it was made of settings and ``fit`` did not begin yet."""
        return self._lent.pruner

    # Hooks of Lightning, in the order in which they are called

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Plan the schedule, go on from the checkpoint, and attach the Pruner to the optimizers.

        Raises:
            SettingError: the schedule does not fit the run, the module has no such network, or the strategy
                cuts weights into shards.
            ModelError: there is nothing to prune, or no optimizer holds it.
            ResumeError: the checkpoint is of another pruning, or has none.
        """
        if trainer.strategy.restore_checkpoint_after_setup:
            raise SettingError(
                f"{type(trainer.strategy).__name__} cuts weights into shards, and masks are of whole weights."
            )
        if trainer.ckpt_path is not None and self._saved is None:
            raise ResumeError(
                "The checkpoint has no Pruner: it was saved without this callback. Load its weights into the "
                "module and fit without ckpt_path."
            )
        steps = trainer.estimated_stepping_batches
        total = int(steps) if math.isfinite(steps) and steps >= 0 else None
        self._lent.begin(self._network_in(pl_module), total, trainer.optimizers, self._saved)
        self._saved = None

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the sparsity."""
        pl_module.log("sparsity", self.pruner.sparsity)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Detach the Pruner."""
        self._detach()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Detach the Pruner."""
        self._detach()

    def state_dict(self) -> dict[str, Any]:
        """Return the settings in words and the state of the Pruner."""
        return self._lent.state() if self._lent.is_made else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Note a state to go on from when ``fit`` begins."""
        self._saved = state_dict or None

    # Pieces

    def _network_in(self, module: nn.Module) -> nn.Module:
        try:
            return module.get_submodule(self._path)
        except AttributeError as error:
            names = ", ".join(name for name, _ in module.named_children())
            raise SettingError(f"The module has no {self._path!r} to prune; it has {names}.") from error

    def _detach(self) -> None:
        if self._lent.is_made:
            self.pruner.detach()
