"""What each branch starts from, against the naive way of saying it."""

import pytest
import torch

import featherweight as fw
from featherweight.core.masks import Masks
from featherweight.errors import SettingError
from featherweight.sparsity.lottery.branches import Step, branches
from featherweight.sparsity.lottery.folder import Folder
from featherweight.sparsity.lottery.lineage import Lineage

SPARSE = [name for name in branches if name != "dense"]
NUMEL = 8 * 16 + 16 * 12 + 12 * 3  # of the toy network's prunable weights


@pytest.fixture
def lineage(finished):
    experiment, folder, _ = finished
    return Lineage(experiment, Folder(folder), 0)


def start(lineage, branch, level=2):
    return branches[branch]().start(lineage, level)


def kept(masks):
    return {name: mask.kept for name, mask in masks.items()}


@pytest.mark.parametrize("branch", SPARSE)
@pytest.mark.parametrize("level", [1, 2])
def test_every_branch_keeps_as_many_weights_as_the_level_says(lineage, branch, level):
    assert start(lineage, branch, level).masks.kept == round(NUMEL * 0.8**level)


@pytest.mark.parametrize("branch", list(branches))
def test_a_start_is_the_same_each_time(lineage, branch):
    one, other = (start(lineage, branch) for _ in range(2))
    assert all(torch.equal(mask.keep, other.masks[name].keep) for name, mask in one.masks.items())
    assert all(torch.equal(value, other.point.model[name]) for name, value in one.point.model.items())
    assert one.point.step == other.point.step


@pytest.mark.parametrize("branch", list(branches))
def test_what_is_needed_comes_before(branch):
    for level in branches[branch]().levels(3):
        step = Step(level, branch, 5)
        assert all(before.level < level and before.seed == 5 for before in branches[branch]().needs(step))


@pytest.mark.parametrize("branch", ["ticket", "shuffled_mask", "random_mask", "one_shot"])
def test_weights_are_those_of_the_rewind_point(lineage, branch):
    point = start(lineage, branch).point
    assert point.step == 3
    assert all(torch.equal(point.model[name], value) for name, value in lineage.rewind_point.model.items())


def test_the_ticket_keeps_the_largest_of_what_was_left(lineage, finished):
    trained = fw.load(finished[1] / "seed-0" / "ticket" / "level-01.safetensors")
    before = Masks.load(finished[1] / "seed-0" / "ticket" / "masks-01.safetensors")
    masks = start(lineage, "ticket").masks
    for name in masks:
        assert not (masks[name].keep & ~before[name].keep).any()  # what went stays away
        assert not trained[name][~before[name].keep].any()
    left = torch.cat([trained[name][masks[name].keep].abs() for name in masks])
    gone = torch.cat([trained[name][before[name].keep & ~masks[name].keep].abs() for name in masks])
    assert gone.max() <= left.min()
    assert len(gone) == round(NUMEL * 0.8) - round(NUMEL * 0.64)


def test_one_shot_keeps_the_largest_of_the_dense_network(lineage, finished):
    trained = fw.load(finished[1] / "seed-0" / "dense" / "level-00.safetensors")
    masks = start(lineage, "one_shot").masks
    left = torch.cat([trained[name][mask.keep].abs() for name, mask in masks.items()])
    gone = torch.cat([trained[name][~mask.keep].abs() for name, mask in masks.items()])
    assert gone.max() <= left.min()


def test_random_re_initialisation_has_the_ticket_s_mask_and_other_weights_at_each_level(lineage):
    ticket, second = start(lineage, "ticket"), start(lineage, "random_init")
    first = start(lineage, "random_init", 1)
    assert all(torch.equal(mask.keep, second.masks[name].keep) for name, mask in ticket.masks.items())
    assert second.point.step == 0
    assert second.point.training is None
    for other in (ticket.point, lineage.initial, first.point):
        assert not torch.equal(second.point.model["0.weight"], other.model["0.weight"])
    assert second.point.model["0.weight"].abs().max() <= 8**-0.5  # as torch draws them


def test_a_shuffled_mask_keeps_as_many_in_each_layer_elsewhere(lineage):
    ticket, shuffled = start(lineage, "ticket").masks, start(lineage, "shuffled_mask").masks
    assert kept(shuffled) == kept(ticket)
    assert not any(torch.equal(mask.keep, ticket[name].keep) for name, mask in shuffled.items())


def test_a_random_mask_keeps_as_many_in_all_wherever(lineage):
    ticket, random = start(lineage, "ticket").masks, start(lineage, "random_mask").masks
    assert kept(random) != kept(ticket)
    densities = [mask.kept / mask.numel for mask in random.values()]
    assert all(abs(density - 0.64) < 0.25 for density in densities)
    first = start(lineage, "random_mask", 1).masks
    assert any(bool((random[name].keep & ~first[name].keep).any()) for name in random)  # drawn anew


def test_other_seeds_draw_others(lineage):
    other = Lineage(lineage.experiment, lineage.folder, 1)
    assert not torch.equal(lineage.initial.model["0.weight"], other.initial.model["0.weight"])
    draws = [torch.rand(1, generator=each.generator("words")) for each in (lineage, other)]
    assert draws[0] != draws[1]


def test_an_output_layer_has_a_fraction_of_its_own(toy, tmp_path):
    experiment = toy.experiment(output_fraction=0.1, branches=("ticket",))
    fw.lottery.run(experiment, tmp_path, progress=False)
    masks = Masks.load(tmp_path / "seed-0" / "ticket" / "masks-02.safetensors")
    assert masks["6.weight"].kept == round(36 * 0.81)
    assert masks.kept == round(36 * 0.81) + round((NUMEL - 36) * 0.64)


def test_uniform_prunes_the_same_fraction_of_each_layer(toy, tmp_path):
    experiment = toy.experiment(allocation="uniform", branches=("ticket",))
    fw.lottery.run(experiment, tmp_path, progress=False)
    masks = Masks.load(tmp_path / "seed-0" / "ticket" / "masks-02.safetensors")
    assert all(abs(mask.kept - 0.64 * mask.numel) <= 1 for mask in masks.values())


@pytest.mark.parametrize("changes", [{"levels": 20}, {"levels": 12, "output_fraction": 0.3}])
def test_levels_that_leave_too_little_are_refused(toy, tmp_path, changes):
    with pytest.raises(SettingError, match="fewer than one for each layer and each of the 3 outputs"):
        fw.lottery.run(toy.experiment(**changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()
