"""Each allocation against numbers worked out by hand, and LAMP against its definition."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from featherweight.core.prunable import find_prunable
from featherweight.errors import SettingError, UnknownNameError
from featherweight.sparsity import Pruner, Recipe, prune
from featherweight.sparsity.allocation import PerLayer, allocation_of, allocations, apportion
from featherweight.sparsity.lamp_scores import lamp_scores


def test_uniform_keeps_the_same_fraction():
    scores = {"a": torch.rand(10, 10), "b": torch.rand(4, 5), "c": torch.rand(80)}
    assert allocations["uniform"](scores, 20) == {"a": 10, "b": 2, "c": 8}


def test_global_takes_the_highest_wherever_they_are():
    scores = {"a": torch.tensor([9.0, 8.0, 1.0]), "b": torch.tensor([7.0, 0.5, 0.2])}
    assert allocations["global"](scores, 3) == {"a": 2, "b": 1}
    assert allocations["global"](scores, 1) == {"a": 1, "b": 0}


def test_erk_follows_the_sum_of_dimensions():
    # sums 16+8+3+3=30 and 20+10=30: the same number of weights each
    scores = {"conv": torch.rand(16, 8, 3, 3), "fc": torch.rand(20, 10)}
    assert allocations["erk"](scores, 100) == {"conv": 50, "fc": 50}


def test_erk_fills_small_layers_and_shares_the_rest():
    scores = {"big": torch.rand(100, 100), "small": torch.rand(5, 4)}
    assert allocations["erk"](scores, 1000) == {"big": 980, "small": 20}


def test_lamp_scores_equal_the_definition():
    w = torch.tensor([3.0, -1.0, 2.0, 2.0]).abs()
    # the squares over the sum of all squares as large or larger, ties by index
    expected = torch.tensor([9 / 9, 1 / 18, 4 / 13, 4 / 17], dtype=torch.float64)
    assert torch.allclose(lamp_scores(w), expected)


def test_lamp_scores_of_what_is_below_zero_are_zero():
    assert lamp_scores(torch.tensor([3.0, 1.0, -10.0, -torch.inf])).tolist() == [1.0, 0.1, 0.0, -torch.inf]


def test_lamp_never_empties_a_layer_of_small_weights():
    scores = {"large": torch.rand(50, 50) + 10, "tiny": torch.rand(50, 50) * 1e-6}
    assert allocations["global"](scores, 100) == {"large": 100, "tiny": 0}
    assert allocations["lamp"](scores, 100)["tiny"] > 20


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 50)), min_size=1, max_size=8), st.floats(0, 1))
def test_apportion_is_exact_and_within_limits(layers, fraction):
    weights = {str(i): weight for i, (weight, _) in enumerate(layers)}
    limits = {str(i): limit for i, (_, limit) in enumerate(layers)}
    total = round(fraction * sum(limits.values()))
    counts = apportion(weights, limits, total)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= limits[name] for name in counts)


@pytest.mark.parametrize("total", [1, 10, 33])
def test_apportion_is_proportional_where_nothing_is_full(total):
    counts = apportion({"a": 1, "b": 2, "c": 3}, dict.fromkeys("abc", 1000), total)
    assert all(abs(counts[n] - total * w / 6) < 1 for n, w in {"a": 1, "b": 2, "c": 3}.items())


class Placed(Tensor):
    """A tensor that says it is on a device of several, and meets none that is on another one."""

    @classmethod
    def on(cls, device, tensor):
        placed = tensor.as_subclass(cls)
        placed.place = torch.device(device)
        return placed

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            several = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
            places = {getattr(each, "place", torch.device("cpu")) for each in several}
            if len(places) > 1:
                raise RuntimeError(f"Expected all tensors to be on the same device, got {places}")
            if func is Tensor.device.__get__:
                return places.pop()
            place = places.pop()
            found = func(*args[:1]) if func is Tensor.to else func(*args, **(kwargs or {}))
            place = torch.device(args[1]) if func is Tensor.to else place
            return tree_map(lambda each: cls.on(place, each) if isinstance(each, Tensor) else each, found)


@pytest.mark.parametrize("name", ["global", "uniform", "erk", "lamp"])
def test_layers_may_be_on_several_devices(name):
    torch.manual_seed(0)
    plain = {"a": torch.rand(4, 5), "b": torch.rand(6, 3), "c": torch.full((2, 2), 0.5)}
    placed = {layer: Placed.on(f"cuda:{i}", score.clone()) for i, (layer, score) in enumerate(plain.items())}
    with pytest.raises(RuntimeError, match="same device"):
        torch.cat([score.reshape(-1) for score in placed.values()])
    for kept in (1, 17, 42):
        assert allocations[name](placed, kept) == allocations[name](plain, kept)


SCORES = {
    "stem": torch.rand(10, 10),
    "body.0": torch.rand(20, 10),
    "body.1": torch.rand(20, 10),
    "fc": torch.rand(50),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 10))


def sparsities(masks):
    return {name: round(mask.sparsity, 3) for name, mask in masks.items()}


def test_given_layers_have_their_sparsity_and_the_others_share_the_rest():
    counts = PerLayer({"body": 0.75, "fc": 0.0}, rest="uniform")(SCORES, 200)
    assert counts == {"stem": 50, "body.0": 50, "body.1": 50, "fc": 50}


def test_of_several_patterns_the_first_counts():
    counts = PerLayer({"body.1": 0.5, "body.*": 0.9}, rest="uniform")(SCORES, 200)
    assert (counts["body.0"], counts["body.1"]) == (20, 100)


def test_the_rest_is_shared_as_asked():
    dense = SCORES | {"stem": SCORES["stem"] + 5}
    counts = {rest: PerLayer({"fc": 0.8}, rest=rest)(dense, 110)["stem"] for rest in ("global", "uniform")}
    assert counts == {"global": 100, "uniform": 20}


def test_a_mapping_is_taken_for_sparsities_of_layers():
    assert allocation_of({"fc": 0.9}) == PerLayer({"fc": 0.9}, rest="global")
    model = network()
    masks = prune(model, 0.8, allocation={"0": 0.5, "4.weight": 0.7})
    assert masks.kept == 560
    assert sparsities(masks) == {"0.weight": 0.5, "2.weight": round(1 - 40 / 1600, 3), "4.weight": 0.7}


def test_targets_hold_with_every_pattern():
    for pattern in ("2:4", "1x4", "per_output"):
        masks = prune(network(), 0.75, allocation={"0": 0.5, "4": 0.7}, pattern=pattern)
        assert sparsities(masks)["0.weight"] == 0.5
        assert sparsities(masks)["4.weight"] == 0.7
        assert masks.kept == 700


def test_on_the_way_all_layers_are_pruned_in_proportion():
    """At each level; sabotage: the given layer would be at its target from the first step on."""
    model = network()
    recipe = Recipe(0.8, allocation=PerLayer({"0": 0.4, "4": 0.9}, rest="uniform"))
    prunable, masks = find_prunable(model), None
    for done in (0.25, 0.5, 1.0):
        masks = recipe.masks(model, prunable, 0.8 * done, before=masks)
        assert masks.kept == round((1 - 0.8 * done) * 2800)
        given = [masks[name].sparsity for name in ("0.weight", "4.weight")]
        assert given == pytest.approx([0.4 * done, 0.9 * done], abs=1e-3)


def test_a_pruner_takes_it_to_its_end():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruner = Pruner(model, 0.8, allocation={"0": 0.4}, schedule="cubic")
    pruner.plan(10)
    pruner.attach(optimizer)
    for _ in range(10):
        model(torch.randn(4, 20)).square().sum().backward()
        optimizer.step()
    assert pruner.masks["0.weight"].sparsity == 0.4
    assert pruner.masks.kept == 560


def test_zeros_that_are_there_are_made_up_for():
    model = network()
    with torch.no_grad():
        model[0].weight[:36] = 0  # 80 weights are left, of 400 that are asked for
    masks = prune(model, 0.5, allocation={"0": 0.5, "4": 0.5})
    assert masks.kept == 1400
    assert masks["0.weight"].kept == 80


def test_a_name_that_matches_nothing_is_refused_with_near_ones():
    model = network()
    before = model[0].weight.detach().clone()
    with pytest.raises(
        SettingError, match=r"allocation='4\.weigth' matches no prunable weight\. Near.*: 4\.w"
    ):
        prune(model, 0.8, allocation={"4.weigth": 0.5})
    assert torch.equal(model[0].weight, before)
    with pytest.raises(SettingError, match="allocation='0' matches no prunable weight"):
        Pruner(network(), 0.8, allocation={"0": 0.5}, skip="0")


@pytest.mark.parametrize(
    ("targets", "sparsity", "total"),
    [
        ({"2": 0.9}, 0.3, r"0\.5143 \(the other layers as dense as can be\) to 0\.9429, got 0\.3000"),
        ({"2": 0.2}, 0.9, r"0\.1143 \(the other layers as dense as can be\) to 0\.5429, got 0\.9000"),
        ({"*": 0.7, "0": 0.1}, 0.8, r"of 0\.7000, got 0\.8000"),
        ({"0": 0.1, "*": 0.7}, 0.8, r"of 0\.5286, got 0\.8000"),
    ],
)
def test_a_total_that_cannot_be_is_refused_with_the_one_that_can(targets, sparsity, total):
    with pytest.raises(SettingError, match=f"make a total sparsity {total}" if "of" in total else total):
        prune(network(), sparsity, allocation=targets)


def test_the_total_of_the_error_works():
    masks = prune(network(), 0.5286, allocation={"0": 0.1, "*": 0.7})  # all layers are given: 0.52857...
    assert masks.kept == round((1 - 0.5286) * 2800)
    assert sparsities(masks)["0.weight"] == 0.1


def test_a_layer_denser_than_the_pattern_allows_is_refused():
    with pytest.raises(SettingError, match=r"allocation=\{'0': 0\.3\}.*at most 400 of the 800.* 0\.5000"):
        prune(network(), 0.8, allocation={"0": 0.3}, pattern="2:4")


@pytest.mark.parametrize(
    "targets", [{"0": 1.0}, {"0": -0.1}, {"0": "0.5"}, {"0": True}, {"0": float("nan")}, {}]
)
def test_wrong_sparsities_are_refused(targets):
    with pytest.raises(SettingError, match="allocation="):
        prune(network(), 0.8, allocation=targets)


def test_a_wrong_rest_is_refused():
    with pytest.raises(UnknownNameError, match="No allocation is called 'nonesuch'"):
        PerLayer({"0": 0.5}, rest="nonesuch")


@dataclass
class Looking:
    """An allocation that has to look at the model: all goes to the layer whose bias is largest."""

    looks: list

    def prepared(self, context):
        self.looks.append((context.model, context.data, context.seed))
        biased = {n: m for n, m in context.model.named_children() if hasattr(m, "bias")}
        largest = max(biased, key=lambda name: float(biased[name].bias.detach().max())) + ".weight"

        def allocation(scores, kept):
            rest = {name: score for name, score in scores.items() if name != largest}
            full = scores[largest].numel()
            return {largest: full} | allocations["uniform"](rest, kept - full)

        return allocation


def test_an_allocation_may_look_at_the_model():
    model, looks = network(), []
    with torch.no_grad():
        model[2].bias.fill_(9)
    masks = prune(model, 0.4, allocation=Looking(looks), data="data", seed=3)
    assert sparsities(masks)["2.weight"] == 0.0
    assert looks == [(model, "data", 3)]


def test_a_prepared_recipe_does_not_look_again():
    model, looks = network(), []
    recipe = Recipe(0.6, allocation=Looking(looks))
    ready = recipe.prepared(recipe.context(model))
    for _ in range(3):
        ready.masks(model, find_prunable(model), 0.4)
    assert len(looks) == 1
    recipe.masks(model, find_prunable(model), 0.4)
    assert len(looks) == 2, "sabotage: it counts"


def test_the_rest_of_given_layers_may_look_at_the_model():
    model, looks = network(), []
    with torch.no_grad():
        model[4].bias.fill_(9)
    masks = prune(model, 0.6, allocation=PerLayer({"2": 0.9}, rest=Looking(looks)))
    assert sparsities(masks)["4.weight"] == 0.0
    assert masks.kept == 1120


def test_the_counts_of_every_allocation_fit_what_a_pattern_leaves():
    def everything_to_the_first(scores, kept):
        first, *others = scores
        return {first: kept} | dict.fromkeys(others, 0)

    with pytest.raises(Exception, match=r"keeps 1400 weights of 0\.weight, of which .* leave 400"):
        prune(network(), 0.5, allocation=everything_to_the_first, pattern="2:4")
