"""``featherweight distill``: a small network learns from a large one, beside the same network alone."""

from __future__ import annotations

from featherweight.cli import output
from featherweight.cli.distilling import options
from featherweight.cli.failures import resumable


def distill(
    *,
    teacher: options.Teacher,
    student: options.Student,
    data: options.Data,
    teacher_weights: options.TeacherWeights = None,
    student_weights: options.StudentWeights = None,
    loss: options.Loss = "kd",
    alpha: options.Alpha = None,
    temperature: options.Temperature = None,
    features: options.Features = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
    ema_decay: options.EmaDecay = None,
    cache: options.Cache = None,
    no_baseline: options.NoBaseline = False,
    out: options.Out = None,
    values: options.Values = None,
    report: options.Report = None,
    grid: options.Grid = None,
    json: output.JsonOption = None,
) -> None:
    """Train a student on what a teacher says, and alone; show both beside the teacher, and write the first.

    Both start from the same weights and see the same batches, for as many epochs. The epoch is chosen on the
    validation split; the test split is read once. Stopped with Ctrl-C, the same command goes on where it was.
    """
    asked = dict(locals())
    for path, option in (
        (json, "--json"),
        (out or options.OUT, "--out"),
        (report, "--report"),
        (grid, "--grid"),
    ):
        output.check_target(path, option)
    options.refuse_idle(asked)
    with resumable("The same command goes on from what was saved while training."):
        from featherweight.cli.distilling.request import Request

        request = Request.of(asked)
        if request.grid is not None:
            from featherweight.cli.distilling.trying import run_grid

            run_grid(request, request.grid, json)
        else:
            from featherweight.cli.distilling.flow import run_distill

            run_distill(request, json)
