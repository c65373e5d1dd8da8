"""A run that checks again after a change: linked, compared, and otherwise like any other."""

from __future__ import annotations

import pytest

from tests.runs.run_fakes import FakeProbe, fake_description, spec
from tests.runs.test_execute import run_once
from wfgy_triage.catalog import validate_result
from wfgy_triage.errors import InputError
from wfgy_triage.runs import recheck
from wfgy_triage.runs.service import TriageService


def describe(weights: str):
    def described(pair):
        found = fake_description(pair)
        return {**found, "exl2": {**found["exl2"], "weights_sha256": weights}}

    return described


def test_the_result_names_the_run_before_and_whether_any_file_changed(settings, repo):
    _, first = run_once(settings, repo, spec(4), describe_pair=describe("a" * 64))
    for weights, same in (("a" * 64, True), ("b" * 64, False)):
        _, again = run_once(settings, repo, spec(4, recheck_of=first.id), describe_pair=describe(weights))
        validate_result(again.result)
        found = again.result["recheck"]
        assert (found["run_id"], found["state_before"]) == (first.id, "PASS")
        assert found["same_files"] is same
    assert first.result["recheck"] is None


def test_the_link_does_not_reach_the_probe(settings, repo):
    seen = []

    class Nosy(FakeProbe):
        def run(self, context):
            seen.append(dict(context.settings.options))
            super().run(context)

    _, first = run_once(settings, repo, spec(4))
    run_once(settings, repo, spec(4, recheck_of=first.id, pause=0), get_probe=lambda s: Nosy(settings.home))
    assert seen == [{"pause": 0}]


def test_the_same_questions_at_another_level_are_not_compared(settings, repo, monkeypatch):
    paired = []
    monkeypatch.setattr(recheck, "between_runs", lambda *args: paired.append(args))

    class Harder(FakeProbe):
        def workload_info(self, settings):
            return {**super().workload_info(settings), "level": "hard"}

    _, first = run_once(settings, repo, spec(4))
    _, same = run_once(settings, repo, spec(4, recheck_of=first.id))
    assert len(paired) == 1
    _, hard = run_once(
        settings, repo, spec(4, recheck_of=first.id), get_probe=lambda s: Harder(settings.home)
    )
    assert same.result["recheck"]["run_id"] == hard.result["recheck"]["run_id"] == first.id
    assert len(paired) == 1
    assert hard.result["settings"]["interval_level"] == 0.95


def test_a_run_that_is_gone_or_of_another_pair_is_not_compared(settings, repo):
    _, again = run_once(settings, repo, spec(4, recheck_of="gone"))
    assert again.result["recheck"] is None
    _, first = run_once(settings, repo, spec(4))
    other = lambda pair: {**fake_description(pair), "id": "other"}  # noqa: E731
    _, again = run_once(settings, repo, spec(4, recheck_of=first.id), describe_pair=other)
    assert again.result["recheck"] is None


def test_checking_again_starts_the_same_run_linked_to_the_first(settings):
    service = TriageService(settings, lambda: ("json_breaks",))
    first = service.start(spec(5, fix="no"))
    again = service.get(service.check_again(first)).spec
    assert again == spec(5, fix="no", recheck_of=first)
    latest = service.check_again(service.check_again(first))
    assert service.get(latest).spec.options["recheck_of"] != first
    with pytest.raises(InputError, match="gone"):
        service.start(spec(5, recheck_of="gone"))
    service.close()
