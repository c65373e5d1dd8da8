"""Probe "Long chain divergence": both models go on with the same chains; the FP16 text is then scored on both.

Five kinds of samples are stored a chain, as in every paired probe: the text of each side, of the FP16 twin (the noise
floor), and the token comparison on the FP16 text for EXL2 and for the twin, each token with the step it belongs to.
Chains are plain text to be continued, in greedy decoding: what is measured is whether the running state holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wfgy_triage.engines.base import Completion, Engine, TokenScores
from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.measure.chain import ChainOutcome, Layout, Stated, judge_chain, read_steps
from wfgy_triage.probes.base import Evaluation, ProbeContext, ProbeSettings
from wfgy_triage.probes.chain_evaluation import evaluate_chains, lost_chains
from wfgy_triage.probes.chain_samples import useful
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.localize import localize
from wfgy_triage.probes.lost import lost_answers
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.probes.payloads import token_pieces
from wfgy_triage.probes.reuse import rounded
from wfgy_triage.probes.sampling import as_asked
from wfgy_triage.probes.subject import Subject
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.chains import STANDARD, Chain, load_chains

SYMPTOM = "long_chain"
LENGTH_FACTOR, LENGTH_MARGIN = 1.1, 8
"""Answer budget: the tokens of the right steps, a tenth more, and a margin: room for some format noise."""
LEVEL_OPTION = "chains"
"""Run option that picks another level of chains than the standard one."""


class Encoder(Protocol):
    """What makes sentence embeddings; see `engines.sentences`."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows of unit length, one a text."""
        ...


class LongChain:
    """The probe; holds no state between calls but the loaded sentence model.

    Args:
        open_encoder: loads the sentence model that ΔS is measured with.
    """

    symptom = SYMPTOM

    def __init__(self, open_encoder: Callable[[], Encoder] = load_sentence_encoder) -> None:
        self._encoder = cache(open_encoder)

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """Identity of the chains, and how many of them are used."""
        workload = load_chains()
        return {
            "id": workload.id,
            "sha256": workload.sha256,
            "questions": len(_chains(settings)),
            "level": str(settings.options.get(LEVEL_OPTION, STANDARD)),
        }

    def run(self, context: ProbeContext) -> None:
        """Continue the chains on both sides and the twin, then score; skips what is stored, stops when asked."""
        subject = self.subject(context)
        chains = {c.id: c for c in _chains(context.settings)}

        def annotate(item: Item, answer: tuple[int, ...], scores: TokenScores) -> dict[str, Any]:
            pieces = token_pieces(context.fp16, answer)
            return {
                "step": _token_steps(chains[item.question], pieces),
                "ref_entropy": rounded(scores.ref_entropy),
                "cand_entropy": rounded(scores.cand_entropy),
            }

        measuring = Measuring(context, SYMPTOM, subject.items)
        measuring.run(subject.judge, annotate)
        if not context.should_stop():
            lost = lost_chains(context.stored(), context.settings.level, load_chains().horizon)
            localize(context, measuring, subject.judge, lost_answers(lost, subject.useful))

    def subject(self, context: ProbeContext) -> Subject:
        """The chains, and how well each is continued."""
        chains = {c.id: c for c in _chains(context.settings)}
        items = [chain_item(c, context.fp16, context.settings.seed) for c in chains.values()]

        def judge(item: Item, completion: Completion) -> dict[str, Any]:
            return self._judged(chains[item.question], completion)

        # All chains: a change may be confirmed on more than this run has asked.
        every = {c.id: c for c in load_chains().chains}
        return Subject(SYMPTOM, as_asked(items, context), judge, useful, facets={"chains": every})

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """See `chain_evaluation.evaluate_chains`."""
        return evaluate_chains(samples, checks, settings.level, load_chains().horizon)

    def _judged(self, chain: Chain, completion: Completion) -> dict[str, Any]:
        cut = completion.finish_reason == "length"
        stated = read_steps(completion.text, layout_of(chain), chain.horizon, cut)
        outcome = judge_chain(stated, chain.start, chain.truth, chain.follow, cut)
        said = {s.step: s.state for s in stated}
        distances, reason = self._distances(chain, completion.text, stated)
        return {
            "kind": str(outcome.kind),
            # Whether the text was cut matters only where steps are missing for it.
            "truncated": None in outcome.right,
            "valid": None if None in outcome.right else outcome.first_wrong is None,
            "detail": outcome.detail,
            "mark": _mark(outcome),
            "class": chain.kind.name,
            "right": list(outcome.right),
            "said": [_words(said.get(step)) for step in range(1, chain.horizon + 1)],
            "known": max(said, default=0) if cut else chain.horizon,
            "first_wrong": outcome.first_wrong,
            "stable": outcome.lifetime.steps,
            "consistent": outcome.consistent,
            "repeats": outcome.repeats,
            "ds": distances,
            "ds_reason": reason,
        }

    def _distances(
        self, chain: Chain, text: str, stated: Sequence[Stated]
    ) -> tuple[list[float | None] | None, str]:
        """ΔS of every stated step to the right step as it would be written, or the reason why there is none."""
        pairs = {
            s.step: (text[s.begin : s.end].strip(), chain.gold_steps[s.step - 1].strip()) for s in stated
        }
        found: list[float | None] = [None] * chain.horizon
        for step in pairs:
            found[step - 1] = 0.0
        differing = {step: pair for step, pair in pairs.items() if pair[0] != pair[1]}
        if differing:
            try:
                encoder = self._encoder()
            except PrerequisiteError as error:
                return None, error.message
            texts = sorted({t for pair in differing.values() for t in pair})
            rows = dict(zip(texts, encoder.encode(texts).astype(np.float64), strict=True))
            for step, (said, gold) in differing.items():
                found[step - 1] = round(float(np.clip(1.0 - rows[said] @ rows[gold], 0.0, 2.0)), 6)
        return found, ""


PROBE = LongChain()


def layout_of(chain: Chain) -> Layout:
    """How the reader of steps has to read this chain."""
    kind = chain.kind
    return Layout(
        separator=kind.separator,
        arrow=kind.arrow,
        first_label=kind.shown + 1 if kind.numbered else None,
        width=len(chain.start),
        words=chain.words,
    )


def _chains(settings: ProbeSettings) -> tuple[Chain, ...]:
    workload = load_chains()
    level = str(settings.options.get(LEVEL_OPTION, STANDARD))
    chains = workload.level(level)
    if not chains:
        known = ", ".join(sorted({k.level for k in workload.kinds.values()}))
        raise InputError(f"There are no chains of the level {level!r}.", f"Levels: {known}.")
    return chains[: settings.questions]


def chain_item(chain: Chain, engine: Engine, seed: int) -> Item:
    """A chain as it is asked, with the budget of its answer."""
    gold = engine.encode(chain.gold_text)
    budget = int(LENGTH_FACTOR * len(gold)) + LENGTH_MARGIN
    return Item(
        chain.id,
        engine.encode(chain.prompt),
        budget,
        seed=seed,
        stop_strings=chain.stop,
        group=chain.kind.name,
        expected=gold,
    )


def _token_steps(chain: Chain, pieces: Sequence[str]) -> list[int]:
    """The step that each token writes, 0 for none; a token counts where it begins."""
    text = "".join(pieces)
    spans = read_steps(text, layout_of(chain), chain.horizon, cut=False)
    steps, place = [], 0
    for piece in pieces:
        steps.append(next((s.step for s in spans if s.begin <= place < s.end), 0))
        place += len(piece)
    return steps


def _mark(outcome: ChainOutcome) -> str:
    """What the badge of an answer says, in a few words."""
    if outcome.first_wrong is None:
        return "Cut off" if None in outcome.right else "Right to the end"
    return f"Wrong at step {outcome.first_wrong}"


def _words(state: Sequence[str] | None) -> str | None:
    return None if state is None else " ".join(state)
