"""The teacher's own words as training data: sequence-level distillation (Kim and Rush 2016).

https://arxiv.org/abs/1606.07947. A teacher with Hugging Face's ``generate`` decodes by it, greedily or with
beams. Any other causal model, token numbers in and logits (n, tokens, vocabulary) out, is decoded greedily
here, without a cache of keys and values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from featherweight.core.batches import UNLABELLED
from featherweight.core.prunable import unwrap
from featherweight.core.trace import evaluating
from featherweight.distillation.outputs import find_logits
from featherweight.errors import DataError, ModelError, SettingError

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Ending:
    """How a text ends.

    Attributes:
        stops: numbers of the tokens that end it; none: it ends after the most tokens.
        pad: number of the token that fills up after the end.
    """

    stops: tuple[int, ...]
    pad: int

    @staticmethod
    def of(teacher: nn.Module, eos_token_id: int | None, pad_token_id: int | None) -> Ending:
        """Take what is given, or else what the teacher's ``generation_config`` or ``config`` says."""
        stop = _told(teacher, "eos_token_id") if eos_token_id is None else eos_token_id
        stops = tuple(cast("Iterable[int]", stop)) if isinstance(stop, list | tuple) else (stop,)
        known = tuple(int(s) for s in stops if s is not None)
        pad = _told(teacher, "pad_token_id") if pad_token_id is None else pad_token_id
        return Ending(known, (known[0] if known else 0) if pad is None else int(pad))

    def ended(self, tokens: Tensor) -> Tensor:
        """Return where ``tokens`` end a text."""
        return torch.isin(tokens, torch.tensor(self.stops, dtype=tokens.dtype, device=tokens.device))


def sequence_targets(
    teacher: nn.Module,
    batches: Iterable[Any],
    *,
    max_new_tokens: int,
    num_beams: int = 1,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
    **options: Any,
) -> list[Batch]:
    """Return the teacher's continuations of prompts, as batches to train a student on.

    A batch is a mapping with "input_ids" (prompt and continuation), "attention_mask" and "labels", each
    (n, tokens) int64: prompt and padding are -100 in the labels. The token that ends a text is a label. Of a
    model with an encoder and a decoder, "input_ids" are the prompts and "labels" what was decoded; losses on
    them take ``causal=False``.

    Args:
        teacher: with Hugging Face's ``generate``, or a causal model that is called with token numbers. It
            runs in eval mode, where it is, and is given back as it was.
        batches: prompts: mappings with "input_ids" (n, tokens) and where there is padding "attention_mask";
            tensors of token numbers; or tuples that start with one of these. Labels are not looked at.
            Prompts are padded on the left, so that each ends where its continuation starts.
        max_new_tokens: the longest continuation, 1 or more.
        num_beams: 1: greedy; more need ``generate``.
        eos_token_id: of the token that ends a text; None: what the teacher's configuration says.
        pad_token_id: of the token that fills up; None: likewise, or else the one that ends a text.
        options: handed to ``generate``, such as ``length_penalty=``.

    Raises:
        SettingError: a setting is out of range, or needs ``generate`` and the teacher has none.
        DataError: a batch has no token numbers, or prompts are padded on the right.
        ModelError: the teacher returns no logits (n, tokens, vocabulary), or takes no mask and needs one.
    """
    network = unwrap(teacher)
    decode = _decoder(network, max_new_tokens, num_beams, options)
    ending = Ending.of(network, eos_token_id, pad_token_id)
    encodes = bool(getattr(getattr(network, "config", None), "is_encoder_decoder", False))
    found: list[Batch] = []
    with evaluating(network):
        for batch in batches:
            ids, mask = _prompts(batch, left=not encodes)
            device = next((p.device for p in network.parameters()), ids.device)
            decoded = decode(ids.to(device), mask.to(device), ending).to(ids.device)
            found.append((_answers if encodes else _continued)(ids, mask, decoded, ending))
    return found


Decode = Callable[[Tensor, Tensor, Ending], Tensor]


def _decoder(network: nn.Module, most: int, num_beams: int, options: Mapping[str, Any]) -> Decode:
    """Return (prompts, mask, ending) -> what is decoded, after the prompts (n, tokens)."""
    for name, value in (("max_new_tokens", most), ("num_beams", num_beams)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingError(f"{name} is a whole number of at least 1, got {value!r}.")
    if callable(getattr(network, "generate", None)):
        chosen = {"do_sample": False, "max_new_tokens": most, "num_beams": num_beams, **options}
        return lambda ids, mask, ending: _generated(network, ids, mask, ending, chosen)
    if num_beams > 1 or options:
        what = " and ".join([*(["num_beams"] if num_beams > 1 else []), *options])
        raise SettingError(
            f"{what} need Hugging Face's generate, which {type(network).__name__} has not: it is decoded "
            f"greedily. Leave them out."
        )
    return lambda ids, mask, ending: _greedy(network, ids, mask, ending, most)


def _generated(network: Any, ids: Tensor, mask: Tensor, ending: Ending, options: Mapping[str, Any]) -> Tensor:
    stops = {"eos_token_id": list(ending.stops)} if ending.stops else {}
    found = network.generate(
        input_ids=ids, attention_mask=mask, pad_token_id=ending.pad, **(stops | dict(options))
    )
    if not isinstance(found, Tensor) or len(found) != len(ids):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise SettingError(
            f"generate is to return one text for each of {len(ids)} prompts, a tensor; got {shape}. Leave "
            f"out options such as num_return_sequences and return_dict_in_generate."
        )
    return found


def _greedy(network: nn.Module, ids: Tensor, mask: Tensor, ending: Ending, most: int) -> Tensor:
    """Return prompts and continuations, of the likeliest token each; after an end comes padding."""
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    masked = not bool(mask.all())
    for _ in range(most):
        following = _last_logits(network, ids, mask if masked else None).argmax(1)
        following = following.where(~done, ending.pad)
        ids = torch.cat([ids, following[:, None]], 1)
        mask = torch.cat([mask, done.logical_not().to(mask)[:, None]], 1)
        done |= ending.ended(following)
        if bool(done.all()):
            break
    return ids


def _last_logits(network: nn.Module, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Return (n, vocabulary) of the last position."""
    named = "attention_mask" in inspect.signature(network.forward).parameters
    if mask is not None and not named:
        raise ModelError(
            f"Prompts are padded, and {type(network).__name__} takes no attention_mask: give prompts of one "
            f"length in each batch."
        )
    logits = find_logits(network(ids) if mask is None else network(ids, attention_mask=mask))
    if logits is None or logits.dim() != 3 or logits.shape[:2] != ids.shape:
        shape = "none" if logits is None else str(tuple(logits.shape))
        raise ModelError(
            f"A causal model returns logits (n, tokens, vocabulary), here {tuple(ids.shape)} and the "
            f"vocabulary; {type(network).__name__} returned {shape}."
        )
    return logits[:, -1]


def _prompts(batch: Any, left: bool) -> tuple[Tensor, Tensor]:
    """Return token numbers and mask, each (n, tokens) int64."""
    held = cast("Any", batch)[0] if isinstance(batch, tuple | list) and batch else batch
    entries = cast("Mapping[str, Any]", held) if isinstance(held, Mapping) else {"input_ids": held}
    ids, mask = entries.get("input_ids"), entries.get("attention_mask")
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point() or not ids.numel():
        got = f"{ids.dtype} {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise DataError(f"Prompts are token numbers (n, tokens), in 'input_ids' of a mapping; got {got}.")
    mask = torch.ones_like(ids) if mask is None else (cast("Tensor", mask) != 0).to(ids.dtype)
    if mask.shape != ids.shape:
        raise DataError(f"attention_mask {tuple(mask.shape)} does not fit the prompts, {tuple(ids.shape)}.")
    if left and bool((mask[:, 1:] < mask[:, :-1]).any() or not mask[:, -1].all()):
        raise DataError(
            "Prompts are padded on the right, where their continuation is to stand: pad them on the left "
            "(tokenizer.padding_side = 'left')."
        )
    return ids.long(), mask.long()


def _continued(ids: Tensor, mask: Tensor, decoded: Tensor, ending: Ending) -> Batch:
    """Return the batch of a causal model, whose ``decoded`` starts with the prompts."""
    new = decoded[:, ids.shape[1] :]
    said = _until_end(new, ending)
    return {
        "input_ids": decoded,
        "attention_mask": torch.cat([mask, said.long()], 1),
        "labels": torch.cat([torch.full_like(ids, UNLABELLED), new.where(said, UNLABELLED)], 1),
    }


def _answers(ids: Tensor, mask: Tensor, decoded: Tensor, ending: Ending) -> Batch:
    """Return the batch of an encoder and a decoder, whose ``decoded`` starts with the start token."""
    new = decoded[:, 1:]
    labels = new.where(_until_end(new, ending), UNLABELLED)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _until_end(new: Tensor, ending: Ending) -> Tensor:
    """Return which of the new tokens come before the end, or are it: padding may be the same token."""
    ends = ending.ended(new).long()
    return ends.cumsum(1) - ends == 0


def _told(network: nn.Module, name: str) -> Any:
    for holder in ("generation_config", "config"):
        value = getattr(getattr(network, holder, None), name, None)
        if value is not None:
            return value
    return None
