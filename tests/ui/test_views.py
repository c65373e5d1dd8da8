"""Parts of the page that need no browser: cards, plan, live view, the sessions' filters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import Match
from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder
from wfgy_triage.pairs import NO_FOLDER, Pair, register_pairs
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import Settings
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import Event, RunRecord, RunSpec, RunStatus
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.ui.cards import WELCOME, pair_cards, plan_card, symptom_detail
from wfgy_triage.ui.context import PageContext, inspect_cached
from wfgy_triage.ui.live import read_stages, status_card
from wfgy_triage.ui.sessions import ListQuery, sessions_page
from wfgy_triage.workload.json_records import HARD_MARK
from wfgy_triage.workload.texts import question_texts

NOW = datetime(2026, 11, 23, 7, 41, tzinfo=UTC)


@pytest.fixture
def context(settings: Settings) -> PageContext:
    return PageContext(
        settings,
        TriageService(settings),
        load_catalog(),
        frozenset({"json_breaks"}),
        lambda symptom, path: {},
        lambda text: Match("none", {}),
    )


@pytest.fixture
def runs(settings: Settings, context: PageContext) -> RunRepository:
    """The store that the context reads, for putting runs into it."""
    return RunRepository(open_database(settings.database_url))


@pytest.mark.parametrize(
    ("symptom", "said", "sized"),
    [
        ("json_breaks", "EXL2 answers the same questions, word for word", True),
        ("citations_missing", "FP16 answers 20 questions.", True),
        ("wrong_snippet", "searched in four ways", True),
        ("long_chain", "FP16 goes on with 20 chains of 48 steps", True),
        ("acceptance_gate", "Both models answer 20 questions from a few passages", True),
        ("deploy_mismatch", "No question is asked.", False),
        ("sixty_seconds", "both models answer 20 questions", False),
    ],
)
def test_the_plan_says_what_this_symptoms_run_does(
    context: PageContext, symptom: str, said: str, sized: bool
):
    pair = Pair("demo", "Demo", Path("fp16"), Path("exl2"))
    shown = plan_card(context, symptom, pair, 20)
    assert said in shown
    assert ("<dt>20 questions</dt>" in shown) is sized
    assert "{questions}" not in shown


def test_questions_of_the_hard_level_have_their_texts_and_do_not_count_among_the_usual_ones(
    context: PageContext,
):
    asking = frozenset({"json_breaks", "sixty_seconds", "citations_missing"})
    context = replace(context, probed=asking, question_texts=question_texts)
    assert any(HARD_MARK in question for question in context.texts("json_breaks"))
    assert context.available("json_breaks") == 200
    assert context.available("sixty_seconds") == context.available("citations_missing") == 80


def record(status: RunStatus, **more) -> RunRecord:
    fields = {
        "id": "r",
        "spec": RunSpec("json_breaks", "demo"),
        "status": status,
        "created_at": NOW,
        "started_at": None,
        "finished_at": None,
        "heartbeat_at": None,
        "cancel_requested": False,
        "result": None,
        "state": None,
        "error_message": "",
        "error_hint": "",
    }
    return RunRecord(**{**fields, **more})


def stage(seq: int, name: str, done: int, total: int = 20) -> Event:
    return Event("r", seq, NOW, "stage", {"name": name, "label": name.upper(), "done": done, "total": total})


def test_stages_keep_their_order_and_their_latest_count():
    events = [stage(1, "fp16", 3), stage(2, "exl2", 1), stage(3, "fp16", 20), Event("r", 4, NOW, "note", {})]
    assert [(s.label, s.done, s.finished) for s in read_stages(events)] == [
        ("FP16", 20, True),
        ("EXL2", 1, False),
    ]


@pytest.mark.parametrize(
    ("position", "text"),
    [(0, "Next in line"), (1, "at most 1 run comes before"), (3, "at most 3 runs come before")],
)
def test_waiting_runs_say_how_many_come_first(position, text):
    assert text in status_card(record(RunStatus.QUEUED), [], position, worker_alive=True)


def test_a_missing_worker_is_mentioned_only_while_it_matters():
    assert "not running right now" in status_card(record(RunStatus.RUNNING), [], 0, worker_alive=False)
    assert "not running right now" not in status_card(
        record(RunStatus.CANCELLED), [], None, worker_alive=False
    )


def test_errors_and_notes_are_escaped():
    failed = record(RunStatus.FAILED, error_message="<b>bad</b>", error_hint="<i>")
    note = Event("r", 1, NOW, "note", {"text": "<u>"})
    html = status_card(failed, [note], None, worker_alive=True)
    assert not any(tag in html for tag in ("<b>bad", "<i>", "<u>"))
    assert all(text in html for text in ("&lt;b&gt;bad&lt;/b&gt;", "&lt;i&gt;", "&lt;u&gt;"))


def test_symptoms_without_a_probe_show_what_there_is(context: PageContext):
    for symptom in context.catalog.symptoms.values():
        html = symptom_detail(context, symptom.id)
        assert ("not available yet" in html) == (symptom.id != "json_breaks")
        assert all(context.catalog.modules[m].url in html for m in symptom.modules)
    assert symptom_detail(context, "") == WELCOME
    assert symptom_detail(context, "<x>") == WELCOME


def test_a_broken_folder_is_explained_on_its_own_card(tmp_path: Path):
    for side in ("fp16", "exl2"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "config.json").write_text("{}")
    html = pair_cards({"p": Pair("p", "<b>P", tmp_path / "fp16", tmp_path / "exl2")})
    assert str(inspect_cached(tmp_path / "fp16")).split(".")[0][:20] in html
    assert "&lt;b&gt;P" in html


def test_estimate_is_the_median_of_earlier_runs_scaled_to_the_questions(
    context: PageContext, runs: RunRepository
):
    assert context.estimate("json_breaks", ["demo"], 20) is None
    for total in (100.0, 120.0, 900.0):
        run = runs.create(RunSpec("json_breaks", "demo", questions=10))
        leased = runs.lease("w", 60)
        assert leased is not None
        runs.finish(run.id, "w", RunStatus.DONE, None, timings={"fp16": 1.0, "total": total})
    assert context.estimate("json_breaks", ["demo"], 20) == "4 minutes"
    assert context.estimate("json_breaks", ["other"], 20) is None


def test_before_a_pairs_first_run_pairs_of_the_same_fp16_model_give_the_time(
    context: PageContext, runs: RunRepository
):
    pairs = [
        Pair("ran", "Ran", Path("fp16"), Path("exl2")),
        Pair("new", "New", Path("fp16"), Path("other")),
        Pair("apart", "Apart", Path("another"), Path("exl2")),
        Pair(
            "server", "Server", Path("fp16"), NO_FOLDER, engine={"server": {"url": "http://127.0.0.1:9/v1"}}
        ),
    ]
    register_pairs(context.settings, pairs)
    ran, new, apart, server = (context.pairs()[pair.id] for pair in pairs)
    said = "judging by earlier runs here of pairs with the same FP16 model."
    assert "not known yet" in plan_card(context, "json_breaks", new, 20)
    run = runs.create(RunSpec("json_breaks", "ran", questions=10))
    assert runs.lease("w", 60) is not None
    runs.finish(run.id, "w", RunStatus.DONE, None, timings={"total": 120.0})
    assert f"About 4 minutes, {said}" in plan_card(context, "json_breaks", new, 20)
    assert "runs of this pair here" in plan_card(context, "json_breaks", ran, 20)
    assert "not known yet" in plan_card(context, "json_breaks", apart, 20)
    assert "not known yet" in plan_card(context, "json_breaks", server, 20)
    assert "not known yet" in plan_card(context, "wrong_snippet", new, 20)


def test_an_empty_store_invites_to_the_first_triage(context: PageContext):
    assert "Start the first triage" in sessions_page(context, ListQuery())
    assert "No session matches" in sessions_page(context, ListQuery(status=RunStatus.FAILED))


def test_sessions_of_pairs_that_are_gone_show_their_id(context: PageContext, runs: RunRepository):
    runs.create(RunSpec("json_breaks", "forgotten"))
    assert "forgotten" in sessions_page(context, ListQuery())


@pytest.mark.parametrize("page", ["0", "-1", "x", "²", "9999999999", ""])
def test_strange_page_numbers_show_the_first_page(page):
    assert ListQuery.parse("nonsense", "nonsense", page, ["json_breaks"]) == ListQuery()


def test_filter_links_keep_the_other_filter():
    query = ListQuery.parse("done", "json_breaks", "3", ["json_breaks"])
    assert query.url(status="", page=1) == "./runs?symptom=json_breaks"
    assert query.url(page=4) == "./runs?status=done&symptom=json_breaks&page=4"
    assert ListQuery().url() == "./runs"


def test_long_lists_are_paged(context: PageContext, runs: RunRepository):
    for _ in range(27):
        runs.create(RunSpec("json_breaks", "demo"))
    first, second = (sessions_page(context, ListQuery(page=p)) for p in (1, 2))
    assert (first.count("<tr>"), second.count("<tr>")) == (26, 3)
    assert "Older" in first
    assert "Newer" in second


def test_a_coarse_cache_is_said_on_the_card_of_its_pair(demo_settings):
    fp16, exl2 = fp16_folder(demo_settings), exl2_folder(demo_settings, SIBLINGS[0])
    plain, coarse = (
        pair_cards({"mine": Pair("mine", "Mine", fp16, exl2, engine=engine)})
        for engine in ({}, {"cache": "Q6"})
    )
    assert "6-bit head" in plain
    assert "KV cache" not in plain
    assert "6-bit KV cache" in coarse
