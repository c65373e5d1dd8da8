"""Every change that a remedy can offer is one that the files of a recommendation can be written from."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.probes.desk import Desk
from tests.remedies.bench import PAIR, FailedRun, no_engine, no_findings
from wfgy_triage.catalog import load_catalog
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.registry import get_probe
from wfgy_triage.probes.retrieval_plan import make_plan
from wfgy_triage.probes.wrong_snippet import _shown
from wfgy_triage.remedies.base import Candidate, Case, NotApplicableError, Shop
from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Patch, explain
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.renders import render

WITHOUT_FOLDERS = ("schema_lock", "citation_contract", "segment_chain", "rebirth", "alternate_paths")
"""Remedies that look at the model's folders have their own tests."""
FACTS = Facts("fp16", "exl2", 4.2, 6, {"rope_theta": 10000.0}, {})


@pytest.mark.parametrize("symptom", ["json_breaks", "citations_missing", "long_chain"])
def test_what_remedies_offer_is_a_patch(symptom: str, tmp_path):
    probe = get_probe(symptom)
    context = Desk(probe, {}, {}, ProbeSettings(questions=2)).context()
    subject = probe.subject(context)
    assert subject is not None
    case = Case(context, subject, PAIR, FailedRun().case().diagnosis, Shop(no_engine, no_findings, tmp_path))
    found: list[Candidate] = []
    for remedy_id in WITHOUT_FOLDERS:
        with suppress(NotApplicableError):
            found += get_remedy(remedy_id).candidates(case)
    assert found
    for candidate in found:
        patch = Patch(candidate.patch)
        assert explain(patch)
        assert set(render(patch, FACTS))
        assert len(f"try:{candidate.id}") <= 64
        assert candidate.remedy in load_catalog().remedies


def test_what_retrieval_offers_is_a_patch():
    shown = _shown(make_plan(ProbeSettings()), control="independent")
    assert set(shown) >= {"rebuild_index", "independent_embedder", "raise_k"}
    for remedy_id, change in shown.items():
        assert remedy_id in load_catalog().remedies
        assert explain(Patch(change.patch))
