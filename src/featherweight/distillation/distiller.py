"""From a batch to the loss of a student that learns from teachers.

With K teachers of weights v_k, which sum to 1, and losses i of weights w_i::

    L = (1 - alpha) * hard + alpha * sum over k of v_k * sum over i of w_i * loss_i(student, teacher k)

This is the one place that composes losses, taps, teachers, cache and ramps.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn

from featherweight.core.prunable import unwrap
from featherweight.core.trace import evaluated
from featherweight.distillation.cache import TeacherCache, Teaching, fill, joining
from featherweight.distillation.checks import (
    check_apart,
    check_cache,
    check_labels,
    check_scalar,
    name_of_teacher,
    shares_of,
    teachers_of,
    temperature_ramp,
)
from featherweight.distillation.lead import Lead, check_logits, compared, settings_of, views
from featherweight.distillation.losses import Lesson, View
from featherweight.distillation.mixture import LossLike, Term, terms_of
from featherweight.distillation.outputs import Parts, hard_loss, moved, parts_of
from featherweight.distillation.pairing import Features, Pair, Pairs, pairs_for, wire
from featherweight.distillation.ramps import Ramp, ramp_of
from featherweight.distillation.survey import survey
from featherweight.distillation.teacher import Teacher, device_of
from featherweight.distillation.watch import Reading, Watch
from featherweight.errors import SettingError
from featherweight.training.objective import (
    Batch,
    call,
    explained,
    is_without_labels,
    without_labels,
)

HardLoss = Callable[[Any, Any], Tensor]


class Distiller(nn.Module):
    """The loss of a student that learns from a teacher.

    >>> distiller = fw.distill.Distiller(teacher, student, example, loss="kd + 50*at", temperature=4.0)
    >>> optimizer = torch.optim.SGD([*student.parameters(), *distiller.parameters()], 0.1)
    >>> for batch in loader:
    ...     optimizer.zero_grad()
    ...     distiller(batch).backward()
    ...     optimizer.step()
    >>> distiller.close()

    Neither network is a part of it: parameters and state are those that the losses made. Both networks may be
    wrapped (torch.compile, DistributedDataParallel, fully_shard); hooks sit on the plain modules. A compiled
    network that has run already has no place for hooks: make the Distiller before its first pass.
    """

    def __init__(
        self,
        teacher: nn.Module | Sequence[nn.Module],
        student: nn.Module,
        example: Batch,
        *,
        loss: LossLike = "kd",
        alpha: float | tuple[float, float] | Ramp = 0.5,
        temperature: float | tuple[float, float] | Ramp | None = None,
        features: Features = "auto",
        hard_loss: HardLoss | None = None,
        teacher_weights: Sequence[float] | None = None,
        precision: str = "auto",
        teacher_device: torch.device | str | None = None,
        cache: TeacherCache | str | os.PathLike[str] | None = None,
    ) -> None:
        """Run each network once or twice on ``example``, and refuse whatever cannot work.

        Args:
            teacher: a network, or several; run in eval mode without gradients, and never changed.
            student: the network that is trained, by the caller.
            example: a batch: (inputs, targets), a mapping, or inputs alone.
            loss: a name, a sum such as "kd + 50*at", a loss object, or a mapping of either to weights.
            alpha: share of the teacher, 0..1, of the loss; a pair or a ramp changes with the progress. With 1
                the labels are not read.
            temperature: for the losses that take one; None: their own.
            features: "auto", or pairs (teacher path, student path) for the losses that compare features, or
                such pairs by the name of the loss. Paths may be patterns, "encoder.layer.*".
            hard_loss: (outputs, targets) -> scalar; None: the student's own, else cross-entropy over labels.
            teacher_weights: of several teachers, above 0; they are divided by their sum. None: equal.
            precision: of the teacher's pass: "auto" (bf16 where the hardware multiplies it), "fp32", "bf16".
            teacher_device: where the teacher runs; None: where the batch is.
            cache: a ``TeacherCache`` or its folder, in the place of running the teacher (see ``fill_cache``).

        Raises:
            SettingError: a setting is wrong, or would have no effect.
            ModelError: the networks do not fit each other, or have not what a loss needs.
            TrainingError: a network cannot be run on the example.
            DataError: the cache is damaged, or of another teacher or other taps.
        """
        super().__init__()
        teachers = teachers_of(teacher)
        check_cache(cache)
        terms = terms_of(loss)
        self.alpha = ramp_of("alpha", alpha, lambda a: 0 <= a <= 1, "between 0 and 1")
        self.temperature = temperature_ramp(temperature, terms)
        self.teacher_weights = shares_of(teacher_weights, len(teachers))
        if precision not in ("auto", "fp32", "bf16"):
            raise SettingError(f"precision is 'auto', 'fp32' or 'bf16', got {precision!r}.")
        named = pairs_for(features, {term.name: term.loss for term in terms})
        for number, network in enumerate(teachers):
            check_apart(network, student, name_of_teacher(number, len(teachers)))
        parts = parts_of(example)
        check_labels(parts, terms, is_soft_only=self._is_soft_only, given=hard_loss)
        self.progress = 0.0
        self._hard_loss, self._cache = hard_loss, None
        self._last: dict[str, Tensor] = {}
        self._teachers = tuple(
            Teacher(
                network, name=name_of_teacher(i, len(teachers)), precision=precision, device=teacher_device
            )
            for i, network in enumerate(teachers)
        )
        self._student = (student,)  # a tuple: nn.Module would make it its own
        self._watch = Watch(unwrap(student), ())
        try:
            self._prepare(parts, terms, named)
            if cache is not None:
                self._cache = joining.opened(cache, joining.identity_of(self._teachers, self._leads))
        except BaseException:
            self.close()
            raise

    # Construction

    @property
    def _is_soft_only(self) -> bool:
        return all(self.alpha(i / 100) == 1 for i in range(101))

    def _prepare(
        self, parts: Parts, terms: Sequence[Term], named: Mapping[str, Sequence[Pair] | None]
    ) -> None:
        """Choose what is compared, set the hooks, and let the losses see the example."""
        own = survey(self._watch.network, "student", lambda: self._run_student_plain(parts.inputs))
        leads: list[Lead] = []
        for number, teacher in enumerate(self._teachers):
            goal = survey(teacher.plain, "teacher", lambda t=teacher: t.run(parts.inputs, plain=True))
            for term in terms:
                mine = term if not number else Term(term.name, term.weight, copy.deepcopy(term.loss))
                leads.append(Lead(mine, wire(mine.loss, named[mine.name], goal, own), number))
        self._leads = tuple(leads)
        self.losses = nn.ModuleList(
            nn.ModuleDict({lead.term.name: lead.term.loss for lead in leads if lead.teacher == number})
            for number in range(len(self._teachers))
        )
        self._set_hooks()
        self._try(parts)
        _reshard(self._watch.network)

    def _set_hooks(self) -> None:
        wirings = [lead.wiring for lead in self._leads]
        self._watch = Watch(
            self._watch.network,
            [own for w in wirings for _, own in w.features],
            [own for w in wirings for _, own in w.attention],
        )
        for number, teacher in enumerate(self._teachers):
            mine = [lead.wiring for lead in self._leads if lead.teacher == number]
            teacher.watch(
                [goal for w in mine for goal, _ in w.features],
                [goal for w in mine for goal, _ in w.attention],
            )

    def _try(self, parts: Parts) -> None:
        """Let the losses make their projectors and look at the example once, in eval mode."""
        outputs = self._run_student_plain(parts.inputs)
        own = self._watch.read(outputs)
        goals = [teacher.run(parts.inputs, plain=True) for teacher in self._teachers]
        for lead in self._leads:
            check_logits(lead, own, goals[lead.teacher], self._teachers[lead.teacher].name)
            lead.term.loss.prepare(*views(lead, own, goals[lead.teacher]))
        self.eval()
        with torch.no_grad():
            self._soft(own, goals, parts)
            if self._hard_loss is None and not self._is_soft_only:
                hard_loss(outputs, parts)
        self.train()
        self._last = {}
        self._compared = Pairs(
            tuple(pair for lead in self._leads for pair in compared(lead, own, goals[lead.teacher]))
        )

    def _run_student_plain(self, inputs: Any) -> Any:
        network = self._watch.network
        first = next(network.parameters(), None)
        inputs = inputs if first is None else moved(inputs, first.device)
        explaining = explained("The student", inputs=inputs)
        with torch.no_grad(), evaluated(network), self._watch.readable(), explaining:
            return call(network, without_labels(inputs) if is_without_labels(network) else inputs)

    # Use

    def forward(self, batch: Batch) -> Tensor:
        """Run the student and the teachers on ``batch``, and return the loss, a scalar.

        Raises:
            TrainingError: a network cannot be run on the batch, or its targets do not fit.
            ModelError: outputs do not fit each other, or a tapped module did not run.
        """
        network, inputs = self._student[0], parts_of(batch).inputs
        with explained("The student", inputs=inputs):
            outputs = call(
                network, without_labels(inputs) if is_without_labels(self._watch.network) else inputs
            )
        return self.loss(outputs, batch)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the loss, a scalar, of a batch that the student has just been run on.

        Args:
            outputs: the student's. Its hooks hold features of its last pass, which must be this one.
            batch: as in the example.

        Raises:
            SettingError: the batch has no labels, and alpha is below 1.
            TrainingError: the teacher cannot be run on the batch, or targets do not fit.
            ModelError: outputs do not fit each other, or a tapped module did not run.
        """
        parts = parts_of(batch)
        own = self._watch.read(outputs)
        goals = self._run_teachers(parts)
        alpha = self.alpha(self.progress)
        device = own.device or device_of(parts.inputs)
        own.check_learns()
        with torch.autocast(device.type, enabled=False):  # the caller's may be on
            soft = self._soft(own, goals, parts)
            if alpha == 1:
                return soft
            hard = self._hard(outputs, parts)
            self._last["hard"] = hard.detach()
            return (1 - alpha) * hard + alpha * soft

    def _run_teachers(self, parts: Parts) -> list[Reading]:
        """Return what the teachers make of a batch, or what the cache has of that."""
        if self._cache is None:
            return [teacher.run(parts.inputs) for teacher in self._teachers]
        views = self._cache.views(self._inputs_of(parts))
        return [teacher.watched.of_whole(view) for teacher, view in zip(self._teachers, views, strict=True)]

    def fill_cache(
        self,
        loader: Iterable[Batch],
        folder: str | os.PathLike[str],
        *,
        epochs: int = 1,
        dtype: str = "fp16",
        overwrite: bool = False,
        repeated: bool = False,
        progress: bool = True,
        device: torch.device | str | None = None,
    ) -> TeacherCache:
        """Run the teachers once on all examples of ``loader``, and take their outputs from there from now on.

        Args and Raises: as for ``cache.fill``; ``device`` is where the teachers run meanwhile, if not on
        ``teacher_device``; None: where they are. A cache that is complete is opened.
        """
        self._cache = None

        def views(batch: Batch) -> list[View]:
            batch = moved(batch, joining.home_of(self._teachers, device))
            return joining.stored(self._run_teachers(parts_of(batch)), self._leads)

        teaching = Teaching(
            joining.identity_of(self._teachers, self._leads),
            lambda batch: self._inputs_of(parts_of(batch)),
            views,
        )
        try:
            self._cache = fill(
                teaching, loader, folder, epochs=epochs, dtype=dtype, overwrite=overwrite, repeated=repeated,
                progress=progress,
            )  # fmt: skip
        finally:
            for teacher in self._teachers:
                teacher.rest()
        return self._cache

    def _inputs_of(self, parts: Parts) -> Any:
        """Return what tells examples apart: all that some teacher is given."""
        given = [teacher.inputs_of(parts.inputs) for teacher in self._teachers]
        return max(given, key=len) if isinstance(parts.inputs, Mapping) else given[0]

    def _hard(self, outputs: Any, parts: Parts) -> Tensor:
        if parts.targets is None:
            raise SettingError(
                "This batch has no labels, and alpha is below 1: set alpha=1.0, or give labels."
            )
        if self._hard_loss is None:
            return hard_loss(outputs, parts)
        with explained("hard_loss", outputs=outputs, targets=parts.targets):
            value = self._hard_loss(outputs, parts.targets)
        check_scalar(value, "hard_loss")
        return value

    def _soft(self, own: Reading, goals: Sequence[Reading], parts: Parts) -> Tensor:
        """Return the weighted sum of the losses; notes each."""
        device = own.device or device_of(parts.inputs)
        lesson = Lesson(
            moved(parts.classes, device),
            moved(parts.mask, device),
            None if self.temperature is None else self.temperature(self.progress),
        )
        last: dict[str, Tensor] = {}
        goals = [goal.to(device) for goal in goals]
        total = torch.zeros((), device=device)
        for lead in self._leads:
            share = self.teacher_weights[lead.teacher]
            seen, what = views(lead, own, goals[lead.teacher]), f"The loss {lead.term.name}"
            with explained(what, student=seen[0].logits, teacher=seen[1].logits, targets=lesson.targets):
                value = lead.term.loss(*seen, lesson)
            check_scalar(value, what)
            last[lead.term.name] = last.get(lead.term.name, 0) + share * value.detach()
            total = total + share * lead.term.weight * value
        self._last = last
        return total

    def set_progress(self, fraction: float) -> None:
        """Say how much of the run is done, 0..1; alpha and temperature follow. Raises SettingError."""
        if not 0 <= fraction <= 1:
            raise SettingError(f"The progress is between 0 and 1, got {fraction!r}.")
        self.progress = float(fraction)

    @property
    def student(self) -> nn.Module:
        """The student, without wrappers."""
        return self._watch.network

    @property
    def parts(self) -> dict[str, float]:
        """Values of the last batch before alpha and weights: "hard" (below alpha 1) and one per loss.

        With several teachers, a loss's is the weighted mean over them.
        """
        return {name: float(value) for name, value in self._last.items()}

    @property
    def pairs(self) -> Pairs:
        """What is compared with what; to be printed."""
        return self._compared

    def fingerprint(self) -> str:
        """Return the settings in words, the same in every process: a checkpoint of other ones is refused.

        Shapes are not among them: those of the example depend on which batch it is.
        """
        terms = [lead.term for lead in self._leads if not lead.teacher]
        losses = " + ".join(f"{term.weight:g}*{term.name}{settings_of(term.loss)}" for term in terms)
        pairs = [f"{p.loss} {p.teacher_number} {p.teacher} - {p.student}" for p in self.pairs]
        given = getattr(self._hard_loss, "__qualname__", type(self._hard_loss).__name__)
        return re.sub(
            r" at 0x[0-9a-fA-F]+",
            "",
            f"{losses}; alpha {self.alpha!r}; temperature {self.temperature!r}; hard loss {given}; "
            f"teachers {[t.fingerprint for t in self._teachers]} weighted {list(self.teacher_weights)} in "
            f"{[t.precision for t in self._teachers]}; {pairs}",
        )

    def close(self) -> None:
        """Take the hooks off, and give the teachers back as they were; harmless when done before."""
        self._watch.close()
        for teacher in self._teachers:
            teacher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _reshard(network: nn.Module) -> None:
    """Let ``network.parameters()`` be shards again: those of a ``fully_shard`` are whole after a pass."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    from torch.distributed.fsdp import FSDPModule

    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
