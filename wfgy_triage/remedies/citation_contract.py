"""The same question in a frame that states what an answer has to contain (WFGY: BBMC, with its data contracts)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wfgy_triage.probes.subject import CONTRACTS, Contract
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError


class CitationContract:
    """Tries the frames that the probe has for its questions; solved examples in a prompt stay."""

    id = "citation_contract"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """One for each frame."""
        return [
            Candidate(f"{self.id} {c.id}", self.id, c.label, {"prompt.contract": c.text})
            for c in _contracts(case)
        ]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The run's own EXL2 engine, asked in the frame."""
        found = next(c for c in _contracts(case) if candidate.id == f"{self.id} {c.id}")
        yield Change(case.context.exl2, found.restate)


def _contracts(case: Case) -> Sequence[Contract]:
    found: Sequence[Contract] = case.subject.facets.get(CONTRACTS, ())
    if not found:
        raise NotApplicableError(
            "There is no frame for these questions; they ask for no sources and no record."
        )
    return found


REMEDIES = {"citation_contract": CitationContract()}
