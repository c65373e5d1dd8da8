"""The time that EXL2 saves: golden numbers on a scripted clock, warm-up, turns, memory, resuming, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from tests.probes.desk import Desk
from tests.probes.fakes import ScriptedEngine
from tests.probes.test_acceptance import CHECKS, GOLD, WRONG, WordEncoder, metric
from tests.probes.test_context import needed
from tests.remedies.bench import CAUSE, PAIR, Clock, ScriptedRemedy, no_engine, no_findings
from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.finding import failed
from wfgy_triage.engines.absent import AbsentEngine
from wfgy_triage.engines.base import Capabilities, Completion, GenerationRequest
from wfgy_triage.probes.acceptance import Acceptance
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.latency import LEAST_TOKENS, NOT_TIMED, QUESTIONS, REFUSED, REPEATS, TIMED, TOO_SHORT
from wfgy_triage.remedies.base import Case, Shop
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.report.trial_rules import rules_list
from wfgy_triage.result import State

ORDER = list(GOLD)
PROMPT, ROUNDS = 0.5, (1.0, 1.0, 3.0, 0.5, 1.0)
"""Seconds for a prompt, and by what the counted rounds of a question are slower: the median stays."""
CALLS = 2 * (REPEATS + 1)
"""Calls of one side for one question: for the first token and for the answer, warm-up included."""


class OnGpu(ScriptedEngine):
    """Takes its time on a shared clock: for a prompt that it does not remember, and for each further token."""

    capabilities = Capabilities(speed_tells=True)

    def __init__(
        self,
        answers: Mapping[str, str],
        clock: Clock,
        a_token: Callable[[str], float],
        side: str,
        log: list[tuple[str, str, int]],
        runs_in: tuple[str, str] = ("exllamav2", "float16"),
    ) -> None:
        super().__init__(answers)
        self.info = replace(self.info, engine=runs_in[0], device="cuda", compute_dtype=runs_in[1])
        self.clock, self.a_token, self.side, self.log = clock, a_token, side, log
        self.remembers: set[tuple[int, ...]] = set()
        self.forgot = False

    def forget_prompts(self) -> None:
        self.remembers.clear()
        self.forgot = True

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        timed, self.forgot = self.forgot, False
        by_id = {r.id: r for r in requests}
        for completion in super().generate(requests, should_stop):
            request, question = by_id[completion.id], completion.id.partition("/")[0]
            steps = len(completion.token_ids) + (completion.finish_reason == "stop")
            self.clock.now += (request.prompt_ids not in self.remembers) * PROMPT
            self.clock.now += (steps - 1) * self.a_token(question) * (self.slower(question) if timed else 1)
            self.remembers.add(request.prompt_ids)
            if timed:
                assert len(requests) == 1
                assert (request.temperature, request.drafts) == (0.0, ())
                self.log.append((self.side, question, request.max_new_tokens))
            yield completion

    def slower(self, question: str) -> float:
        """The first round is far slower, which nobody may see."""
        number = sum(entry[:2] == (self.side, question) for entry in self.log) // 2
        return (50.0, *ROUNDS)[min(number, REPEATS)]


def timed_desk(
    exl2: Callable[[str], float] | float = 0.02,
    answers: Mapping[str, str] = GOLD,
    questions: int = 20,
    baseline: str = "transformers",
) -> Desk:
    """A bench whose EXL2 side runs on a GPU; FP16 takes 0.04 s a token, in a 16-bit twin or in exllamav2 itself."""
    clock, log = Clock(), []
    probe = Acceptance(WordEncoder, sweep=(), clock=clock)
    desk = Desk(probe, GOLD, answers, ProbeSettings(questions=questions))
    desk.log = log
    desk.exl2 = OnGpu(answers, clock, exl2 if callable(exl2) else lambda _: exl2, "exl2", log)
    if baseline == "transformers":
        desk.twin = OnGpu(GOLD, clock, lambda _: 0.04, "fp16", log, ("transformers", "bfloat16"))
    else:
        desk.fp16 = OnGpu(GOLD, clock, lambda _: 0.04, "fp16", log)
    return desk


def gain_of(desk: Desk):
    return metric(desk.evaluate(CHECKS), "latency_gain")


@pytest.mark.parametrize(
    ("baseline", "named"), [("transformers", "transformers (bfloat16)"), ("exllamav2", "exllamav2 (float16)")]
)
def test_the_gain_is_that_of_the_medians_and_the_note_names_the_baseline(baseline, named):
    desk = timed_desk(baseline=baseline).run()
    gain = gain_of(desk)
    assert (gain.exl2, gain.state, gain.n) == (pytest.approx(0.5), State.PASS, QUESTIONS)
    assert gain.gated_interval == (pytest.approx(0.5), pytest.approx(0.5))
    assert f"against FP16 in {named}." in gain.note
    rounds = [s.payload[side]["seconds_a_token"] for s in desk.side(TIMED) for side in ("fp16", "exl2")]
    assert {len(r) for r in rounds} == {REPEATS}
    assert max(map(max, rounds)) == pytest.approx(0.04 * max(ROUNDS)), "the first round is not counted"
    found = desk.evaluate(CHECKS)
    further, first = metric(found, "time_a_token"), metric(found, "time_to_first")
    assert (further.fp16, further.exl2) == (pytest.approx(40.0), pytest.approx(20.0))
    # With anything of a prompt remembered this would be less.
    assert (first.fp16, first.exl2) == (pytest.approx(500.0), pytest.approx(500.0))
    # All five rules are measured now; 20 right answers do not yet show a loss of at most 5 points.
    assert found.state is State.INCONCLUSIVE
    assert "5 of the 5 that were measured" in found.page_rule


def test_questions_that_gain_differently_have_an_interval_around_their_mean():
    desk = timed_desk(lambda q: 0.04 * (0.6 + 0.03 * ORDER.index(q))).run()
    gain = gain_of(desk)
    # Gains of 0.40, 0.37 ... 0.13: mean 0.265, standard deviation 0.03 * sqrt(110 / 12), t(9) = 2.262157.
    assert gain.exl2 == pytest.approx(0.265)
    half = 2.262157 * 0.03 * (110 / 12) ** 0.5 / 10**0.5
    low, high = gain.gated_interval
    assert low <= 0.265 - half + 1e-6
    assert high >= 0.265 + half - 1e-6
    assert low < 0.25 < high
    assert gain.state is State.INCONCLUSIVE
    assert gain.more_questions


def test_a_model_that_is_hardly_faster_fails_and_nothing_is_tried_for_that():
    desk = timed_desk(0.036).run()
    found = desk.evaluate(CHECKS)
    assert (gain_of(desk).exl2, found.state) == (pytest.approx(0.1), State.FAIL)
    assert found.headline == "Do not ship: Time saved per word misses the gate."
    assert desk.probe.subject(desk.context()) is None
    spoiled = timed_desk(0.036, WRONG).run()
    subject = spoiled.probe.subject(spoiled.context())
    assert subject is not None
    assert "latency_gain" not in subject.rules


def test_sides_take_turns_and_begin_alternately():
    desk = timed_desk(questions=5).run()
    first = [entry for entry in desk.log if entry[1] == ORDER[0]]
    assert len(first) == 2 * CALLS
    assert [most == 1 for _, _, most in first] == [True, False] * CALLS
    sides = [side for side, _, _ in first[::2]]
    assert sides == ["exl2", "fp16", "fp16", "exl2"] * 3
    assert [s.key.question for s in desk.side(TIMED)] == ORDER[:5]
    assert gain_of(desk).n == 5
    stages = [(done, total) for stage, done, total in desk.stages if stage == TIMED]
    assert stages == [(n, 5) for n in (*range(5), 5)]


def test_too_short_answers_are_left_out_for_others_and_that_is_said():
    answers = {q: "x" * (LEAST_TOKENS - 2) if q in ORDER[1:4] else a for q, a in GOLD.items()}
    desk = timed_desk(answers=answers).run()
    assert gain_of(desk).n == QUESTIONS
    assert gain_of(desk).note.endswith("too short: 3.")
    assert [s.key.question for s in desk.side(TIMED) if "exl2" in s.payload] == [ORDER[0], *ORDER[4:13]]
    # The end token is computed as well: one character more is enough.
    enough = {q: "x" * (LEAST_TOKENS - 1) for q in GOLD}
    assert gain_of(timed_desk(answers=enough).run()).exl2 == pytest.approx(0.5)
    none = timed_desk(answers=dict.fromkeys(GOLD, "ok [1]")).run()
    assert (gain_of(none).state, gain_of(none).note) == (State.NOT_MEASURED, TOO_SHORT)
    assert len(none.side(TIMED)) == 20
    few = timed_desk(questions=4).run()
    assert (gain_of(few).state, gain_of(few).n) == (State.NOT_MEASURED, 4)
    assert "4 of 4 questions could be judged" in gain_of(few).note


@pytest.mark.parametrize("calls", [1, 2 * CALLS, 2 * CALLS + 3, 7 * 2 * CALLS - 1])
def test_a_stopped_run_goes_on_with_the_next_question(calls: int):
    desk, whole = timed_desk(), timed_desk().run()
    desk.run(lambda: len(desk.log) >= calls)
    assert len(desk.side(TIMED)) == calls // (2 * CALLS)
    done = {s.key.question for s in desk.side(TIMED)}
    asked = len(desk.log)
    # Whoever stores a key twice is told by the bench.
    desk.run()
    assert not [entry for entry in desk.log[asked:] if entry[1] in done]
    assert set(desk.samples) == set(whole.samples)
    assert gain_of(desk).exl2 == pytest.approx(gain_of(whole).exl2)
    asked = len(desk.log)
    desk.run()
    assert len(desk.log) == asked


@pytest.mark.parametrize("slow", ["exl2", "fp16", "in_turn"])
def test_engines_whose_speed_says_nothing_are_not_timed_and_the_reason_is_said(slow: str):
    desk = timed_desk()
    if slow == "exl2":
        desk.exl2 = ScriptedEngine(GOLD, bias=1.0)
    elif slow == "in_turn":
        desk.exl2.capabilities = Capabilities(in_turn=True)
    else:
        desk.twin = ScriptedEngine(GOLD)
    desk.run()
    assert (gain_of(desk).state, gain_of(desk).note) == (State.NOT_MEASURED, REFUSED[slow])
    assert desk.log == []
    (told,) = desk.side(TIMED)
    desk.run()
    assert desk.side(TIMED) == [told]
    assert not [m for m in desk.evaluate().metrics if m.id.startswith("time_")]
    assert (metric(desk.probe.evaluate((), (), desk.settings), "latency_gain").note) == NOT_TIMED


def test_nothing_is_timed_ahead_of_a_run():
    desk = timed_desk()
    desk.probe.run(replace(desk.context(), ahead=True))
    assert desk.log == desk.side(TIMED) == []


def test_a_trial_is_not_timed_and_says_so(tmp_path):
    desk = timed_desk(answers=WRONG).run()
    asked = len(desk.log)

    def case(questions: int) -> Case:
        context = desk.context(settings=replace(desk.settings, questions=questions))
        subject = desk.probe.subject(context)
        assert subject is not None
        return Case(context, subject, PAIR, CAUSE, Shop(no_engine, no_findings, tmp_path), loaded=True)

    change = ScriptedRemedy("alternate_paths", {"a": GOLD})
    TrialSearch(case(20), desk.probe, (change,), Budget(1e6, Clock()), case).run()
    (trial,) = read_trials(tuple(desk.samples.values()), desk.probe, desk.settings)
    assert trial.status == "verified"
    assert len(desk.log) == asked
    rule = next(m for m in trial.rules if m.id == "latency_gain")
    assert (rule.state, rule.note) == (State.NOT_MEASURED, NOT_TIMED)
    assert f"Without the change: 50 %. {NOT_TIMED}" in rules_list(trial.to_json())
    assert gain_of(desk).exl2 == pytest.approx(0.5)


def test_every_text_of_the_rule_is_true_on_a_gpu():
    shown = load_catalog().metrics["latency_gain"]
    assert not [t for t in (shown.detail, shown.untried, *REFUSED.values()) if "CPU" in t]


def test_on_two_devices_nothing_is_timed():
    desk = timed_desk()
    desk.exl2.info = replace(desk.exl2.info, device="cuda:1")
    desk.run()
    assert (gain_of(desk).state, desk.log) == (State.NOT_MEASURED, [])
    assert "different devices" in gain_of(desk).note


def test_while_the_twin_has_no_room_nothing_is_timed_and_a_later_pass_does():
    desk = timed_desk()
    twin, desk.twin = desk.twin, AbsentEngine()
    desk.run()
    assert not desk.side("timed")
    desk.twin = twin
    desk.run()
    assert gain_of(desk).n == QUESTIONS


def test_what_does_not_fit_into_a_context_is_not_timed(monkeypatch):
    desk = timed_desk()
    limit = sorted(needed(desk).values())[5]
    desk.exl2.info = replace(desk.exl2.info, max_context=limit)
    short = failed("same_context", "FP16 100000 tokens, EXL2 fewer.")
    context = desk.context
    monkeypatch.setattr(desk, "context", lambda *a, **k: replace(context(*a, **k), findings=(short,)))
    desk.run()
    assert {q for side, q, _ in desk.log} == {q for q, n in needed(desk).items() if n <= limit}
