from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.probes.desk import Desk
from wfgy_triage.diagnosis import CHECK_CAUSES, ONLY_WEIGHTS
from wfgy_triage.errors import InputError
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.citation_evaluation import FLUENCY_CHECK
from wfgy_triage.probes.citation_samples import FLUENCY_SIDE
from wfgy_triage.probes.citations_missing import PROBE
from wfgy_triage.probes.registry import get_probe
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.workload.citations import RECORD, CitationTask, load_citations, marked, record
from wfgy_triage.workload.stored import store_upload
from wfgy_triage.workload.upload import UploadedFile, read_upload

TASKS = load_citations().tasks
CHECKS = tuple(Check(name, "ok", "") for name in [*CHECK_CAUSES, ONLY_WEIGHTS])
Say = Callable[[CitationTask], str]


def cited(task: CitationTask) -> str:
    return marked(task.question.evidence[0], task.gold)


def bare(task: CitationTask) -> str:
    return task.question.evidence[0]


def dangling(task: CitationTask) -> str:
    return marked(task.question.evidence[0], "S9")


def elsewhere(task: CitationTask) -> str:
    return marked("It is somewhere", next(s for s in task.supplied if s != task.gold))


def babbling(task: CitationTask) -> str:
    return "so it goes on " * 4 + "."


def script(*ways: Say, records: bool = True) -> dict[str, str]:
    """Answers by question id, the ways of answering taken in turn."""
    found = {t.question.id: ways[n % len(ways)](t) for n, t in enumerate(TASKS)}
    for t in TASKS:
        whole = record(t.gold, t.question.section, t.question.evidence[0])
        found[t.question.id + RECORD] = whole if records else whole.replace("section_id", "section")
    return found


def desk(*exl2: Say, fp16: tuple[Say, ...] = (cited,), records: bool = True, questions: int = 20) -> Desk:
    made = Desk(PROBE, script(*fp16), script(*exl2, records=records), ProbeSettings(questions))
    made.run()
    return made


def metrics(found: Evaluation) -> dict[str, Metric]:
    return {m.id: m for m in found.metrics}


def test_all_sides_are_measured_and_the_records_are_not_compared():
    done = desk(cited)
    for side in ("fp16", "exl2"):
        assert len(done.side(side)) == 40
    for side in ("fp16_floor", "pair", "pair_floor", FLUENCY_SIDE):
        assert len(done.side(side)) == 20
        assert not any(s.key.question.endswith(RECORD) for s in done.side(side))
    assert done.stages[-1] == (FLUENCY_SIDE, 20, 20)
    assert done.fp16.asked == done.exl2.asked


def test_perfect_answers_measure_perfect():
    found = desk(cited).evaluate(CHECKS)
    rates = metrics(found)
    assert found.state is State.INCONCLUSIVE  # 20 of 20 cannot show 0.95
    for name in ("citation_valid_rate", "citation_present_rate", "citation_correct_rate", "cite_first_rate"):
        assert (rates[name].fp16, rates[name].exl2, rates[name].floor) == (1.0, 1.0, 0.0), name
    for name in ("accuracy", "coverage", "field_completeness"):
        assert rates[name].exl2 == 1.0, name
    for name in ("citation_dangling_rate", "unsupported_quote_rate", "runs_on_rate", "repetition"):
        assert rates[name].exl2 == 0.0, name
    assert found.diagnosis.cause == "within_noise"


def test_the_built_in_set_is_large_enough_to_pass():
    assert desk(cited, questions=len(TASKS)).evaluate(CHECKS).state is State.PASS


@pytest.mark.parametrize(
    ("exl2", "kind", "rates"),
    [
        (bare, "no_citation", {"citation_present_rate": 0, "citation_dangling_rate": 0, "accuracy": 1}),
        (dangling, "cites_unknown_passage", {"citation_present_rate": 1, "citation_dangling_rate": 1}),
    ],
)
def test_missing_and_made_up_citations_fail_and_the_weights_are_blamed(exl2, kind, rates):
    found = desk(exl2).evaluate(CHECKS)
    assert found.state is State.FAIL
    assert metrics(found)["citation_valid_rate"].exl2 == 0.0
    for name, value in rates.items():
        assert metrics(found)[name].exl2 == value, name
    assert found.diagnosis.cause == "weights_too_few_bits"
    assert kind in found.charts["failure_classes"]["labels"]
    assert "in 20 of 20 answers; FP16 in 0" in found.headline
    assert "does not meet" in found.page_rule


def test_citing_the_wrong_passage_is_valid_but_not_correct():
    found = desk(elsewhere).evaluate(CHECKS)
    assert metrics(found)["citation_valid_rate"].exl2 == 1.0
    assert metrics(found)["citation_correct_rate"].exl2 == 0.0
    assert metrics(found)["citation_correct_rate"].state is State.FAIL
    assert metrics(found)["accuracy"].exl2 == 0.0


def test_a_baseline_that_cites_nothing_is_said_to_be_the_cause():
    found = desk(bare, fp16=(bare,)).evaluate(CHECKS)
    assert found.state is State.FAIL
    assert found.diagnosis.cause == "baseline_also_fails"


def test_lost_record_fields_are_counted():
    found = metrics(desk(cited, records=False).evaluate(CHECKS))["field_completeness"]
    assert found.exl2 == pytest.approx(2 / 3)
    assert found.state is State.FAIL


def test_records_that_never_end_are_counted_apart():
    said = script(cited)
    endless = said | {q: '{"quote": "on' + " and on" * 200 for q in said if q.endswith(RECORD)}
    done = Desk(PROBE, said, endless, ProbeSettings(20))
    done.run()
    found = metrics(done.evaluate(CHECKS))
    assert found["record_runs_on_rate"].exl2 == 1.0
    assert found["record_runs_on_rate"].fp16 == 0.0
    assert found["field_completeness"].exl2 is None


def fluency(found: Evaluation) -> Check:
    return next(c for c in found.diagnosis.evidence if c.check == FLUENCY_CHECK)


def test_fluent_text_without_citations_is_the_symptom_as_described():
    check = fluency(desk(bare).evaluate(CHECKS))
    assert check.result == "ok"
    assert "this symptom as it is described" in check.detail


def test_text_that_goes_in_circles_is_wider_damage():
    check = fluency(desk(babbling).evaluate(CHECKS))
    assert check.result == "fault"
    assert "the damage is wider" in check.detail


def test_one_lost_citation_is_not_called_the_symptom():
    answers = script(cited)
    one = answers | {TASKS[0].question.id: bare(TASKS[0])}
    done = Desk(PROBE, answers, one, ProbeSettings(20))
    done.run()
    assert "did not clearly get fewer" in fluency(done.evaluate(CHECKS)).detail


def test_fluency_is_not_claimed_where_it_was_not_measured():
    done = desk(bare)
    kept = [s for s in done.samples.values() if s.key.side != FLUENCY_SIDE]
    found = PROBE.evaluate(kept, CHECKS, done.settings)
    assert fluency(found).result == "unknown"
    assert metrics(found)["fluency_logprob"].exl2 is None


def test_drift_is_split_into_citation_marks_and_the_rest():
    found = metrics(desk(cited, questions=30).evaluate())
    assert found["kld_citation"].exl2 == pytest.approx(found["kld_prose"].exl2, abs=1e-5)
    pair = desk(cited).side("pair")[0].payload
    assert sum(pair["citation"]) == len("[S1]")


def test_places_show_where_answers_point():
    chart = desk(dangling).evaluate().charts["cited_places"]
    assert chart["labels"] == ["S1", "S2", "S3", "not supplied", "none"]
    assert chart["gold"] == chart["fp16"] == [7, 7, 6, 0, 0]
    assert chart["exl2"] == [0, 0, 0, 20, 0]


def test_a_cut_off_answer_is_neither_valid_nor_invalid():
    def endless(task: CitationTask) -> str:
        return "It goes on and on, " * 200

    done = Desk(PROBE, script(cited), script(cited, endless), ProbeSettings(20))
    done.run()
    found = done.evaluate(CHECKS)
    primary = metrics(found)["citation_valid_rate"]
    assert (primary.n, primary.exl2) == (10, 1.0)
    assert metrics(found)["runs_on_rate"].exl2 == 0.5
    assert found.state is State.INCONCLUSIVE


def test_an_answer_that_runs_on_is_judged_by_what_stands_there():
    def rambling(task: CitationTask) -> str:
        return f"{cited(task)} And then it goes on" + " and on" * 200

    found = metrics(desk(rambling).evaluate(CHECKS))
    assert found["citation_valid_rate"].exl2 == found["runs_on_rate"].exl2 == 1.0


def test_evaluation_does_not_depend_on_the_order_of_samples():
    done = desk(cited, bare, dangling)
    samples = list(done.samples.values())
    before = PROBE.evaluate(samples, CHECKS, done.settings)
    random.Random(1).shuffle(samples)
    assert PROBE.evaluate(samples, CHECKS, done.settings) == before


def test_nothing_measured_says_so():
    found = PROBE.evaluate((), CHECKS, ProbeSettings())
    assert found.state is State.NOT_MEASURED
    assert found.headline.startswith("Not measured:")


def test_a_stopped_run_resumes_without_repeating():
    whole = desk(cited, bare)
    made = Desk(PROBE, script(cited), script(cited, bare), ProbeSettings(20))
    while len(made.samples) < len(whole.samples):
        limit = len(made.samples) + 23
        made.run(lambda limit=limit: len(made.samples) >= limit)
    assert made.samples == whole.samples


def test_the_hard_level_is_another_workload():
    easy, hard = (PROBE.workload_info(ProbeSettings(options={"level": v})) for v in ("standard", "hard"))
    assert easy["id"] != hard["id"]
    assert easy["sha256"] == hard["sha256"]
    assert get_probe("citations_missing") is PROBE


def own_set(tmp_path: Path, first: str = "It is red.") -> Path:
    rows = (
        f'{{"id": "box", "question": "How many?", "answer": "7 pens", "context": "The box holds 7 pens. {first}"}}\n'
        '{"id": "door", "question": "What is shut?", "answer": "the door", "context": "The door is shut. It is old."}'
    )
    return store_upload(tmp_path, read_upload([UploadedFile("own.jsonl", rows.encode())])).path


def test_a_users_own_questions_are_asked(tmp_path: Path):
    settings = ProbeSettings(20, workload=own_set(tmp_path))
    said = {q + end: text for q in ("box", "door") for end, text in (("", "yes [S1]."), (RECORD, "{}"))}
    done = Desk(PROBE, said, said, settings)
    done.run()
    assert {s.key.question for s in done.samples.values()} == set(said)
    assert PROBE.workload_info(settings)["questions"] == 2
    assert done.evaluate().state is State.NOT_MEASURED  # two questions are too few for a verdict


def test_questions_longer_than_the_context_are_refused_before_anything_is_measured(tmp_path: Path):
    settings = ProbeSettings(20, workload=own_set(tmp_path, "x" * 19_000))
    made = Desk(PROBE, {}, {}, settings)
    made.fp16.info = made.fp16.info.__class__(**{**vars(made.fp16.info), "max_context": 8192})
    with pytest.raises(InputError, match=r"context has 8,192 tokens.*box \(\d\d,\d\d\d\)"):
        made.run()
    assert not made.samples
