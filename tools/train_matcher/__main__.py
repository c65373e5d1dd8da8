"""Train what tells the symptoms apart, from phrases, texts and complaints of fixmap/.

    .venv/bin/python -m tools.train_matcher [--part all] [--epochs 2.5] [--out fixmap/matcher.safetensors]
    .venv/bin/python -m tools.train_matcher --part reader --further FILE --learned N W M --epochs 2
    .venv/bin/python -m tools.train_matcher --mean FILE FILE...

The parts are `reader`, low-rank changes of Gemma 3 270M, and `sentences`, small networks on the states of
all-MiniLM-L6-v2 (`models.py`). What is not trained is taken from the file that is there. A training that was killed
left a `.partial` file beside its outcome: `--go-on FILE` takes it up from there. `--further` teaches the reader of a
finished file the complaints, written texts and translations behind the first N, W and M, gently, amid a part of what it
knows; `--learned 0 0 0` all of them. `--mean` trains nothing: the reader is the mean of the weights of finished files,
one taught further from another, which is often better than each. How the file that is there came about, which one
command does not repeat: docs/matching.md.

Needs the reader's model, and most of an hour on two cores; `sentences` alone takes five minutes. On the complaints of
held_out.jsonl the readers' shares and the factor on `none` are chosen, and nothing is learned from them. The test
complaints of benchmarks/data are not read.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from wfgy_triage.complaints import NONE
from wfgy_triage.demo import reader_folder
from wfgy_triage.engines.reader import PREFIX
from wfgy_triage.engines.readers import blend, load_readers
from wfgy_triage.engines.sentence_files import model_folder
from wfgy_triage.engines.sentence_reader import PREFIX as SENTENCES
from wfgy_triage.engines.sentence_reader import load_sentence_states
from wfgy_triage.matching import HELD_OUT, TRAINED, Example, read_restated
from wfgy_triage.settings import load_settings

from .models import ReaderModel, train_networks
from .teaching import factor_on_none, shares_of, taught

READER, NETWORKS, ALL = PREFIX.rstrip("."), SENTENCES.rstrip("."), "all"
PARTS = (READER, NETWORKS)
"""In the order of what is said."""
RATE, HEAD_RATE = 5e-4, 1e-3
BATCH, WARM_UP, SMOOTHING = 32, 20, 0.05
FURTHER = 0.6
"""Teaching a finished file more: the share of the rates."""


def batches(rows: Sequence[torch.Tensor], draw: random.Random) -> list[list[int]]:
    """A pass over everything: rows of about one length together, in any order."""
    order = list(range(len(rows)))
    draw.shuffle(order)
    made: list[list[int]] = []
    for begin in range(0, len(order), BATCH * 40):
        part = sorted(order[begin : begin + BATCH * 40], key=lambda i: len(rows[i]))
        made += [part[i : i + BATCH] for i in range(0, len(part), BATCH)]
    draw.shuffle(made)
    return made


def rare_ones_more(labels: Sequence[int]) -> torch.Tensor:
    """What an error on each class counts: the root of how rare it is."""
    counts = np.bincount(labels)
    return torch.tensor((len(labels) / len(counts) / counts) ** 0.5, dtype=torch.float32)


def train(
    model: ReaderModel,
    rows: Sequence[torch.Tensor],
    labels: Sequence[int],
    epochs: float,
    done: int,
    gently: float = 1.0,
) -> Iterator[int]:
    """Train on what `lower` gave of texts, at a share of the usual rates, `done` steps of it being made already.

    Yields after every step.
    """
    weights, changes = rare_ones_more(labels), [p for p in model.body.parameters() if p.requires_grad]
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


def settle(folder: Path, out: Path, held: Sequence[Example]) -> None:
    """Choose shares and factor with the readers that are used, and write them into the file."""
    trained, texts = load_readers(folder, out), [e.text for e in held]
    logits = trained.reader.each(texts)
    shares = shares_of(logits, trained.classes, held)
    factor = factor_on_none(blend(logits, shares), trained.classes, held)
    save_file(load_file(out), out, _settled(trained.classes, shares, factor))
    print(f"shares of {', '.join(PARTS)}: {shares}; factor on {NONE}: {factor:.3g}")


def _settled(classes: Sequence[str], shares: Sequence[float], factor: float) -> dict[str, str]:
    return {"classes": json.dumps(classes), "shares": json.dumps(shares), "none_factor": f"{factor:.4g}"}


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=[*PARTS, ALL], default=ALL)
    parser.add_argument("--epochs", type=float, default=2.5)
    parser.add_argument("--go-on", type=Path)
    parser.add_argument("--further", type=Path)
    parser.add_argument("--learned", type=int, nargs=3)
    parser.add_argument("--mean", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=TRAINED)
    asked = parser.parse_args()
    if (asked.further is None) != (asked.learned is None):
        parser.error("--further FILE and --learned COMPLAINTS WRITTEN TRANSLATIONS belong together.")
    if asked.part != READER and (asked.further or asked.go_on):
        parser.error(f"--further and --go-on are for --part {READER}.")
    if asked.mean and (asked.part != ALL or len(asked.mean) < 2):
        parser.error("--mean takes two files or more, and no other choice but --out.")
    return asked


def train_reader(
    asked: argparse.Namespace, texts: Sequence[str], labels: Sequence[int]
) -> dict[str, torch.Tensor]:
    """Train the language model; what it has learned is put aside every 64 steps."""
    model = ReaderModel(reader_folder(load_settings()), len(set(labels)))
    rows = model.rows(texts)
    print(f"{len(rows)} texts, {sum(map(len, rows))} tokens", flush=True)
    if asked.further:
        model.go_on(asked.further, PREFIX)
    done = model.go_on(asked.go_on) if asked.go_on else 0
    # Twice there, computed once: what the lower blocks say of a text never changes.
    once = dict.fromkeys(map(tuple, rows))
    lower = dict(zip(once, model.lower(list(once)), strict=True))
    read = [lower[tuple(row)] for row in rows]
    for step in train(model, read, labels, asked.epochs, done, FURTHER if asked.further else 1.0):
        if step % 64 == 0:
            save_file(model.tensors(), _aside(asked), {"step": str(step)})
    return {f"{PREFIX}{tensor}": value for tensor, value in model.tensors().items()}


def _aside(asked: argparse.Namespace) -> Path:
    found: Path = asked.out.with_suffix(".partial")
    return found


def kept(file: Path, prefix: str, classes: Sequence[str]) -> dict[str, torch.Tensor]:
    """What a finished file holds under a prefix, which has to tell the same classes apart in the same order."""
    with safe_open(file, "pt") as opened:
        known = json.loads((opened.metadata() or {}).get("classes", "null"))
    if known != list(classes):
        raise SystemExit(
            f"{file} tells other classes apart: {known}. Wanted are {list(classes)}: train all of it."
        )
    return {name: tensor for name, tensor in load_file(file).items() if name.startswith(prefix)}


def mean_of(files: Sequence[Path], prefix: str, classes: Sequence[str]) -> dict[str, torch.Tensor]:
    """The mean of the weights of finished files."""
    every = [kept(file, prefix, classes) for file in files]
    return {
        name: torch.stack([found[name].float() for found in every]).mean(0).to(first.dtype)
        for name, first in every[0].items()
    }


def main() -> None:
    """Train, choose shares and factor, write the file."""
    asked = _asked()
    torch.manual_seed(0)
    examples = taught(tuple(asked.learned) if asked.learned else None)
    classes = sorted({e.symptom for e in examples})
    labels = [classes.index(e.symptom) for e in examples]
    if asked.mean:
        made = mean_of(asked.mean, PREFIX, classes)
    elif asked.part in (READER, ALL):
        if asked.further:
            kept(asked.further, PREFIX, classes)
        made = train_reader(asked, [e.text for e in examples], labels)
    else:
        made = kept(TRAINED, PREFIX, classes)
    if asked.part in (NETWORKS, ALL) and not asked.mean:
        states = load_sentence_states(model_folder()).of([e.text for e in examples])
        made |= train_networks(states, np.array(labels), rare_ones_more(labels))
    else:
        made |= kept(TRAINED, SENTENCES, classes)
    settling = asked.out.with_suffix(".settling")
    save_file(made, settling, _settled(classes, (0.0, 1.0), 1.0))
    settle(reader_folder(load_settings()), settling, read_restated(HELD_OUT))
    os.replace(settling, asked.out)
    _aside(asked).unlink(missing_ok=True)
    print(f"written to {asked.out}")


if __name__ == "__main__":
    main()
