"""Which changes a search comes to: the fix map's causes list them, and keep some to the symptoms they are for."""

from __future__ import annotations

import pytest

from wfgy_triage.catalog import load_catalog
from wfgy_triage.remedies.registry import triable
from wfgy_triage.result import Diagnosis
from wfgy_triage.runs.trials import to_try

CHAINS = ("segment_chain", "reanchor", "rebirth", "alternate_paths")


def tried(symptom: str, cause: str) -> tuple[str, ...]:
    return to_try(symptom, Diagnosis(cause, "high"), ())


def test_a_search_can_come_to_every_change_that_can_be_tried():
    catalog = load_catalog()
    asking = [s.id for s in catalog.symptoms.values() if s.asks_questions]
    reached = {r for symptom in asking for cause in catalog.causes for r in tried(symptom, cause)}
    assert set(triable()) <= reached


@pytest.mark.parametrize("cause", ["baseline_also_fails", "unknown"])
def test_chains_are_tried_in_every_way_there_is_for_them(cause: str):
    found = [r for r in tried("long_chain", cause) if r in CHAINS]
    assert found == list(CHAINS)
    assert not {"reanchor", "rebirth"} & set(tried("citations_missing", cause))
    assert tried("citations_missing", cause)[-1] == tried("acceptance_gate", cause)[-1] == "alternate_paths"
    assert not {"reanchor", "rebirth", "alternate_paths"} & set(tried("json_breaks", cause))


def test_what_fp16_lacks_is_tried_first():
    assert tried("json_breaks", "schema_unconstrained")[0] == "schema_lock"
    assert tried("citations_missing", "prompt_contract_missing") == ("citation_contract",)
