"""The script that test_hugging_face_parallel starts in two processes: the Trainer with a Distiller.

Networks without dropout, which draws in each process for itself.
"""

import json
import os
import sys
import tempfile

import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from featherweight.distillation import Distiller
from featherweight.distillation.adapters.hugging_face import DistillingTrainer

RANK = int(os.environ.get("RANK", "0"))
LAYERS = [("bert.encoder.layer.0", "bert.encoder.layer.0")]


def bert(width, seed):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 20, "num_attention_heads": 2, "max_position_embeddings": 8, "num_labels": 3}
    sizes |= {"hidden_size": width, "intermediate_size": width, "num_hidden_layers": 1}
    return BertForSequenceClassification(
        BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    )


def gpt(width, seed):
    torch.manual_seed(seed)
    sizes = {"n_embd": width, "n_layer": 1, "n_head": 2, "n_positions": 8, "vocab_size": 20}
    return GPT2LMHeadModel(
        GPT2Config(**sizes, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0)
    )


def sentences(count=32):
    tokens = torch.randint(1, 20, (count, 6), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row.sum() % 3} for row in tokens]


def texts(count=32):
    """Half of the texts is labelled from its fifth token on only."""
    rows = [{"input_ids": example["input_ids"]} for example in sentences(count)]
    for number, row in enumerate(rows):
        row["labels"] = row["input_ids"].clone()
        row["labels"][: 4 * (number // 4 % 2)] = -100
    return rows


def trained(batch, networks, data, *, loss, alpha, features="auto", **more):
    """Train with projectors that are others in the second process, and return losses and weights."""
    teacher, student = networks(16, 1), networks(8, 0)
    usual = {"optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 0.1, "logging_steps": 1}
    usual |= {"lr_scheduler_type": "constant", "use_cpu": True, "report_to": []}
    usual |= {"ddp_backend": "gloo"} if "RANK" in os.environ else {}
    usual |= {"save_strategy": "no", "disable_tqdm": True, "seed": 3, "max_steps": 4, "max_grad_norm": 0.5}
    collated = transformers.default_data_collator
    with (
        tempfile.TemporaryDirectory() as folder,
        Distiller(
            teacher, student, collated(data[:4]), loss=loss, alpha=alpha, features=features, precision="fp32"
        ) as distiller,
    ):
        first = _flat(distiller)
        with torch.no_grad():
            for parameter in distiller.parameters():
                parameter.add_(RANK)
        arguments = transformers.TrainingArguments(folder, per_device_train_batch_size=batch, **usual | more)
        trainer = DistillingTrainer(
            model=student, args=arguments, train_dataset=data, data_collator=collated, distiller=distiller
        )
        trainer.train()
        return {
            "processes": arguments.world_size,
            "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line],
            "student": _flat(student),
            "projectors": _flat(distiller),
            "projectors at first": first,
        }


def _flat(network):
    return [value for parameter in network.parameters() for value in parameter.flatten().tolist()]


def runs(batch):
    """Return three runs: both parts of the loss, features alone, and labels that are counted by token."""
    return {
        "hints": trained(batch, bert, sentences(), loss="kd + hints", alpha=0.5, features=LAYERS),
        "features alone": trained(
            batch,
            bert,
            sentences(),
            loss="hints",
            alpha=1.0,
            features=LAYERS,
            ddp_find_unused_parameters=False,
        ),
        "tokens": trained(batch, gpt, texts(), loss="token", alpha=0.0, gradient_accumulation_steps=2),
    }


if __name__ == "__main__":
    result = runs(batch=4)
    with open(f"{sys.argv[1]}.{RANK}", "w") as file:
        json.dump(result, file)
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads can outlive Python's own end, and abort the process then
