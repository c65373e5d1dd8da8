"""How well the symptom matcher finds the symptom in complaints of other people, and how often it says `none`.

Held out: `fixmap/held_out.jsonl`, on which share and factor were chosen and from which nothing was learned. Test:
`data/complaints.jsonl`, from which nothing was learned; what was chosen on it, docs/matching.md says. Second test:
`data/collected.jsonl`, collected later, two thirds of it near neighbours of a complaint; nothing was learned from it
either. Plain: `data/plain.jsonl`, complaints about other software, as they came. Hard: `data/hard.jsonl`, symptoms in
unusual words, and complaints that use the very words of a symptom and are about none. All are restated in other words
than those of the thread that they come from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch
from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import NONE, Match
from wfgy_triage.matching import HELD_OUT, load_matcher, read_restated
from wfgy_triage.measure.statistics import wilson
from wfgy_triage.settings import load_settings

COMPLAINTS = Path(__file__).parent / "data" / "complaints.jsonl"
COLLECTED = COMPLAINTS.with_name("collected.jsonl")
PLAIN = COMPLAINTS.with_name("plain.jsonl")
HARD = COMPLAINTS.with_name("hard.jsonl")


@dataclass(frozen=True)
class Labelled:
    """A complaint and what it is about.

    Attributes:
        symptoms: every answer that counts as right, the main one first; more than one where a complaint honestly
            fits two. All were decided before the complaint was matched.
        source: where somebody wrote of it.
        second: what a second reader said, who saw the restated text alone; empty where there was none.
    """

    text: str
    symptoms: tuple[str, ...]
    source: str
    second: str = ""

    @property
    def agreed(self) -> bool:
        """Whether both readers place it alike."""
        return self.second in self.symptoms


def read_test(file: Path = COMPLAINTS) -> list[Labelled]:
    """The complaints of the first test, of the second, or of the hard one."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Labelled(x["text"], tuple(x["symptoms"]), x["source"], x["second"]) for x in lines]


def read_plain() -> list[Labelled]:
    """Complaints about software that has nothing to do with language models."""
    lines = [json.loads(line) for line in PLAIN.read_text(encoding="utf-8").splitlines()]
    return [Labelled(x["text"], (NONE,), x["source"]) for x in lines]


def read_held_out() -> list[Labelled]:
    """Complaints that are not learned from."""
    return [Labelled(e.text, (e.symptom,), e.source) for e in read_restated(HELD_OUT)]


@dataclass(frozen=True)
class Outcome:
    """What the matcher said about labelled complaints.

    Attributes:
        right: complaints about a symptom whose symptom came first (saying `none` is wrong).
        fitting: complaints about a symptom.
        forced: unrelated complaints that were given a symptom.
        unrelated: complaints about no symptom.
        confusion: counts by true label and answer; a second right label counts as the main one.
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
        main = complaint.symptoms[0]
        confusion[main][main if answer in complaint.symptoms else answer] += 1
    unrelated = sum(confusion[NONE].values())
    return Outcome(
        right=sum(confusion[label][label] for label in labels if label != NONE),
        fitting=len(complaints) - unrelated,
        forced=unrelated - confusion[NONE][NONE],
        unrelated=unrelated,
        confusion=confusion,
        wrong=[(c, a) for c, a in zip(complaints, answers, strict=True) if a not in c.symptoms],
    )


def run(fast: bool = False) -> dict[str, Any]:
    """Evaluate on the held-out complaints, and (not with `fast`) on the test split; print tables."""
    results: dict[str, Any] = {}
    with Stopwatch() as loading:
        matcher = load_matcher(load_settings())
    held = read_held_out()
    answers = [m.symptom for m in matcher.match([c.text for c in held])]
    results["held_out"] = _report("held out", judge(held, answers), listed=True)
    if fast:
        return results
    complaints = read_test()
    with Stopwatch() as watch:
        matches = list(matcher.match([c.text for c in complaints]))
    answers = [m.symptom for m in matches]
    # The test split's texts are not to be learned from, so they are not listed.
    results["test"] = _report("test", judge(complaints, answers), listed=False)
    results["test"]["on_the_page"] = on_the_page(complaints, matches)
    results["second_reader"] = _report(
        "second reader", judge(complaints, [c.second for c in complaints]), listed=False
    )
    both = [(c, a) for c, a in zip(complaints, answers, strict=True) if c.agreed]
    results["agreed"] = _report(
        "both readers agree", judge([c for c, _ in both], [a for _, a in both]), listed=False
    )
    second = read_test(COLLECTED)
    further = [m.symptom for m in matcher.match([c.text for c in second])]
    results["second_test"] = _report("second test", judge(second, further), listed=False)
    together = judge([*complaints, *second], [*answers, *further])
    results["together"] = _report("both tests", together, listed=False)
    plain = read_plain()
    elsewhere = [m.symptom for m in matcher.match([c.text for c in plain])]
    results["plain"] = _share(sum(answer != NONE for answer in elsewhere), len(plain))
    print(f"plain: forced into a symptom {results['plain']['count']} of {results['plain']['of']}\n")
    hard = read_test(HARD)
    answers = [m.symptom for m in matcher.match([c.text for c in hard])]
    results["hard"] = _report("hard", judge(hard, answers), listed=False)
    results["load_seconds"] = round(loading.seconds, 2)
    results["ms_each"] = round(1000 * watch.seconds / len(complaints), 1)
    results["foreign"] = watch.foreign
    print(
        f"{results['load_seconds']} s to load, {results['ms_each']} ms each, many at a time, {watch.foreign=}"
    )
    return results


def on_the_page(complaints: Sequence[Labelled], matches: Sequence[Match]) -> dict[str, Any]:
    """Complaints about a symptom whose symptom is the answer, or is named as nearest where the answer is `none`."""
    about = [(c, m) for c, m in zip(complaints, matches, strict=True) if c.symptoms[0] != NONE]
    shown = sum(bool({m.symptom, *m.nearest} & set(c.symptoms)) for c, m in about)
    found = _share(shown, len(about))
    low, high = found["interval"]
    print(
        f"test: the right symptom is the answer or named as nearest: {shown} of {len(about)} = {found['share']:.3f} "
        f"(95 % {low:.3f} to {high:.3f})\n"
    )
    return found


def _share(count: int, total: int) -> dict[str, Any]:
    low, high = wilson(count, total).bounds
    return {
        "count": count,
        "of": total,
        "share": round(count / total, 3),
        "interval": [round(low, 3), round(high, 3)],
    }


def _report(split: str, outcome: Outcome, listed: bool) -> dict[str, Any]:
    result = {
        "top1": _share(outcome.right, outcome.fitting),
        "forced": _share(outcome.forced, outcome.unrelated),
        "confusion": outcome.confusion,
    }
    for name, label in (("top1", "right symptom first"), ("forced", "unrelated, forced into a symptom")):
        r = result[name]
        low, high = r["interval"]
        print(f"{split}: {label} {r['count']} of {r['of']} = {r['share']:.3f} (95 % {low:.3f} to {high:.3f})")
    labels = list(outcome.confusion)
    print("\n| complaint about | " + " | ".join(labels) + " |\n|" + "---|" * (len(labels) + 1))
    for true, row in outcome.confusion.items():
        print(f"| {true} | " + " | ".join(str(row[a] or "·") for a in labels) + " |")
    print()
    for complaint, answer in outcome.wrong if listed else ():
        print(f"- {' or '.join(complaint.symptoms)} answered as {answer}: {complaint.text}")
    return result
