"""What the loops around long chains share: reading a draft's steps, cutting it behind one, and the stated bridge.

None of this looks at what would be right. A loop knows what a person's program knows: the beginning it sent, how a
step is written, and how many steps it wants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wfgy_triage.engines.base import Completion, Engine, FinishReason, GenerationRequest
from wfgy_triage.measure.chain import Stated, read_steps
from wfgy_triage.probes.long_chain import layout_of
from wfgy_triage.remedies.base import Case, NotApplicableError
from wfgy_triage.remedies.loops import Draft
from wfgy_triage.workload.chains import Chain

RESTATED = 4
"""Steps that a bridge restates: the last as the model stated them."""
GAP = "..."
"""What stands between a chain's beginning and the restated steps."""


@dataclass(frozen=True)
class ChainDraft:
    """A chain as far as it is written."""

    chain: Chain
    request: GenerationRequest
    draft: Draft = Draft()
    reason: FinishReason = "length"

    @property
    def steps(self) -> tuple[Stated, ...]:
        """The whole steps; one that the length limit broke off is not among them."""
        cut = self.reason == "length"
        return read_steps(self.draft.text, layout_of(self.chain), self.chain.horizon, cut)

    @property
    def lines(self) -> tuple[str, ...]:
        """The whole steps as the model wrote them, each with its separator."""
        separator = self.chain.kind.separator
        found = (self.draft.text[s.begin : s.end] for s in self.steps)
        return tuple(line if line.endswith(separator) else line + separator for line in found)

    def plus(self, part: Completion) -> ChainDraft:
        """With what the model wrote next, behind a separator where the part before ended without one."""
        joint = self.written[len(self.draft.text) :]
        return replace(self, draft=self.draft.plus(part, joint), reason=part.finish_reason)

    @property
    def written(self) -> str:
        """The text, its last step closed with a separator."""
        separator, text = self.chain.kind.separator, self.draft.text
        return text if not text or text.endswith(separator) else text + separator

    def upto(self, engine: Engine, count: int) -> ChainDraft:
        """Cut behind the first `count` whole steps."""
        size = self.steps[count - 1].end if count else 0
        if size == len(self.draft.text):
            return self
        # What is left ends with a separator, so that its last step stays whole.
        return replace(self, draft=self.draft.cut(engine, size), reason="length")

    @property
    def complete(self) -> bool:
        """Whether the last step that is wanted is written."""
        steps = self.steps
        return bool(steps) and steps[-1].step >= self.chain.horizon

    def completion(self, reason: FinishReason) -> Completion:
        """As one answer."""
        return self.draft.completion(self.request.id, reason)


def bridged(chain: Chain, lines: Sequence[str]) -> str:
    """A fresh prompt: the chain's own beginning, a gap, and the last steps as the model stated them."""
    if not lines:
        return chain.prompt
    lead = " " if lines[-1].startswith(" ") else ""
    return chain.prompt + lead + GAP + chain.kind.separator + "".join(lines[-RESTATED:])


def chain_of(chains: Mapping[str, Chain], request: GenerationRequest) -> Chain:
    """The chain that a request asks for."""
    return chains[request.id.rsplit("/", 2)[0]]


def chains_of(case: Case) -> Mapping[str, Chain]:
    """The chains of a run.

    Raises:
        NotApplicableError: its questions are no chains.
    """
    found: Mapping[str, Chain] | None = case.subject.facets.get("chains")
    if found is None:
        raise NotApplicableError("The answers here are no long chains of steps.")
    return found
