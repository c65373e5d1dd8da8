"""Train what tells the symptoms apart: low-rank changes of SmolLM2-135M, from phrases, texts and complaints of fixmap/.

    .venv/bin/python -m tools.train_matcher [--epochs 2.5] [--out fixmap/matcher.safetensors]
    .venv/bin/python -m tools.train_matcher --further fixmap/matcher.safetensors --learned N --epochs 1

A training that was killed left a `.partial` file beside its outcome: `--go-on FILE` takes it up from there. `--further`
teaches a finished file the complaints behind the first N, gently, amid a part of what it knows. How the file that is
there came about, which one command does not repeat: docs/matching.md.

Needs the demo's FP16 model, and more than an hour on two cores with bf16 (more without). On the complaints of
held_out.jsonl the factor on `none` is chosen, and nothing is learned from them. The test complaints of benchmarks/data
are not read.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModelForCausalLM

from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import NONE
from wfgy_triage.demo import fp16_folder
from wfgy_triage.engines.reader import LINEARS, framed, load_reader
from wfgy_triage.matching import HELD_OUT, TRAINED, Example, phrases, read_restated, read_written
from wfgy_triage.settings import load_settings

RANK, SCALE = 16, 2.0
RATE, HEAD_RATE = 5e-4, 1e-3
BATCH, WARM_UP, SMOOTHING = 32, 20, 0.05
FURTHER, FIXED_BLOCKS = 0.6, 8
"""Teaching a finished file more: the share of the rates, and the lowest blocks, which stay as they are."""
KNOWN = {"complaints": 1100, "written": 800, "phrases": 300}
"""So many of each that the file knows are repeated amid what is new, so that nothing is unlearned."""
TWICE = 2
"""A restated complaint counts as so many phrases: it is nearer to what people write."""
RIGHT_GOAL, FORCED_GOAL = 0.9, 0.05
"""What is wanted: complaints answered with their symptom, at least; unrelated ones forced into a symptom, at most."""


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


class Classifier(nn.Module):
    """The language model with changes, and a head on the state of the last token."""

    def __init__(self, folder: Path, classes: int) -> None:
        super().__init__()
        self.body = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).model
        self.body.requires_grad_(False)
        for layer in self.body.layers:
            for name in LINEARS:
                part, _, linear = name.partition(".")
                parent = getattr(layer, part)
                setattr(parent, linear, Changed(getattr(parent, linear)))
        self.head = nn.Linear(self.body.config.hidden_size, classes)
        nn.init.zeros_(self.head.weight)

    def forward(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits (rows, classes)."""
        longest = max(map(len, rows))
        ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest)
        for number, row in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)] = torch.tensor(row), 1
        with torch.autocast("cpu", torch.bfloat16):
            states = self.body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = torch.tensor([len(row) - 1 for row in rows])
        out: torch.Tensor = self.head(states[torch.arange(len(rows)), last].float())
        return out

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

    def fix_lowest(self) -> None:
        """Leave the lowest blocks as they are: it is faster, and what is new is told apart above them."""
        for layer in self.body.layers[:FIXED_BLOCKS]:
            layer.requires_grad_(False)

    def go_on(self, file: Path) -> int:
        """Take up what an earlier training left or made; returns the steps of one that was cut short, else 0."""
        kept = load_file(file)
        for name, module in self.body.named_modules():
            if isinstance(module, Changed):
                for part in ("a", "b"):
                    getattr(module, part).data.copy_(kept[f"model.{name}.{part}"].float() / math.sqrt(SCALE))
        self.head.load_state_dict({part: kept[f"head.{part}"] for part in ("weight", "bias")})
        with safe_open(file, "pt") as opened:
            return int(opened.metadata().get("step", 0))


def batches(rows: Sequence[Sequence[int]], draw: random.Random) -> list[list[int]]:
    """A pass over everything: rows of about one length together, in any order."""
    order = list(range(len(rows)))
    draw.shuffle(order)
    made: list[list[int]] = []
    for begin in range(0, len(order), BATCH * 40):
        part = sorted(order[begin : begin + BATCH * 40], key=lambda i: len(rows[i]))
        made += [part[i : i + BATCH] for i in range(0, len(part), BATCH)]
    draw.shuffle(made)
    return made


def train(
    model: Classifier,
    rows: Sequence[Sequence[int]],
    labels: Sequence[int],
    epochs: float,
    done: int,
    gently: float = 1.0,
) -> Iterator[int]:
    """Train at a share of the usual rates, `done` steps of it being made already; yields after every step."""
    counts = np.bincount(labels)
    weights = torch.tensor((len(labels) / len(counts) / counts) ** 0.5, dtype=torch.float32)
    changes = [p for p in model.body.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": changes, "lr": RATE * gently},
            {"params": model.head.parameters(), "lr": HEAD_RATE * gently},
        ],
        weight_decay=0.01,
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    draw, step = random.Random(done), done  # noqa: S311 - an order, no secret
    total, began = int(epochs * math.ceil(len(rows) / BATCH)), time.monotonic()
    while step < total:
        for batch in batches(rows, draw)[: total - step]:
            share = min(1.0, (step - done + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / total))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
            wanted = torch.tensor([labels[i] for i in batch])
            loss = nn.functional.cross_entropy(
                model([rows[i] for i in batch]), wanted, weight=weights, label_smoothing=SMOOTHING
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(changes, 1.0)
            optimizer.step()
            step += 1
            if step % 16 == 0:
                print(
                    f"step {step} of {total}, loss {loss.item():.3f}, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
            yield step


def factor_on_none(logits: np.ndarray, classes: Sequence[str], held: Sequence[Example]) -> float:
    """The factor that misses the goals least, in points of right answers and of forced ones; of several the middle one.

    Where both goals are met by some, the one of these with most right answers less forced ones.
    """
    place = classes.index(NONE)
    best: list[tuple[tuple[float, float], float]] = []
    for log_factor in np.arange(-2, 6, 0.05):
        moved = logits.copy()
        moved[:, place] += log_factor
        said = [classes[i] for i in moved.argmax(axis=1)]
        pairs = [(e.symptom, s) for e, s in zip(held, said, strict=True)]
        right = float(np.mean([a == b for a, b in pairs if a != NONE]))
        forced = float(np.mean([b != NONE for a, b in pairs if a == NONE]))
        missed = max(0.0, RIGHT_GOAL - right) + max(0.0, forced - FORCED_GOAL)
        best.append(((round(-missed, 9), round(right - forced, 9)), float(log_factor)))
    top = [w for score, w in best if score == max(best)[0]]
    return math.exp(top[len(top) // 2])


def settle(folder: Path, out: Path, held: Sequence[Example]) -> None:
    """Choose the factor on `none` with the reader that is used, and write it into the file."""
    trained = load_reader(folder, out)
    factor = factor_on_none(trained.reader.logits([e.text for e in held]), trained.classes, held)
    metadata = {"classes": json.dumps(trained.classes), "none_factor": f"{factor:.4g}"}
    save_file(load_file(out), out, metadata)
    print(f"factor on {NONE}: {factor:.3g}; written to {out}")


def taught(learned: int | None) -> list[Example]:
    """What a training reads: everything, or what follows the first `learned` complaints, amid a part of the rest."""
    known, written, complaints = phrases(load_catalog()), read_written(), read_restated()
    if learned is None:
        return [*known, *written, *complaints * TWICE]
    draw = random.Random(learned)  # noqa: S311 - a choice, no secret
    before = complaints[:learned]
    return [
        *complaints[learned:],
        *draw.sample(before, min(KNOWN["complaints"], len(before))),
        *draw.sample(written, KNOWN["written"]),
        *draw.sample(known, KNOWN["phrases"]),
    ]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=2.5)
    parser.add_argument("--go-on", type=Path)
    parser.add_argument("--further", type=Path)
    parser.add_argument("--learned", type=int)
    parser.add_argument("--out", type=Path, default=TRAINED)
    asked = parser.parse_args()
    if (asked.further is None) != (asked.learned is None):
        parser.error("--further FILE and --learned NUMBER belong together.")
    return asked


def main() -> None:
    """Train, choose the factor, write the file."""
    asked = _asked()
    torch.manual_seed(0)
    held, examples = read_restated(HELD_OUT), taught(asked.learned)
    classes = sorted({e.symptom for e in examples})
    folder = fp16_folder(load_settings())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    model = Classifier(folder, len(classes))
    rows, labels = [framed(tokenizer, e.text) for e in examples], [classes.index(e.symptom) for e in examples]
    print(f"{len(rows)} texts, {sum(map(len, rows))} tokens, {len(held)} complaints held out", flush=True)
    if asked.further:
        model.go_on(asked.further)
        model.fix_lowest()
    done = model.go_on(asked.go_on) if asked.go_on else 0
    for step in train(model, rows, labels, asked.epochs, done, FURTHER if asked.further else 1.0):
        if step % 64 == 0:
            save_file(model.tensors(), asked.out.with_suffix(".partial"), {"step": str(step)})
    save_file(model.tensors(), asked.out, {"classes": json.dumps(classes), "none_factor": "1"})
    asked.out.with_suffix(".partial").unlink(missing_ok=True)
    settle(folder, asked.out, held)


if __name__ == "__main__":
    main()
