"""Train what tells the symptoms apart, from phrases, texts and complaints of fixmap/.

    .venv/bin/python -m tools.train_matcher [--part all] [--epochs 2.5] [--out fixmap/matcher.safetensors]
    .venv/bin/python -m tools.train_matcher --part forward --further FILE --learned N M --epochs 1

The parts are `forward` and `both_ways`, low-rank changes of SmolLM2-135M in two manners of reading, and `sentences`,
small networks on the states of all-MiniLM-L6-v2 (`models.py`). What is not trained is taken from the file that is
there. A training that was killed left a `.partial` file beside its outcome: `--go-on FILE` takes it up from there.
`--further` teaches one part of a finished file the complaints behind the first N and the translations behind the first
M, gently, amid a part of what it knows. How the file that is there came about, which one command does not repeat:
docs/matching.md.

Needs the demo's FP16 model, and more than an hour on two cores for each manner; `sentences` alone takes five minutes.
On the complaints of held_out.jsonl each manner's share and the factor on `none` are chosen, and nothing is learned
from them. The test complaints of benchmarks/data are not read.
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
from safetensors.torch import load_file, save_file
from torch import nn

from wfgy_triage.complaints import NONE
from wfgy_triage.demo import fp16_folder
from wfgy_triage.engines.reader import BOTH_WAYS, FORWARD
from wfgy_triage.engines.readers import blend, load_readers
from wfgy_triage.engines.sentence_files import model_folder
from wfgy_triage.engines.sentence_reader import PREFIX, load_sentence_states
from wfgy_triage.matching import HELD_OUT, TRAINED, Example, read_restated
from wfgy_triage.settings import load_settings

from .models import ReaderModel, train_networks
from .teaching import factor_on_none, shares_of, taught

MANNERS = {manner.prefix.rstrip("."): manner for manner in (FORWARD, BOTH_WAYS)}
SENTENCES, ALL = PREFIX.rstrip("."), "all"
PARTS = (*MANNERS, SENTENCES)
"""In the order of what is said."""
RATE, HEAD_RATE = 5e-4, 1e-3
BATCH, WARM_UP, SMOOTHING = 32, 20, 0.05
FURTHER, FIXED_BLOCKS = 0.6, 8
"""Teaching a finished file more: the share of the rates, and the lowest blocks, which stay as they are."""


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


def rare_ones_more(labels: Sequence[int]) -> torch.Tensor:
    """What an error on each class counts: the root of how rare it is."""
    counts = np.bincount(labels)
    return torch.tensor((len(labels) / len(counts) / counts) ** 0.5, dtype=torch.float32)


def train(
    model: ReaderModel,
    rows: Sequence[Sequence[int]],
    labels: Sequence[int],
    epochs: float,
    done: int,
    gently: float = 1.0,
) -> Iterator[int]:
    """Train at a share of the usual rates, `done` steps of it being made already; yields after every step."""
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
    print(f"shares of {', '.join(PARTS)}: {shares}; factor on {NONE}: {factor:.3g}; written to {out}")


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
    parser.add_argument("--learned", type=int, nargs=2)
    parser.add_argument("--out", type=Path, default=TRAINED)
    asked = parser.parse_args()
    if (asked.further is None) != (asked.learned is None):
        parser.error("--further FILE and --learned COMPLAINTS TRANSLATIONS belong together.")
    if asked.part not in MANNERS and (asked.further or asked.go_on):
        parser.error("--further and --go-on are for one manner of reading: name it with --part.")
    return asked


def train_reader(
    asked: argparse.Namespace, name: str, texts: Sequence[str], labels: Sequence[int]
) -> dict[str, torch.Tensor]:
    """Train the language model in a manner; what it has learned is put aside every 64 steps."""
    model = ReaderModel(fp16_folder(load_settings()), len(set(labels)), MANNERS[name])
    rows = model.rows(texts)
    print(f"{len(rows)} texts, {sum(map(len, rows))} tokens", flush=True)
    if asked.further:
        model.go_on(asked.further, f"{name}.")
        model.fix_lowest(FIXED_BLOCKS)
    done, aside = model.go_on(asked.go_on) if asked.go_on else 0, asked.out.with_suffix(".partial")
    for step in train(model, rows, labels, asked.epochs, done, FURTHER if asked.further else 1.0):
        if step % 64 == 0:
            save_file(model.tensors(), aside, {"step": str(step)})
    aside.unlink(missing_ok=True)
    return {f"{name}.{tensor}": value for tensor, value in model.tensors().items()}


def main() -> None:
    """Train, choose shares and factor, write the file."""
    asked = _asked()
    torch.manual_seed(0)
    learned = tuple(asked.learned) if asked.learned else None
    examples, made = taught(learned), load_file(TRAINED)
    classes = sorted({e.symptom for e in examples})
    labels = [classes.index(e.symptom) for e in examples]
    for name in MANNERS:
        if asked.part in (name, ALL):
            made |= train_reader(asked, name, [e.text for e in examples], labels)
    if asked.part in (SENTENCES, ALL):
        # Minutes from the start, so it always learns everything.
        examples = taught(None)
        labels = [classes.index(e.symptom) for e in examples]
        states = load_sentence_states(model_folder()).of([e.text for e in examples])
        made = {n: t for n, t in made.items() if not n.startswith(PREFIX)}
        made |= train_networks(states, np.array(labels), rare_ones_more(labels))
    save_file(made, asked.out, _settled(classes, (0.0, 0.0, 1.0), 1.0))
    settle(fp16_folder(load_settings()), asked.out, read_restated(HELD_OUT))


if __name__ == "__main__":
    main()
