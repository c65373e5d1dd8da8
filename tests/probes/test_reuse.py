"""FP16 answers of earlier runs are used again exactly where nothing that moves a number has changed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tests.probes.desk import Bench
from tests.probes.fakes import ScriptedEngine
from wfgy_triage.engines.base import Grammar
from wfgy_triage.probes import reuse as reuse_module
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.items import OF_FP16, Item
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.probes.measuring import STAGES, Measuring
from wfgy_triage.probes.reuse import REUSED, Reuse
from wfgy_triage.store.records import SampleKey
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
BROKEN = {k: v.replace("}", "", 1) if i % 2 else v for i, (k, v) in enumerate(GOLD.items())}
FACTS = {"model": {"weights_sha256": "a" * 64}, "versions": {"torch": "2"}}


class Rows:
    """A cache that keeps everything as the store would: as text."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.looked_for: list[str] = []

    def get_many(self, keys):
        self.looked_for += keys
        return {k: json.loads(self.rows[k]) for k in keys if k in self.rows}

    def put_many(self, rows):
        self.rows.update({k: json.dumps(v) for k, v in rows.items()})


class Counting(ScriptedEngine):
    """Counts what is asked of it; its probabilities have more digits than are stored."""

    def __init__(self, answers: dict[str, str], bias: float = 0.0, **info: Any) -> None:
        super().__init__(answers, bias + 1e-9)
        self.info = dataclasses.replace(self.info, **info)
        self.scored: list[str] = []

    def generate(self, requests, should_stop=None):
        for completion in super().generate(requests, should_stop):
            logprobs = tuple(-1 / (3 + i) for i in range(len(completion.token_ids)))
            yield dataclasses.replace(completion, logprobs=logprobs)

    def logits(self, requests, chunk=128, should_stop=None):
        self.scored += [r.id for r in requests]
        return super().logits(requests, chunk)


class Desk(Bench):
    """One run on one pair, with a cache or without."""

    def __init__(self, rows: Rows | None, exl2: dict[str, str] = BROKEN, facts: Any = FACTS) -> None:
        engines = (
            Counting(GOLD), Counting(exl2, 1.0), Counting(GOLD, 0.01, mode="fast", compute_dtype="bfloat16"),
        )  # fmt: skip
        super().__init__(PROBE, *engines, ProbeSettings(questions=20))
        self.told: list[tuple[str, int, int]] = []
        self.reuse = Reuse(rows, facts, lambda *said: self.told.append(said)) if rows is not None else None

    def context(self, *args: Any, **options: Any) -> ProbeContext:
        return dataclasses.replace(super().context(*args, **options), reuse=self.reuse)

    def as_text(self) -> dict[SampleKey, str]:
        return {k: json.dumps(s.payload) for k, s in self.samples.items()}


@pytest.fixture(scope="module")
def uncached() -> Desk:
    return Desk(None).run()


def test_a_second_run_asks_fp16_nothing_and_cannot_be_told_apart(uncached):
    rows = Rows()
    first, second = Desk(rows).run(), Desk(rows).run()
    assert first.told == []
    assert first.as_text() == second.as_text() == uncached.as_text()
    assert first.evaluate() == second.evaluate() == uncached.evaluate()
    assert (second.fp16.asked, second.twin.asked, second.twin.scored) == ([], [], [])
    assert len(second.exl2.asked) == 20
    assert second.told == [(side, 20, 20) for side in ("fp16", "fp16_floor", "pair_floor")]


def test_another_exl2_sibling_uses_the_same_answers_and_is_measured_itself():
    rows = Rows()
    Desk(rows, BROKEN).run()
    sibling = Desk(rows, GOLD).run()
    assert sibling.fp16.asked == sibling.twin.asked == []
    assert len(sibling.exl2.asked) == 20
    assert len([r for r in sibling.exl2.scored]) == 20
    assert sibling.as_text() == Desk(None, GOLD).run().as_text()


def test_nothing_that_an_exl2_model_takes_part_in_is_ever_looked_for():
    rows = Rows()
    Desk(rows).run()
    kept = len(rows.rows)
    assert kept == 3 * 20
    rows.looked_for.clear()
    Desk(rows, GOLD).run()
    assert len(rows.looked_for) == len(set(rows.looked_for)) == kept
    assert set(STAGES) - {"exl2", "pair"} <= set(REUSED)
    assert not [side for side in REUSED if not side.startswith((*OF_FP16, "pair_floor"))]


def test_a_changed_judge_never_reads_old_judgements():
    rows = Rows()
    Desk(rows).run()
    assert "schema_valid" not in "".join(rows.rows.values())
    assert "structural" not in "".join(rows.rows.values())
    desk = Desk(rows)
    item = _items(desk.fp16)[0]
    Measuring(desk.context(), "other", [item]).answer("fp16", desk.fp16, lambda i, c: {"mark": len(c.text)})
    (sample,) = desk.samples.values()
    assert desk.fp16.asked == []
    assert sample.payload["mark"] == len(GOLD[item.question])


def _items(engine: ScriptedEngine) -> list[Item]:
    question = WORKLOAD.questions[0]
    prompt = engine.encode(engine.render_chat(WORKLOAD.messages(question)))
    gold = engine.encode(GOLD[question.id])
    return [Item(question.id, prompt, 2 * len(gold) + 32, group=question.record_class)]


BASE = Item("q", (1, 2, 3), 50)


def _measure(rows: Rows, item: Item = BASE, facts: Any = FACTS, text: str = "an answer", **info: Any) -> Desk:
    desk = Desk(rows, facts=facts)
    for engine in (desk.fp16, desk.exl2, desk.twin):
        engine.answers = {"q": text}
    desk.fp16.info = dataclasses.replace(desk.fp16.info, **info.get("fp16", {}))
    desk.twin.info = dataclasses.replace(desk.twin.info, **info.get("twin", {}))
    Measuring(desk.context(), "s", [item]).run(lambda i, c: {})
    return desk


def _asked(desk: Desk) -> tuple[int, int, int]:
    """Answers of FP16, answers of the twin, comparisons of the twin."""
    return len(desk.fp16.asked), len(desk.twin.asked), len(desk.twin.scored)


def test_the_base_of_the_changes_is_reused():
    rows = Rows()
    assert _asked(_measure(rows)) == (1, 1, 1)
    assert _asked(_measure(rows)) == (0, 0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"facts": {**FACTS, "model": {"weights_sha256": "b" * 64}}},
        {"facts": {**FACTS, "versions": {"torch": "3"}}},
        {"item": dataclasses.replace(BASE, prompt_ids=(1, 2, 4))},
        {"fp16": {"engine": "other"}},
        {"fp16": {"engine_version": "2"}},
        {"fp16": {"compute_dtype": "float16"}},
        {"fp16": {"mode": "fast"}},
        {"fp16": {"device": "cuda:0"}},
    ],
    ids=str,
)
def test_other_models_prompts_and_engines_are_measured_anew(change):
    rows = Rows()
    _measure(rows)
    fp16, _, comparisons = _asked(_measure(rows, **change))
    assert (fp16, comparisons) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"max_new_tokens": 51},
        {"temperature": 0.7},
        {"top_p": 0.9},
        {"stop_strings": ("x",)},
        {"grammar": Grammar("regex", "a+")},
    ],
    ids=str,
)
def test_other_settings_of_the_request_are_answered_anew(change):
    rows = Rows()
    _measure(rows)
    assert _asked(_measure(rows, dataclasses.replace(BASE, **change)))[:2] == (1, 1)


@pytest.mark.parametrize(
    ("temperature", "asked", "text"), [(0.0, (0, 0, 0), "an answer"), (0.3, (1, 1, 1), "another answer")]
)
def test_another_seed_is_answered_anew_only_where_answers_are_drawn(temperature, asked, text):
    rows = Rows()
    item = dataclasses.replace(BASE, temperature=temperature, seed=3)
    _measure(rows, item, text="an answer")
    again = _measure(rows, dataclasses.replace(item, seed=7), text="another answer")
    assert _asked(again) == asked
    (sample,) = again.side("fp16")
    assert sample.payload["text"] == text


@pytest.mark.parametrize("change", [{"kind": "lark"}, {"text": "b+"}, {"spacing": "spaced"}], ids=str)
def test_another_grammar_is_answered_anew(change):
    rows = Rows()
    bound = dataclasses.replace(BASE, grammar=Grammar("regex", "a+"))
    _measure(rows, bound)
    assert _asked(_measure(rows, bound)) == (0, 0, 0)
    other = dataclasses.replace(bound, grammar=dataclasses.replace(bound.grammar, **change))
    assert _asked(_measure(rows, other))[:2] == (1, 1)


def test_another_metric_version_is_measured_anew(monkeypatch):
    rows = Rows()
    _measure(rows)
    monkeypatch.setattr(reuse_module, "METRIC_VERSION", reuse_module.METRIC_VERSION + 1)
    assert _asked(_measure(rows)) == (1, 1, 1)


def test_another_twin_leaves_the_fp16_answers_as_they_are():
    rows = Rows()
    _measure(rows)
    assert _asked(_measure(rows, twin={"compute_dtype": "float32"})) == (0, 1, 1)


def test_another_fp16_answer_is_compared_anew():
    rows = Rows()
    _measure(rows, text="an answer")
    changed = dataclasses.replace(BASE, max_new_tokens=51)
    assert _asked(_measure(rows, changed, text="another answer")) == (1, 1, 1)


def test_the_number_of_a_device_and_the_name_of_a_question_play_no_role():
    rows = Rows()
    _measure(rows, fp16={"device": "cuda:0"})
    renamed = _measure(rows, dataclasses.replace(BASE, group="other"), fp16={"device": "cuda:1"})
    assert _asked(renamed) == (0, 0, 0)


def test_a_twin_that_describes_itself_as_the_baseline_still_answers_for_itself():
    rows = Rows()
    alike = {"mode": "reproducible", "compute_dtype": "float32"}
    assert _asked(_measure(rows, twin=alike)) == (1, 1, 1)


def test_a_resumed_run_takes_the_rest_from_the_cache(uncached):
    rows = Rows()
    stopped = Desk(rows)
    stopped.run(lambda: len(stopped.samples) >= 7)
    assert 0 < len(stopped.fp16.asked) < 20
    assert len(rows.rows) == len([k for k in stopped.samples if k.side == "fp16"]), (
        "what was cut off is not kept"
    )
    begun = dict(stopped.samples)
    Desk(rows).run()
    asked = list(stopped.fp16.asked)
    stopped.run()
    assert stopped.fp16.asked == asked, "the rest was measured by the other run"
    assert {k: stopped.samples[k] for k in begun} == begun
    assert stopped.as_text() == uncached.as_text()
    assert stopped.evaluate() == uncached.evaluate()
    left = 20 - len([k for k in begun if k.side == "fp16"])
    assert stopped.told == [("fp16", left, 20), ("fp16_floor", 20, 20), ("pair_floor", 20, 20)]


def test_a_stopped_run_takes_nothing_more_from_the_cache():
    rows = Rows()
    Desk(rows).run()
    assert Desk(rows).run(lambda: True).samples == {}


class Cancelling(Counting):
    """Its answers end because somebody stopped the run."""

    def generate(self, requests, should_stop=None):
        for completion in super().generate(requests, should_stop):
            yield dataclasses.replace(completion, finish_reason="cancelled")


def test_answers_that_were_cut_off_are_not_kept():
    rows = Rows()
    desk = Desk(rows)
    desk.fp16 = Cancelling(GOLD)
    item = _items(desk.fp16)[0]
    Measuring(desk.context(), "s", [item]).answer("fp16", desk.fp16, lambda i, c: {})
    (cut,) = desk.fp16.generate([item.request])
    desk.reuse.keep_answers("fp16", desk.fp16.info, [(item.request, cut)])
    assert desk.fp16.asked
    assert (desk.samples, rows.rows) == ({}, {})


class Failing(Counting):
    """Answers three questions, then breaks."""

    def generate(self, requests, should_stop=None):
        yield from super().generate(requests[:3], should_stop)
        raise RuntimeError("broken")


def test_what_was_answered_before_a_fault_is_kept():
    rows = Rows()
    desk = Desk(rows)
    desk.fp16 = Failing(GOLD)
    with pytest.raises(RuntimeError, match="broken"):
        desk.run()
    assert len(rows.rows) == 3
    again = Desk(rows).run()
    assert len(again.fp16.asked) == 17
    assert again.told == [("fp16", 3, 20)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: {},
        lambda row: {**row, **{name: None for name in row}},
        lambda row: {**row, "finish_reason": "cancelled", "kl": row.get("kl", [])[:-1]},
        lambda row: {**row, "token_ids": ["x"], "logprobs": [0.0], "kl": "abc"},
        lambda row: {**row, "logprobs": [], "ref_logprob": [float("nan")] * 9},
        lambda row: {**row, "text": 5, "same_top": [[1]]},
    ],
)
def test_rows_of_the_wrong_form_are_measured_anew_and_mended(damage, caplog):
    rows = Rows()
    whole = _measure(rows)
    sound = dict(rows.rows)
    rows.rows = {k: json.dumps(damage(json.loads(v))) for k, v in sound.items()}
    again = _measure(rows)
    assert _asked(again) == (1, 1, 1)
    assert again.as_text() == whole.as_text()
    assert rows.rows == sound
    assert caplog.text.count("is of the wrong form") == 3
