"""The data of an experiment: loaders with a name, made once in each process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from featherweight.errors import DataError, SettingError
from featherweight.sparsity.lottery.identity import digest, named
from featherweight.zoo import Splits, load_data

_EVALUATED = 1_000  # examples a batch where nothing is learned
_FORM = (
    "data= is a data set of the zoo by name, fw.lottery.Data(name, train, validate, test), or a function "
    "that returns (train, validate) or (train, validate, test), each a loader of (inputs, targets) batches."
)


@dataclass(frozen=True, eq=False)
class Data:
    """Loaders, and the name that stands for them: other data must have another one.

    Attributes:
        name: part of the hash of an experiment.
        train: batches to learn from, as ``fw.fit`` takes them.
        validate: batches on which epochs are chosen.
        test: batches that are read once a level; None: there are none.
        form: what a network of the zoo has to know of the data: channels, classes, image size.

    Raises:
        SettingError: the name is empty.
    """

    name: str
    train: Iterable[Any]
    validate: Iterable[Any]
    test: Iterable[Any] | None = None
    form: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise SettingError("name= of the data is part of what a run is known by; it cannot be empty.")

    def identity(self) -> dict[str, Any]:
        """Return the name: it stands for the loaders."""
        return {"name": self.name}


@dataclass(frozen=True)
class ZooData:
    """A data set of the zoo, in batches of one size.

    Attributes:
        name: of the data set.
        batch_size: training examples a step.
        augment: whether training images are shifted and mirrored; the published experiments do not.

    Raises:
        SettingError: ``batch_size`` is not a whole number of at least 1.
    """

    name: str
    batch_size: int = 128
    augment: bool = False

    def __post_init__(self) -> None:
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise SettingError(f"batch_size is a whole number of at least 1, got {self.batch_size!r}.")

    def __call__(self) -> Data:
        """Load it."""
        return _of_splits(load_data(self.name), self.batch_size, augment=self.augment)


DataLike = str | Data | Callable[[], Any]


def as_source(data: DataLike) -> Data | Callable[[], Any]:
    """Return loaders, or what makes them; raises SettingError for anything else."""
    if isinstance(data, str):
        return ZooData(data)
    if not (isinstance(data, Data) or callable(data)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(f"{_FORM} Got {data!r}.")
    return data


def data_of(source: Data | Callable[[], Any]) -> Data:
    """Return the loaders, made by the first call in a process for the last data that were asked for.

    Raises:
        DataError: what the function returns is of another form.
    """
    if isinstance(source, Data):
        return source
    key = digest({"data": named("data", source)})
    if key not in _made:
        _made.clear()
        _made[key] = _taken_apart(key, source())
    return _made[key]


_made: dict[str, Data] = {}


def _of_splits(splits: Splits, batch_size: int, *, augment: bool) -> Data:
    train = replace(splits.train, augment=augment).loader(
        batch_size, shuffle=True, drop_last=len(splits.train) >= batch_size
    )
    return Data(
        splits.name,
        train,
        splits.validation.loader(_EVALUATED),
        splits.test.loader(_EVALUATED),
        form=(
            ("in_channels", splits.in_channels),
            ("classes", len(splits.classes)),
            ("image_size", splits.image_size),
        ),
    )


def _taken_apart(name: str, made: Any) -> Data:
    if isinstance(made, Data):
        return made
    if isinstance(made, tuple | list) and len(made) in (2, 3):
        return Data(name, *made)
    raise DataError(f"The function of the data returned a {type(made).__name__}. {_FORM}")
