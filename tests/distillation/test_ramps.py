"""Numbers that change with the progress."""

import numpy as np
import pytest

from featherweight.distillation.ramps import Cosine, Linear, ramp_of
from featherweight.errors import SettingError


def share(given):
    return ramp_of("alpha", given, lambda a: 0 <= a <= 1, "between 0 and 1")


def test_numbers_pairs_and_functions():
    assert [share(0.25)(p) for p in (0, 0.5, 1)] == [0.25] * 3
    assert [share((1, 0))(p) for p in (0, 0.25, 1)] == [1, 0.75, 0]
    assert share(lambda p: p**2)(0.5) == 0.25
    assert [Cosine(1.0, 0.0)(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert Cosine(0.0, 1.0)(0.25) < Linear(0.0, 1.0)(0.25)


def test_numbers_of_numpy_are_numbers():
    assert share(np.float32(0.25)) == Linear(0.25, 0.25)
    assert share((np.int64(1), np.float64(0))) == Linear(1.0, 0.0)


@pytest.mark.parametrize(
    "given",
    [
        -0.1,
        1.1,
        True,
        "half",
        (0.1,),
        (0, 1, 2),
        (0, "1"),
        None,
        lambda p: 2 * p,
        lambda p: "1",
        (0.5, float("nan")),
    ],
)
def test_what_is_none_is_refused(given):
    with pytest.raises(SettingError, match="alpha"):
        share(given)
