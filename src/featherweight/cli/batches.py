"""The data that a command works on: loaders that the user's own factory makes, or a data set of the zoo."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from featherweight.cli.resolve import call_factory, is_factory
from featherweight.core.trace import evaluating
from featherweight.errors import DataError, FeatherweightError, SettingError
from featherweight.training.objective import Objective
from featherweight.zoo import Splits, load_data, loaders_of

FORM = (
    "A data factory returns (train, validate) or (train, validate, test), or an object with the attributes "
    "train, validation and perhaps test. Each is a DataLoader (or a list) of (inputs, targets) batches."
)

UNLABELLED_FORM = (
    "Examples without labels have the target -100, such as torch.full((len(inputs),), -100); distill learns "
    "from them with --alpha 1 --no-baseline."
)


@dataclass(frozen=True)
class Batches:
    """Loaders of the splits; ``test`` is None where there is none."""

    train: Iterable[Any]
    validate: Iterable[Any]
    test: Iterable[Any] | None


def make_batches(spec: str) -> Batches:
    """Return the loaders that ``spec`` names: "module:factory", "file.py:factory", or a data set of the zoo.

    Raises:
        SettingError: ``spec`` names nothing, or its factory fails.
        DataError: what the factory returns is of another form.
    """
    made = call_factory(spec, "data") if is_factory(spec) else load_data(spec)
    if isinstance(made, Splits):
        loaders = loaders_of(made)
        return Batches(loaders.train, loaders.validate, loaders.test)
    batches = _taken_apart(made, spec)
    for name in ("train", "validate", "test"):
        if name != "test" or batches.test is not None:
            _check(getattr(batches, name), name, spec)
    return batches


def try_out(model: nn.Module, batches: Batches, spec: str) -> None:
    """Run the first batch of each split through the network, the loss and the accuracy.

    Raises:
        DataError: one does not fit; says which split, and what was expected.
    """
    objective = Objective(None, None, label_smoothing=0.0, precision="fp32", channels_last=False)
    for name in ("train", "validate", "test"):
        if (loader := getattr(batches, name)) is None:
            continue
        batch = next(iter(loader))
        try:
            with evaluating(model):
                outputs, targets = objective.outputs(model, batch)
                objective.metric(outputs, targets)
                objective.loss(model, batch)
        except FeatherweightError as error:
            raise DataError(f"data {spec!r}: {name}: {error}") from error


def examples_of(text: str | None, usual: int) -> int | None:
    """Return what ``--examples`` asks for, ``usual`` unless given; None: all of them.

    Raises:
        SettingError: that is no number.
    """
    if text is None:
        return usual
    if text != "all" and not (text.isdecimal() and int(text)):
        raise SettingError(f"--examples is a number of examples, at least 1, or all; got {text!r}.")
    return None if text == "all" else int(text)


def some_of(loader: Any, examples: int | None) -> Iterable[Any]:
    """Return ``loader``, or where it has more batches than ``examples`` need, so many from all over it.

    They are read once and held; of sorted data every part is there.
    """
    number = len(loader)
    if examples is None or number < 2:
        return loader
    needed = -(-examples // max(1, _size(next(iter(loader)))))
    if needed >= number:
        return loader
    wanted = {index * number // needed for index in range(needed)}
    read = itertools.islice(loader, max(wanted) + 1)
    return [batch for index, batch in enumerate(read) if index in wanted]


def _size(batch: Any) -> int:
    return len(batch["labels"] if isinstance(batch, Mapping) else batch[1])  # pyright: ignore


def _taken_apart(made: Any, spec: str) -> Batches:
    if isinstance(made, tuple | list):
        if len(made) not in (2, 3):
            raise DataError(f"data {spec!r} returned {len(made)} things. {FORM}")
        return Batches(made[0], made[1], made[2] if len(made) == 3 else None)
    train = getattr(made, "train", None)
    validate = getattr(made, "validation", getattr(made, "validate", None))
    if train is None or validate is None:
        raise DataError(f"data {spec!r} returned a {type(made).__name__}. {FORM}")
    return Batches(train, validate, getattr(made, "test", None))


def _check(loader: Any, name: str, spec: str) -> None:
    """Look at the first batch, so that a wrong form is an answer now and not an error within training."""
    where = f"data {spec!r}: {name}"
    if isinstance(loader, Dataset) and not isinstance(loader, DataLoader):
        raise DataError(f"{where} is a Dataset of single examples: wrap it in a torch DataLoader. {FORM}")
    if not (hasattr(loader, "__iter__") and hasattr(loader, "__len__")):
        raise DataError(f"{where} is a {type(loader).__name__}, which has no length or no batches. {FORM}")
    try:
        batch = next(iter(loader))
    except StopIteration:
        raise DataError(f"{where} has no batch.") from None
    except Exception as error:  # whatever the user's own data set raises
        raise DataError(f"{where}: its first batch failed: {type(error).__name__}: {error}.") from error
    if not _is_batch(batch):
        advice = f" {UNLABELLED_FORM}" if name == "train" and _is_inputs(batch) else ""
        raise DataError(
            f"{where}: its first batch is {_shape(batch)}, expected (inputs, targets). {FORM}{advice}"
        )


def _is_batch(batch: Any) -> bool:
    if isinstance(batch, Mapping):
        return "labels" in batch
    return (
        isinstance(batch, Sequence) and len(batch) == 2 and isinstance(batch[1], Tensor) and batch[1].ndim > 0
    )


def _is_inputs(batch: Any) -> bool:
    """Whether it is a batch of which only the targets are missing."""
    return isinstance(batch, Tensor | Mapping) or (
        isinstance(batch, Sequence) and len(batch) == 1 and isinstance(batch[0], Tensor)
    )


def _shape(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a mapping of {', '.join(map(str, batch))} without 'labels'"
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        return f"a {type(batch).__name__} of {', '.join(_kind(part) for part in batch[:4]) or 'nothing'}"
    return f"a {_kind(batch)}"


def _kind(part: Any) -> str:
    return f"Tensor {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
