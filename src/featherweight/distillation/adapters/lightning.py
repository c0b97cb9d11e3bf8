"""Distillation of a LightningModule, by a callback; the module is not edited.

>>> from featherweight.distillation.adapters.lightning import DistillationCallback
>>> trainer = lightning.Trainer(callbacks=[DistillationCallback(teacher, example, student="net", loss="kd")])
>>> trainer.fit(module, loader)

From the start of ``fit`` to its end, ``training_step`` of the module is wrapped: it runs as it is, and what
it returns is the part on the labels::

    L = (1 - alpha) * loss of training_step + alpha * losses against the teacher

where the student is the module itself or one within it, and its last pass is the one that counts. Validation
is not touched. Meanwhile the projectors are a submodule of the module, ``distilled_by``: DDP averages their
gradients, an optimizer over ``self.parameters()`` has them, and to others they are added. Their state is in
checkpoints as that of the callback; the weights of the module are saved without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from featherweight.core.prunable import unwrap
from featherweight.distillation.distiller import Distiller
from featherweight.errors import ResumeError, SettingError, TrainingError
from featherweight.training.guidance import parameters_of, state_of
from featherweight.training.objective import Batch, nothing_of

try:
    from lightning.pytorch import Callback
except ImportError:  # its older name
    if TYPE_CHECKING:
        raise
    from pytorch_lightning import Callback

_PLACE = "distilled_by"


class DistillationCallback(Callback):
    """Turns the training of a LightningModule into distillation; automatic optimization only."""

    def __init__(
        self,
        teacher: nn.Module | list[nn.Module],
        example: Batch,
        *,
        student: str = "",
        take: Callable[[Any], Batch] | None = None,
        **settings: Any,
    ) -> None:
        """Note what to do; networks are looked at when ``fit`` begins.

        Args:
            teacher: a network, or several; run in eval mode without gradients, and never changed.
            example: a batch as the loader gives it, which shows the shapes.
            student: path of the network within the module; "" is the module itself, if its ``training_step``
                calls ``self(...)``.
            take: makes (inputs, targets) of a batch, or another form that a Distiller knows, where the
                loader's is none of these.
            settings: the further arguments of ``fw.distill.Distiller``, but ``hard_loss``: loss, alpha,
                temperature, features, teacher_weights, precision, teacher_device, cache.

        Raises:
            SettingError: ``hard_loss`` is given.
        """
        if "hard_loss" in settings:
            raise SettingError("The part on the labels is what training_step returns: leave hard_loss out.")
        self.teacher, self.path, self.settings = teacher, student, settings
        self._take: Callable[[Any], Batch] = take or (lambda batch: batch)
        self._example = self._take(example)
        self._distiller: Distiller | None = None
        self._undo: list[Callable[[], Any]] = []
        self._outputs: Any = None
        self._hard: Tensor | None = None

    @property
    def distiller(self) -> Distiller:
        """The Distiller of the run; raises TrainingError outside of ``fit``."""
        if self._distiller is None:
            raise TrainingError("There is a Distiller from the start of fit to its end only.")
        return self._distiller

    # Hooks of Lightning, in the order in which they are called

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Make the Distiller, and wrap ``training_step``.

        Raises:
            SettingError: the module optimizes by hand, or has no such student; and as the Distiller does.
            ModelError: the networks do not fit each other.
        """
        if stage != "fit":
            return
        if not pl_module.automatic_optimization:
            raise SettingError(
                "The module optimizes by hand, and what its training_step returns is not used: call a "
                "Distiller in it."
            )
        student = self._student_of(pl_module)
        self._distiller = self._made(student)
        handle = student.register_forward_hook(self._note)
        self._undo = [self._distiller.close, handle.remove, _attached(pl_module, self._distiller)]
        pl_module.training_step = self._wrapped(trainer, pl_module.training_step)
        self._undo.append(lambda: delattr(pl_module, "training_step"))

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Add the projectors to the first optimizer, where none has them."""
        held = {id(p) for o in trainer.optimizers for group in o.param_groups for p in group["params"]}
        new = [p for p in parameters_of(self.distiller) if id(p) not in held]
        trainer.optimizers[0].param_groups[0]["params"].extend(new)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave the module as it was."""
        self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the module as it was."""
        self._close()

    def state_dict(self) -> dict[str, Any]:
        """Return the settings in words and the state of the Distiller."""
        if self._distiller is None:
            return {}
        return {"fingerprint": self._distiller.fingerprint(), "state": state_of(self._distiller)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state; raises ResumeError if it is of another distillation."""
        if self._distiller is None:
            return
        saved, now = state_dict["fingerprint"], self._distiller.fingerprint()
        if saved != now:
            raise ResumeError(
                f"The checkpoint is of another distillation: it was {saved[:200]!r} and is {now[:200]!r} now."
            )
        self._distiller.load_state_dict(state_dict["state"])

    # Pieces

    def _student_of(self, module: nn.Module) -> nn.Module:
        try:
            return unwrap(module.get_submodule(self.path))
        except AttributeError as error:
            names = ", ".join(name for name, _ in module.named_children())
            raise SettingError(f"The module has no {self.path!r}, its student; it has {names}.") from error

    def _made(self, student: nn.Module) -> Distiller:
        settings = dict(self.settings)
        if settings.get("alpha", 0.5) != 1:
            settings["hard_loss"] = self._loss_of_step
        return Distiller(self.teacher, student, self._example, **settings)

    def _loss_of_step(self, outputs: Any, targets: Any) -> Tensor:
        assert self._hard is not None
        return self._hard

    def _note(self, module: nn.Module, args: Any, outputs: Any) -> None:
        self._outputs = outputs

    def _wrapped(self, trainer: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(step)
        def training_step(*args: Any, **kwargs: Any) -> Any:
            self._outputs = None
            result = step(*args, **kwargs)
            if result is None:  # the step is skipped
                return None
            batch = args[0] if args else next(iter(kwargs.values()))
            loss = self._loss(trainer, _loss_in(result), batch)
            return {**result, "loss": loss} if isinstance(result, Mapping) else loss

        return training_step

    def _loss(self, trainer: Any, hard: Tensor, batch: Any) -> Tensor:
        if self._outputs is None:
            raise TrainingError(
                f"training_step did not call the student ({self.path or 'the module itself'}): name the "
                f"network that it calls, such as student='net'."
            )
        self.distiller.set_progress(_progress(trainer))
        self._hard = hard
        try:
            loss = self.distiller.loss(self._outputs, self._take(batch))
            several = trainer.world_size > 1  # DDP waits for what a loss on features does not reach
            return loss + nothing_of((self._outputs, hard)) if several else loss
        finally:
            self._hard = self._outputs = None

    def _close(self) -> None:
        for undo in reversed(self._undo):
            undo()
        self._undo, self._distiller = [], None


class _Carried(nn.Module):
    """The projectors as a part of the module, which do not show in its state."""

    def __init__(self, losses: nn.Module) -> None:
        super().__init__()
        self.losses = losses
        self.register_load_state_dict_post_hook(_forget_missing)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return nothing of its own."""
        given: Any = kwargs.get("destination")
        return {} if given is None else given


def _forget_missing(module: nn.Module, incompatible: Any) -> None:
    marked = f"{_PLACE}."
    incompatible.missing_keys[:] = [key for key in incompatible.missing_keys if marked not in key]


def _attached(module: nn.Module, distiller: Distiller) -> Callable[[], None]:
    """Make the projectors a part of ``module``; return what takes them off again."""
    setattr(module, _PLACE, _Carried(distiller.losses))
    return lambda: delattr(module, _PLACE)


def _loss_in(result: Any) -> Tensor:
    return cast("Tensor", result["loss"] if isinstance(result, Mapping) else result)


def _progress(trainer: Any) -> float:
    """Return how much of the run is done, 0..1; 0 where it has no end."""
    steps = trainer.estimated_stepping_batches
    known = steps != float("inf") and steps > 0
    return min(trainer.global_step / steps, 1.0) if known else 0.0
