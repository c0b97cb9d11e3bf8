"""By sensitivity: the summed loss that the layers cost, each measured alone, is the least for the total.

For each layer the loss is measured at several levels of sparsity, all others whole. Of each curve, loss
against weights removed, the lower convex hull is taken, and weights are removed where the next one costs
least: the optimum of the sum of the hulls, as their slopes only rise. Between points the loss is taken to be
linear. Beyond the last level nothing is known: weights go from there when all layers have come to theirs.

Scans by layer are as old as Han, Pool, Tran, Dally 2015 (https://arxiv.org/abs/1506.02626); sharing at equal
marginal cost, for bits, is Shoham and Gersho 1988 (https://doi.org/10.1109/29.90373).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from featherweight.core.mask import Mask
from featherweight.errors import SettingError
from featherweight.sparsity.allocation._base import alive, allocations, apportion
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.measuring import measure, zeroed

LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)


@dataclass(frozen=True)
class LossCurve:
    """What the loss is with fewer and fewer weights of one layer.

    Attributes:
        size: weights of the layer.
        kept: of these, falling, a point each; the first is that of the network as it was.
        losses: as many.

    Raises:
        SettingError: there is no point, or they are out of order.
    """

    size: int
    kept: tuple[int, ...]
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        falls = all(more > less for more, less in itertools.pairwise(self.kept))
        if not self.kept or not falls or len(self.kept) != len(self.losses) or self.kept[0] > self.size:
            raise SettingError(
                f"A curve has a loss for each number of weights kept, which fall from {self.size} at most; "
                f"got {self.kept} and {self.losses}."
            )

    def hull(self) -> list[tuple[float, int]]:
        """Return the lower convex hull as (loss a weight removed, weights) of its sides; slopes rise.

        The last side is what lies beyond the last point, at an infinite cost.
        """
        points: list[tuple[int, float]] = []
        for kept, loss in zip(self.kept, self.losses, strict=True):
            point = self.kept[0] - kept, loss
            while len(points) > 1 and _slope(points[-2], points[-1]) >= _slope(points[-1], point):
                points.pop()
            points.append(point)
        sides = [(_slope(a, b), b[0] - a[0]) for a, b in itertools.pairwise(points)]
        return [*sides, (math.inf, self.kept[-1])]


def share(curves: Mapping[str, LossCurve], limits: Mapping[str, int], kept: int) -> dict[str, int]:
    """Return how many weights each layer keeps, ``kept`` in all, so that the summed loss is least.

    Args:
        curves: of each layer.
        limits: how many of its weights can be kept: the others are gone already.
        kept: at most the sum of ``limits``.
    """
    sides = [side for name, curve in curves.items() for side in _sides(name, curve, limits[name])]
    left, rest = dict(limits), sum(limits.values()) - kept
    for slope in sorted({slope for slope, _, _ in sides}):
        lengths = {name: length for each, name, length in sides if each == slope}
        taken = apportion(lengths, lengths, min(rest, sum(lengths.values())))
        for name, number in taken.items():
            left[name] -= number
            rest -= number
    return left


def _sides(name: str, curve: LossCurve, limit: int) -> list[tuple[float, str, int]]:
    """Return the sides of the hull that are still to be gone along, with the layer's name."""
    gone = curve.kept[0] - limit
    found = [(-math.inf, name, -gone)] if gone < 0 else []  # what the curve was measured without
    for slope, length in curve.hull():
        found.append((slope, name, max(0, length - max(0, gone))))
        gone -= length
    return [side for side in found if side[2]]


def _slope(first: tuple[int, float], second: tuple[int, float]) -> float:
    return (second[1] - first[1]) / (second[0] - first[0])


@dataclass(frozen=True)
class FromCurves:
    """An allocation by loss curves that were measured before.

    Attributes:
        curves: of each layer.
    """

    curves: Mapping[str, LossCurve]

    def __call__(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        """Return how many weights each layer keeps.

        Raises:
            SettingError: a layer was not scanned, or had another size.
        """
        for name, score in scores.items():
            if name not in self.curves:
                raise SettingError(
                    f"The scan has no layer {name!r}, so nothing is known of its sensitivity. Scan it too, "
                    f"or leave it alone with skip=."
                )
            if self.curves[name].size != score.numel():
                raise SettingError(
                    f"{name} had {self.curves[name].size:,} weights when it was scanned, and has "
                    f"{score.numel():,} now: scan this network."
                )
        return share({name: self.curves[name] for name in scores}, alive(scores), kept)


@dataclass(frozen=True)
class BySensitivity:
    """Keep most where the loss rises most: layers are scanned one by one on ``data=``, once.

    The scan is of ``layers * levels`` passes over the data, with the weights that the criterion in use scores
    least at zero. To scan once for many runs, take ``fw.sensitivity(...).allocation()``.

    Attributes:
        levels: sparsities of a layer that are measured, each between 0 and 1.
        batches: how many of ``data=`` are measured on, at most; None: all.

    Raises:
        SettingError: a setting is wrong.
    """

    levels: tuple[float, ...] = LEVELS
    batches: int | None = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", rising(self.levels))
        if self.batches is not None and self.batches < 1:
            raise SettingError(f"batches is a whole number of at least 1, or None, got {self.batches!r}.")

    def check_data(self, data: Any) -> Calibration:
        """Return what ``data`` are; raises SettingError if they are none or have another form."""
        return Calibration.of(data, wanted_by="allocation='sensitivity'")

    def prepared(self, context: Any) -> Callable[[Mapping[str, Tensor], int], dict[str, int]]:
        """Return the allocation of the model of ``context``, that of criteria; it scans when it is called.

        Raises:
            SettingError: there are no data.
        """
        data = self.check_data(context.data).held(self.batches)
        return _Scanning(context.model, data, self.levels, self.batches)

    def __call__(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        """Refuse: raises SettingError, as there is no model to look at."""
        raise SettingError("allocation='sensitivity' looks at the model: call prepared(context) before.")


class _Scanning:
    """Scans at its first call, by the scores that it is given then."""

    def __init__(
        self, model: nn.Module, data: Calibration, levels: tuple[float, ...], batches: int | None
    ) -> None:
        self._model, self._data, self._levels, self._batches = model, data, levels, batches
        self._curves: dict[str, LossCurve] = {}

    def __call__(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        parameters = self._model.named_parameters(remove_duplicate=False)
        weights = {name.replace("_orig_mod.", ""): weight for name, weight in parameters}
        for name, score in scores.items():
            if name not in self._curves:
                self._curves[name] = self._curve(weights[name], score)
        return share({name: self._curves[name] for name in scores}, alive(scores), kept)

    def _curve(self, weight: Tensor, score: Tensor) -> LossCurve:
        size, most = score.numel(), int((score > -math.inf).sum())
        wanted = [round((1 - level) * size) for level in self._levels]
        kept = (most, *dict.fromkeys(number for number in wanted if number < most))
        return LossCurve(size, kept, tuple(self._loss(weight, score, number) for number in kept))

    def _loss(self, weight: Tensor, score: Tensor, kept: int) -> float:
        with zeroed(weight, Mask.top(score, kept).keep):
            return measure(self._model, self._data, batches=self._batches).loss


def rising(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Return ``levels`` from low to high; raises SettingError unless they are different sparsities."""
    wrong = [level for level in levels if isinstance(level, bool) or not 0 < level < 1]
    if wrong or not levels or len(set(levels)) < len(levels):
        raise SettingError(
            f"levels are different sparsities of a layer, each between 0 and 1, got {tuple(levels)!r}."
        )
    return tuple(sorted(map(float, levels)))


allocations.register("sensitivity")(BySensitivity())  # pyright: ignore[reportArgumentType]
