"""What a pattern is: which shapes of zeros are allowed.

A pattern is a ``RowPattern``, or a function ``(scores, kept) -> Mask`` of one layer's scores in the shape of
its weight. Names may have numbers in them ("2:4"): ``@patterns.form`` says how they are read.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from featherweight._registry import Registry
from featherweight.core.mask import Mask
from featherweight.errors import UnknownNameError

Shape = Sequence[int]


class RowPattern(ABC):
    """A pattern that sees weights as rows, ``(outputs, positions, inputs)``: see ``featherweight.core.rows``.

    Scores are floats without NaN; an entry of -inf is dead and is never kept, one of +inf has to stay.

    Attributes:
        granularity: the largest number of weights that are kept or dropped together. So many weights, less
            one, may a network keep less than was asked for.
    """

    granularity: int = 1

    def most(self, shapes: Sequence[Shape]) -> int:
        """Return how many weights of layers of these ``shapes`` of rows the pattern lets be kept."""
        return sum(math.prod(shape) for shape in shapes)

    def restrict(self, scores: Mapping[str, Tensor], kept: int) -> Mapping[str, Tensor]:
        """Return scores in which what cannot be kept is -inf, and entries that share a fate share a score.

        Args:
            scores: the rows of every layer.
            kept: how many are to be kept in all, which may be more than ``most``: on the way to the pattern.
        """
        return scores

    def floors(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        """Return how many weights each layer has to keep: its entries of +inf, and what goes with them.

        Args:
            scores: what ``restrict`` returned, with +inf where an entry has to stay.
            kept: as ``restrict`` got it.
        """
        return {name: int(torch.count_nonzero(score == torch.inf)) for name, score in scores.items()}

    @abstractmethod
    def mask(self, scores: Tensor, kept: int) -> Mask:
        """Return the mask of one layer, in the shape of its rows, restricted before or not.

        Args:
            scores: the rows of the layer.
            kept: how many to keep; where the pattern does not allow as many, or they are dead: fewer.
        """


@dataclass(frozen=True)
class FromFunction(RowPattern):
    """A pattern that is a function ``(scores, kept) -> Mask`` of scores in any shape."""

    function: Callable[[Tensor, int], Mask]

    def mask(self, scores: Tensor, kept: int) -> Mask:
        """Return what the function returns."""
        return self.function(scores, kept)


Pattern = RowPattern | Callable[[Tensor, int], Mask]
_Class = TypeVar("_Class", bound=type[RowPattern])


@dataclass(frozen=True)
class _Form:
    """Names with numbers in them: what they look like, in words and as an expression, and of what class."""

    words: str
    expression: re.Pattern[str]
    make: Callable[..., RowPattern]


class Patterns(Registry[Pattern]):
    """The registry of patterns, which reads names with numbers in them.

    >>> patterns["3:7"]
    NM(n=3, m=7)
    """

    def __init__(self) -> None:
        super().__init__("pattern")
        self._forms: list[_Form] = []

    def form(self, example: str, expression: str, words: str = "") -> Callable[[_Class], _Class]:
        """Return a decorator that files a class under a form of names, and ``example`` among the names.

        Args:
            example: a name of this form.
            expression: its groups are the whole numbers that the class is made of.
            words: the form in words, for errors; none where the example is the only name.
        """

        def file(made: _Class) -> _Class:
            self._forms.append(_Form(words, re.compile(expression), made))
            self.register(example)(self[example])
            return made

        return file

    def __getitem__(self, name: str) -> Pattern:
        """Return the pattern called ``name``; raises UnknownNameError with the choices and the forms."""
        for form in self._forms:
            if isinstance(name, str) and (found := form.expression.fullmatch(name)):  # pyright: ignore[reportUnnecessaryIsInstance]
                return form.make(*(int(number) for number in found.groups()))
        try:
            return super().__getitem__(name)
        except UnknownNameError as error:
            forms = " and ".join(form.words for form in self._forms if form.words)
            raise UnknownNameError(f"{error} Also names of the form {forms}.") from None

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or any(
            isinstance(name, str) and form.expression.fullmatch(name) for form in self._forms
        )


patterns = Patterns()


def row_pattern(choice: str | Pattern) -> RowPattern:
    """Return the pattern that a name, an object or a function stands for, as an object.

    Raises:
        UnknownNameError: there is none of that name, or it is neither.
        SettingError: its numbers make no pattern, such as "4:2".
    """
    if isinstance(choice, RowPattern):
        return choice
    if isinstance(choice, (str, type)) or not callable(choice):  # pyright: ignore[reportUnnecessaryIsInstance]
        return row_pattern(patterns[choice])  # pyright: ignore[reportArgumentType]
    return FromFunction(choice)


def is_alive(scores: Tensor) -> Tensor:
    """Return where an entry can be kept, as bools."""
    return scores > -torch.inf
