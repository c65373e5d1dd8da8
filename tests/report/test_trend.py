"""Trends: what is joined by the line and what stands beside it, drawn and as a table."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from plotly import graph_objects

from tests.browser.scripted import sample_result
from tests.report.sessions_made import AT, HOSTILE, made_session
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.registry import get_probe
from wfgy_triage.report.charts_trend import SYMBOLS, trend_figure, trend_table
from wfgy_triage.report.trend import METRICS, Trend, TrendPoint, trend_of, trend_point
from wfgy_triage.result import Gate, State, question_set


def point(day: int, exl2: float | None = 0.7, state: State = State.FAIL, **changes) -> TrendPoint:
    result = sample_result(f"run{day}", state)
    primary = replace(result.metrics[0], exl2=exl2, gated_interval=(0.5, 0.9))
    result = replace(result, metrics=(primary, *result.metrics[1:]))
    at = AT + timedelta(days=day)
    record = replace(made_session().record, id=f"run{day}", finished_at=at, created_at=at)
    return replace(trend_point(record, result), **changes)


def traces(trend: Trend) -> dict[str, dict]:
    figure = trend_figure(trend)
    assert figure is not None
    return {t.get("name", t["mode"]): t for t in figure["data"]}


def test_a_point_is_what_the_session_measured():
    p = point(0)
    assert (p.metric, p.unit, p.fp16, p.exl2, p.gate, p.gate_op) == (
        "schema_valid_rate",
        "share",
        0.95,
        0.7,
        0.98,
        ">=",
    )
    assert p.fp16_interval == (0.751, 0.999)
    assert p.exl2_interval == (0.5, 0.9)
    assert (p.questions, p.version, p.rules) == (20, "1", 1)


def test_a_gate_on_a_loss_moves_with_fp16():
    result = sample_result("a", State.PASS)
    metric = replace(
        result.metrics[0],
        fp16=0.9,
        exl2=0.88,
        gated_interval=(-0.01, 0.05),
        gate=Gate("<=", 0.05, "page", "loss"),
    )
    p = trend_point(made_session().record, replace(result, metrics=(metric,)))
    assert p.gate == pytest.approx(0.85)
    assert p.gate_op == ">="
    assert p.exl2_interval == pytest.approx((0.85, 0.91))


def test_points_are_joined_in_the_order_of_time_whatever_order_they_come_in():
    trend = trend_of([point(3, 0.8), point(1, 0.6), point(2, 0.7)])
    assert [p.run_id for p in trend.joined] == ["run1", "run2", "run3"]
    assert traces(trend)["lines"]["y"] == pytest.approx([60, 70, 80])
    assert trend.apart == ((), (), ())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"workload": "f" * 64}, ("another question set",)),
        ({"version": "0"}, ("another version of the metric",)),
        ({"questions": 40}, ("40 questions, not 20",)),
        ({"metric": "other"}, ("another metric",)),
        ({"sampling": "suggested"}, ("other sampling settings",)),
        ({"options": {"k": "10", "mode": "rebuilt"}}, ("other settings (k and mode)",)),
        (
            {"questions": 40, "workload": "f" * 64},
            ("another question set", "40 questions, not 20"),
        ),
    ],
)
def test_what_measured_something_else_stands_beside_the_line(changes, why):
    usual = {"options": {"k": "5", "mode": "mixed"}}
    trend = trend_of([point(1, **usual), point(2, **{**usual, **changes}), point(3, **usual)])
    assert trend.apart == ((), why, ())
    drawn = traces(trend)
    assert len(drawn["lines"]["x"]) == 2
    assert drawn["EXL2, not comparable"]["x"] == [trend.points[1].at.isoformat()]
    assert all(f"<span>{reason}</span>" in trend_table(trend) for reason in ("no", *why))


def test_the_same_file_asked_at_another_level_is_another_question_set():
    def asked(workload: dict) -> str:
        return trend_point(
            made_session().record, replace(sample_result("r", State.PASS), workload=workload)
        ).workload

    base = {"id": "handbook/citations/standard", "sha256": "a" * 64, "questions": 20}
    hard = {**base, "id": "handbook/citations/hard"}
    assert asked(base) == asked({**base, "level": "standard"}) == asked({**base, "id": "handbook"})
    assert asked(hard) == asked({**hard, "level": "hard"}) == asked({**base, "level": "hard"})
    assert asked(hard) != asked(base)


def test_other_chains_of_the_same_file_are_another_question_set():
    levels = ("standard", "hard", "baseline_fails")
    seen = set()
    for chains in levels:
        workload = get_probe("long_chain").workload_info(ProbeSettings(options={"chains": chains}))
        now = replace(sample_result("r", State.PASS), workload=workload)
        # Older results have it among their settings alone.
        unnamed = {k: v for k, v in workload.items() if k != "level"}
        assert question_set(replace(now, workload=unnamed, settings={"chains": chains})) == question_set(now)
        seen.add(question_set(now))
    assert len(seen) == 3


def test_the_newest_says_what_is_comparable():
    trend = trend_of([point(1), point(2), point(3, questions=40)])
    assert [p.run_id for p in trend.joined] == ["run3"]
    assert [p.run_id for p in trend.alone] == ["run1", "run2"]


def test_another_unit_is_not_drawn_on_the_same_scale():
    trend = trend_of([point(1, 12.0, metric="kld", unit="nats"), point(2)])
    assert [p.run_id for p in trend.joined] == ["run2"]
    assert trend.alone == ()
    assert "12" in trend_table(trend)


def test_each_verdict_has_a_marker_of_its_own():
    assert len(set(SYMBOLS.values())) == len(State)
    drawn = traces(trend_of([point(n, state=state) for n, state in enumerate(State)]))
    shown = {name: t["marker"]["symbol"] for name, t in drawn.items() if name.startswith("EXL2, ")}
    assert shown == {
        "EXL2, pass": "diamond",
        "EXL2, fail": "x",
        "EXL2, inconclusive": "diamond-open",
        "EXL2, not measured": "diamond-wide-open",
    }


def test_what_has_no_value_is_in_the_table_only():
    trend = trend_of([point(1), point(2, None, State.NOT_MEASURED)])
    assert [p.run_id for p in trend.joined] == ["run1"]
    assert "not measured" in trend_table(trend)
    assert trend_figure(trend_of([point(2, None, State.NOT_MEASURED)])) is None
    assert trend_figure(trend_of([])) is None


def test_a_result_without_a_deciding_metric():
    result = replace(sample_result("a", State.NOT_MEASURED), metrics=())
    p = trend_point(made_session().record, result)
    assert (p.metric, p.exl2, p.gate, p.rules) == ("", None, None, 0)
    assert "Not measured" in trend_table(trend_of([p]))


def test_plotly_takes_the_figure():
    trend = trend_of([point(n, state=s) for n, s in enumerate(State)] + [point(9, questions=40)])
    figure = trend_figure(trend)
    assert figure is not None
    graph_objects.Figure(data=json.loads(json.dumps(figure["data"])), layout=figure["layout"])


def test_the_table_links_every_session_and_escapes_their_names():
    html = trend_table(trend_of([point(1, title=HOSTILE), point(2, imported=True)], left_out=3))
    assert 'href="./?run=run1"' in html
    assert "<script>" not in html
    assert "3 older sessions are not shown." in html
    assert html.index("run2") < html.index("run1")


def test_results_name_the_version_of_the_metrics():
    from wfgy_triage.measure.agreement import METRIC_VERSION
    from wfgy_triage.runs.provenance import versions

    assert versions()[METRICS] == str(METRIC_VERSION)


def test_searches_with_other_settings_are_not_joined():
    def asked(settings: dict, mode: dict) -> TrendPoint:
        workload = {"id": "w", "sha256": "a" * 64, "questions": 20, **mode}
        result = replace(sample_result("r", State.PASS), symptom="wrong_snippet", workload=workload)
        return trend_point(made_session().record, replace(result, settings={**result.settings, **settings}))

    def joined(one: TrendPoint, other: TrendPoint) -> bool:
        return len(trend_of([replace(one, run_id="a"), replace(other, run_id="b")]).joined) == 2

    usual = asked({}, {"mode": "mixed"})
    assert joined(usual, asked({"k": 5, "layer": "auto"}, {"mode": "mixed"}))
    assert not joined(usual, asked({"k": 10}, {"mode": "mixed"}))
    assert not joined(usual, asked({"layer": 0}, {"mode": "mixed"}))
    assert not joined(usual, asked({"mode": "rebuilt"}, {"mode": "rebuilt"}))
    # An older session does not say what its probe chose, and where it was asked for, its settings do.
    assert joined(usual, asked({}, {}))
    assert not joined(usual, asked({"mode": "rebuilt"}, {}))


def test_a_search_says_what_it_took_as_deployed():
    info = get_probe("wrong_snippet").workload_info
    assert info(ProbeSettings())["mode"] == "mixed"
    assert info(ProbeSettings(options={"mode": "rebuilt"}))["mode"] == "rebuilt"


def test_a_newest_session_without_a_value_parts_none_of_the_others():
    nothing = {"metric": "", "unit": "", "rules": 0, "questions": 40}
    trend = trend_of([point(1), point(2), point(3, None, State.NOT_MEASURED, **nothing)])
    assert [p.run_id for p in trend.joined] == ["run1", "run2"]
    assert trend.newest is not None
    assert (trend.newest.run_id, trend.newest.metric) == ("run2", "schema_valid_rate")
    assert "another metric" not in trend_table(trend)
    assert len(traces(trend)["lines"]["x"]) == 2


def test_around_a_single_session_the_axis_counts_hours_and_not_microseconds():
    figure = trend_figure(trend_of([point(1)]))
    assert figure is not None
    start, end = map(datetime.fromisoformat, figure["layout"]["xaxis"]["range"])
    assert timedelta(hours=1) < end - start < timedelta(days=1)
    assert start < AT + timedelta(days=1) < end
