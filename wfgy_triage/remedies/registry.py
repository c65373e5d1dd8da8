"""Which remedies can be tried. Listing them imports no model library."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module

from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError, Remedy

_MODULES: Mapping[str, str] = {
    "alternate_paths": "wfgy_triage.remedies.alternate_paths",
    "cache_bits": "wfgy_triage.remedies.cache_bits",
    "citation_contract": "wfgy_triage.remedies.citation_contract",
    "fix_all": "wfgy_triage.remedies.files",
    "fix_config": "wfgy_triage.remedies.files",
    "fix_rope": "wfgy_triage.remedies.files",
    "fix_template": "wfgy_triage.remedies.files",
    "fix_tokenizer": "wfgy_triage.remedies.files",
    "neutral_sampler": "wfgy_triage.remedies.sampler",
    "no_sdpa": "wfgy_triage.remedies.attention",
    "protect_blocks": "wfgy_triage.remedies.checkpoints",
    "quantize_again": "wfgy_triage.remedies.again",
    "raise_bpw": "wfgy_triage.remedies.checkpoints",
    "raise_head_bits": "wfgy_triage.remedies.checkpoints",
    "reanchor": "wfgy_triage.remedies.reanchor",
    "rebirth": "wfgy_triage.remedies.rebirth",
    "schema_lock": "wfgy_triage.remedies.schema_lock",
    "segment_chain": "wfgy_triage.remedies.segment_chain",
    "stop_tokens": "wfgy_triage.remedies.files",
    "variance_clamp": "wfgy_triage.remedies.variance_clamp",
}
"""Remedy id to the module whose `REMEDIES` hold it. A new remedy is one line here and one file."""
_ARMS = frozenset({"raise_k", "rebuild_index", "independent_embedder", "normalise_index"})
_ADVICE = {
    "migrate": "Advice only: no engine for EXL3 or GGUF is loaded here, so nothing was measured.",
    "pin_versions": "Other package versions have to be installed by hand; run this check again afterwards.",
    "warm_up": "Whether a server warms up cannot be tried on loaded models.",
}
"""Why a remedy of the fix map cannot be tried by any engine of this version."""


class Untriable:
    """A remedy that this version cannot try, with the reason."""

    def __init__(self, remedy_id: str, reason: str) -> None:
        self.id, self._reason = remedy_id, reason

    def candidates(self, case: Case) -> tuple[Candidate, ...]:
        """None, with the reason."""
        raise NotApplicableError(self._reason)

    def apply(self, case: Case, candidate: Candidate) -> AbstractContextManager[Change]:
        """Never asked for."""
        raise NotApplicableError(self._reason)


def get_remedy(remedy_id: str) -> Remedy:
    """The remedy of the fix map with this id; one that cannot be tried says why when asked for candidates."""
    if remedy_id in _MODULES:
        remedies: Mapping[str, Remedy] = import_module(_MODULES[remedy_id]).REMEDIES
        return remedies[remedy_id]
    if remedy_id in _ARMS:
        return Untriable(remedy_id, "This run did not search that arm.")
    reason = _ADVICE.get(remedy_id, "This version cannot try it.")
    return Untriable(remedy_id, reason)


def triable() -> tuple[str, ...]:
    """Ids of the remedies that a run can try on its models."""
    return (*_MODULES, *_ARMS)
