"""Profiles: the numbers of a row follow from its time and its work, and the table shows them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from featherweight.runtime.profile import OperationTime, RunProfile

SPARSE = OperationTime("layer1.conv", "sparse_conv", 0.5, macs=40_000_000, macs_done=10_000_000)
HALO = OperationTime("layer1.conv", "fill_halo", 0.25)
DENSE = OperationTime("[stem]", "dense_conv", 0.25, macs=20_000_000, macs_done=20_000_000)
PROFILE = RunProfile((DENSE, HALO, SPARSE), "avx2", threads=1, repeats=7)


def test_work_a_time() -> None:
    assert SPARSE.gflops == pytest.approx(40.0)  # 2 x 10 million in half a millisecond
    assert SPARSE.sparsity == pytest.approx(0.75)
    assert DENSE.gflops == pytest.approx(160.0)
    assert DENSE.sparsity == 0


def test_a_step_without_multiplications_has_no_speed() -> None:
    assert HALO.gflops is None
    assert HALO.sparsity is None
    assert replace(SPARSE, milliseconds=0.0).gflops is None


def test_sums() -> None:
    assert PROFILE.milliseconds == pytest.approx(1.0)
    assert (PROFILE.macs, PROFILE.macs_done) == (60_000_000, 30_000_000)
    assert PROFILE.sparsity == pytest.approx(0.5)
    assert PROFILE.gflops == pytest.approx(60.0)
    nothing = RunProfile((), "avx2", 1, 1)
    assert (nothing.milliseconds, nothing.sparsity, nothing.gflops) == (0, None, None)


def test_the_table_is_in_the_order_of_the_run() -> None:
    lines = str(PROFILE).splitlines()
    assert lines[0] == "1 thread, avx2, median of 7 runs"
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert cells == [
        ["[stem]", "dense_conv", "0.2500", "25.0%", "20.00", "0.0%", "160.0"],
        ["layer1.conv", "fill_halo", "0.2500", "25.0%", "", "", ""],
        ["layer1.conv", "sparse_conv", "0.5000", "50.0%", "40.00", "75.0%", "40.0"],
        ["all", "", "1.0000", "100.0%", "60.00", "50.0%", "60.0"],
    ]


def test_the_slowest_may_come_first() -> None:
    first = next(iter(PROFILE.table(slowest_first=True).columns[1].cells))
    assert first == "sparse_conv"
