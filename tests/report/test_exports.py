"""What each export says, against the session that it was made from."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from tests.browser.scripted_trials import CONFIG
from tests.report.sessions_made import RUN_ID, made_session, written
from wfgy_triage.catalog import load_catalog, validate_result
from wfgy_triage.errors import InputError
from wfgy_triage.report.answers import answers_table, both_answers, collect_rows
from wfgy_triage.report.diagnosis import cause_card
from wfgy_triage.report.export.formats import FORMATS, export
from wfgy_triage.report.export.redact import LEFT_OUT, redacted
from wfgy_triage.report.export.scrub import HOST, Scrubber, scrubbed
from wfgy_triage.report.figures import FIGURES
from wfgy_triage.report.fix import fix_head
from wfgy_triage.report.verdict import metrics_table, verdict_header
from wfgy_triage.store.records import Sample, SampleKey

CATALOG = load_catalog()


def test_the_result_is_written_as_it_is():
    session = made_session()
    data = json.loads(written(session, "json"))
    validate_result(data)
    assert data == session.result.to_json()


def test_the_report_shows_the_page_s_own_fragments_and_draws_every_figure():
    session = made_session()
    html = written(session, "html")
    result = session.result
    for part in (verdict_header(result, CATALOG), metrics_table(result, CATALOG), cause_card(result, CATALOG),
                 fix_head(result, CATALOG)):  # fmt: skip
        assert part in html
    drawn = [k.title for k in FIGURES if result.charts.get(k.data)]
    assert len(drawn) == 3
    assert html.count('<svg class="plot"') == len(drawn) + 1  # and before and after
    assert all(f'aria-label="{title}"' in html for title in drawn)
    assert len(html) < 400_000


def test_the_report_asks_nobody_for_anything():
    html = written(made_session(), "html")
    assert "url(http" not in html
    assert "@import" not in html
    assert ' src="' not in html


def test_the_metrics_table_holds_every_metric_as_measured():
    session = made_session()
    rows = list(csv.DictReader(io.StringIO(written(session, "csv"))))
    assert [r["metric"] for r in rows] == [m.id for m in session.result.metrics]
    first, m = rows[0], session.result.metrics[0]
    assert (float(first["fp16"]), float(first["exl2"]), float(first["difference"])) == (
        m.fp16,
        m.exl2,
        m.difference,
    )
    assert (float(first["interval_low"]), first["decides"], first["state"]) == (-0.42, "yes", "FAIL")
    assert (
        rows[-1]["fp16"] == rows[-1]["difference"] == rows[-1]["gate"] == ""
    )  # not measured is empty, never 0


def test_the_answers_table_holds_every_answer():
    session = made_session()
    rows = list(csv.DictReader(io.StringIO(written(session, "answers-csv"))))
    expected = collect_rows(session.samples, session.texts)
    assert [r["exl2_answer"] for r in rows] == [r.exl2.text for r in expected if r.exl2]
    assert [r["exl2_valid"] for r in rows].count("no") == 6
    assert [r["same_text"] for r in rows].count("no") == sum(r.different for r in expected)


def test_packets_are_of_lost_and_differing_questions_and_say_only_what_was_measured():
    session = made_session()
    packets = json.loads(written(session, "packet"))
    rows = {r.key: r for r in session.rows}
    keys = [p["id"].removeprefix(f"{RUN_ID}/") for p in packets]
    lost = [k for k, r in rows.items() if r.exl2 and r.fp16 and r.fp16.valid and not r.exl2.valid]
    assert set(keys) == {k for k, r in rows.items() if r.different}
    assert set(keys[: len(lost)]) == set(lost)
    first = packets[0]
    assert (first["q"], first["a"]) == (rows[keys[0]].question, rows[keys[0]].exl2.text)
    assert not {"e", "p"} & set(first)
    assert first["metrics"] == {"system": {"tokens_completion": rows[keys[0]].exl2.tokens}}
    assert first["labels"]["status"] == "FAIL"
    assert first["labels"]["modes"] == sorted({n for m in session.result.modules for n in m.problem_numbers})
    assert first["fix_plan"]["verification_tests"][0]["verified"] is True
    assert "primary_type" not in first["labels"]


def test_a_packet_of_a_search_has_evidence_and_its_distance_and_no_answer():
    session = made_session(answers=0)
    found = {"text": "1. passage", "scores": [0.4], "ds": {"5": 0.31, "10": 0.4}, "kind": "passage_missed",
             "valid": False, "question": "Where?"}  # fmt: skip
    better = {**found, "text": "1. other", "valid": True}
    samples = tuple(
        Sample(SampleKey("wrong_snippet", "q1", 0, 0, side), payload)
        for side, payload in (("fp16", better), ("exl2", found))
    )
    (packet,) = json.loads(written(replace(session, samples=samples), "packet"))
    assert packet["e"] == "1. passage"
    assert "a" not in packet
    assert packet["metrics"] == {"delta_s": {"dS_QE": 0.31}}


def test_markdown_carries_verdict_metrics_cause_and_the_change_as_a_diff():
    text = written(made_session(), "markdown")
    assert text.startswith("## Fail: Structured output breaks")
    assert "| **Answers that fit the schema** | 95 % | 73.7 % |" in text
    assert "### Recommended change (verified): Hold decoding to the schema" in text
    assert f"```diff\n{CONFIG.rstrip()}\n```" in text
    assert "73.7 % → 99.5 %" in text
    assert "| `torch` | `2.13.0` |" in text
    assert "5 lost, 8 answered differently" in text or " lost, " in text


def test_file_names_say_what_they_hold():
    session = made_session()
    assert export(session, "csv", CATALOG).name == f"json_breaks-{RUN_ID}-metrics.csv"
    assert export(redacted(session), "html", CATALOG).name == f"json_breaks-{RUN_ID}-redacted.html"
    with pytest.raises(InputError, match="no format 'pdf'"):
        export(session, "pdf", CATALOG)


@pytest.mark.parametrize("form", FORMATS)
def test_a_redacted_export_holds_no_question_and_no_answer(form: str):
    session = made_session(workload_id="a" * 64)
    marked = tuple(
        replace(s, payload={**s.payload, "text": f"SECRET-{s.key.side}-{i} words", "claim": [f"SECRET-{i}"],
                            "token_ids": [48151, 7], "detail": "saw SECRET"})
        for i, s in enumerate(session.samples)
    )  # fmt: skip
    told = replace(session.result, headline=f"It said {marked[0].payload['text']} once.")
    charts = {**told.charts, "rank_changes": [{"question": "SECRET-ASKED of all", "fp16": 1, "exl2": 4}]}
    secret = replace(
        session, samples=marked, result=replace(told, charts=charts),
        texts=dict.fromkeys(session.texts, "SECRET-ASKED of all"),
    )  # fmt: skip
    assert "SECRET" in written(secret, form) or form == "csv"
    text = written(redacted(secret), form)
    assert "SECRET" not in text
    assert "48151" not in text
    assert not any(q in text for q in session.texts)  # ids of a user's own questions may be texts
    if form == "json":
        assert json.loads(text)["headline"] == f"It said {LEFT_OUT} once."
        assert json.loads(text)["metrics"] == session.result.to_json()["metrics"]


def test_texts_that_were_left_out_are_not_called_the_same_or_empty():
    rows = redacted(made_session()).rows
    assert not any(r.different or r.known for r in rows)
    table = answers_table(rows)
    assert "texts left out" in table
    assert "same text" not in table
    both = both_answers(rows[0])
    assert "(left out)" in both
    assert "exactly the same text" not in both
    assert "same text" in answers_table(made_session().rows)


@pytest.mark.parametrize("form", FORMATS)
def test_no_export_tells_paths_or_the_name_of_this_machine(form: str):
    session = made_session(options={"chunks": "/srv/private/corpus.jsonl"})
    where = "/home/someone/models/llama"
    result = replace(
        session.result,
        headline=f"Read {where}/config.json on gpu-box-7, and C:\\Users\\someone\\model.bin, ~/keys/id.txt.",
        pair={
            **session.result.pair,
            "exl2": {**session.result.pair["exl2"], "engine_notes": [f"loaded from {where}"]},
        },
        recommendation={
            **session.result.recommendation,
            "renders": {"shell": f"python convert.py -i {where} -o /data/out/x"},
        },
        settings={**session.result.settings, "chunks": "file:///srv/private/corpus.jsonl"},
    )  # fmt: skip
    samples = (
        *session.samples,
        Sample(SampleKey("json_breaks", "q", 0, 0, "exl2"), {"text": f"see {where}/a"}),
    )
    leaving = scrubbed(
        replace(session, result=result, samples=samples),
        Scrubber(["/home/someone", "/opt/app"], ["gpu-box-7"]),
    )
    text = written(leaving, form)
    for secret in (
        "/home",
        "someone",
        "gpu-box-7",
        "/srv",
        "/data/out",
        "id.txt.ssh",
        "C:\\\\Users",
        "C:\\Users",
    ):
        assert secret not in text
    assert HOST in text or form in ("csv", "answers-csv", "packet")


@pytest.mark.parametrize(
    "text",
    ["GET /api/v1/users", "and/or, 3/4, km/h", "https://host.example/a/b?c=/d/e", '{"$ref": "#/$defs/name"}',
     "a gpu-box-71 and my-gpu-box-7"],
)  # fmt: skip
def test_content_is_not_touched(text: str):
    assert Scrubber(["/home/someone"], ["gpu-box-7"]).value({"text": text}) == {"text": text}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("error:/var/lib/x/y.bin is gone", "error:…/y.bin is gone"),
        ("(/a/b/c)", "(…/c)"),
        ("https://host.example/a/b", "https://host.example/a/b"),
        ("and/or 1/2/3", "and/or 1/2/3"),
        ("\\\\server\\share\\file.txt", "…/file.txt"),
    ],
)
def test_sentences_lose_paths_down_to_the_last_part(text: str, left: str):
    assert Scrubber([], []).prose(text) == left
    assert Scrubber([], []).prose(left) == left
