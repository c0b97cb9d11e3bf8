"""What the records say: accuracy by level with its spread over seeds, and where two branches part.

A band is what lies between the lowest and the highest seed. With three seeds two bands are apart by chance
alone in one level of ten, so that one level says little: two branches part where their bands are apart at two
levels in a row, with the same one above (at the last level, one).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featherweight.errors import DataError
from featherweight.sparsity.lottery.branches import branches
from featherweight.sparsity.lottery.records import LevelRecord

Curve = Mapping[int, "Spread"]  # by level


@dataclass(frozen=True)
class Spread:
    """Accuracies from several seeds, at one level of one branch.

    Attributes:
        remaining: fraction of the prunable weights that is left, 0..1.
        values: accuracy by seed, 0..1.
    """

    remaining: float
    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(self.values.values())

    @property
    def low(self) -> float:
        """The lowest."""
        return min(self.values.values())

    @property
    def high(self) -> float:
        """The highest."""
        return max(self.values.values())

    def __str__(self) -> str:
        """Return such as "88.10% (87.90 to 88.31)"."""
        band = f" ({100 * self.low:.2f} to {100 * self.high:.2f})" if len(self.values) > 1 else ""
        return f"{100 * self.mean:.2f}%{band}"


@dataclass(frozen=True)
class Parting:
    """Where two branches part.

    Attributes:
        first: a branch.
        second: another.
        split: "validation" or "test".
        level: at which their bands are apart first; None: they are not.
        until: the last level of those, without a gap, at which they are apart; None as ``level``.
        here: of ``first`` and ``second`` at that level, or where they do not part at the last one.
        differences: first - second at that level, of each seed that both have, 0..1.
        last: fraction of the weights that is left at ``until``, or at the last level.
    """

    first: str
    second: str
    split: str
    level: int | None
    until: int | None
    here: tuple[Spread, Spread]
    differences: tuple[float, ...]
    last: float

    @property
    def gain(self) -> float:
        """Mean of the differences, paired over seeds."""
        return statistics.fmean(self.differences)

    @property
    def spread(self) -> float | None:
        """Their standard deviation; None of a single one."""
        return statistics.stdev(self.differences) if len(self.differences) > 1 else None

    def __str__(self) -> str:
        """Return the finding as a sentence or two, with its numbers."""
        first, second = branches[self.first].title, branches[self.second].title
        one, other = self.here
        pairs = f"{_points(self.gain, self.spread)} paired over {_seeds(len(self.differences))}"
        numbers = f"{one} against {other} {self.split} accuracy, {pairs}"
        if self.spread is None:
            where = f"at {one.remaining:.1%} of the weights"
            return f"{first} and {second}: of one seed no spread is known; {where} {numbers}."
        if self.level is None:
            where = f"down to {self.last:.1%} of the weights"
            return f"{first} and {second} do not part {where}, where it is {numbers}."
        alone = "; the sparsest one, so that no other confirms it" if self.until == self.level else ""
        stays = "" if alone else f" They stay apart down to {self.last:.1%}."
        where = f"at {one.remaining:.1%} of the weights (level {self.level}{alone})"
        return f"{first} and {second} part {where}: {numbers}.{stays}"


def split_of(records: Iterable[LevelRecord]) -> str:
    """Return "test" where every record has it, else "validation"."""
    return "validation" if any(record.test is None for record in records) else "test"


def curves(records: Sequence[LevelRecord], split: str | None = None) -> dict[str, Curve]:
    """Return accuracy by branch and level.

    Args:
        records: of one experiment.
        split: "validation" or "test"; None: the test split, where there is one.

    Raises:
        DataError: there are no records, or one has no such accuracy.
    """
    if not records:
        raise DataError("There are no records to draw a curve of. Run the experiment first.")
    split = split or split_of(records)
    found: dict[str, dict[int, dict[int, LevelRecord]]] = {}
    for record in records:
        found.setdefault(record.branch, {}).setdefault(record.level, {})[record.seed] = record
    return {
        branch: {level: _spread(by_seed, split) for level, by_seed in sorted(levels.items())}
        for branch, levels in found.items()
    }


def parting(
    records: Sequence[LevelRecord],
    first: str = "ticket",
    second: str = "random_init",
    split: str | None = None,
) -> Parting | None:
    """Return where two branches part; None where they have no level and seed in common.

    Args:
        records: of one experiment.
        first: a branch, by name.
        second: another.
        split: "validation" or "test"; None: the test split, where there is one.
    """
    split = split or split_of(records)
    found = curves(records, split)
    both = _paired(found.get(first, {}), found.get(second, {}))
    if not both:
        return None
    apart = {level: _side(*pair) for level, pair in both.items()}
    levels = list(both)
    level = next((one for place, one in enumerate(levels) if _parts(apart, levels, place)), None)
    until = None if level is None else _until(apart, levels, level)
    here = both[levels[-1] if level is None else level]
    last = both[levels[-1] if until is None else until][0].remaining
    differences = tuple(here[0].values[seed] - here[1].values[seed] for seed in here[0].values)
    return Parting(first, second, split, level, until, here, differences, last)


def lasting(
    records: Sequence[LevelRecord], branch: str = "ticket", split: str | None = None
) -> Spread | None:
    """Return the sparsest level up to which a branch is, in the mean, no worse than the worst dense seed.

    None where not even the first level is, or where it has no records.
    """
    found = curves(records, split)
    dense, last = found.get("dense", {}).get(0), None
    for spread in found.get(branch, {}).values():
        if dense is None or spread.mean < dense.low:
            break
        last = spread
    return last


def statements(records: Sequence[LevelRecord], split: str | None = None) -> tuple[str, ...]:
    """Return what the records say of the ticket: against the dense network, and against each other branch."""
    found, said = curves(records, split), list[str]()
    if "ticket" in found and "dense" in found:
        said.append(_against_dense(found["dense"][0], lasting(records, split=split)))
    for branch in found:
        if branch not in ("ticket", "dense") and (parted := parting(records, "ticket", branch, split)):
            said.append(str(parted))
    return tuple(text[0].upper() + text[1:] for text in said)


def _against_dense(dense: Spread, last: Spread | None) -> str:
    if last is None:
        return f"No ticket is as good as the dense network, {dense}."
    return (
        f"Tickets are as good as the dense network ({dense}; in the mean no worse than its worst seed) down "
        f"to {last.remaining:.1%} of the weights: {last}."
    )


def _spread(records: Mapping[int, LevelRecord], split: str) -> Spread:
    values: dict[int, float] = {}
    for seed, record in sorted(records.items()):
        value = record.accuracy(split)
        if value is None:
            raise DataError(f"{record.branch}, seed {seed}, level {record.level} has no {split} accuracy.")
        values[seed] = value
    return Spread(next(iter(records.values())).remaining, values)


def _paired(first: Curve, second: Curve) -> dict[int, tuple[Spread, Spread]]:
    """Return both curves at their common levels, of the seeds that are in both."""
    both: dict[int, tuple[Spread, Spread]] = {}
    for level in sorted(first.keys() & second.keys()):
        one, other = first[level], second[level]
        seeds = [seed for seed in one.values if seed in other.values]
        if seeds:
            both[level] = tuple(  # pyright: ignore[reportArgumentType] - a pair
                Spread(each.remaining, {seed: each.values[seed] for seed in seeds}) for each in (one, other)
            )
    return both


def _side(one: Spread, other: Spread) -> int:
    """Return 1 where the first band lies above the second, -1 below, 0 where they touch or are points."""
    if len(one.values) < 2:
        return 0
    return int(one.low > other.high) - int(one.high < other.low)


def _parts(apart: Mapping[int, int], levels: Sequence[int], place: int) -> bool:
    following = levels[place : place + 2]
    return apart[levels[place]] != 0 and len({apart[level] for level in following}) == 1


def _until(apart: Mapping[int, int], levels: Sequence[int], level: int) -> int:
    last = level
    for one in levels[levels.index(level) :]:
        if apart[one] != apart[level]:
            break
        last = one
    return last


def _points(gain: float, spread: float | None) -> str:
    return f"{100 * gain:+.2f}" + ("" if spread is None else f" ± {100 * spread:.2f}") + " points"


def _seeds(number: int) -> str:
    return "one seed" if number == 1 else f"{number} seeds"
