"""Two sessions compared: metrics paired as the re-check pairs them, and only what differs."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from tests.probes.desk import Desk
from tests.remedies.bench import BROKEN, GOLD
from tests.report.sessions_made import made_session
from wfgy_triage.catalog import load_catalog
from wfgy_triage.measure.statistics import PairedCounts, tango
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.remedies.reading import between_runs
from wfgy_triage.report.compare import Pairing, compare
from wfgy_triage.report.compare_html import comparison_page
from wfgy_triage.report.export.redact import redacted
from wfgy_triage.report.export.session import Session
from wfgy_triage.runs import compare as runs_compare
from wfgy_triage.runs.compare import pair_elsewhere, pair_here
from wfgy_triage.settings import load_settings


def session(exl2: dict[str, str], run_id: str, **more: int) -> Session:
    """A session whose samples the JSON probe made on scripted engines."""
    desk = Desk(PROBE, GOLD, exl2, ProbeSettings(**more)).run()
    found = desk.evaluate()
    made = made_session(run_id, answers=0)
    result = replace(
        made.result, state=found.state, headline=found.headline, metrics=found.metrics, recommendation=None
    )
    spec = replace(made.record.spec, questions=desk.settings.questions)
    return replace(
        made, record=replace(made.record, spec=spec), result=result, samples=tuple(desk.samples.values())
    )


@pytest.fixture(scope="module")
def before():
    return session(BROKEN, "before")


@pytest.fixture(scope="module")
def after():
    return session(GOLD, "after", questions=30)


def test_metrics_are_paired_over_the_questions_of_both(before, after):
    pairing = pair_here(before, after)
    found = {m.id: m for m in pairing.metrics}
    primary = found["schema_valid_rate"]
    assert (primary.n, primary.before, primary.after, primary.better) == (20, 0.5, 1.0, True)
    mended = PairedCounts.from_outcomes([True, False] * 10, [True] * 20)
    assert primary.interval == tango(mended).bounds
    recheck = between_runs(before.samples, after.samples, PROBE, ProbeSettings(questions=30))
    assert recheck is not None
    assert (recheck.difference, recheck.interval) == (primary.difference, primary.interval)
    assert len(found) > 3


def test_the_other_way_round_is_the_negative(before, after):
    there, back = (
        {m.id: m.difference for m in pair_here(*pair).metrics} for pair in ((before, after), (after, before))
    )
    assert back == {k: pytest.approx(-v) if v else v for k, v in there.items()}


def test_only_what_differs_is_found(before, after):
    found = compare(before, after, Pairing())
    assert {(d.section, d.name) for d in found.differences} == set()
    assert (len(found.gained), len(found.dropped), found.shared) == (10, 0, 20)
    assert all(a.exl2.valid is False and b.exl2.valid for a, b in found.gained)
    versions = {**after.result.versions, "torch": "9.9"}
    pair = {**after.result.pair, "exl2": {**after.result.pair["exl2"], "decoder_bpw": 3.3, "memory_bytes": 5}}
    moved = replace(after, result=replace(after.result, versions=versions, pair=pair))
    assert [(d.name, d.first, d.second) for d in compare(before, moved, Pairing()).differences] == [
        ("bits per weight", "4.21", "3.3"),
        ("torch", "2.13.0", "9.9"),
    ]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda s: replace(s, result=replace(s.result, symptom="long_chain")), "different symptoms"),
        (
            lambda s: replace(
                s, result=replace(s.result, workload={**s.result.workload, "sha256": "1" * 64})
            ),
            "different question sets",
        ),
        (
            lambda s: replace(s, result=replace(s.result, workload={**s.result.workload, "level": "hard"})),
            "different question sets",
        ),
        (redacted, "left out"),
        (lambda s: replace(s, samples=()), "no answered question in common"),
        (
            lambda s: replace(s, samples=tuple(replace(x, payload={"text": "x"}) for x in s.samples)),
            "could not be evaluated",
        ),
    ],
    ids=["symptom", "questions", "level", "redacted", "none", "foreign"],
)
def test_what_cannot_be_paired_says_why(before, after, other, said):
    pairing = pair_here(before, other(after))
    assert pairing.metrics == ()
    assert said in pairing.reason


def test_the_page_shows_the_difference_and_how_to_read_it(before, after):
    html = comparison_page(compare(before, after, pair_here(before, after)), load_catalog())
    assert "+50 pts" in html
    assert ">Better<" in html
    assert "10 well only in the second session and 0 only in the first" in html
    pending = comparison_page(compare(before, after, Pairing(pending=True)), load_catalog())
    assert "being paired question by question" in pending
    same = comparison_page(compare(before, before, pair_here(before, before)), load_catalog())
    assert "No metric differs on the questions that both asked." in same
    assert "Models, settings and versions are the same in both." in same


def test_the_page_asks_a_process_once_and_again_after_a_failure(before, after, tmp_path, monkeypatch):
    settings = load_settings(home=tmp_path)
    asked: list[list[str]] = []

    class Done:
        stdout = b'{"metrics": [], "reason": "as told"}'

    def run(command, **more):
        asked.append(command[3:])
        assert more["env"]["WFGY_TRIAGE_HOME"] == str(tmp_path)
        if len(asked) == 1:
            raise OSError("no memory")
        return Done()

    monkeypatch.setattr(runs_compare.subprocess, "run", run)
    runs_compare._asked.cache_clear()
    assert "Open the comparison again" in pair_elsewhere(settings, before, after).reason
    assert pair_elsewhere(settings, before, after).reason == "as told"
    assert pair_elsewhere(settings, before, after).reason == "as told"
    assert asked == [["paired", "before", "after"]] * 2


def test_more_comparisons_than_there_are_places_are_put_off_politely(before, after, tmp_path, monkeypatch):
    monkeypatch.setattr(runs_compare, "_places", threading.BoundedSemaphore(1))
    runs_compare._places.acquire()
    assert "in a moment" in pair_elsewhere(load_settings(home=tmp_path), before, after).reason
