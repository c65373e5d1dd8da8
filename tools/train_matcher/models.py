"""The models that `tools/train_matcher` trains, in torch.

`reader.py` and `sentence_reader.py` of `wfgy_triage/engines` compute in numpy what they compute, from the file
that a training leaves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModelForCausalLM

from wfgy_triage.engines.reader import WHOLE_FROM, framed
from wfgy_triage.engines.reader_blocks import LINEARS
from wfgy_triage.engines.sentence_reader import PREFIX

RANK, SCALE = 16, 2.0
LOWER_BATCH = 64
NETWORKS, HIDDEN = 3, 512
STEADY = 20.0
"""States of unit length are so many times longer for the networks, which learn better from numbers around one."""
EPOCHS, BATCH, RATE, DECAY, DROPPED, SMOOTHING = 15, 128, 2e-3, 0.1, 0.5, 0.05


class Changed(nn.Module):
    """A frozen linear layer with a low-rank change."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner
        self.a = nn.Parameter(torch.randn(RANK, inner.in_features) / math.sqrt(inner.in_features))
        self.b = nn.Parameter(torch.zeros(inner.out_features, RANK))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """As the reader computes it."""
        out: torch.Tensor = self.inner(inputs) + (inputs @ self.a.T) @ self.b.T * SCALE
        return out


class ReaderModel(nn.Module):
    """The language model with changes from the block on that reads both ways, and a head on the mean of the states.

    Args:
        folder: of the model.
        classes: how many the head tells apart.
        whole_from: that block; the ones below it stay as they are.
    """

    def __init__(self, folder: Path, classes: int, whole_from: int = WHOLE_FROM) -> None:
        super().__init__()
        self._whole_from = whole_from
        self._exact = not torch.cpu.get_capabilities().get("amx_bf16", False)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.body = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).model
        self.body.requires_grad_(False)
        for layer in self.body.layers[whole_from:]:
            for name in LINEARS:
                part, _, linear = name.partition(".")
                parent = getattr(layer, part)
                setattr(parent, linear, Changed(getattr(parent, linear)))
        self.head = nn.Linear(self.body.config.hidden_size, classes)
        nn.init.zeros_(self.head.weight)

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of texts in their frame."""
        return [framed(self._tokenizer, text) for text in texts]

    def lower(self, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """The states before the first block that is changed: of each row (tokens, hidden), bfloat16."""
        found: dict[int, torch.Tensor] = {}
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for begin in range(0, len(order), LOWER_BATCH):
            part = order[begin : begin + LOWER_BATCH]
            ids = nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in part], batch_first=True)
            before = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()[None, None]
            with torch.inference_mode():
                states = self._through(
                    self.body.embed_tokens(ids), before.expand(len(part), -1, -1, -1), 0, self._whole_from
                )
            found |= {i: states[n, : len(rows[i])].bfloat16().clone() for n, i in enumerate(part)}
        return [found[i] for i in range(len(rows))]

    def forward(self, lower: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (rows, classes), from what `lower` gave of the rows."""
        states = nn.utils.rnn.pad_sequence([row.float() for row in lower], batch_first=True)
        there = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in lower], batch_first=True)
        every = there.bool()[:, None, None, :].expand(-1, 1, states.shape[1], -1)
        # Without the units that multiply bfloat16, computing in it takes longer.
        with torch.autocast("cpu", torch.bfloat16, enabled=not self._exact):
            states = self._through(states, every, self._whole_from, len(self.body.layers))
            states = self.body.norm(states).float()
        there[:, 0] = 0
        out: torch.Tensor = self.head((states * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True))
        return out

    def _through(self, states: torch.Tensor, seen: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """Through the blocks from `begin` to before `end`; `seen` says what each token sees of its row."""
        places, kinds = torch.arange(states.shape[1])[None], self.body.config.layer_types
        turned = {kind: self.body.rotary_emb(states, places, kind) for kind in set(kinds)}
        for number in range(begin, end):
            states = self.body.layers[number](
                states,
                attention_mask=seen,
                position_embeddings=turned[kinds[number]],
                position_ids=places,
            )
        return states

    def tensors(self) -> dict[str, torch.Tensor]:
        """What is kept: the changes, scaled, and the head."""
        found = {}
        for name, module in self.body.named_modules():
            if isinstance(module, Changed):
                found[f"model.{name}.a"], found[f"model.{name}.b"] = (
                    module.a * math.sqrt(SCALE),
                    module.b * math.sqrt(SCALE),
                )
        kept = {n: t.detach().half().contiguous() for n, t in found.items()}
        return kept | {"head.weight": self.head.weight.detach(), "head.bias": self.head.bias.detach()}

    def go_on(self, file: Path, prefix: str = "") -> int:
        """Take up what an earlier training left or made; returns the steps of one that was cut short, else 0.

        Args:
            file: what it left.
            prefix: before the names of what is kept.
        """
        kept = {n.removeprefix(prefix): t for n, t in load_file(file).items() if n.startswith(prefix)}
        for name, module in self.body.named_modules():
            if isinstance(module, Changed):
                for part in ("a", "b"):
                    getattr(module, part).data.copy_(kept[f"model.{name}.{part}"].float() / math.sqrt(SCALE))
        self.head.load_state_dict({part: kept[f"head.{part}"] for part in ("weight", "bias")})
        with safe_open(file, "pt") as opened:
            return int(opened.metadata().get("step", 0))


def train_networks(
    states: np.ndarray,
    labels: np.ndarray,
    weights: torch.Tensor,
    networks: int = NETWORKS,
    epochs: int = EPOCHS,
) -> dict[str, torch.Tensor]:
    """Networks that tell classes (n,) from states (n, width), by the names of the file; a minute on one core.

    Args:
        states: of unit length, as `SentenceStates` gives them.
        labels: numbers of the classes.
        weights: what an error on each class counts.
        networks: each from another start and in another order.
        epochs: passes over everything.
    """
    inputs, wanted = torch.tensor(states) * STEADY, torch.tensor(labels)
    found: dict[str, torch.Tensor] = {}
    for number in range(networks):
        torch.manual_seed(number)
        inner, outer = nn.Linear(inputs.shape[1], HIDDEN), nn.Linear(HIDDEN, len(weights))
        model = nn.Sequential(nn.Dropout(DROPPED / 2), inner, nn.GELU(), nn.Dropout(DROPPED), outer)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
        steps = epochs * math.ceil(len(labels) / BATCH)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(labels)), BATCH):
                said = model(inputs[chosen])
                loss = nn.functional.cross_entropy(
                    said, wanted[chosen], weight=weights, label_smoothing=SMOOTHING
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                slower.step()
        inner.weight.data *= STEADY
        for part, layer in (("inner", inner), ("outer", outer)):
            for kind, parameter in layer.named_parameters():
                found[f"{PREFIX}{number}.{part}.{kind}"] = parameter.detach().half().contiguous()
    return found
