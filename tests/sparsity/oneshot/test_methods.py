"""What all methods have to keep to; closed forms, brute force, and bad input."""

import itertools
from dataclasses import replace

import pytest
import torch

from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.oneshot import ALPS, OBS, LayerProblem, SparseGPT, methods, refit
from featherweight.sparsity.patterns import row_pattern

COMPENSATING = ["sparsegpt", "obs", "alps"]
PATTERNS = ["unstructured", "per_output", "2:4", "3:8", "1x4", "4x1", "2x2", "1x3"]


def bare(problem):
    return replace(problem, damping=0.0)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("method", list(methods))
def test_exactly_as_many_are_kept_in_the_pattern(method, pattern, make_problem):
    problem = make_problem(8, 24, positions=2, keep=0.25 if pattern != "3:8" else 0.375, pattern=pattern)
    solution = methods[method](problem)
    assert solution.weights.shape == solution.keep.shape == problem.weights.shape
    assert int(solution.keep.sum()) == problem.kept
    assert not bool(solution.weights[~solution.keep].any())
    again = row_pattern(pattern).mask(solution.keep.double(), problem.kept).keep
    assert torch.equal(again, solution.keep)  # what the pattern allows, it keeps


@pytest.mark.parametrize("pattern", ["2:4", "1x4", "4x1", "2x3"])
@pytest.mark.parametrize("method", list(methods))
def test_rows_and_columns_that_no_cell_divides(method, pattern, make_problem):
    problem = make_problem(7, 10, positions=3, keep=0.3, pattern=pattern)
    solution = methods[method](problem)
    granularity = problem.pattern.granularity
    assert problem.kept - granularity < int(solution.keep.sum()) <= problem.kept
    again = problem.pattern.mask(solution.keep.double(), int(solution.keep.sum())).keep
    assert torch.equal(again, solution.keep)


@pytest.mark.parametrize("method", ["wanda", *COMPENSATING])
@pytest.mark.parametrize("pattern", ["per_output", "2:4", "1x2"])
def test_with_independent_inputs_all_agree_on_the_squared_products(method, pattern, make_problem):
    problem = bare(make_problem(4, 8, positions=1, pattern=pattern))
    norms = torch.linspace(0.5, 3, 8, dtype=torch.float64)
    problem = replace(problem, hessian=torch.diag(norms.square())[None])
    expected = problem.pattern.mask((problem.weights * norms).square(), problem.kept).keep
    solution = methods[method](problem)
    assert torch.equal(solution.keep, expected)
    assert torch.allclose(solution.weights, problem.weights.masked_fill(~expected, 0))


@pytest.mark.parametrize("method", COMPENSATING)
def test_with_independent_inputs_the_whole_layer_is_compared(method, make_problem):
    problem = bare(make_problem(4, 8))
    norms = torch.linspace(0.5, 3, 8, dtype=torch.float64)
    problem = replace(problem, hessian=torch.diag(norms.square())[None])
    best = (problem.weights * norms).square().flatten().topk(problem.kept).indices
    assert torch.equal(methods[method](problem).keep.flatten().nonzero().flatten(), best.sort().values)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", list(methods))
def test_no_mask_is_better_than_the_best_of_all_masks(method, seed, make_problem):
    problem = bare(make_problem(2, 5, keep=0.5, seed=seed))
    masks = []
    for places in itertools.combinations(range(10), problem.kept):
        keep = torch.zeros(10, dtype=torch.bool)
        keep[list(places)] = True
        masks.append(problem.error(refit(problem, keep.view(2, 1, 5)).weights))
    error = problem.error(methods[method](problem).weights)
    assert error >= min(masks) - 1e-12
    if method == "obs":
        assert error < sorted(masks)[len(masks) // 10]


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "1x4"])
@pytest.mark.parametrize("method", list(methods))
def test_least_squares_on_a_mask_is_at_least_as_good(method, pattern, make_problem):
    for seed in range(3):
        problem = bare(make_problem(6, 16, pattern=pattern, seed=seed))
        solution = methods[method](problem)
        best = refit(problem, solution.keep)
        assert torch.equal(best.keep, solution.keep)
        assert problem.error(best.weights) <= problem.error(solution.weights) + 1e-12


def test_least_squares_is_where_the_gradient_of_the_kept_vanishes(make_problem):
    problem = make_problem(6, 8, groups=3)
    keep = torch.rand(problem.weights.shape) > 0.5
    solution = refit(problem, keep)
    change = (solution.weights - problem.weights).view(problem.grouped.shape)
    gradient = (change @ problem.damped).view(keep.shape)
    assert gradient[keep].abs().max() < 1e-9
    assert gradient[~keep].abs().max() > 1e-3


@pytest.mark.parametrize("method", ["wanda", *COMPENSATING])
def test_a_method_that_ignored_the_inputs_would_fail(method, make_problem):
    problem = make_problem(6, 16)
    blind = replace(problem, hessian=torch.eye(16, dtype=torch.float64)[None])
    seeing = problem.error(methods[method](problem).weights)
    assert seeing < 0.8 * problem.error(methods[method](blind).weights)
    assert seeing < 0.8 * problem.error(methods["magnitude"](problem).weights)


@pytest.mark.parametrize("keep", [0.2, 0.5])
def test_compensation_is_better_than_none_and_exact_surgery_than_blocks(keep, make_problem):
    errors = {name: [] for name in methods}
    for seed in range(4):
        problem = make_problem(12, 24, keep=keep, seed=seed)
        for name in methods:
            errors[name].append(problem.error(methods[name](problem).weights))
    mean = {name: sum(values) / len(values) for name, values in errors.items()}
    assert mean["wanda"] < mean["magnitude"]
    assert mean["sparsegpt"] < mean["wanda"]
    assert mean["obs"] < mean["sparsegpt"]
    assert mean["alps"] < mean["sparsegpt"]
    assert all(a <= w for a, w in zip(errors["alps"], errors["wanda"], strict=True))


@pytest.mark.parametrize("method", list(methods))
def test_groups_are_pruned_each_by_its_own_inputs(method, make_problem):
    problem = make_problem(6, 8, groups=3, pattern="per_output")
    solution = methods[method](problem)
    for group in range(3):
        rows = slice(2 * group, 2 * group + 2)
        alone = replace(
            problem,
            weights=problem.weights[rows],
            hessian=problem.hessian[group : group + 1],
            kept=problem.kept // 3,
        )
        if method != "alps":  # which ends when all groups are settled
            assert torch.allclose(methods[method](alone).weights, solution.weights[rows])
    assert int(solution.keep.sum()) == problem.kept


@pytest.mark.parametrize("method", list(methods))
def test_what_is_dead_stays_dead_and_what_must_stay_stays(method, make_problem):
    problem = make_problem(6, 8, keep=0.3)
    fixed = torch.zeros_like(problem.weights)
    fixed[:, :, 3] = -torch.inf
    fixed[2, 0, :3] = -torch.inf
    fixed[:, 0, 5] = torch.inf
    weights = problem.weights.clone()
    weights[fixed == -torch.inf] = 0
    weights[:, 0, 5] *= 1e-6
    solution = methods[method](replace(problem, weights=weights, fixed=fixed))
    assert int(solution.keep.sum()) == problem.kept
    assert not bool(solution.keep[fixed == -torch.inf].any())
    assert bool(solution.keep[fixed == torch.inf].all())


@pytest.mark.parametrize("method", list(methods))
def test_dead_inputs_go_first(method, make_problem):
    problem = make_problem(4, 8, keep=0.5)
    hessian = problem.hessian.clone()
    hessian[:, [1, 6]] = 0
    hessian[:, :, [1, 6]] = 0
    solution = methods[method](replace(problem, hessian=hessian))
    assert bool(solution.weights.isfinite().all())
    if method != "magnitude":
        assert not bool(solution.keep[:, :, [1, 6]].any())


@pytest.mark.parametrize("damping", [0.0, 0.01])
@pytest.mark.parametrize("method", list(methods))
def test_fewer_inputs_than_columns(method, damping, make_problem):
    x = torch.randn(3, 8, dtype=torch.float64)
    problem = replace(make_problem(4, 8, damping=damping), hessian=(x.T @ x / 3)[None])
    solution = methods[method](problem)
    assert bool(solution.weights.isfinite().all())
    assert int(solution.keep.sum()) == problem.kept
    if method in COMPENSATING:
        assert problem.error(solution.weights) < 0.02  # three equations, four weights a row


@pytest.mark.parametrize("method", list(methods))
def test_no_input_at_all_leaves_magnitude(method, make_problem):
    problem = make_problem(4, 8, pattern="per_output")
    problem = replace(problem, hessian=torch.zeros_like(problem.hessian))
    solution = methods[method](problem)
    assert int(solution.keep.sum()) == problem.kept
    assert torch.allclose(solution.weights[solution.keep], problem.weights[solution.keep])
    if method != "wanda":
        assert torch.equal(solution.keep, methods["magnitude"](problem).keep)


@pytest.mark.parametrize("method", list(methods))
def test_single_precision_is_close_to_double(method, make_problem):
    problem = make_problem(6, 16)
    single = replace(problem, weights=problem.weights.float(), hessian=problem.hessian.float())
    solution = methods[method](single)
    assert solution.weights.dtype == torch.float32
    error = problem.error(solution.weights.double())
    assert error == pytest.approx(problem.error(methods[method](problem).weights), rel=0.05)


@pytest.mark.parametrize("method", COMPENSATING)
def test_all_kept_is_nothing_done_and_none_kept_is_zero(method, make_problem):
    problem = make_problem(4, 8, keep=1.0)
    assert torch.allclose(methods[method](problem).weights, problem.weights, atol=1e-9)
    assert not bool(methods[method](replace(problem, kept=0)).weights.any())


@pytest.mark.parametrize(
    "hessian", [[[-1.0, 0.0], [0.0, -1.0]], [[1.0, 3.0], [3.0, 1.0]], [[torch.nan] * 2] * 2]
)
def test_a_hessian_that_is_none_is_refused(hessian):
    problem = LayerProblem(torch.ones(2, 1, 2), torch.tensor([hessian]), 2, row_pattern("unstructured"))
    with pytest.raises(ModelError, match="negative eigenvalues, or is not finite"):
        methods["sparsegpt"](problem)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SparseGPT(0), "number of columns"),
        (lambda: OBS(0), "the most that a layer may have"),
        (lambda: OBS(beyond="nonesuch"), "No method is called"),
        (lambda: ALPS(rho=0), "rho > 0"),
        (lambda: ALPS(steps=0), "steps >= 1"),
    ],
)
def test_settings_are_checked(make, words):
    with pytest.raises(SettingError, match=words):
        make()
