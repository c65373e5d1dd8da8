"""Which changes can be tried on a side that is asked on a server: those of the request, none of the folder."""

from __future__ import annotations

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.remedies.base import Remedy
from wfgy_triage.remedies.registry import Untriable, get_remedy

ON_REQUESTS = frozenset(
    {
        "alternate_paths", "citation_contract", "neutral_sampler", "reanchor", "rebirth", "schema_lock",
        "segment_chain", "variance_clamp",
    }
)  # fmt: skip
"""Remedies that change what is asked, or how an answer is put together, and nothing of the model."""
REASON = (
    "The EXL2 side is asked on a server, so no other folder can be tried in its place; load the changed folder there "
    "and check again."
)


def remedy_for(remedy_id: str, pair: Pair) -> Remedy:
    """The remedy, or what says why it is not tried on this pair."""
    found = get_remedy(remedy_id)
    if "exl2" not in pair.served or remedy_id in ON_REQUESTS or isinstance(found, Untriable):
        return found
    return Untriable(remedy_id, REASON)


def no_other_folder(pair: Pair) -> None:
    """A folder must never be taken for what a server answers.

    Raises:
        PrerequisiteError: the EXL2 side of the pair is asked on a server.
    """
    if "exl2" in pair.served:
        raise PrerequisiteError(REASON)
