"""Load a compact file in this process and compare its predictions with those that were saved.

    python -m featherweight.cli.reload small.safetensors predictions.safetensors

The demo runs this in a fresh process. Exit code 0: the same, bit for bit; 1: not, how is on stdout; 2: the
file cannot be loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from safetensors import safe_open
from torch import Tensor, nn

from featherweight import artifact
from featherweight.errors import ArtifactError, FeatherweightError
from featherweight.structured.checkpoint import load
from featherweight.zoo import build

BATCH = 250  # a product may be summed in another order in a batch of another size


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return the outputs (n, classes) of ``model`` for ``images``, in evaluation mode."""
    with torch.inference_mode():
        return torch.cat([model.eval()(batch) for batch in images.split(BATCH)]).contiguous()


def difference(compact: str, predictions: str) -> str | None:
    """Return how the network in ``compact`` predicts otherwise than saved; None: bit for bit the same.

    Raises:
        FeatherweightError: the file cannot be loaded.
    """
    with safe_open(predictions, "pt") as file:
        images, expected = file.get_tensor("images"), file.get_tensor("logits")
        torch.set_num_threads(int(file.metadata()["threads"]))
    about = artifact.inspect(compact).metadata
    if missing := {"network", "in_channels", "classes"} - about.keys():
        raise ArtifactError(
            f"{compact!r} does not say which network it is for: no {', '.join(sorted(missing))}."
        )
    model = build(about["network"], in_channels=int(about["in_channels"]), classes=int(about["classes"]))
    found = logits_of(load(compact, into=model), images)
    if found.shape != expected.shape:
        return f"outputs of shape {tuple(found.shape)}, {tuple(expected.shape)} were saved"
    if torch.equal(found.view(torch.int32), expected.view(torch.int32)):
        return None
    rows = int((found != expected).any(1).sum())
    return f"{rows} of {len(found)} predictions differ, by up to {(found - expected).abs().max():.3g}"


def main(arguments: Sequence[str]) -> int:
    """Compare the two files that are named; return the exit code."""
    try:
        found = difference(*arguments)
    except FeatherweightError as error:
        print(error, file=sys.stderr)
        return 2
    print(found or "the predictions are the same, bit for bit")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
