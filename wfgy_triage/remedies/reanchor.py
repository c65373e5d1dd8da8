"""The task is put back at the end of the prompt where the text has drifted away from it (WFGY: BBMC).

Every ten steps ΔS (1 - cosine of sentence vectors) of the newest steps to the chain's beginning is measured; where it
passes 0.60, the source's bound for acting, the beginning and the last steps are repeated and the model goes on.
Where no lost answer ever passes the bound, nothing would be put back, and that is said instead of tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.measure.tension import RISK, context_distance
from wfgy_triage.probes.long_chain import Encoder
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError
from wfgy_triage.remedies.chain_loops import ChainDraft, bridged, chains_of
from wfgy_triage.remedies.loops import Draft
from wfgy_triage.remedies.segment_chain import SegmentedEngine

EVERY = 10
"""Steps between two looks at the distance."""
CHECK_TOKENS = 200
"""The source's interval between two looks, in tokens; answers that are shorter never come to one."""


class Reanchor:
    """One candidate.

    Args:
        open_encoder: loads the sentence model that ΔS is measured with.
    """

    id = "reanchor"

    def __init__(self, open_encoder: Callable[[], Encoder] = load_sentence_encoder) -> None:
        self._encoder = cache(open_encoder)

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """Repeat the beginning where a lost chain has drifted.

        Raises:
            NotApplicableError: answers are too short, or none has drifted.
        """
        self._refuse(case)
        patch = {"chain.anchor_every": EVERY, "chain.anchor_distance": RISK}
        return [Candidate(self.id, self.id, f"Repeat the task where ΔS passes {RISK:.2f}", patch)]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The run's own EXL2 engine, anchored."""
        yield Change(SegmentedEngine(case.context.exl2, chains_of(case), EVERY, self._leads))

    def _leads(self, drafts: Sequence[ChainDraft], contexts: Sequence[str]) -> Sequence[str]:
        """Each chain goes on from its whole text; behind it, where it has drifted, stand beginning and last steps."""
        windows = ["".join(d.lines[-EVERY:]) for d in drafts]
        found = self._distances([d.chain.prompt for d in drafts], windows)
        return [
            context + ("\n" + bridged(draft.chain, draft.lines) if distance > RISK else "")
            for draft, context, distance in zip(drafts, contexts, found, strict=True)
        ]

    def _distances(self, anchors: Sequence[str], texts: Sequence[str]) -> list[float]:
        rows = self._encoder().encode([*anchors, *texts])
        return [context_distance(a, t[None]) for a, t in zip(rows, rows[len(anchors) :], strict=False)]

    def _refuse(self, case: Case) -> None:
        if "chains" not in case.subject.facets:
            longest = max((i.max_new_tokens for i in case.subject.items), default=0)
            raise NotApplicableError(_too_short(longest))
        chains, lost = chains_of(case), case.subject.lost(case.context.stored())
        texts = {
            s.key.question: str(s.payload["text"])
            for s in case.context.stored()
            if s.key.side == case.subject.side
        }
        looks = [
            (chains[i.question].prompt, "".join(lines[at : at + EVERY]))
            for i in lost
            for lines in [ChainDraft(chains[i.question], i.request, Draft(texts[i.question])).lines]
            for at in range(0, len(lines) - EVERY + 1, EVERY)
        ]
        found = self._distances(*zip(*looks, strict=True)) if looks else []
        if max(found, default=0.0) <= RISK:
            seen = f"the largest is {max(found):.2f}" if found else "none is long enough to look at"
            raise NotApplicableError(
                f"In no lost answer does ΔS to the beginning pass {RISK:.2f} ({seen}), so nothing would be put back."
            )


def _too_short(longest: int) -> str:
    if longest < CHECK_TOKENS:
        return (
            f"Answers here have at most {longest} tokens; the distance is looked at every {CHECK_TOKENS}, "
            "so nothing would be put back."
        )
    return "Only chains of steps can be continued from a repeated task in this version."


REMEDIES = {"reanchor": Reanchor()}
