"""Augmentation: what it may do, what it depends on, and that validation and test have none."""

from __future__ import annotations

import pytest
import torch

from featherweight.zoo.data.splits import ImageSet, Splits, split


def toy(flip: bool = True, shift: int = 2) -> Splits:
    images = torch.arange(40 * 2 * 6 * 5).remainder(251).to(torch.uint8).view(40, 2, 6, 5)
    data = images, torch.arange(40) % 4
    return split("toy", data, data, validation=8, classes="abcd", source="here", flip=flip, shift=shift)


def batches(part: ImageSet, epoch: int) -> torch.Tensor:
    part.set_epoch(epoch)
    return torch.cat([images for images, _ in part.loader(8)])


def test_an_epoch_can_be_had_again_and_differs_from_another() -> None:
    first, again, other = batches(toy().train, 3), batches(toy().train, 3), batches(toy().train, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_depends_on_seed_and_first_index_alone() -> None:
    """What was drawn before has no part in it, so that a resumed run sees what it would have seen."""
    part = toy().train
    images = part.images[:8]
    torch.manual_seed(1)
    first = part._augmented(images, first=5)
    part._augmented(images, first=6)
    torch.manual_seed(2)
    assert torch.equal(part._augmented(images, first=5), first)
    assert not torch.equal(part._augmented(images, first=6), first)
    part.seed = 1
    assert not torch.equal(part._augmented(images, first=5), first)


def test_validation_and_test_are_as_they_are() -> None:
    splits = toy()
    for part in (splits.validation, splits.test):
        expected = (part.images.float() / 255 - part.mean.view(1, -1, 1, 1)) / part.std.view(1, -1, 1, 1)
        assert torch.equal(batches(part, 1), expected)


def test_normalised_training_images_have_mean_0_and_deviation_1() -> None:
    train = toy().train
    train.augment = False
    images = batches(train, 0)
    assert images.mean((0, 2, 3)).abs().max() < 1e-5
    assert (images.std((0, 2, 3)) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("flip", [False, True])
def test_an_augmented_image_is_a_shifted_or_mirrored_one(flip: bool) -> None:
    part = toy(flip, shift=1).train
    augmented = part._augmented(part.images[:16], 0)
    mirrored = 0
    for image, made in zip(part.images[:16], augmented, strict=True):
        kinds = {0: shifts(image, 1), 1: shifts(image.flip(2), 1)}
        found = [kind for kind, candidates in kinds.items() if any(torch.equal(made, c) for c in candidates)]
        assert found
        mirrored += found[0]
    assert (mirrored > 0) == flip


def shifts(image: torch.Tensor, by: int) -> list[torch.Tensor]:
    wide = torch.nn.functional.pad(image, (by,) * 4)
    height, width = image.shape[1:]
    steps = range(2 * by + 1)
    return [wide[:, top : top + height, left : left + width] for top in steps for left in steps]


def test_subset_keeps_what_the_images_are_normalised_with() -> None:
    whole = toy().test
    part = whole.subset([3, 1])
    assert torch.equal(part[0][0], whole[3][0])
    assert part[1][1] == whole.labels[1]
