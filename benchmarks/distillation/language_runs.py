"""One run of the benchmark of language: MiniLM-L6 fine-tuned on IMDB, or a student of half its layers.

The student starts as every other layer of the fine-tuned teacher, with and without its lessons, so that seeds
differ in the order of the data and in dropout. The epoch is chosen on the validation split, and so are rate
and loss, once for all seeds; the test set is read once, at the end of a run that is not for choosing.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks._machine import machine
from benchmarks.distillation.reviews import FOLDER, encoded, minilm
from torch import nn

import featherweight as fw
from featherweight.profile.latency import time_in_turns
from featherweight.training.precision import autocast, choose_precision

VALIDATION, TEST = 1_500, 5_000
ALPHA, TEMPERATURE = 0.9, 2.0
LAST = ("bert.encoder.layer.5", "bert.encoder.layer.2")  # the last hidden states, teacher's and student's
TEACHER, STUDENT = "teacher", "student"


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        role: TEACHER or STUDENT.
        loss: as ``fw.distill`` takes it; "": the labels alone.
        rate: the highest learning rate.
        taught: reviews that the teacher is trained on.
        reviews: reviews that this network is trained on, the first of those.
        epochs: over them.
        seed: of the order of the data, dropout, and the teacher's last layer.
        tuning: whether it is for choosing: the test set is not read.
        teacher_rate: the teacher's rate and epochs: which teacher it is.
        teacher_epochs: likewise.
        test_examples: reviews of the test split that are read.
        validation_examples: reviews of the validation split that choices are made on.
    """

    role: str
    loss: str
    rate: float
    taught: int
    reviews: int
    epochs: int
    seed: int
    tuning: bool
    teacher_rate: float
    teacher_epochs: int
    test_examples: int = TEST
    validation_examples: int = VALIDATION

    @property
    def settings(self) -> fw.TrainingSettings:
        """How it is trained."""
        return fw.TrainingSettings(
            epochs=self.epochs,
            learning_rate=self.rate,
            rate="one_cycle",
            warmup=0.1,
            optimizer="adamw",
            weight_decay=0.01,
            clip=1.0,
            seed=self.seed,
        )

    @property
    def teacher_file(self) -> Path:
        """Where the weights of its teacher are, or of itself where it is one."""
        return FOLDER / f"teacher-{self.taught}-{self.teacher_epochs}-{self.teacher_rate:g}.safetensors"

    @property
    def cache(self) -> Path:
        """Where what its teacher says is kept."""
        return FOLDER / f"cache-{self.loss.replace(' ', '')}-{self.teacher_file.stem}"

    @property
    def folder(self) -> Path | None:
        """Where it is saved after each epoch but the last."""
        if self.epochs == 1:
            return None
        name = "-".join(str(value) for value in vars(self).values()).replace(" ", "")
        return FOLDER / "runs" / name


def perform(run: Run, threads: int = 1) -> dict[str, Any]:
    """Do one run and return its record; where it was stopped, it goes on from the end of an epoch."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    network = taught(run) if run.role == TEACHER else student(run)
    record = asdict(run) | {
        "validation": accuracy(network, encoded("validation", run.validation_examples).loader()),
        "test": None if run.tuning else accuracy(network, encoded("test", run.test_examples).loader()),
        "params": fw.count_params(network, nonzero=False),
        "precision": precision(),
        "seconds": time.perf_counter() - started,
        "machine": machine() | {"threads": threads},
    }
    if run.folder is not None:
        shutil.rmtree(run.folder, ignore_errors=True)
    return record


def taught(run: Run) -> nn.Module:
    """Return the fine-tuned teacher, and keep it unless it is for choosing."""
    torch.manual_seed(run.seed)
    network = minilm()
    fit(network, run)
    if not run.tuning:
        fw.save(network, run.teacher_file)
    return network


def teacher_of(run: Run) -> nn.Module:
    """Return the teacher of a run, as it was kept."""
    if not run.teacher_file.exists():
        raise SystemExit(f"{run.teacher_file} is not there, and its record is: delete one or the other.")
    return fw.load(run.teacher_file, into=minilm()).eval()


def student(run: Run) -> nn.Module:
    """Return the student, trained on the labels alone or by the teacher."""
    teacher = teacher_of(run)
    network = fw.distill.student_from(teacher, "every other")
    if not run.loss:
        fit(network, run)
        return network
    return fw.distill(
        teacher,
        network,
        encoded("train", run.reviews).loader(shuffle=True),
        encoded("validation", run.validation_examples).loader(),
        settings=run.settings,
        cache=run.cache,
        run_dir=run.folder,
        progress=False,
        **lessons(run),
    )


def lessons(run: Run) -> dict[str, Any]:
    """Return what ``fw.distill`` and a Distiller are told."""
    features = {"cosine": [LAST]} if "cosine" in run.loss else "auto"
    return {"loss": run.loss, "alpha": ALPHA, "temperature": TEMPERATURE, "features": features}


def fill_cache(run: Run) -> None:
    """Keep what the teacher says of all reviews, unless that is there."""
    teacher, loader = teacher_of(run), encoded("train", run.taught).loader()
    network = fw.distill.student_from(teacher, "every other")
    with fw.distill.Distiller(teacher, network, next(iter(loader)), **lessons(run)) as distiller:
        distiller.fill_cache(loader, run.cache)


def fit(network: nn.Module, run: Run) -> None:
    """Train on the labels alone."""
    train, validate = encoded("train", run.reviews), encoded("validation", run.validation_examples)
    fw.fit(
        network,
        train.loader(shuffle=True),
        validate.loader(),
        run.settings,
        run_dir=run.folder,
        progress=run.role == TEACHER,
    )


def accuracy(network: nn.Module, batches: Iterable[Any]) -> float:
    """Return the accuracy, 0..1, in the precision of the training."""
    right = count = 0
    network.eval()
    with torch.no_grad(), autocast(precision(), torch.device("cpu")):
        for batch in batches:
            found = network(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(1)
            right, count = right + int((found == batch["labels"]).sum()), count + len(found)
    return right / count


def precision() -> str:
    """Return the precision that this machine trains in."""
    return choose_precision("auto", "no", torch.device("cpu"))


def speed(run: Run, batch: int, seconds: float) -> dict[str, Any]:
    """Return a record of the milliseconds of teacher and student, in turns, in float32 on one thread."""
    torch.set_num_threads(1)
    teacher = teacher_of(run)
    networks = {TEACHER: teacher, STUDENT: fw.distill.student_from(teacher, "every other")}
    inputs = encoded("test", run.test_examples).__getitems__(range(batch))
    del inputs["labels"]
    found = time_in_turns(networks, inputs, seconds=seconds)
    times = {name: asdict(latency) for name, latency in found.items()}
    params = {name: fw.count_params(network, nonzero=False) for name, network in networks.items()}
    return {"role": "speed", "batch": batch, "milliseconds": times, "params": params, "machine": machine()}
