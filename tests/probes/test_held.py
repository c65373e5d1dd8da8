"""Rung 11: FP16 fails the gate itself; is it asked again, held to the form of its answers, and what is named then?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.probes.desk import Bench
from tests.probes.fakes import ScriptedEngine
from tests.probes.test_citations_missing import bare, script
from tests.probes.test_citations_missing import cited as cited_answer
from tests.probes.test_reuse import FACTS, Rows
from wfgy_triage.diagnosis import CHECK_CAUSES, ONLY_WEIGHTS
from wfgy_triage.engines.base import Capabilities, Completion, GenerationRequest
from wfgy_triage.pairs import Pair
from wfgy_triage.probes import citations_missing, json_breaks
from wfgy_triage.probes.base import Probe, ProbeContext, ProbeSettings
from wfgy_triage.probes.reuse import Reuse
from wfgy_triage.remedies.base import Case, Shop
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.result import Check, Diagnosis, State
from wfgy_triage.runs.trials import to_try
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
BROKEN = {k: v.replace("}", "", 1) for k, v in GOLD.items()}
HALF = {k: BROKEN[k] if i % 2 else v for i, (k, v) in enumerate(GOLD.items())}
"""Ten of the first twenty break the schema, which is outside the gate beyond doubt."""
OTHERS = dict(zip(GOLD, [*list(GOLD.values())[5:], *list(GOLD.values())[:5]], strict=True))
"""Every answer fits its schema and is that to another question: the first five are one of each class, and so on."""
CHECKS = tuple(Check(name, "ok", "") for name in [*CHECK_CAUSES, ONLY_WEIGHTS])
LOCK, FIRST, REMINDED = "held:schema_lock", "held:citation_contract:first", "held:citation_contract:reminded"
Answers = Mapping[str, str]


class FormEngine(ScriptedEngine):
    """Answers otherwise where decoding is held to a grammar, and where the prompt begins with a contract."""

    def __init__(
        self, answers: Answers, locked: Answers, first: Answers, reminded: Answers, bias: float = 0.0
    ) -> None:
        super().__init__(answers, bias)
        self._plain, self._locked, self._first, self._reminded = answers, locked, first, reminded

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        for request in requests:
            self.answers = self._said(request)
            yield from super().generate([request], should_stop)

    def _said(self, request: GenerationRequest) -> Answers:
        prompt = self.decode(request.prompt_ids)
        if request.grammar is not None:
            return self._locked
        if "Contract:" not in prompt:
            return self._plain
        return self._reminded if prompt.rstrip().rpartition("\n")[2].startswith("Fields: ") else self._first


def run(
    fp16: Answers = HALF,
    exl2: Answers | None = None,
    locked: Answers | None = None,
    first: Answers | None = None,
    reminded: Answers | None = None,
    probe: Probe = json_breaks.PROBE,
    questions: int = 20,
) -> Bench:
    """A run whose FP16 gives these answers; what is not given stays as it is without a form."""
    exl2 = fp16 if exl2 is None else exl2
    forms = [fp16 if f is None else f for f in (locked, first, reminded)]
    engines = (FormEngine(fp16, *forms), FormEngine(exl2, *forms, bias=1.0), ScriptedEngine(fp16, bias=0.01))
    return Bench(probe, *engines, ProbeSettings(questions))


def diagnosis(bench: Bench) -> Diagnosis:
    return bench.evaluate(CHECKS).diagnosis


def rungs(bench: Bench) -> dict[str, Check]:
    names = ("held_to_the_form", "asked_in_a_frame")
    return {c.check: c for c in diagnosis(bench).evidence if c.check in names}


def test_what_the_lock_brings_back_nobody_holds_the_model_to():
    bench = run(locked=GOLD).run()
    found = diagnosis(bench)
    assert (found.cause, found.confidence) == ("schema_unconstrained", "high")
    assert not {"schema_unconstrained", "baseline_also_fails"} & set(found.ruled_out)
    failed = {k for k in list(GOLD)[:20] if HALF[k] == BROKEN[k]}
    assert {s.key.question for s in bench.side(LOCK)} == failed
    assert rungs(bench).keys() == {"held_to_the_form"}
    detail = rungs(bench)["held_to_the_form"].detail
    assert detail == (
        "Held to the form that is asked for, FP16 answers 10 of 10 failed questions rightly, "
        "and 10 in the right form at least."
    )
    assert len(bench.exl2.asked) == 20, "EXL2 is asked nothing for it"
    assert not bench.side(FIRST)


def test_what_a_frame_brings_back_the_prompt_does_not_ask_firmly_enough():
    bench = run(first=GOLD).run()
    found = diagnosis(bench)
    assert (found.cause, found.confidence) == ("prompt_contract_missing", "high")
    assert "schema_unconstrained" in found.ruled_out
    assert "0 of 10 failed questions" in rungs(bench)["held_to_the_form"].detail
    assert rungs(bench)["held_to_the_form"].result == "ok"
    assert "10 of 10 failed questions" in rungs(bench)["asked_in_a_frame"].detail
    assert not bench.side(REMINDED)


def test_the_better_of_two_frames_counts():
    bench = run(reminded=GOLD).run()
    assert len(bench.side(FIRST)) == len(bench.side(REMINDED)) == 10
    assert diagnosis(bench).cause == "prompt_contract_missing"
    assert "10 of 10" in rungs(bench)["asked_in_a_frame"].detail


def test_where_neither_helps_the_task_is_too_hard():
    found = diagnosis(run().run())
    assert found.cause == "baseline_also_fails"
    assert {"schema_unconstrained", "prompt_contract_missing"} <= set(found.ruled_out)


@pytest.mark.parametrize(("back", "cause"), [(5, "schema_unconstrained"), (4, "baseline_also_fails")])
def test_half_of_the_failed_answers_have_to_come_back(back: int, cause: str):
    failed = [k for k in list(GOLD)[:20] if HALF[k] == BROKEN[k]]
    found = diagnosis(run(locked=HALF | {k: GOLD[k] for k in failed[:back]}).run())
    assert found.cause == cause
    if back == 5:
        assert found.confidence == "medium"


def test_the_right_form_with_wrong_content_is_no_answer():
    bench = run(locked=OTHERS).run()
    assert diagnosis(bench).cause == "baseline_also_fails"
    lock = rungs(bench)["held_to_the_form"]
    assert lock.result == "ok"
    assert "FP16 answers 0 of 10 failed questions rightly, and 10 in the right form" in lock.detail
    assert len(bench.side(FIRST)) == 10, "the frames are asked then"


def test_no_more_than_twelve_questions_are_asked_again():
    bench = run(fp16=BROKEN, locked=GOLD).run()
    assert len(bench.side(LOCK)) == 12
    assert len(bench.fp16.asked) == 20 + 12


@pytest.mark.parametrize(("fp16", "exl2"), [(GOLD, GOLD), (GOLD, HALF), (HALF, BROKEN)])
def test_nothing_is_asked_where_fp16_is_not_what_has_to_be_explained(fp16: Answers, exl2: Answers):
    bench = run(fp16, exl2, locked=GOLD).run()
    assert not [s for s in bench.samples.values() if s.key.side.startswith(("held:", "left_out:"))]
    assert not rungs(bench)
    assert diagnosis(bench).cause in ("within_noise", "weights_too_few_bits")


def test_an_engine_that_holds_no_grammar_leaves_the_rung_open():
    bench = run(locked=GOLD)
    bench.fp16.capabilities = Capabilities(grammar=False)
    assert diagnosis(bench.run()).cause == "baseline_also_fails"
    lock = rungs(bench)["held_to_the_form"]
    assert (lock.result, lock.detail.partition(": ")[2]) == (
        "unknown", "The loaded engine cannot hold decoding to a grammar.",
    )  # fmt: skip
    assert "schema_unconstrained" not in diagnosis(bench).ruled_out
    assert len(bench.side(FIRST)) == 10, "the frames are asked all the same"
    stored = dict(bench.samples)
    assert bench.run().samples == stored


def test_a_prompt_that_a_frame_makes_too_long_leaves_the_rung_open():
    bench = run()
    longest = max(len(i.prompt_ids) + i.max_new_tokens for i in bench.probe.subject(bench.context()).items)
    bench.fp16.info = replace(bench.fp16.info, max_context=longest)
    assert diagnosis(bench.run()).cause == "baseline_also_fails"
    frame = rungs(bench)["asked_in_a_frame"]
    assert frame.result == "unknown"
    assert "these questions need more" in frame.detail


def test_a_pass_in_pieces_stores_the_same():
    whole, parts = run().run(), run()
    while len(parts.samples) < len(whole.samples):
        limit = len(parts.samples) + 7
        parts.run(lambda limit=limit: len(parts.samples) >= limit)
    assert parts.samples == whole.samples


def test_the_first_few_held_answers_of_a_stopped_run_name_nothing():
    whole, stopped = run(locked=GOLD).run(), run(locked=GOLD)
    limit = len(whole.samples) - 1
    stopped.run(lambda: len(stopped.samples) >= limit)
    assert len(stopped.side(LOCK)) == 9
    assert not rungs(stopped)
    assert diagnosis(stopped).cause == "baseline_also_fails"
    assert "schema_unconstrained" not in diagnosis(stopped).ruled_out
    assert diagnosis(stopped.run()) == diagnosis(whole)


def test_held_answers_of_an_earlier_run_are_used_again():
    rows, told = Rows(), []

    class Reusing(Bench):
        def context(self, *args: object, **options: object) -> ProbeContext:
            reuse = Reuse(rows, FACTS, lambda *said: told.append(said))
            return replace(super().context(*args, **options), reuse=reuse)  # type: ignore[arg-type]

    def again() -> Bench:
        made = run(first=GOLD)
        return Reusing(made.probe, made.fp16, made.exl2, made.twin, made.settings).run()

    first, second = again(), again()
    assert second.fp16.asked == []
    assert {(side, 10, 10) for side in (LOCK, FIRST)} <= set(told)
    assert second.evaluate(CHECKS) == first.evaluate(CHECKS)
    assert diagnosis(second).cause == "prompt_contract_missing"


@pytest.mark.parametrize(
    ("forms", "cause"), [({"locked": 1}, "schema_unconstrained"), ({"first": 1}, "prompt_contract_missing")]
)
def test_cited_answers_are_held_to_their_own_form(forms: Mapping[str, int], cause: str):
    plain, good = script(bare), script(cited_answer)
    bench = run(plain, probe=citations_missing.PROBE, **dict.fromkeys(forms, good)).run()
    found = diagnosis(bench)
    assert found.cause == cause
    assert found.evidence[-1].check == "fluency_holds"
    assert not [s for s in bench.side(LOCK) if s.key.question.endswith("#record")]


def test_the_lock_is_tried_first_then_and_verified():
    exl2 = {k: BROKEN[k] if k == next(iter(GOLD)) else v for k, v in HALF.items()}
    bench = run(exl2=exl2, locked=GOLD).run()
    found = bench.evaluate(CHECKS)
    assert (found.state, found.diagnosis.cause) == (State.FAIL, "schema_unconstrained")
    remedies = to_try("json_breaks", found.diagnosis, ["schema_valid_rate"])
    assert remedies[0] == "schema_lock"

    def case(questions: int) -> Case:
        context = bench.context(settings=ProbeSettings(questions))
        pair = Pair("p", "P", Path("/a"), Path("/b"))
        return Case(context, bench.probe.subject(context), pair, found.diagnosis, Shop(_none, _none, Path()))

    TrialSearch(case(20), bench.probe, [get_remedy(r) for r in remedies], Budget(1e6), case).run()
    (trial,) = read_trials(tuple(bench.samples.values()), bench.probe, bench.settings)
    assert (trial.facts.id, trial.status, trial.state) == ("schema_lock", "verified", State.PASS)


def _none(*_: object) -> None:
    raise AssertionError("no other model is opened")
