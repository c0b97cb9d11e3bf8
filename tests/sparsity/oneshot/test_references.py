"""Methods against the formulas of their papers, written out one weight at a time."""

from dataclasses import replace

import pytest
import torch

from featherweight.errors import SettingError
from featherweight.sparsity.oneshot import OBS, SparseGPT, methods
from featherweight.sparsity.oneshot import _surgery as surgery
from featherweight.sparsity.oneshot import obs as obs_module
from featherweight.sparsity.patterns import NM, row_pattern


def naive_sparsegpt(problem, keep):
    """Column by column, with the inverse of what is left taken anew each time; the mask is given."""
    weights, hessian = problem.weights.flatten(1).clone(), problem.damped[0]
    keep = keep.flatten(1)
    for j in range(problem.columns):
        inverse = torch.linalg.inv(hessian[j:, j:])
        error = weights[:, j].masked_fill(keep[:, j], 0) / inverse[0, 0]
        weights[:, j:] -= error[:, None] * inverse[0]
    return weights.masked_fill(~keep, 0)


@pytest.mark.parametrize("block", [1, 3, 5, 128])
def test_sparsegpt_is_its_unblocked_self(block, make_problem):
    problem = make_problem(5, 12)
    solution = SparseGPT(block)(problem)
    assert torch.allclose(solution.weights.flatten(1), naive_sparsegpt(problem, solution.keep), atol=1e-9)


def test_sparsegpt_chooses_by_the_cost_given_the_columns_before(make_problem):
    problem = make_problem(5, 12)
    costs = torch.zeros(5, 12, dtype=torch.float64)
    for j in range(12):
        costs[:, j] = problem.weights[:, 0, j].square() / torch.linalg.inv(problem.damped[0, j:, j:])[0, 0]
    expected = torch.zeros(60, dtype=torch.bool)
    expected[costs.flatten().topk(problem.kept).indices] = True
    assert torch.equal(SparseGPT(12)(problem).keep.flatten(), expected)


def test_sparsegpt_adapts_to_what_it_compensated(make_problem):
    problems = [make_problem(8, 32, keep=0.3, seed=seed) for seed in range(6)]
    errors = {b: sum(p.error(SparseGPT(b)(p).weights) for p in problems) for b in (4, 32)}
    assert errors[4] < errors[32]


def naive_row(weights, hessian, group=None, left=None):
    """Algorithm 1 for one row: the order of removal, and what each cost."""
    w, inverse = weights.clone(), torch.linalg.inv(hessian)
    alive, order = list(range(len(w))), []
    while alive:
        candidates = alive
        forced = group is not None and [j for j in alive if left[group[j]] > 0]
        if forced:
            candidates = forced
        p = min(candidates, key=lambda j: float(w[j] ** 2 / inverse[j, j]))
        order.append((p, float(w[p] ** 2 / inverse[p, p]), bool(forced)))
        w -= inverse[:, p] * (w[p] / inverse[p, p])
        inverse -= torch.outer(inverse[:, p], inverse[p]) / inverse[p, p]
        alive.remove(p)
        if group is not None:
            left[group[p]] -= 1
    return order


def naive_obs(problem):
    """Algorithm 2: again and again the row whose next removal is cheapest; then least squares by solving."""
    weights, hessian = problem.weights.flatten(1), problem.damped[0]
    orders = [naive_row(row, hessian) for row in weights]
    taken = [0] * len(orders)
    for _ in range(weights.numel() - problem.kept):
        row = min(
            (r for r in range(len(orders)) if taken[r] < len(orders[r])), key=lambda r: orders[r][taken[r]][1]
        )
        taken[row] += 1
    solution = torch.zeros_like(weights)
    for r, row in enumerate(weights):
        s = sorted(set(range(len(row))) - {j for j, *_ in orders[r][: taken[r]]})
        solution[r, s] = torch.linalg.solve(hessian[s][:, s], (hessian @ row)[s])
    return solution


@pytest.fixture(params=[1, 3, 5, 32])
def late(request, monkeypatch):
    """Inverses are updated after so many removals, in layers of 8 to 16 columns."""
    monkeypatch.setattr(surgery, "_LATE", request.param)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_obs_is_the_papers_algorithm(keep, make_problem):
    problem = make_problem(5, 12, keep=keep)
    assert torch.allclose(OBS()(problem).weights.flatten(1), naive_obs(problem), atol=1e-8)


def test_obs_in_small_pieces_is_the_same(make_problem, monkeypatch):
    problem = make_problem(6, 8, positions=2, groups=2)
    whole = OBS()(problem)
    monkeypatch.setattr(obs_module, "_BYTES", 1)
    assert torch.equal(OBS()(problem).weights, whole.weights)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("n", [1, 2])
def test_obs_with_n_of_m_never_empties_a_group_too_far(n, make_problem):
    problem = make_problem(4, 8, keep=n / 4, pattern=f"{n}:4")
    group = [0] * 4 + [1] * 4
    keep = torch.ones(4, 8, dtype=torch.bool)
    for r, row in enumerate(problem.weights.flatten(1)):
        order = naive_row(row, problem.damped[0], group, [4 - n, 4 - n])
        keep[r, [j for j, _, forced in order if forced]] = False
    assert int(keep.sum()) == problem.kept
    assert torch.equal(OBS()(problem).keep.flatten(1), keep)


def test_obs_beyond_n_of_m_goes_on_by_cost(make_problem):
    problem = make_problem(8, 16, keep=0.25, pattern="2:4")
    solution = OBS()(problem)
    assert int(solution.keep.sum()) == problem.kept
    assert int(solution.keep.view(8, 4, 4).sum(2).max()) <= 2
    assert len(set(solution.keep.sum((1, 2)).tolist())) > 1  # rows share as it costs least


def naive_blocks(problem, rows, inputs):
    """Optimal brain surgery on blocks, each cost by solving; blocks of `rows` outputs lose the same."""
    weights, hessian = problem.weights.flatten(1), problem.damped[0]
    cells = [list(range(c, c + inputs)) for c in range(0, problem.columns, inputs)]
    found = []
    for top in range(0, len(weights), rows):
        gone, before, highest = [], 0.0, 0.0
        for _ in cells:
            costs = {}
            for number, cell in enumerate(cells):
                if number not in gone:
                    out = sorted([j for g in gone for j in cells[g]] + cell)
                    block = torch.linalg.inv(torch.linalg.inv(hessian)[out][:, out])
                    w = weights[top : top + rows, out]
                    costs[number] = float(((w @ block) * w).sum())
            best = min(costs, key=costs.get)
            highest, before = max(highest, costs[best] - before), costs[best]
            gone.append(best)
            found.append((highest, top, best))
    keep = torch.ones_like(weights, dtype=torch.bool)
    size = rows * inputs
    for _, top, number in sorted(found, key=lambda f: f[0])[: (weights.numel() - problem.kept) // size]:
        keep[top : top + rows, cells[number]] = False
    return keep


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize(("pattern", "rows", "inputs"), [("1x4", 1, 4), ("4x1", 4, 1), ("2x2", 2, 2)])
def test_obs_removes_blocks_by_what_they_cost_together(pattern, rows, inputs, make_problem):
    problem = make_problem(8, 12, pattern=pattern)
    assert torch.equal(OBS()(problem).keep.flatten(1), naive_blocks(problem, rows, inputs))


def test_obs_leaves_large_layers_to_another_method_and_says_so(make_problem):
    problem = make_problem(4, 12)
    solution = OBS(columns=11)(problem)
    assert torch.equal(solution.weights, methods["sparsegpt"](problem).weights)
    assert solution.note == "sparsegpt: 12 columns are more than 11"
    assert not OBS(columns=12)(problem).note


def test_obs_refuses_patterns_it_knows_no_cells_of():
    with pytest.raises(SettingError, match="takes the patterns"):
        OBS().check(row_pattern(lambda scores, kept: None))
    OBS().check(NM(2, 4))


def test_alps_ends_where_conjugate_gradients_meet_least_squares(make_problem):
    from featherweight.sparsity.oneshot import ALPS, refit

    problem = make_problem(6, 16)
    solution = ALPS(tolerance=1e-10)(problem)
    assert torch.allclose(solution.weights, refit(problem, solution.keep).weights, atol=1e-6)
    unfitted = replace(ALPS(), refit_steps=0)(problem)
    assert torch.equal(unfitted.keep, solution.keep)
    assert problem.error(solution.weights) < problem.error(unfitted.weights)


def test_alps_moves_its_mask_away_from_where_it_began(make_problem):
    problem = make_problem(8, 24, keep=0.3)
    first = first_of_alps(problem)
    assert not torch.equal(methods["alps"](problem).keep, first)


def first_of_alps(problem):
    scaled = problem.weights.flatten(1) * problem.damped[0].diagonal().sqrt()
    return problem.pattern.mask(scaled.square().view(problem.weights.shape), problem.kept).keep
