"""The attention back end that has no causal mask, switched off: the same weights, loaded once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from wfgy_triage.engine_settings import engine_settings
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError

ELSEWHERE = (
    "The EXL2 side does not run in exllamav2 itself here, and no other engine has its attention back ends to choose "
    "from."
)
SWITCHED_OFF = (
    "The pair runs with `attention: causal`, so PyTorch's attention without a causal mask is switched off already. "
    "What is left is another version of exllamav2, or flash-attn 2.5.7 or later."
)


class CausalAttention:
    """One candidate."""

    id = "no_sdpa"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """PyTorch's attention off, where exllamav2 takes what is installed.

        Raises:
            NotApplicableError: the EXL2 side is another engine, or runs without that attention already.
        """
        settings = engine_settings(case.pair.engine, case.pair.id)
        if not settings.uses_library("exl2"):
            raise NotApplicableError(ELSEWHERE)
        if settings.attention == "causal":
            raise NotApplicableError(SWITCHED_OFF)
        return [Candidate(self.id, self.id, "Attention with a causal mask", {"model.no_sdpa": True})]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The EXL2 side opened once more; an attention that still sees the future is refused in opening."""
        with closing(case.shop.open_exl2(case.pair.exl2, attention="causal")) as engine:
            yield Change(engine)


REMEDIES = {"no_sdpa": CausalAttention()}
