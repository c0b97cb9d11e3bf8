"""Sizes that are not known: the same result as with any number in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.errors import GraphError
from featherweight.runtime.dims import Dim, Size, broadcast, ceil_div, product

N, H = Dim(("n",)), Dim(("h",))


def valued(size: Size, numbers: dict[str, int]) -> int:
    """Put numbers in the place of symbols; a symbol may be the text of what it came from."""
    if isinstance(size, int):
        return size
    return size.factor * product(eval(s, {}, numbers) for s in size.symbols) + size.offset


STEPS = st.lists(
    st.tuples(st.sampled_from(["+", "-", "*", "//", "+d", "*d"]), st.integers(1, 6)), min_size=1, max_size=6
)


@given(STEPS, st.integers(1, 50), st.integers(1, 50))
def test_arithmetic_is_that_of_numbers(steps: list[tuple[str, int]], n: int, h: int) -> None:
    symbolic: Size = N
    number = n
    for step, by in steps:
        match step:
            case "+":
                symbolic, number = symbolic + by, number + by
            case "-":
                symbolic, number = symbolic - by, number - by
            case "*":
                symbolic, number = symbolic * by, number * by
            case "//":
                symbolic, number = symbolic // by, number // by
            case "+d":
                symbolic, number = symbolic + H, number + h
            case _:
                symbolic, number = symbolic * H, number * h
    assert valued(symbolic, {"n": n, "h": h}) == number


def test_what_cancels_is_known_again() -> None:
    assert (N * 12) // N == 12
    assert (N * H * 4) // (H * 2) == N * 2
    assert N - N == 0
    assert (N + 2 - 3) // 1 + 1 == N


def test_the_same_computation_gives_the_same_size() -> None:
    assert (N + 1) // 2 == (N + 1) // 2
    assert (N + 1) // 2 != (N + 2) // 2
    assert ceil_div(N, 2) != N // 2


def test_ceil_div() -> None:
    assert [ceil_div(size, 3) for size in (3, 4, 5, 6)] == [1, 2, 2, 2]


def test_broadcast() -> None:
    assert broadcast((N, 3, 1), (5,), "here") == (N, 3, 5)
    assert broadcast((1, 4), (N, 1, 4), "here") == (N, 1, 4)
    with pytest.raises(GraphError, match="here"):
        broadcast((2,), (3,), "here")


def test_texts() -> None:
    assert str(N * 3 + 2) == "3*n+2"
    assert repr((N + 1) // 2) == "((n+1) // (2))"
