"""λ_observe over repeated runs of one question: does the answer stay the same when wording, seed or k change?

Each run is held against the modal run: the same claim and the same sources is convergent (→); one of the two the
same is recursive (<>); nothing usable is divergent (←); another claim from other sources, or from none, is chaotic
(×). The WFGY page names the labels and asks for three paraphrases and two seeds; what counts as a claim is this
project's definition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wfgy_triage.measure.answers import answer_matches, content_words, normalise
from wfgy_triage.measure.tension import Lambda

Claim = tuple[str, ...]
RIGHT: Claim = ("=",)
"""The claim of every answer that says what the gold answer says, however it is worded."""


@dataclass(frozen=True)
class RunAnswer:
    """What one run says.

    Attributes:
        claim: see `claim_of`; empty for an answer without content.
        sources: what it cites.
        aborted: cut off or empty, so that it says nothing that could be compared.
    """

    claim: Claim
    sources: frozenset[str]
    aborted: bool


def claim_of(answer: str, gold: str, aliases: Iterable[str] = ()) -> Claim:
    """What an answer claims: `RIGHT`, or the numbers it states, or without numbers its content words."""
    if answer_matches(answer, gold, aliases):
        return RIGHT
    words = normalise(answer)
    numbers = tuple(sorted({w for w in words if any(c.isdigit() for c in w)}))
    return numbers or tuple(sorted(content_words([answer])))


def label_run(run: RunAnswer, reference: RunAnswer | None) -> Lambda:
    """The state of one run against a reference run (None, or aborted: there is no usable one)."""
    if run.aborted or reference is None or reference.aborted:
        return Lambda.DIVERGENT
    same_claim, same_sources = run.claim == reference.claim, run.sources == reference.sources
    if same_claim and same_sources:
        return Lambda.CONVERGENT
    # Two answers that cite nothing share no source.
    kept_sources = bool(run.sources) and same_sources
    return Lambda.RECURSIVE if same_claim or kept_sources else Lambda.CHAOTIC


def label_runs(runs: Sequence[RunAnswer]) -> tuple[Lambda, ...]:
    """The state of each run against the modal one (most frequent claim and sources; of equals the first)."""
    usable = [r for r in runs if not r.aborted]
    if not usable:
        return tuple(Lambda.DIVERGENT for _ in runs)
    frequency = Counter((r.claim, r.sources) for r in usable)
    # Counter keeps the order of first appearance, and max takes the first of equals.
    claim, sources = max(frequency, key=lambda key: frequency[key])
    return tuple(label_run(run, RunAnswer(claim, sources, False)) for run in runs)


def convergent_share(labels: Sequence[Lambda]) -> float:
    """Share of runs that are convergent.

    Raises:
        ValueError: no runs.
    """
    if not labels:
        raise ValueError("no runs")
    return sum(label is Lambda.CONVERGENT for label in labels) / len(labels)
