"""Answers that are drawn at random are drawn at a low temperature (WFGY: BBAM).

The source's recipe is a plan at temperature 0.2 to 0.4 with a deterministic tie-break; here the draw depends on the
request's own seed alone, so the same question gives the same answer each time. The module's literal formula is not
used: it raises the temperature (`measure.modulation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from wfgy_triage.probes.items import Item
from wfgy_triage.probes.subject import EXL2
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError
from wfgy_triage.remedies.sampler import IN_THE_FILE, TEMPERATURE, kept_settings

BAND = (0.2, 0.4)
"""The source's range; nothing inside it is changed."""
CLAMPED = 0.3


class VarianceClamp:
    """One candidate."""

    id = "variance_clamp"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """A temperature inside the band, where questions are asked at a higher one."""
        asked = {i.sampling_of(EXL2) for i in case.subject.items}
        if any(a.sampler.server_own and not a.temperature for a in asked):
            # How hot the server draws is not known; what it does at this temperature can be seen.
            return [Candidate(self.id, self.id, f"Temperature {CLAMPED:g}", {TEMPERATURE: CLAMPED})]
        temperatures = {a.temperature for a in asked}
        if temperatures <= {0.0}:
            raise NotApplicableError(
                "Every answer takes the likeliest word each time (temperature 0), so there is no variance to clamp."
            )
        if max(temperatures) <= BAND[1]:
            raise NotApplicableError(f"The temperature is {max(temperatures):g} already.")
        patch: dict[str, Any] = {TEMPERATURE: CLAMPED}
        # Settings of the item's own come from the folder's file, and are changed there; the others stay.
        for own in {i.sampling.exl2 for i in case.subject.items if i.sampling}:
            patch |= {IN_THE_FILE: True, **kept_settings(own)}
        return [Candidate(self.id, self.id, f"Temperature {CLAMPED:g}", patch)]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The run's own EXL2 engine, asked at the lower temperature."""
        yield Change(case.context.exl2, clamped)


def clamped(item: Item) -> Item:
    """The item with EXL2 asked at the clamped temperature; one that is asked inside or below the band stays."""
    own = item.sampling_of(EXL2)
    if own.temperature <= BAND[1] and not own.sampler.server_own:
        return item
    if item.sampling is None:
        return replace(item, temperature=CLAMPED)
    return item.with_exl2(replace(own, temperature=CLAMPED))


REMEDIES = {"variance_clamp": VarianceClamp()}
