"""One run: from the first step, or from a checkpoint, to the choice of the epoch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from time import perf_counter

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from featherweight.errors import ResumeError, TrainingError
from featherweight.training import parallel
from featherweight.training.attachment import Attachment, fingerprint, plan
from featherweight.training.checkpoint import CheckpointFile, State, shapes
from featherweight.training.choice import Choice, is_better, why_last
from featherweight.training.guidance import Guidance, state_of
from featherweight.training.interrupt import Interrupt
from featherweight.training.learning import Learning
from featherweight.training.loaders import Loaders
from featherweight.training.objective import Batch, Objective
from featherweight.training.placement import plain, to_channels_last, uses_channels_last
from featherweight.training.progress import ProgressView
from featherweight.training.records import EpochRecord, History, Recorder
from featherweight.training.settings import TrainingSettings
from featherweight.training.streams import epoch_seed, model_stream, seed_all, set_model_stream


@dataclass(frozen=True)
class Parts:
    """What a run is made of, checked."""

    model: nn.Module
    loaders: Loaders
    settings: TrainingSettings
    objective: Objective
    accelerator: Accelerator
    pruner: Attachment | None
    guidance: Guidance | None
    file: CheckpointFile | None
    view: ProgressView


@dataclass
class At:
    """Where a run is.

    Attributes:
        epoch: from 0; ``settings.epochs`` when the run is finished.
        batch: batches of the epoch that are done, a whole number of steps.
        step: optimizer steps since the start.
        loss_sum: of the batches of the epoch so far, on this process.
        learning_rate: of the last step.
        seconds: that the epoch has taken so far.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    learning_rate: float = 0.0
    seconds: float = 0.0


class Run:
    """Trains, validates, saves and chooses; called once."""

    def __init__(self, parts: Parts, interrupt: Interrupt, precision: str) -> None:
        """Check all that can be refused before the model is changed.

        Raises:
            ResumeError: there is a checkpoint of another run.
            TrainingError: no parameter of the model trains.
        """
        self.model, self.plain = parts.model, plain(parts.model)
        self.loaders, self.settings, self.objective = parts.loaders, parts.settings, parts.objective
        self.accelerator, self.pruner, self.file = parts.accelerator, parts.pruner, parts.file
        self.guidance, self.view, self.interrupt = parts.guidance, parts.view, interrupt
        self.at, self.records, self.best = At(), list[EpochRecord](), None
        self.recorder: Recorder | None = None
        self.resumed_from: tuple[int, int] | None = None
        self.stream: list[Tensor] | None = None
        self.identity = self._identity(precision)
        self.settings.make_optimizer(self.model)
        self.saved = self.file.read(self.identity) if self.file else None
        self._agree()

    def __call__(self) -> History:
        """Run to the end."""
        try:
            self._set_up()
            with self.view:
                self.view.at(self.at.epoch, self.at.batch)
                while self.at.epoch < self.settings.epochs:
                    self._run_epoch()
            return self._choose()
        finally:
            if self.pruner is not None:
                self.pruner.detach()
            if self.recorder is not None:
                self.recorder.close()

    # Setting up

    def _identity(self, precision: str) -> State:
        return {
            "settings": self.settings.identity(),
            "precision": precision,
            "processes": self.accelerator.num_processes,
            "batches": self.loaders.batches,
            "validation_batches": self.loaders.validation_batches,
            "pruner": fingerprint(self.pruner),
            "guidance": None if self.guidance is None else self.guidance.fingerprint(),
            "model": shapes(self.plain),
        }

    def _agree(self) -> None:
        """Refuse different checkpoints on the processes; nobody writes before all have read."""
        mine = {"progress": self.saved and {k: self.saved["progress"][k] for k in ("epoch", "batch")}}
        everyone = parallel.from_each(self.accelerator, mine)
        if any(other != everyone[0] for other in everyone):
            raise ResumeError(
                f"The processes read different checkpoints ({everyone}): "
                f"run_dir must be one folder that all of them see."
            )

    def _set_up(self) -> None:
        if uses_channels_last(self.plain):
            to_channels_last(self.plain)
        self.model.zero_grad(set_to_none=True)
        self.wrapped = self.accelerator.prepare_model(self.model)
        self._set_up_guidance()
        self.total_steps = self.settings.epochs * math.ceil(self.loaders.batches / self.settings.accumulate)
        self.learning = Learning(self.plain, self.guidance, self.settings, self.accelerator, self.total_steps)
        plan(self.pruner, self.total_steps)
        if self.pruner is not None:
            self.pruner.attach(self.learning.optimizer)
        if self.saved is not None:
            self._restore(self.saved)
            self.saved = None
        if self.file is not None and self.accelerator.is_main_process:
            self.file.folder.mkdir(parents=True, exist_ok=True)
            self.recorder = Recorder(self.file.folder, self.records)

    def _set_up_guidance(self) -> None:
        """Move it to the device; every process starts from the parameters of the first, as DDP does."""
        if self.guidance is None:
            return
        self.guidance.to(self.accelerator.device)
        if self.accelerator.num_processes > 1:
            state = parallel.of_first(self.accelerator, state_of(self.guidance) or {})
            self.guidance.load_state_dict(state)

    # An epoch

    def _run_epoch(self) -> None:
        self.seed = epoch_seed(self.settings.seed, self.at.epoch, self.accelerator.process_index)
        self.started = perf_counter() - self.at.seconds
        seed_all(self.seed)
        if self.stream is not None:
            set_model_stream(self.stream, self.accelerator.device)
            self.stream = None
        if self.at.batch < self.loaders.batches:
            self._train_epoch()
        self._close_epoch(self._validate())

    def _train_epoch(self) -> None:
        self.wrapped.train()
        if self.guidance is not None:
            self.guidance.train()
        loss_sum, first = self.at.loss_sum, self.at.batch
        batches = self.loaders.train(self.at.epoch, self.seed, skip=first)
        for index, batch in enumerate(batches, start=first):
            loss_sum += self._backward(index, batch)
            if self._ends_step(index):
                self._step()
                self.at.batch, self.at.loss_sum = index + 1, loss_sum
                self.view.at(self.at.epoch, self.at.batch)
                self._save_within_epoch()
                self._stop_if_asked()

    def _ends_step(self, index: int) -> bool:
        return (index + 1) % self.settings.accumulate == 0 or index + 1 == self.loaders.batches

    def _batches_in_step(self, index: int) -> int:
        first = index - index % self.settings.accumulate
        return min(self.settings.accumulate, self.loaders.batches - first)

    def _backward(self, index: int, batch: Batch) -> float:
        """Add the gradient of ``batch`` to those of its step; return its loss."""
        if self.guidance is not None:
            self.guidance.set_progress(self.at.step / self.total_steps)
        with parallel.unsynced(self.accelerator, self.wrapped, apart=not self._ends_step(index)):
            loss = self.objective.loss(self.wrapped, batch)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise self._not_finite(value)
            (loss / self._batches_in_step(index)).backward()
        return value

    def _not_finite(self, value: float) -> TrainingError:
        return TrainingError(
            f"The loss is {value} in epoch {self.at.epoch + 1} of {self.settings.epochs}, step "
            f"{self.at.step + 1} of {self.total_steps}, at learning rate {self.learning.rate:.3g}; "
            f"the step was not taken. Lower learning_rate, set clip=1.0, and look for inputs that are not "
            f"finite."
        )

    def _step(self) -> None:
        self.at.learning_rate = self.learning.rate
        self.learning.step(hold_zeros=self.pruner is not None)
        self.at.step += 1

    def _validate(self) -> float | None:
        """Return the metric over the validation split, which every process sees whole."""
        if not self.loaders.validates:
            return None
        self.model.eval()
        with self.learning.averaged():
            parallel.share_buffers(self.accelerator, self.plain)
            total, count = self._measure()
        self._stop_if_asked()
        if not count > 0:
            raise TrainingError(
                "The metric counted no example of the validation split: nothing to choose by."
            )
        return total / count

    @torch.no_grad()
    def _measure(self) -> tuple[float, float]:
        """Return sum and count of the metric; of what was measured so far, once Ctrl-C was pressed."""
        total = count = 0.0
        for batch in self.loaders.validate(self.at.epoch, self.seed):
            pair = self.objective.outputs(self.model, batch)
            part = self.objective.metric(*parallel.gathered(self.accelerator, pair))
            total, count = total + float(part[0]), count + float(part[1])
            if self._must_stop:
                break
        return total, count

    def _close_epoch(self, validation: float | None) -> None:
        record = self._record(validation)
        self.records.append(record)
        if is_better(record, self.best):
            with self.learning.averaged():
                self.best = Choice.of(record, self.plain, self.pruner)
        if (
            self.recorder is not None
        ):  # before the checkpoint: resuming drops what the checkpoint does not know
            self.recorder.add(record)
        self.at = At(epoch=self.at.epoch + 1, step=self.at.step, learning_rate=self.at.learning_rate)
        self._save()
        self.view.epoch_done(record)
        self._stop_if_asked(saved=True)

    def _record(self, validation: float | None) -> EpochRecord:
        return EpochRecord(
            epoch=self.at.epoch,
            step=self.at.step,
            train_loss=parallel.mean(self.accelerator, self.at.loss_sum / self.loaders.batches),
            validation=validation,
            learning_rate=self.at.learning_rate,
            sparsity=None if self.pruner is None else float(self.pruner.sparsity),
            ready=self.pruner is None or bool(self.pruner.ready),
            seconds=perf_counter() - self.started,
        )

    def _choose(self) -> History:
        """Leave the model with the weights of the chosen epoch."""
        if self.best is not None:
            self.best.apply(self.plain, self.pruner)
            chosen, reason = self.records[self.best.epoch], "best on the validation split"
        else:
            self.learning.leave_average()
            parallel.share_buffers(self.accelerator, self.plain)
            chosen, reason = self.records[-1], why_last(self.records)
        return History(tuple(self.records), chosen, reason, self.resumed_from)

    # Checkpoints

    def _save_within_epoch(self) -> None:
        every = self.settings.checkpoint_every
        if every is not None and self.at.step % every == 0:
            self._save()

    def _save(self) -> None:
        if self.file is None:
            return
        if self.at.batch:
            self.at.seconds = perf_counter() - self.started
        parallel.share_buffers(self.accelerator, self.plain)
        mine = {
            "stream": model_stream(self.accelerator.device),
            "loss_sum": self.at.loss_sum,
            "guidance": state_of(self.guidance),  # of each process: queues of features differ
        }
        processes = parallel.from_each(self.accelerator, mine)
        if self.accelerator.is_main_process:
            self.file.write(self._state(processes))
        self.accelerator.wait_for_everyone()  # else one that fails right after may go on from an older one

    def _state(self, processes: list[State]) -> State:
        return {
            "identity": self.identity,
            "progress": asdict(self.at),
            "processes": processes,
            "records": [asdict(record) for record in self.records],
            "model": self.plain.state_dict(),
            "best": None if self.best is None else vars(self.best),
            "attachment": None if self.pruner is None else self.pruner.state_dict(),
            **self.learning.state_dict(),
        }

    def _restore(self, saved: State) -> None:
        mine = saved["processes"][self.accelerator.process_index]
        self.at = At(**saved["progress"] | {"loss_sum": mine["loss_sum"]})
        self.records = [EpochRecord(**record) for record in saved["records"]]
        self.best = None if saved["best"] is None else Choice(**saved["best"])
        self.plain.load_state_dict(saved["model"])
        self.learning.load_state_dict(saved)
        if self.guidance is not None:
            self.guidance.load_state_dict(mine["guidance"])
        if self.pruner is not None:
            self.pruner.load_state_dict(saved["attachment"])
        self.resumed_from = (self.at.epoch, self.at.batch)
        self.stream = mine["stream"] if self.at.batch else None
        self.view.say(f"The run in {str(self.file and self.file.folder)!r} {self._where()}.")

    def _where(self) -> str:
        if self.at.epoch == self.settings.epochs:
            return "is finished"
        return f"goes on at epoch {self.at.epoch + 1}, after batch {self.at.batch} of {self.loaders.batches}"

    @property
    def _must_stop(self) -> bool:
        return self.interrupt.asked and self.file is not None

    def _stop_if_asked(self, saved: bool = False) -> None:
        """End the run after Ctrl-C, saved."""
        if not self._must_stop or self.file is None:
            return
        if not saved:
            self._save()
        folder = str(self.file.folder)
        self.view.say(f"Interrupted; saved in {folder!r}. Run the same again to go on from there.")
        raise KeyboardInterrupt
