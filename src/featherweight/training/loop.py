"""The default training loop, on Hugging Face Accelerate.

The same call runs in one process, under ``accelerate launch`` and under ``torchrun``. A run with a
``run_dir`` writes a checkpoint at the end of every epoch (and every ``checkpoint_every`` steps); calling
``fit`` again with the same arguments goes on from it, to the result of an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from torch import nn

from featherweight.errors import SettingError
from featherweight.training import parallel
from featherweight.training.attachment import Attachment
from featherweight.training.checkpoint import CheckpointFile
from featherweight.training.guidance import Guidance
from featherweight.training.interrupt import Interrupt
from featherweight.training.loaders import Loaders
from featherweight.training.objective import Batch, Loss, Metric, Objective
from featherweight.training.placement import on_loan, uses_channels_last
from featherweight.training.precision import choose_precision
from featherweight.training.progress import ProgressView
from featherweight.training.records import History
from featherweight.training.run import Parts, Run
from featherweight.training.settings import TrainingSettings
from featherweight.training.streams import preserved_generators


def fit(
    model: nn.Module,
    train: Iterable[Batch],
    validate: Iterable[Batch] | None,
    settings: TrainingSettings | None = None,
    *,
    loss: Loss | None = None,
    pruner: Attachment | None = None,
    guidance: Guidance | None = None,
    metric: Metric | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> History:
    """Train ``model`` in place; it ends holding the weights of the epoch that validates best.

    Args:
        model: the network, on any device, compiled or not. It comes back on its device, in its memory layout
            and training mode; when training fails or is interrupted, with the weights of that moment.
        train: a DataLoader, or in a single process anything with a length that gives the same number of
            batches each time it is iterated. A batch is (inputs, targets), or a mapping with the key
            "labels" that is handed to the model as keyword arguments. With n processes a step takes n.
        validate: batches to choose the epoch by; None: the last epoch is taken. Never the test set.
        settings: how to train; None: the defaults.
        loss: (outputs, targets) -> scalar; None: cross-entropy, or ``output.loss`` for mappings.
        pruner: works on the weights after each step; only an epoch at whose end it is ``ready`` may be
            chosen. It ends in the state that belongs to the chosen weights, detached.
        guidance: makes the training loss of a batch in place of ``loss`` (a ``fw.distill.Distiller``); its
            parameters are trained with the model's. With it a batch may lack targets: a tensor, (inputs,), or
            a mapping without "labels". It ends as it was after the last step.
        metric: (outputs, targets) -> (sum, count), whose quotient is maximised; None: accuracy.
        run_dir: folder for checkpoints, ``metrics.jsonl`` and TensorBoard files; None: nothing is written.
            Called again with the same arguments, ``fit`` goes on from the checkpoint there; with a finished
            run it returns at once.
        progress: show a bar (on a terminal) or a line an epoch, on stderr.

    Raises:
        TrainingError: the model, a loader, a batch or the launcher does not fit; or the loss is not finite,
            in which case the step is not taken.
        ResumeError: the checkpoint in ``run_dir`` is damaged or belongs to another run.
        SettingError: a setting would have no effect, or loss= and guidance= are both given.
        KeyboardInterrupt: Ctrl-C. With ``run_dir``, in a single process, after the step is done and saved.

    A resumed run equals an uninterrupted one for data that depend on ``dataset.set_epoch(epoch)`` and on the
    global generators of torch, NumPy and Python, and for models that draw from torch's only. The global
    generators are given back as they were.
    """
    settings = settings or TrainingSettings()
    if settings.checkpoint_every and run_dir is None:
        raise SettingError("checkpoint_every without run_dir would do nothing: pass run_dir=.")
    accelerator = parallel.make_accelerator(settings.seed)
    precision = choose_precision(settings.precision, accelerator.mixed_precision, accelerator.device)
    smoothing, conv = settings.label_smoothing, uses_channels_last(model)
    objective = Objective(
        loss, metric, label_smoothing=smoothing, precision=precision, channels_last=conv, guidance=guidance
    )
    loaders = Loaders(train, validate, accelerator)
    file = CheckpointFile(run_dir) if run_dir is not None else None
    view = ProgressView(progress and accelerator.is_main_process, settings.epochs, loaders.batches)
    parts = Parts(model, loaders, settings, objective, accelerator, pruner, guidance, file, view)
    saves = file is not None and accelerator.num_processes == 1
    with preserved_generators(accelerator.device), on_loan(model), Interrupt(saves) as interrupt:
        return Run(parts, interrupt, precision)()
