"""Networks that structured pruning is tried on: of the zoo, of timm and of Hugging Face.

    python -m benchmarks.structured.networks     # write timm.txt anew: the smallest network of each family

A name is "zoo:resnet20", "timm:convnext_atto" or "hf:bert". timm and transformers are not installed with
featherweight; ``make peers`` puts them into build/peers. Weights are random: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featherweight.zoo import build, network_names

TIMM = Path(__file__).with_name("timm.txt")
PEERS = Path(__file__).parents[2] / "build" / "peers"

_TORCHVISION_OPS = (
    "nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d",
    "_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward",
    "_deform_conv2d_backward", "image_read",
)  # fmt: skip
_defined: list[torch.library.Library] = []


def use_peers(folder: Path = PEERS) -> None:
    """Make the packages in ``folder`` importable.

    The wheels of torchvision are built for another torch; timm needs it for transforms only. Declaring its
    operations, without any code, lets it be imported.
    """
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not there: run `make peers` first.")
    if _defined:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _TORCHVISION_OPS:
        library.define(f"{name}(Tensor a) -> Tensor")
    _defined.append(library)
    sys.path.append(str(folder))
    warnings.filterwarnings("ignore")


def names(kind: str) -> list[str]:
    """Return the names of a kind: "zoo", "timm" or "hf"."""
    if kind == "zoo":
        return [f"zoo:{name}" for name in network_names()]
    if kind == "timm":
        return [f"timm:{line.split()[1]}" for line in TIMM.read_text().splitlines()]
    return [f"hf:{name}" for name in _HF]


def make(name: str) -> tuple[nn.Module, Any]:
    """Return a network in evaluation mode with random weights, and example inputs of a batch of 2."""
    torch.manual_seed(0)
    kind, _, own = name.partition(":")
    model, inputs = {"zoo": _zoo, "timm": _timm, "hf": _hf}[kind](own)
    return model.eval(), inputs


def _zoo(name: str) -> tuple[nn.Module, Any]:
    channels = 1 if name in ("lenet_300_100", "small_cnn") else 3
    size = 28 if channels == 1 else 64
    return build(name, in_channels=channels, classes=10, image_size=size), torch.randn(
        2, channels, size, size
    )


def _timm(name: str) -> tuple[nn.Module, Any]:
    use_peers()
    import timm

    model: Any = timm.create_model(name)
    size = model.default_cfg.get("input_size", (3, 224, 224))
    return model, torch.randn(2, *size)


def _hf(name: str) -> tuple[nn.Module, Any]:
    use_peers()
    model, inputs = _HF[name]()
    return model, inputs


def _tokens(length: int = 12) -> dict[str, Any]:
    return {"input_ids": torch.randint(0, 99, (2, length))}


def _encoder(kind: str, **more: Any) -> Callable[[], tuple[Any, Any]]:
    def made() -> tuple[Any, Any]:
        import transformers

        sizes = {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "vocab_size": 99,
        }
        config = getattr(transformers, f"{kind}Config")(**sizes | more)
        return getattr(transformers, f"{kind}Model")(config), _tokens()

    return made


def _bert_classifier() -> tuple[Any, Any]:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=99,
        num_labels=3,
    )
    return BertForSequenceClassification(config), _tokens()


def _distilbert() -> tuple[Any, Any]:
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(
        DistilBertConfig(dim=48, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=99)
    ), _tokens()


def _vit() -> tuple[Any, Any]:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32,
        patch_size=8, num_labels=5,
    )  # fmt: skip
    return ViTForImageClassification(config), torch.randn(2, 3, 32, 32)


def _gpt2() -> tuple[Any, Any]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=48, n_layer=2, n_head=4, vocab_size=99, n_positions=32, use_cache=False)
    return GPT2LMHeadModel(config), _tokens()


def _decoder(kind: str, **more: Any) -> Callable[[], tuple[Any, Any]]:
    def made() -> tuple[Any, Any]:
        import transformers

        sizes = {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "intermediate_size": 64,
            "vocab_size": 99,
            "max_position_embeddings": 32,
            "use_cache": False,
        }
        config = getattr(transformers, f"{kind}Config")(**sizes | more)
        return getattr(transformers, f"{kind}ForCausalLM")(config), _tokens()

    return made


def _t5() -> tuple[Any, Any]:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(d_model=48, d_kv=12, d_ff=64, num_layers=2, num_heads=4, vocab_size=99)
    return T5EncoderModel(config), _tokens()


_HF: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": _encoder("Bert"),
    "bert_classifier": _bert_classifier,
    "roberta": _encoder("Roberta", max_position_embeddings=40),
    "electra": _encoder("Electra", embedding_size=48),
    "distilbert": _distilbert,
    "vit": _vit,
    "t5_encoder": _t5,
    "gpt2": _gpt2,
    "llama": _decoder("Llama"),
    "mistral": _decoder("Mistral"),
    "qwen2": _decoder("Qwen2"),
    "gemma": _decoder("Gemma"),
}


def smallest_of_timm() -> dict[str, str]:
    """Return, for each module of timm, its network of the fewest parameters (those named test_ left out)."""
    use_peers()
    import timm

    found: dict[str, str] = {}
    for module in timm.list_modules():
        sizes: dict[str, int] = {}
        for name in timm.list_models(module=module):
            if name.startswith("test_"):
                continue
            try:
                with torch.device("meta"):
                    sizes[name] = sum(p.numel() for p in timm.create_model(name).parameters())
            except Exception:  # some cannot be made without values
                model = timm.create_model(name)
                sizes[name] = sum(p.numel() for p in model.parameters())
        if sizes:
            found[module] = min(sizes, key=lambda name: sizes[name])
            print(module, found[module], flush=True)
    return found


def main() -> None:
    """Write timm.txt."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.parse_args()
    found = smallest_of_timm()
    TIMM.write_text("".join(f"{module} {name}\n" for module, name in found.items()))


if __name__ == "__main__":
    main()
