"""The four steps as they are shown: what each found, what it took, and nothing that was not measured."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from tests.guide_samples import TIMINGS, guide_result
from wfgy_triage.catalog import FIXMAP, load_catalog, validate_result
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.guide import load_guide
from wfgy_triage.report.guide import clock, guide_track, live_track, missed, steps_of
from wfgy_triage.report.terminal import show_result

CATALOG = load_catalog()


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_a_module_that_helped_leads_from_fail_to_pass():
    result = guide_result()
    validate_result(result.to_json())
    measure, probe, apply, verify = steps_of(result, CATALOG)
    assert [s.look.word for s in (measure, probe, apply, verify)] == ["Pass", "Fail", "Verified", "Pass"]
    assert "FP16 100 %, EXL2 0 %" in words(probe.body)
    assert "Recommended: State the contract first" in words(apply.body)
    assert "a remedy of the cause" in words(apply.body)
    assert "0 % → 100 %" in words(verify.body)
    assert missed(result) == ("lambda_over_k",)


def test_each_step_has_its_seconds_and_the_clock_shows_the_whole_run():
    text = words(guide_track(guide_result(), CATALOG))
    assert "It took 1:35" in text
    assert "the source page speaks of 1:00" in text
    measure, probe, apply, verify = steps_of(guide_result(), CATALOG)
    assert measure.seconds == pytest.approx(21.1)
    assert probe.seconds == pytest.approx(35.4)
    assert apply.seconds == TIMINGS["measure_trials"]
    assert verify.seconds is None


def test_when_no_module_helps_the_rules_stand_as_they_were():
    *_, apply, verify = steps_of(guide_result(helps=False), CATALOG)
    assert apply.look.word == "None helped"
    assert verify.look.word == "Fail"
    assert "Without a change" in words(verify.body)


def test_where_all_holds_no_module_is_needed():
    looks = [s.look.word for s in steps_of(guide_result(holds=True), CATALOG)]
    assert looks == ["Pass", "Pass", "Not needed", "Pass"]


def test_the_live_track_shows_where_the_run_is():
    html = live_track("sixty_seconds", {"measure_fp16": 11.2, "total": 30.0}, "exl2_k", False)
    assert re.findall(r'<li class="tone-(\w+)">', html) == ["ok", "live", "mute", "mute"]
    assert "So far 0:30" in words(html)
    assert words(live_track("sixty_seconds", {}, "checks", False)).count("Waits") == 4
    assert live_track("sixty_seconds", {}, "exl2_k", True) == ""
    assert live_track("json_breaks", {}, "exl2", False) == ""


def test_other_symptoms_have_no_track():
    assert guide_track(replace(guide_result(), symptom="json_breaks"), CATALOG) == ""


def test_the_terminal_lists_the_steps():
    out = StringIO()
    show_result(Console(file=out, width=140), guide_result())
    assert re.search(r"2 Probe λ_observe +0:35 +Fail", out.getvalue())
    assert "It took 1:35" in out.getvalue()


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (67, "1:07"), (3601, "60:01")])
def test_the_clock_counts_minutes(seconds: float, shown: str):
    assert clock(seconds) == shown


def test_a_name_that_the_fix_map_does_not_have_is_said_with_its_line(tmp_path):
    for file in FIXMAP.rglob("*.*"):
        target = tmp_path / file.relative_to(FIXMAP)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    text = (tmp_path / "guide.yaml").read_text(encoding="utf-8")
    (tmp_path / "guide.yaml").write_text(text.replace("[schema_lock]", "[schema_lick]"), encoding="utf-8")
    line = 1 + text[: text.index("[schema_lock]")].count("\n")
    with pytest.raises(PrerequisiteError, match=f"guide.yaml line {line}: 'schema_lick'"):
        load_guide(tmp_path)
