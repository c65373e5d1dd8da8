"""Trials on the page without a browser: the choice in step 2 and the live view."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wfgy_triage.remedies.told import TrialFacts
from wfgy_triage.store.records import Event
from wfgy_triage.ui.live import trial_stage, trials_so_far
from wfgy_triage.ui.trial_choice import OFF, USUAL, trial_choice, trial_options, trial_plan

NOW = datetime(2026, 11, 23, 7, 41, tzinfo=UTC)


def stage(name: str, label: str, done: int = 6) -> Event:
    return Event("r", 1, NOW, "stage", {"name": name, "label": label, "done": done, "total": 20})


@pytest.mark.parametrize(
    ("choice", "options"),
    [
        (OFF, {"fix": "no"}),
        ("60", {"fix_seconds": 60}),
        (USUAL, {}),
        ("600", {"fix_seconds": 600}),
        ("x", {}),
    ],
)
def test_choice_and_options_are_two_forms_of_the_same(choice: str, options: dict[str, object]):
    assert trial_options(choice) == options
    assert trial_choice(options) == (choice if choice != "x" else USUAL)


def test_the_plan_says_what_happens_after_a_fail():
    assert "up to 10 minutes more" in trial_plan("600")
    assert "up to 1 minute more" in trial_plan("60")
    assert "No change is tried" in trial_plan(OFF)


def test_the_live_view_shows_the_change_in_work_and_those_that_are_through():
    done = TrialFacts(0, "a", "alternate_paths", "<b>Vote", {}, "tried", lost=8, restored=6)
    skipped = TrialFacts(1, "b", "segment_chain", "Segments", {}, "skipped", "No chain here.")
    events = [stage("exl2", "EXL2 answers", 20), stage("trials", "Trying: More bits")]
    html = trials_so_far([done, skipped], events)
    for text in (
        "&lt;b&gt;Vote",
        "It brings back 6 of 8 lost answers",
        "No chain here.",
        "Trying now",
        "6 of 20",
    ):
        assert text in html
    assert html.index("Segments") < html.index("More bits")


def test_the_live_view_has_no_trials_before_the_first_and_after_the_end():
    measuring = [stage("exl2", "EXL2 answers")]
    trying = [*measuring, stage("trials", "Trying: More bits")]
    assert trials_so_far([], measuring) == ""
    assert trials_so_far([], trying, ended=True) == ""
    assert trial_stage([*trying, stage("evaluate", "Working out the verdict")]) is None
