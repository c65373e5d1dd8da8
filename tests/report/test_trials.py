"""Step 5 as HTML: what was tried, what it showed, the files to take away; and nothing that was not measured."""

from __future__ import annotations

import dataclasses
from io import StringIO
from urllib.parse import unquote

import pytest
from rich.console import Console

from tests.browser.scripted import sample_result
from tests.browser.scripted_trials import NONE_HELPED, RENDERS, VERIFIED, failed_result
from wfgy_triage.catalog import load_catalog, validate_result
from wfgy_triage.remedies.outcome import WORDS
from wfgy_triage.report.answers import collect_rows
from wfgy_triage.report.answers_changed import changed_answers, collect_changed
from wfgy_triage.report.charts_fix import before_after
from wfgy_triage.report.figures import fix_figure
from wfgy_triage.report.files import Kind, files_card
from wfgy_triage.report.fix import fix_head, fix_rest, why_not_tried
from wfgy_triage.report.recheck import recheck_line
from wfgy_triage.report.terminal import show_result
from wfgy_triage.report.trials import TRIAL_LOOKS, recommended
from wfgy_triage.result import Gate, Result, State
from wfgy_triage.runs.sessions import file_kinds
from wfgy_triage.store.records import Sample, SampleKey

CATALOG = load_catalog()
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def verified() -> Result:
    return failed_result("run-1", VERIFIED)


@pytest.fixture
def none_helped() -> Result:
    return failed_result("run-1", NONE_HELPED)


def test_the_samples_used_here_are_valid_results(verified: Result, none_helped: Result):
    for result in (verified, none_helped):
        validate_result(result.to_json())


def test_the_recommendation_says_before_after_cost_guards_and_that_it_is_verified(verified: Result):
    html = fix_head(verified, CATALOG)
    for text in (
        "Verified", "Hold decoding to the schema", "73.7 %", "99.5 %", "same 20 questions", "98.75 % interval",
        "passed its gate on 200 questions", "nothing", "BBAM (schema lock and variance clamp)", "Also checked",
        "Records with the right content", "No clear change",
    ):  # fmt: skip
        assert text in html


def test_an_improvement_that_does_not_pass_is_never_called_verified():
    html = recommended(failed_result("run-1", VERIFIED[:3]), CATALOG)
    assert "Better, but not enough" in html
    assert "A PASS would need about 160 more questions" in html
    assert "Verified" not in html


def test_other_trials_are_folded_with_their_reasons(verified: Result):
    html = fix_rest(verified, CATALOG)
    assert '<details class="trials"><summary><h3>3 other changes' in html
    assert "It brings back 0 of 5 lost answers" in html
    assert (
        "an earlier, cheaper change had passed: More bits where the damage is, More bits per weight." in html
    )


@pytest.mark.parametrize(("symptom", "listed"), [("json_breaks", False), ("long_chain", True)])
def test_what_is_kept_to_other_symptoms_is_neither_a_candidate_nor_said_to_be_left(
    none_helped: Result, symptom: str, listed: bool
):
    diagnosis = dataclasses.replace(none_helped.diagnosis, cause="unknown")
    searched = dataclasses.replace(none_helped, symptom=symptom, diagnosis=diagnosis)
    untried = dataclasses.replace(searched, recommendation=None)
    assert ("Repeat the task when the text drifts" in fix_head(searched, CATALOG)) is listed
    assert ("Roll back and continue over a bridge" in fix_rest(untried, CATALOG)) is listed


def test_none_helped_says_what_follows_and_advises_without_a_claim(none_helped: Result):
    html = fix_head(none_helped, CATALOG)
    assert "None of the 3 changes that were tried helped measurably." in html
    assert "making something else worse (Records with the right content)" in html
    assert "a small one is not ruled out" in html
    assert CATALOG.remedies["citation_contract"].rules_out in html
    assert "EXL3 or GGUF" in html
    assert "it was not measured" in html
    assert "Recommended" not in html
    assert files_card(none_helped, file_kinds()) == ""


def test_where_nothing_could_be_tried_the_reasons_and_the_advice_of_the_cause_stand():
    html = fix_head(failed_result("r", VERIFIED[1:2]), CATALOG)
    assert "No change could be tried on this pair." in html
    assert "there is no chain to cut" in html
    assert CATALOG.causes["weights_too_few_bits"].what_to_do in html
    assert "What this tells you" not in html


@pytest.mark.parametrize(
    ("state", "options", "said"),
    [
        (State.PASS, {}, "nothing to fix"),
        (State.INCONCLUSIVE, {}, "could not decide"),
        (State.NOT_MEASURED, {}, "could be judged"),
        (State.FAIL, {"fix": "no"}, "asked for the measurement alone"),
        (State.FAIL, {}, "ended before"),
    ],
)
def test_why_nothing_was_tried(state: State, options: dict[str, str], said: str):
    result = sample_result("r", state)
    result = dataclasses.replace(result, settings={**result.settings, **options})
    assert said in why_not_tried(result, CATALOG)
    assert said in fix_head(result, CATALOG)


def test_every_status_of_a_trial_has_a_look():
    assert set(TRIAL_LOOKS) == set(WORDS)


def test_files_are_tabs_with_the_text_to_copy_and_to_download(verified: Result):
    html = files_card(verified, file_kinds())
    assert html.count("data-tab=") + html.count("data-tab ") == 3
    assert html.count(" hidden>") == 2
    address = html.split('href="data:text/plain;charset=utf-8,')[1].split('"')[0]
    assert unquote(address) == RENDERS["sampler_preset"]
    assert "Fits exllamav2 0.3.2; for a schema" in html
    assert "<del>-  &quot;rope_theta&quot;: 10000.0,\n</del><ins>+" in html


def test_a_kind_of_file_that_is_not_known_is_shown_under_its_id(verified: Result):
    fix = {**verified.recommendation, "renders": {"new_target": "text"}}
    assert "new_target" in files_card(
        dataclasses.replace(verified, recommendation=fix), [Kind("x", "X", "x")]
    )


@pytest.mark.parametrize("renders", [{}, {"python": None}])
def test_without_files_the_setting_itself_is_shown(renders: dict[str, None]):
    html = files_card(failed_result("r", VERIFIED[:3], renders=renders), file_kinds())
    assert "&quot;paths.count&quot;: 3" in html


def test_the_figure_holds_what_was_measured_on_all_questions_only(verified: Result, none_helped: Result):
    data = before_after(verified)
    assert [(r["kind"], r["value"], r["n"]) for r in data["rows"]] == [
        ("fp16", 0.95, 20), ("before", 0.737, 20), ("after", 0.995, 200),
    ]  # fmt: skip
    assert data["rows"][1]["interval"] == [0.488, 0.909]
    assert data["gate"] == 0.98
    names = [r["name"] for r in before_after(none_helped)["rows"]]
    assert names == ["FP16", "EXL2 as it is", "Hold decoding to the schema", "Vote over 3 continuations"]
    figure, table = fix_figure(verified)
    assert [t["x"] for t in figure["data"]] == [[95.0], [pytest.approx(73.7)], [99.5]]
    assert "99.5 %" in table
    assert fix_figure(sample_result("r", State.FAIL)) == (None, "")


def test_a_gate_on_the_loss_is_drawn_where_it_bites(verified: Result):
    gate = Gate("<=", 0.02, "page", "loss")
    metric = dataclasses.replace(verified.metrics[0], gate=gate, gated_interval=(0.1, 0.3))
    data = before_after(dataclasses.replace(verified, metrics=(metric,)))
    assert (data["gate_op"], data["gate"]) == (">=", pytest.approx(0.93))
    assert data["rows"][1]["interval"] == [pytest.approx(0.65), pytest.approx(0.85)]


def test_recheck_line_links_the_run_before_and_says_when_no_file_changed(verified: Result):
    effect = verified.recommendation["trials"][3]["effect"]
    found = {"run_id": "old", "created_at": "2026-11-23T07:41:00+00:00", "state_before": "FAIL", "effect": effect,
             "same_files": True}  # fmt: skip
    html = recheck_line(dataclasses.replace(verified, recheck=found))
    assert 'href="./?run=old"' in html
    assert "73.7 %" in html
    assert "same files as before" in html
    html = recheck_line(dataclasses.replace(verified, recheck={**found, "effect": None, "same_files": False}))
    assert "share no question" in html
    assert "same files" not in html
    assert recheck_line(verified) == ""


def _sample(question: str, side: str, text: str, valid: bool) -> Sample:
    return Sample(SampleKey("p", question, 0, 0, side), {"text": text, "schema_valid": valid, "kind": ""})


def test_answers_after_a_change_are_beside_those_before_and_never_among_them():
    samples = [
        _sample("q1", "fp16", "a", True), _sample("q1", "exl2", "b", False), _sample("q1", "try:x", EVIL, True),
        _sample("q2", "fp16", "a", True), _sample("q2", "exl2", "a", True), _sample("q2", "try:x", "a", True),
        _sample("q3", "exl2", "c", True), _sample("q4", "try:x", "d", True),
    ]  # fmt: skip
    assert {r.exl2.text for r in collect_rows(samples, {}) if r.exl2} == {"b", "a", "c"}
    rows = collect_changed(samples, {"q1": "First?"}, "fp16", "exl2", "try:x")
    assert [(r.question, r.mended) for r in rows] == [("First?", True), ("q2", False)]
    html = changed_answers(rows)
    assert "Of 2 answers, 1 became good with the change and 0 became bad." in html
    assert "<script" not in html
    assert changed_answers([]) == ""


def test_everything_foreign_is_escaped(verified: Result):
    def bad(trial):
        facts = dataclasses.replace(trial.facts, label=EVIL, reason=EVIL, note=EVIL, patch={EVIL: EVIL})
        effect = trial.effect and dataclasses.replace(trial.effect, label=EVIL)
        return dataclasses.replace(trial, facts=facts, effect=effect)

    for trials in (VERIFIED, NONE_HELPED):
        result = failed_result("r", tuple(map(bad, trials)), renders={"python": EVIL, EVIL: EVIL})
        html = fix_head(result, CATALOG) + fix_rest(result, CATALOG) + files_card(result, file_kinds())
        assert "<script" not in html + fix_figure(result)[1]


def test_the_terminal_shows_the_recommendation_and_every_trial(verified: Result, none_helped: Result):
    def printed(result: Result) -> str:
        console = Console(file=StringIO(), width=220)
        show_result(console, result)
        return console.file.getvalue()

    text = printed(verified)
    assert "Recommended: Hold decoding to the schema: tried on these models, and the re-check passed." in text
    assert "73.7 % → 99.5 %" in text
    assert "It brings back 0 of 5 lost answers" in text
    assert "force: true" in text
    assert "None of the 3 changes" in printed(none_helped)
    assert "ended before a change was tried" in printed(sample_result("r", State.FAIL))
