"""Train a network of the zoo and write its weights, with a card that says how good they are.

    python -m benchmarks.train_zoo fashion_cnn        # the command that trained the committed weights

The epoch is chosen on the validation split; the test set is read once, at the end, for the card. A stopped
run goes on from its checkpoint in runs/.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import featherweight as fw
from featherweight.zoo import Card, build, loaders_of
from featherweight.zoo.trained import WEIGHTS


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what and how."""

    network: str
    data_set: str
    settings: fw.TrainingSettings
    batch_size: int = 128


RECIPES = {
    "fashion_cnn": Recipe("small_cnn", "fashion_mnist", fw.TrainingSettings(epochs=24, learning_rate=0.1)),
    "fashion_resnet20": Recipe(
        "resnet20", "fashion_mnist", fw.TrainingSettings(epochs=28, learning_rate=0.15)
    ),
    "fashion_resnet56": Recipe(
        "resnet56", "fashion_mnist", fw.TrainingSettings(epochs=28, learning_rate=0.1)
    ),
    # Without label smoothing, as a teacher that learned from smoothed labels teaches worse
    # (Mueller, Kornblith, Hinton 2019, https://arxiv.org/abs/1906.02629).
    "fashion_vit_c_tiny": Recipe(
        "vit_c_tiny",
        "fashion_mnist",
        fw.TrainingSettings(
            epochs=14, learning_rate=2e-3, warmup=0.1, optimizer="adamw", weight_decay=0.05, clip=1.0
        ),
    ),
}


def train(name: str, recipe: Recipe, folder: Path) -> None:
    """Train by ``recipe`` and write ``folder/name.safetensors``."""
    splits = fw.load_data(recipe.data_set)
    torch.manual_seed(recipe.settings.seed)
    model = build(
        recipe.network,
        in_channels=splits.in_channels,
        classes=len(splits.classes),
        image_size=splits.image_size,
    )
    loaders = loaders_of(splits, recipe.batch_size)
    run = Path("runs") / name
    with sdpa_kernel(SDPBackend.MATH):  # gradients of fused attention take twice the time on a CPU
        history = fw.fit(model, loaders.train, loaders.validate, recipe.settings, run_dir=run)
    card = Card(
        name=name,
        network=recipe.network,
        data_set=recipe.data_set,
        in_channels=splits.in_channels,
        classes=len(splits.classes),
        accuracy=fw.evaluate(model, loaders.test),
        test_examples=len(splits.test),
        recipe=f"python -m benchmarks.train_zoo {name}",
    )
    folder.mkdir(parents=True, exist_ok=True)
    fw.save(model, folder / f"{name}.safetensors", metadata={"card": card.to_json()})
    print(f"epoch {history.best.epoch + 1} chosen, validation {history.best.validation:.4f}")
    print(f"test {card.accuracy:.4f} on {card.test_examples:,} images; {folder / name}.safetensors written")


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--epochs", type=int, help="other than the recipe's (for a try)")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    recipe = RECIPES[args.name]
    if args.epochs:
        recipe = replace(recipe, settings=replace(recipe.settings, epochs=args.epochs))
    train(args.name, recipe, args.out)


if __name__ == "__main__":
    main()
