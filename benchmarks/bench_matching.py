"""How well the symptom matcher finds the symptom in complaints that other people wrote, and how often it says `none`.

The complaints in `data/complaints.jsonl` are quoted from public issue threads, each with its address. Phrases, weights
and the threshold are chosen on `dev`; `test` was collected after they were frozen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import Stopwatch
from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import NONE
from wfgy_triage.measure.statistics import wilson
from wfgy_triage.runs.match_process import load_matcher

COMPLAINTS = Path(__file__).parent / "data" / "complaints.jsonl"

Split = Literal["dev", "test"]


@dataclass(frozen=True)
class Labelled:
    """A complaint, what it is about (a symptom's id or `none`), and where it was written."""

    id: str
    text: str
    symptom: str
    source: str
    split: Split


def read_labelled(split: Split) -> list[Labelled]:
    """The complaints of one split."""
    lines = COMPLAINTS.read_text(encoding="utf-8").splitlines()
    return [c for c in (Labelled(**json.loads(line)) for line in lines) if c.split == split]


@dataclass(frozen=True)
class Outcome:
    """What the matcher said about labelled complaints.

    Attributes:
        right: complaints about a symptom whose symptom came first (saying `none` is wrong).
        fitting: complaints about a symptom.
        forced: unrelated complaints that were given a symptom.
        unrelated: complaints about no symptom.
        confusion: counts by true label and answer.
        wrong: every complaint that was not answered as labelled, with the answer.
    """

    right: int
    fitting: int
    forced: int
    unrelated: int
    confusion: dict[str, dict[str, int]]
    wrong: list[tuple[Labelled, str]]


def judge(complaints: Sequence[Labelled], answers: Sequence[str]) -> Outcome:
    """Count right and wrong answers."""
    labels = [*load_catalog().symptoms, NONE]
    confusion = {true: dict.fromkeys(labels, 0) for true in labels}
    for complaint, answer in zip(complaints, answers, strict=True):
        confusion[complaint.symptom][answer] += 1
    unrelated = sum(confusion[NONE].values())
    return Outcome(
        right=sum(confusion[label][label] for label in labels if label != NONE),
        fitting=len(complaints) - unrelated,
        forced=unrelated - confusion[NONE][NONE],
        unrelated=unrelated,
        confusion=confusion,
        wrong=[(c, a) for c, a in zip(complaints, answers, strict=True) if c.symptom != a],
    )


def run(fast: bool = False) -> dict[str, Any]:
    """Evaluate on both splits (with `fast` on the development split only) and print the tables."""
    with Stopwatch() as loading:
        matcher = load_matcher()
    results: dict[str, Any] = {"load_seconds": round(loading.seconds, 2)}
    splits: tuple[Split, ...] = ("dev",) if fast else ("dev", "test")
    for split in splits:
        complaints = read_labelled(split)
        with Stopwatch() as watch:
            answers = [m.symptom for m in matcher.match([c.text for c in complaints])]
        outcome = judge(complaints, answers)
        results[split] = {
            "top1": _share(outcome.right, outcome.fitting),
            "forced": _share(outcome.forced, outcome.unrelated),
            "confusion": outcome.confusion,
            "ms_each": round(1000 * watch.seconds / len(complaints), 1),
            "foreign": watch.foreign,
        }
        _print(split, outcome, results[split])
    return results


def _share(count: int, total: int) -> dict[str, Any]:
    low, high = wilson(count, total).bounds
    return {
        "count": count,
        "of": total,
        "share": round(count / total, 3),
        "interval": [round(low, 3), round(high, 3)],
    }


def _print(split: Split, outcome: Outcome, result: dict[str, Any]) -> None:
    for name, label in (("top1", "right symptom first"), ("forced", "unrelated, forced into a symptom")):
        r = result[name]
        low, high = r["interval"]
        print(f"{split}: {label} {r['count']} of {r['of']} = {r['share']:.3f} (95 % {low:.3f} to {high:.3f})")
    print(f"{split}: {result['ms_each']} ms each, foreign {result['foreign']}\n")
    labels = list(outcome.confusion)
    print("| complaint about | " + " | ".join(labels) + " |\n|" + "---|" * (len(labels) + 1))
    for true, row in outcome.confusion.items():
        print(f"| {true} | " + " | ".join(str(row[a] or "·") for a in labels) + " |")
    if split == "dev":  # the test split's texts are not to be learned from
        print()
        for complaint, answer in outcome.wrong:
            print(f"- {complaint.symptom} answered as {answer}: {complaint.text}")
    print()
