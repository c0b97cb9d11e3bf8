"""Prune channels, heads and blocks; and then, where asked, the weights of what is left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featherweight.artifact import WriteReport
from featherweight.cli.example import example_of, shapes_of
from featherweight.cli.failures import CheckFailed
from featherweight.cli.network import make_network
from featherweight.cli.output import say, show, write_json
from featherweight.cli.pruning.narrowing import Narrowed, narrow
from featherweight.cli.pruning.outcome import Measured, Subject, drafted, run_dir_of
from featherweight.cli.pruning.request import ChannelsRequest
from featherweight.cli.pruning.weights import Request, with_zeros
from featherweight.core.skip import matches_any
from featherweight.core.trace import Example, as_arguments, evaluating, trace
from featherweight.profile import Latency, Profile, count_params, profile, time_in_turns
from featherweight.report import (
    CutStep,
    Milliseconds,
    StructuredRecord,
    Width,
    structured_page,
    structured_tables,
    write_html,
)
from featherweight.report.narrowing import check_line, target_line
from featherweight.structured.axes import trace_axes
from featherweight.structured.checkpoint import load
from featherweight.structured.choose import skipped_groups
from featherweight.structured.graph_module import RewrittenModule
from featherweight.structured.groups import find_groups
from featherweight.structured.record import surgeries_of
from featherweight.structured.verify import difference
from featherweight.structured.widths import widths

SECONDS = 3.0  # of timing
TOLERANCE = 1e-4  # of the largest output: between the saved network and the file's
SLACK = 1.001  # a target is counted in whole channels, and so is the check


@dataclass(frozen=True)
class _Written:
    """The file, and what was measured of the network that was read back from it."""

    report: WriteReport
    fresh: nn.Module
    difference: float
    accuracy: tuple[Measured, Measured] | None
    times: tuple[Milliseconds, Milliseconds]


def run_channels(request: ChannelsRequest, json_file: Path | None) -> None:
    """Do all steps; the file is written at the end, whole or not at all.

    Raises:
        CheckFailed: less was removed than asked for, or the file gives another network.
        FeatherweightError: it cannot be done as asked.
    """
    subject = Subject.of(request.model, request.weights, request.data, request.how.seed)
    model, batches = subject.model, subject.batches
    purpose = "To cut the network without --data"
    example = example_of(request.model, model, request.input_shape, batches, purpose)
    run_dir = run_dir_of(request.out, model, request.data)
    narrowed = narrow(model, request, example, batches, run_dir / "channels")
    profiles = tuple(profile(network, example, repeats=2, warmup=0) for network in (model, narrowed.model))
    _check_cut(request, *profiles)
    small = narrowed.model
    if request.zeros is not None:
        zeros = _of_what_is_left(request.zeros, small)
        small = with_zeros(small, zeros, batches, run_dir / "weights", dense=model)
    written = _written(request, subject, small, example)
    what_went = _what_went(request, model, written.fresh, example)
    record = _record(
        request, narrowed, profiles=profiles, written=written, example=example, what_went=what_went
    )
    _tell(record, written)
    told = {"speedup": record.speedup, "teacher": request.teaching and request.teaching.teacher}
    write_json(json_file, json.loads(record.to_json()) | told)
    if request.report is not None:
        write_html(structured_page(record), request.report)
    shutil.rmtree(run_dir, ignore_errors=True)


def _of_what_is_left(zeros: Request, small: nn.Module) -> Request:
    """Leave out patterns whose parameters went with a block."""
    named = [(name,) for name, _ in small.named_parameters(remove_duplicate=False)]
    return replace(zeros, skip=tuple(pattern for pattern in zeros.skip if matches_any(pattern, named)))


def _written(request: ChannelsRequest, subject: Subject, small: nn.Module, example: Example) -> _Written:
    """Write the file, read it back, measure what was read, and only then put it in its place."""
    model, batches = subject.model, subject.batches
    with drafted(small, request.out, request.values, {"model": request.model}) as (report, draft):
        fresh, distance = _reloaded(request, small, draft, example)
        before, after = Measured.of(model, batches), Measured.of(fresh, batches)
        times = time_in_turns({"before": model, "after": fresh}, example, seconds=SECONDS)
    return _Written(
        report=report,
        fresh=fresh,
        difference=distance,
        accuracy=None if before is None or after is None else (before, after),
        times=(_milliseconds(times["before"]), _milliseconds(times["after"])),
    )


def _record(
    request: ChannelsRequest,
    narrowed: Narrowed,
    *,
    profiles: Sequence[Profile],
    written: _Written,
    example: Example,
    what_went: Mapping[str, Any],
) -> StructuredRecord:
    before, cut = profiles
    accuracy = written.accuracy
    return StructuredRecord(
        model=request.model,
        criterion=request.criterion,
        target=narrowed.target,
        asked=narrowed.asked,
        predicted=narrowed.predicted,
        achieved=narrowed.achieved,
        params=(before.params, cut.params),
        nonzero=(before.nonzeros, count_params(written.fresh)),
        macs=(before.macs, cut.macs),
        times=written.times,
        input_shape=shapes_of(example),
        bytes_dense=before.bytes,
        bytes_compact=written.report.file_bytes,
        sparsity=None if request.zeros is None else request.zeros.sparsity,
        accuracy=None if accuracy is None else (accuracy[0].accuracy, accuracy[1].accuracy),
        split=None if accuracy is None else accuracy[1].split,
        examples=None if accuracy is None else accuracy[1].examples,
        **what_went,
        steps=tuple(CutStep(s.left, s.params, s.macs, s.cut, s.tuned) for s in narrowed.steps),
        validation_before=narrowed.validation_before,
        same_class=not isinstance(written.fresh, RewrittenModule),
        reload_difference=written.difference,
        out=str(request.out),
        seed=request.how.seed,
        machine=before.machine,
    )


def _check_cut(request: ChannelsRequest, before: Profile, after: Profile) -> None:
    """Count again what is left."""
    if after.params >= before.params:
        raise CheckFailed(
            f"nothing was cut: {after.params:,} of {before.params:,} parameters are left. Nothing was "
            f"written. A smaller fraction may be below what --min-keep and --round-to keep."
        )
    if request.target is None or request.target.name not in ("params", "macs"):
        return
    name, fraction = request.target.name, request.target.fraction
    whole, left = getattr(before, name), getattr(after, name)
    if left > SLACK * fraction * whole:
        raise CheckFailed(
            f"{left:,} of {whole:,} {name} are left ({left / whole:.2%}), at most {fraction:.2%} were to be. "
            f"Nothing was written."
        )


def _reloaded(
    request: ChannelsRequest, small: nn.Module, draft: Path, example: Example
) -> tuple[nn.Module, float]:
    """Cut a fresh network as the draft says and fill it; return it, and how far its outputs are off.

    Raises:
        CheckFailed: it is not the network that was saved.
    """
    expected = _outputs(small, example)
    filled = load(draft, into=small)  # with fp16 and bf16 values, which are rounded
    if request.values != "fp32":
        expected = _outputs(filled, example)
    fresh = load(draft, into=make_network(request.model, None, request.how.seed)).eval()
    ours, theirs = filled.state_dict(), fresh.state_dict()
    same = ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    distance = difference(expected, _outputs(fresh, example)) if same else float("inf")
    if not distance < TOLERANCE:
        how = f"its outputs are off by {distance:.2g} of the largest" if same else "its tensors are others"
        raise CheckFailed(
            f"the file, loaded into a fresh {request.model}, is not the network that was saved: {how}. "
            f"Nothing was written. Please report the network."
        )
    return fresh, distance


def _outputs(model: nn.Module, example: Example) -> Any:
    args, kwargs = as_arguments(example)
    with evaluating(model):
        return model(*args, **kwargs)


def _what_went(
    request: ChannelsRequest, model: nn.Module, small: nn.Module, example: Example
) -> dict[str, Any]:
    done = surgeries_of(small)[len(surgeries_of(model)) :]
    skipped: Sequence[str] = ()
    if request.how.skip:
        skipped = skipped_groups(model, find_groups(trace_axes(trace(model, example))), request.how.skip)
    return {
        "widths": tuple(Width(*row) for row in widths(model, small, example)),
        "removed_blocks": tuple(block.name for record in done for block in record.blocks),
        "skipped": tuple(skipped),
    }


def _milliseconds(latency: Latency) -> Milliseconds:
    return Milliseconds(latency.median, latency.low, latency.high, latency.repeats)


def _tell(record: StructuredRecord, written: _Written) -> None:
    say(target_line(record))
    for table in structured_tables(record):
        show(table)
    for name in record.removed_blocks:
        say(f"Removed whole: {name}")
    if written.accuracy is not None:
        written.accuracy[1].tell()
    say(check_line(record))
