"""The runtime's records as Markdown tables; of records of one case the last counts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks._queue import Record, records
from benchmarks.runtime import pictures
from benchmarks.runtime.cost import RESULTS as COST
from benchmarks.runtime.layers import RESULTS as LAYERS
from benchmarks.runtime.networks import NETWORKS
from benchmarks.runtime.speed import RESULTS as SPEED

TITLES = {
    "featherweight": "featherweight",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torch": "PyTorch",
}
RIVALS = ("onnxruntime", "openvino")
CASE = ("network", "sparsity", "batch", "threads", "isa")
NOT_YET = "*Not measured on an idle machine yet.*"


def latest(found: Iterable[Record]) -> list[Record]:
    """Return the last record of each case, by network, sparsity, batch and threads; "best" comes first."""
    cases = {tuple(record.get(key) for key in CASE): record for record in found}

    def place(record: Record) -> tuple[Any, ...]:
        numbers = (record[key] for key in CASE[1:4])
        return NETWORKS.index(record["network"]), *numbers, record.get("isa", "best") != "best"

    return sorted(cases.values(), key=place)


def ratio(record: Record) -> float:
    """Return the time of the faster of ONNX Runtime and OpenVINO over ours."""
    ms = record["ms"]
    return min(ms[side]["median"] for side in RIVALS) / ms["featherweight"]["median"]


def speed(found: Sequence[Record] | None = None) -> str:
    """Return milliseconds and ratios: a table for each instruction set, number of threads and batch."""
    cases = latest(records(SPEED) if found is None else found)
    if not cases:
        return NOT_YET
    settings = sorted({(r["isa"] != "best", r["isa"], r["threads"], r["batch"]) for r in cases})
    tables = [
        _speed_of([r for r in cases if (r["isa"], r["threads"], r["batch"]) == setting[1:]])
        for setting in settings
    ]
    return "\n\n".join([*tables, _steadiness(cases), _about(cases)])


def _speed_of(cases: list[Record]) -> str:
    """Return the table of one setting: ours at each sparsity, and the dense engines over all of them."""
    first, sparsities = cases[0], sorted({r["sparsity"] for r in cases})
    title = f"batch {first['batch']}, {_threads(first['threads'])}"
    if first["isa"] != "best":
        title += f"; featherweight with {first['isa']} alone, the others with all that the processor has"
    others = [side for side in TITLES if side != "featherweight"]
    heads = ["network", *(f"{s:.0%} zeros" for s in sparsities), *(TITLES[side] for side in others)]
    rows = []
    for network in _in_order(cases):
        own = {r["sparsity"]: r for r in cases if r["network"] == network}
        cells = [_cell(own[s]) if s in own else "" for s in sparsities]
        rows.append([network, *cells, *(_range(own.values(), side) for side in others)])
    return f"**{title[0].upper()}{title[1:]}**\n\n{_table(heads, rows)}"


def _cell(record: Record) -> str:
    return f"{_ms(record['ms']['featherweight']['median'])} ms<br>**{ratio(record):.2f}x**"


def _range(found: Iterable[Record], side: str) -> str:
    """Return the medians of an engine that does not care for zeros, over all sparsities."""
    medians = [r["ms"][side]["median"] for r in found if side in r["ms"]]
    if not medians:
        return ""
    low, high = _ms(min(medians)), _ms(max(medians))
    return f"{low} ms" if low == high else f"{low} to {high} ms"


def _steadiness(cases: list[Record]) -> str:
    """Return how far apart turns were, as a sentence."""
    halves = [
        (r["ms"]["featherweight"]["high"] - r["ms"]["featherweight"]["low"])
        / (2 * r["ms"]["featherweight"]["median"])
        for r in cases
    ]
    return (
        f"Half of our turns lie within {statistics.median(halves):.1%} of the median, at the worst within "
        f"{max(halves):.1%}."
    )


def scaling(found: Sequence[Record] | None = None, sparsity: float = 0.9) -> str:
    """Return the time on one thread over that on two, for each engine."""
    cases = {tuple(r[key] for key in CASE): r for r in latest(records(SPEED) if found is None else found)}
    rows = []
    for (network, zeros, batch, threads, isa), one in cases.items():
        two = cases.get((network, zeros, batch, 2, isa))
        if (zeros, threads, isa) == (sparsity, 1, "best") and two is not None:
            sides = [side for side in TITLES if side in one["ms"] and side in two["ms"]]
            gains = {side: one["ms"][side]["median"] / two["ms"][side]["median"] for side in sides}
            rows.append([network, batch, *(f"{gains[s]:.2f}x" if s in gains else "" for s in TITLES)])
    return _table(["network", "batch", *TITLES.values()], rows) if rows else NOT_YET


def cost(found: Sequence[Record] | None = None) -> str:
    """Return seconds to compile, milliseconds to load, memory and bytes."""
    cases = latest(records(COST) if found is None else found)
    if not cases:
        return NOT_YET
    loading = _table(
        ["network", "compile, s", "without measuring, s", *(f"{title}, ms" for title in TITLES.values())],
        [[_name(r), *_compiling(r), *(_spread(r, side, "ready_ms") for side in TITLES)] for r in cases],
    )
    memory = _table(
        ["network", *(f"{title}, MB" for title in TITLES.values())],
        [[_name(r), *(_megabytes(r, side) for side in TITLES)] for r in cases],
    )
    files = _table(
        ["network", ".fw, MB", ".onnx, MB", ".pt2, MB"],
        [
            [
                _name(r),
                *(f"{r['file_bytes'][s] / 1e6:.1f}" for s in ("featherweight", "onnxruntime", "torch")),
            ]
            for r in cases
        ],
    )
    parts = {
        "Compiling, and loading with the first run": loading,
        "Memory after three runs (and the most until then)": memory,
        "Files": files,
        "Installed": installed(cases[-1]["installed_bytes"]),
    }
    return "\n\n".join([*(f"**{title}**\n\n{part}" for title, part in parts.items()), _about(cases)])


def installed(sizes: dict[str, int]) -> str:
    """Return megabytes in site-packages."""
    titles = {
        "featherweight": "featherweight (its library alone: {:.1f})".format(sizes["of it the library"] / 1e6),
        "base": "safetensors, zstandard, typer, rich and what they need, for files and commands",
        "numpy": "numpy, which all of these want",
    } | {side: TITLES[side] for side in (*RIVALS, "torch")}
    return _table(["package", "MB"], [[title, f"{sizes[name] / 1e6:.1f}"] for name, title in titles.items()])


def layers(found: Sequence[Record] | None = None) -> str:
    """Return where the time of each network goes, by kinds of steps."""
    cases = latest(records(LAYERS) if found is None else found)
    parts = [_layers_of(record) for record in cases]
    return "\n\n".join([*parts, _about(cases)]) if parts else NOT_YET


def _layers_of(record: Record) -> str:
    whole, peak = record["all"]["milliseconds"], record["peak_gflops"]
    rows = [
        [
            row["group"],
            row["steps"],
            f"{row['milliseconds']:.3f}",
            f"{row['milliseconds'] / whole:.1%}",
            "" if row["gflops"] is None else f"{row['gflops']:.1f}",
            "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}",
        ]
        for row in (*record["groups"], record["all"])
    ]
    at_most = f"at most {peak:.0f} GFLOP/s" if peak else "peak not known"
    title = (
        f"{_name(record)}, batch {record['batch']}, {_threads(record['threads'])}, {record['instructions']}"
    )
    heads = ["steps", "number", "ms", "of the time", "GFLOP/s on nonzeros", "of the peak"]
    return f"**{title}: {at_most}**\n\n{_table(heads, rows)}"


def speedup_picture() -> str:
    """Return the picture of the ratio against sparsity, with the best instructions."""
    cases = [r | {"ratio": ratio(r)} for r in latest(records(SPEED)) if r["isa"] == "best"]
    return pictures.speedup(cases) if cases else NOT_YET


def layers_picture() -> str:
    """Return the picture of where the time of the first network of the records goes."""
    cases = latest(records(LAYERS))
    return pictures.layers(cases[0]) if cases else NOT_YET


def _compiling(record: Record) -> list[str]:
    return [f"{record['compile_s'][how]:.1f}" for how in ("tuned", "untuned")]


def _spread(record: Record, side: str, name: str) -> str:
    found = record["engines"][side][name]
    return f"{_ms(found['median'])} ({_ms(found['low'])} to {_ms(found['high'])})"


def _megabytes(record: Record, side: str) -> str:
    found = record["engines"][side]
    return f"{found['memory_mb']['median']:.0f} ({found['peak_mb']['median']:.0f})"


def _name(record: Record) -> str:
    return f"{record['network']}, {record['sparsity']:.0%}"


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number != 1)}"


def _ms(value: float) -> str:
    """Return milliseconds with three digits."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _in_order(cases: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(record["network"] for record in cases))


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _about(cases: Sequence[Record]) -> str:
    """Return machine, versions and commits."""
    last = cases[-1]
    versions = [f"{name} {version}" for name, version in last.get("versions", {}).items()]
    commits = list(dict.fromkeys(r["machine"]["commit"] for r in cases))
    plural = "s" * (len(commits) > 1)
    return ", ".join([last["machine"]["cpu"], "fp32", *versions, f"commit{plural} {' '.join(commits)}"]) + "."
