"""Distillation in the ``Trainer`` of Hugging Face's transformers (5 and later).

>>> from featherweight.distillation.adapters.hugging_face import DistillingTrainer
>>> distiller = fw.distill.Distiller(teacher, student, example, loss="kd")
>>> DistillingTrainer(model=student, args=arguments, train_dataset=data, distiller=distiller).train()

``DistillationMixin`` does the same for a Trainer of one's own: ``class Mine(DistillationMixin, OwnTrainer)``.
Evaluation, its loss included, is the Trainer's.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from featherweight.core.prunable import unwrap
from featherweight.distillation.distiller import Distiller
from featherweight.errors import ModelError, ResumeError, SettingError
from featherweight.training import parallel
from featherweight.training.guidance import parameters_of, state_of
from featherweight.training.objective import nothing_of

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class DistillationMixin(_Trainer):
    """Takes the training loss of a Trainer from a Distiller; to be named before the Trainer's class.

    The projectors are trained by the Trainer's optimizer, with the decay of its groups; ``max_grad_norm`` is
    that of the student alone. Checkpoints hold their state, one file a process.

    Under gradient accumulation the part on the labels is normalised over all labels of the step where the
    student computes it so (``num_items_in_batch``); the teacher's part is the mean of the batches' losses.
    """

    loss_is_scaled_for_ga = False  # what compute_loss returns is divided by the batches of a step

    def __init__(self, *args: Any, distiller: Distiller, **kwargs: Any) -> None:
        """Take the arguments of the Trainer, and a Distiller of its model; the caller closes it.

        Raises:
            ModelError: the Distiller is of another student.
            SettingError: an argument of the Trainer would have no effect, or asks for DataParallel.
        """
        super().__init__(*args, **kwargs)
        if self.model is None or unwrap(self.model) is not distiller.student:
            raise ModelError(
                "The Distiller is of another student than the Trainer's model: give both the same network."
            )
        if self.args.label_smoothing_factor or self.compute_loss_func is not None:
            raise SettingError(
                "label_smoothing_factor and compute_loss_func would do nothing: a Distiller takes hard_loss=."
            )
        if self.args.n_gpu > 1:
            raise SettingError("DataParallel copies a network in every step: launch with torchrun.")
        self.distiller, self._step_is_new = distiller, True
        self.add_callback(_saving(self))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train, as the Trainer does; raises ResumeError if the checkpoint is of another distillation."""
        if resume_from_checkpoint is True:
            utilities = importlib.import_module("transformers.trainer_utils")
            resume_from_checkpoint = utilities.get_last_checkpoint(self.args.output_dir) or True
        self._prepare_distiller()
        self._step_is_new = True
        if isinstance(resume_from_checkpoint, str):
            self._load_distiller(Path(resume_from_checkpoint))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Make the optimizer, and add the projectors: a group for what decays, one for what does not."""
        optimizer = super().create_optimizer(*args, **kwargs)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        new = [p for p in parameters_of(self.distiller) if id(p) not in held]
        for decayed in (True, False):
            if group := [p for p in new if (p.ndim > 1) is decayed]:
                decay = self.args.weight_decay if decayed else 0.0
                optimizer.add_param_group({"params": group, "weight_decay": decay})
        return optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the Distiller's loss while training, a mean over the batch; else the Trainer's."""
        if not model.training:
            return super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        self.distiller.set_progress(min(self.state.global_step / max(self.state.max_steps, 1), 1.0))
        outputs = model(**inputs, **self._counted(num_items_in_batch))
        loss = self.distiller.loss(outputs, inputs)
        if isinstance(model, nn.parallel.DistributedDataParallel):
            loss = loss + nothing_of(outputs)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Go on with a step; gradients of the projectors are zeroed and averaged here, by nobody else."""
        if self._step_is_new:
            for parameter in parameters_of(self.distiller):
                parameter.grad = None
        loss = super().training_step(*args, **kwargs)
        self._step_is_new = self.accelerator.sync_gradients
        if self._step_is_new:
            parallel.average_gradients(self.accelerator, parameters_of(self.distiller))
        return loss

    def _counted(self, items: Tensor | int | None) -> dict[str, Any]:
        """Return the number that the student divides its loss by, so that the mean over the step is right."""
        if items is None or not self.model_accepts_loss_kwargs:
            return {}
        shares = self.current_gradient_accumulation_steps
        if self.args.average_tokens_across_devices:
            shares *= self.accelerator.num_processes
        return {"num_items_in_batch": items / shares}

    def _prepare_distiller(self) -> None:
        self.distiller.to(self.args.device)
        if self.accelerator.num_processes > 1:
            state = parallel.of_first(self.accelerator, state_of(self.distiller) or {})
            self.distiller.load_state_dict(state)

    def _file(self, folder: Path) -> Path:
        return folder / f"distiller_{self.accelerator.process_index}.pt"

    def _load_distiller(self, folder: Path) -> None:
        path = self._file(folder)
        if not path.exists():
            raise ResumeError(f"{str(path)!r} is missing: the checkpoint is of a run without this Distiller.")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["fingerprint"] != self.distiller.fingerprint():
            raise ResumeError(
                f"The checkpoint {str(folder)!r} is of another distillation: it was "
                f"{saved['fingerprint'][:200]!r} and is {self.distiller.fingerprint()[:200]!r} now."
            )
        self.distiller.load_state_dict(saved["state"])

    def save_distiller(self, folder: Path) -> None:
        """Write the state of this process into the folder of a checkpoint."""
        state = {"fingerprint": self.distiller.fingerprint(), "state": state_of(self.distiller)}
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, self._file(folder))


def _saving(trainer: DistillationMixin) -> Any:
    """Return a TrainerCallback that saves the Distiller with each checkpoint."""
    from transformers import TrainerCallback

    class SavesDistiller(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.save_distiller(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    return SavesDistiller()


if TYPE_CHECKING:

    class DistillingTrainer(DistillationMixin):
        """A ``transformers.Trainer`` that distils."""


def __getattr__(name: str) -> Any:
    """Make ``DistillingTrainer`` when it is first asked for: nothing else here needs transformers."""
    if name != "DistillingTrainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from transformers import Trainer

    made = type(name, (DistillationMixin, Trainer), {"__doc__": "A ``transformers.Trainer`` that distils."})
    globals()[name] = made
    return made
