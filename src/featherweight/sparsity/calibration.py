"""What ``data=`` is, for every criterion and method that looks at data: losses, and passes without one.

Data are batches, as ``fw.fit`` takes them: ``(inputs, targets)``, or mappings with "labels". For all else
they are a callable ``model -> iterable of scalar losses``, of which reading one is one forward pass. The
network evaluates meanwhile, and is given its modes back. Random numbers (the order of a loader that shuffles)
are the same each time, in every process, and those of the caller stay as they are: a run that is scored in
between goes on as if it had not been.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset

from featherweight.core.batches import UNLABELLED, Loss, device_of, loss_of, moved, outputs_of, read_batch
from featherweight.core.eager import eager
from featherweight.core.prunable import unwrap
from featherweight.core.trace import evaluated
from featherweight.errors import ModelError, SettingError
from featherweight.training.objective import explained

Losses = Callable[[nn.Module], Iterable[Tensor]]

_END = object()
_FORMS = (
    "a loader of batches, (inputs, targets) or mappings with 'labels', or a function model -> scalar losses"
)


def check_rereadable(data: Any) -> None:
    """Refuse data that can be read once only, for who reads them again and again.

    Raises:
        SettingError: they are an iterator or a generator.
    """
    source: object = data.source if isinstance(data, Calibration) else data
    if isinstance(source, Iterator):
        raise SettingError(
            f"data= is read at each update, and a {type(cast('object', source)).__name__} only once: "
            f"pass {_FORMS}."
        )


def _is_one_batch(data: Any) -> bool:
    """Whether it is one batch, a pair of tensors for example, or less, and not several."""
    if isinstance(data, tuple):
        return len(data) == 2 and all(isinstance(part, Tensor) for part in cast("tuple[Any, ...]", data))
    return isinstance(data, (Tensor, str, bytes, Mapping))


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass.

    Attributes:
        loss: a scalar.
        outputs: of the network; None where a callable gave the loss.
        targets: of the batch; None where a callable gave the loss.
    """

    loss: Tensor
    outputs: Any = None
    targets: Any = None

    @property
    def examples(self) -> int:
        """Examples in the batch; 1 where that is not known."""
        return len(self.targets) if isinstance(self.targets, Tensor) and self.targets.ndim else 1


@dataclass(frozen=True, eq=False)
class Calibration:
    """Data to look at, and the loss on them; see ``of``.

    Attributes:
        source: batches, or a callable ``model -> iterable of losses``.
        loss: of outputs and targets of a batch.
    """

    source: Iterable[Any] | Losses
    loss: Loss = F.cross_entropy

    @classmethod
    def of(cls, data: Any, loss: Loss | None = None, *, wanted_by: str = "this") -> Calibration:
        """Return what ``data=`` means.

        Args:
            data: batches, a callable, or a Calibration, which is returned as it is.
            loss: ``(outputs, targets) -> scalar``; None: cross-entropy, which gives way to a loss that the
                model computes of a mapping.
            wanted_by: who looks at the data, for errors, such as "criterion='snip'".

        Raises:
            SettingError: there are no data, or they have another form; or a loss comes with a callable.
        """
        if isinstance(data, Calibration):
            if loss not in (None, F.cross_entropy):
                raise SettingError("The data have their loss: Calibration.of(loader, loss) takes it.")
            return data
        if data is None:
            raise SettingError(f"{wanted_by} looks at data: pass data=, {_FORMS}.")
        kind = type(cast("object", data)).__name__
        if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
            raise SettingError(
                f"data= of {wanted_by} is {_FORMS}; got a {kind}, which has single examples: "
                f"wrap it in a torch DataLoader."
            )
        if _is_one_batch(data) or not (isinstance(data, Iterable) or callable(data)):
            raise SettingError(f"data= of {wanted_by} is {_FORMS}; got a {kind}. One batch is a list of one.")
        source = cast("Iterable[Any] | Losses", data)
        if loss not in (None, F.cross_entropy) and not isinstance(source, Iterable):
            raise SettingError("loss= would do nothing beside data= that is a function: it gives losses.")
        return cls(source, F.cross_entropy if loss is None else loss)

    @property
    def has_batches(self) -> bool:
        """Whether there are batches to look at; a callable has losses alone."""
        return isinstance(self.source, Iterable)

    def held(self, batches: int | None = None) -> Calibration:
        """Return the first ``batches``, read now: the same ones each time, also of a loader that shuffles.

        A callable is asked each time.
        """
        return replace(self, source=list(self.batches(batches))) if self.has_batches else self

    def batches(self, number: int | None = None) -> Iterator[Any]:
        """Yield the first ``number`` batches as they are; all for None. There have to be batches."""
        random = OwnRandom()
        with random.used():
            source = _started(cast("Iterable[Any]", self.source))
        for _ in itertools.count() if number is None else range(number):
            with random.used():
                if (batch := next(source, _END)) is _END:
                    return
            yield batch

    def losses(self, model: nn.Module, batches: int | None = None) -> Generator[Tensor]:
        """Yield the loss of each batch, scalars that gradients can be taken of.

        Args:
            model: wrapped (DDP, torch.compile) or not; what is inside runs, on batches moved to its device.
            batches: how many at most; None: all.

        Raises:
            SettingError: there is no batch or one of another form, or a loss is no scalar or has no gradient.
            ModelError: a loss is not finite.
            TrainingError: the loss cannot be taken of such outputs and targets.
        """
        with closing(self.passes(model, batches)) as passes:
            for number, found in enumerate(passes, start=1):
                if not found.loss.requires_grad:
                    raise SettingError(
                        f"Loss {number} of data= has no gradient: it depends on no weight that is trained, "
                        f"or was computed without gradients (torch.no_grad, .item(), .detach())."
                    )
                yield found.loss

    def passes(self, model: nn.Module, batches: int | None = None, *, grad: bool = True) -> Generator[Pass]:
        """Yield each forward pass, with its loss; see ``losses``. With ``grad`` false, without gradients.

        The network evaluates between them too, as gradients may run parts of it again (checkpointing), and
        has its modes back when they end or are closed: who may fail in between closes them.
        """
        inner, number = unwrap(model), 0
        with evaluated(inner), closing(self._passes(inner, batches, grad)) as passes:
            for number, found in enumerate(passes, start=1):
                yield _checked(found, number)
        check_not_empty(number)

    def run(
        self, model: nn.Module, batches: int | None = None, *, before: Callable[[Any], None] | None = None
    ) -> None:
        """Run the network without gradients, for those who watch it; batches need no targets.

        Args:
            model: as for ``losses``.
            batches: how many at most; None: all.
            before: called with each batch before it runs; never where a callable gives the losses.

        Raises:
            SettingError: there is no batch.
        """
        inner, seen = unwrap(model), 0
        with evaluated(inner), torch.no_grad(), OwnRandom().used():
            source = self.source if isinstance(self.source, Iterable) else self.source(inner)
            for item in itertools.islice(_started(source), batches):
                if self.has_batches:
                    batch = moved(item, device_of(inner))
                    if before is not None:
                        before(batch)
                    outputs_of(inner, batch, labels=True)
                seen += 1
        check_not_empty(seen)

    def _passes(self, model: nn.Module, batches: int | None, grad: bool) -> Generator[Pass]:
        # Modes are set for a step at a time: across a yield, they would be the caller's too.
        random = OwnRandom()
        with _step(random, grad):
            source = _started(self.source if isinstance(self.source, Iterable) else self.source(model))
        for _ in itertools.count() if batches is None else range(batches):
            with _step(random, grad):
                if (item := next(source, _END)) is _END:
                    return
                found = self.pass_of(model, item) if self.has_batches else Pass(cast("Tensor", item))
            yield found

    def pass_of(self, model: nn.Module, batch: Any) -> Pass:
        """Return one forward pass of ``model`` as it is, on a batch moved to its device."""
        batch = moved(batch, device_of(model))
        _, targets = read_batch(batch)
        outputs = outputs_of(model, batch, labels=True)
        with explained("The loss on data=", outputs=outputs, targets=targets):
            return Pass(loss_of(outputs, targets, self.loss), outputs, targets)


class OwnRandom:
    """Random numbers of torch, on the CPU, apart from the caller's."""

    def __init__(self) -> None:
        self._state = torch.Generator().manual_seed(0).get_state()

    @contextmanager
    def used(self) -> Generator[None]:
        """Draw these within the block, and go on with them in the next one."""
        before = torch.get_rng_state()
        torch.set_rng_state(self._state)
        try:
            yield
        finally:
            self._state = torch.get_rng_state()
            torch.set_rng_state(before)


@contextmanager
def _step(random: OwnRandom, grad: bool) -> Generator[None]:
    """Set the modes of a forward pass within the block."""
    with random.used(), torch.inference_mode(False), torch.set_grad_enabled(grad), eager():
        yield


def _started(source: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator of its own: a DataLoader whose workers persist has one for all, and restarts it."""
    if isinstance(source, DataLoader) and source.persistent_workers:
        source = copy.copy(cast("DataLoader[Any]", source))
        source._iterator = None  # pyright: ignore[reportPrivateUsage]
    return iter(source)


def _checked(found: Pass, number: int) -> Pass:
    loss: Any = found.loss
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        got = f"{loss.dtype} {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise SettingError(f"A loss of data= is a scalar tensor of floats; loss {number} is {got}.")
    if not bool(loss.detach().isfinite().all()):
        if _is_unlabelled(found.targets):
            raise SettingError(
                f"Loss {number} of data= is {float(loss.detach()):g}: no target of its batch is a label (all "
                f"are {UNLABELLED}). Leave such batches out, or give a loss that needs no labels."
            )
        raise ModelError(
            f"Loss {number} of data= is {float(loss.detach()):g}. Are the weights and the inputs finite?"
        )
    return found if loss.ndim == 0 else replace(found, loss=loss.reshape(()))


def _is_unlabelled(targets: Any) -> bool:
    return isinstance(targets, Tensor) and targets.numel() > 0 and bool((targets == UNLABELLED).all())


def check_not_empty(seen: int) -> None:
    """Raise SettingError if data= gave nothing."""
    if not seen:
        raise SettingError("data= gave no batch. An iterator can be read only once: pass a loader or a list.")
