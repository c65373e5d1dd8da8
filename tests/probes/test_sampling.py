"""Each side asked with settings of its own: what is asked, what is stored, and when these settings are the cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from tests.probes.desk import Bench
from tests.probes.fakes import ScriptedEngine
from tests.probes.test_reuse import Rows
from wfgy_triage.diagnosis import ONLY_WEIGHTS, SAME_SAMPLING, SAMPLER, SAMPLER_BACK
from wfgy_triage.engines.base import NEUTRAL, Completion, GenerationRequest, Sampler
from wfgy_triage.engines.suggested import GREEDY, SERVER_OWN, Sampling, SidesSampling
from wfgy_triage.errors import ProbeError
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.probes.reuse import Reuse
from wfgy_triage.result import Check
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
BROKEN = {k: v.replace("}", "", 1) if i % 2 else v for i, (k, v) in enumerate(GOLD.items())}
HOT = Sampling(1.5, sampler=Sampler(top_k=50))
CHECKS = (Check(ONLY_WEIGHTS, "ok", ""),)
AS_SUGGESTED = ProbeSettings(questions=20, options={"sampling": "suggested"})


class Careless(ScriptedEngine):
    """Breaks records where they are drawn, and answers as scripted where they are not."""

    def __init__(self, greedy: dict[str, str], drawn: dict[str, str] = BROKEN, bias: float = 0.0) -> None:
        super().__init__(greedy, bias)
        self.drawn, self.requests = ScriptedEngine(drawn), list[GenerationRequest]()

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: object = None
    ) -> Iterator[Completion]:
        self.requests += requests
        for request in requests:
            hot = request.temperature > 0 or request.sampler.server_own
            yield from self.drawn.generate([request]) if hot else super().generate([request])


class Desk(Bench):
    """A run on a pair whose sides suggest something."""

    def __init__(
        self, exl2: Careless, sides: SidesSampling | None, settings: ProbeSettings = AS_SUGGESTED
    ) -> None:
        fp16, twin = Careless(GOLD, GOLD), Careless(GOLD, GOLD, 0.01)
        super().__init__(PROBE, fp16, exl2, twin, settings)
        self.sides = sides
        self.reuse: Reuse | None = None

    def context(self, *args: object, **options: object) -> ProbeContext:
        made = super().context(*args, **options)  # type: ignore[arg-type]
        suggested = None if self.sides is None else (lambda: self.sides)
        return replace(made, suggested=suggested, reuse=self.reuse)  # type: ignore[arg-type]


def test_settings_that_do_the_damage_are_named_and_nothing_else_is_asked():
    desk = Desk(Careless(GOLD), SidesSampling(GREEDY, HOT)).run()
    found = desk.evaluate(CHECKS).diagnosis
    assert (found.cause, found.confidence) == (SAMPLER, "high")
    assert SAMPLER not in found.ruled_out
    said = {c.check: c for c in found.evidence}
    assert said[SAMPLER_BACK].detail == (
        "Asked with neutral sampling settings, EXL2 answers 10 of 10 lost questions well. "
        "Its own settings: temperature 1.5, top_k 50."
    )
    assert said[SAME_SAMPLING].result == "unknown"
    assert (
        "FP16: the likeliest word each time. EXL2: temperature 1.5, top_k 50." in said[SAME_SAMPLING].detail
    )
    sides = {s.key.side for s in desk.samples.values()}
    assert sides == {"fp16", "exl2", "fp16_floor", "pair", "pair_floor", "back:sampler"}
    assert {s.payload["sampling"]["temperature"] for s in desk.side("exl2")} == {1.5}
    assert not any("sampling" in s.payload for s in [*desk.side("fp16"), *desk.side("back:sampler")])


def test_settings_that_neutral_ones_do_not_mend_are_ruled_out():
    desk = Desk(Careless(BROKEN, bias=1.0), SidesSampling(GREEDY, HOT)).run()
    found = desk.evaluate(CHECKS).diagnosis
    assert found.cause != SAMPLER
    assert SAMPLER in found.ruled_out
    (rung,) = [c for c in found.evidence if c.check == SAMPLER_BACK]
    assert rung.result == "ok"
    assert "answers 0 of 10 lost questions well" in rung.detail


def test_until_neutral_settings_are_asked_nothing_can_be_said_of_the_weights():
    desk = Desk(Careless(GOLD), SidesSampling(GREEDY, HOT)).run()
    cut = [s for s in desk.samples.values() if s.key.side != "back:sampler"]
    found = PROBE.evaluate(cut, CHECKS, desk.settings).diagnosis
    assert found.cause == "unknown"
    assert SAMPLER not in found.ruled_out


def test_equal_settings_cannot_explain_a_difference():
    same = SidesSampling(HOT, HOT)
    desk = Desk(Careless(GOLD, GOLD), same).run()
    found = desk.evaluate(CHECKS).diagnosis
    assert found.cause == "within_noise"
    assert SAMPLER in found.ruled_out
    assert {c.check: c.result for c in found.evidence}[SAME_SAMPLING] == "ok"
    neutral = Desk(Careless(GOLD), None, ProbeSettings(questions=20)).run().evaluate(CHECKS).diagnosis
    assert SAME_SAMPLING not in {c.check for c in neutral.evidence}
    assert SAMPLER in neutral.ruled_out


def test_both_sides_share_a_seed_that_differs_by_question_and_the_twin_draws_again():
    desk = Desk(Careless(GOLD, GOLD), SidesSampling(HOT, HOT)).run()
    seeds = [[r.seed for r in e.requests] for e in (desk.fp16, desk.exl2, desk.twin)]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 20
    assert not set(seeds[0]) & set(seeds[2])
    assert all(0 <= s < 2**31 for s in sum(seeds, []))
    again = Desk(Careless(GOLD, GOLD), SidesSampling(HOT, HOT)).run()
    assert [r.seed for r in again.exl2.requests] == seeds[1]
    other = Desk(Careless(GOLD, GOLD), SidesSampling(HOT, HOT), replace(AS_SUGGESTED, seed=1)).run()
    assert not set(seeds[1]) & {r.seed for r in other.exl2.requests}


def test_a_server_is_left_to_itself_and_asked_neutrally_where_questions_are_lost():
    exl2 = Careless(GOLD)
    exl2.capabilities = replace(exl2.capabilities, score=False, embed=False, served=True)
    desk = Desk(exl2, SidesSampling(GREEDY, SERVER_OWN)).run()
    first, lost = exl2.requests[:20], exl2.requests[40:]
    assert all(r.sampler.server_own and r.temperature == 0 for r in exl2.requests[:40])
    # Its second answers are drawn with other seeds: they are its noise.
    assert not {r.seed for r in first} & {r.seed for r in exl2.requests[20:40]}
    assert len(lost) == 10
    assert all(r.sampler == NEUTRAL for r in lost)
    found = desk.evaluate().diagnosis
    assert found.cause == SAMPLER
    assert any("Its own settings: the server's own settings." in c.detail for c in found.evidence)


def test_what_an_exl2_loaded_here_draws_is_no_noise_of_its_own():
    exl2 = Careless(GOLD)
    exl2.info = replace(exl2.info, deterministic=False)
    desk = Desk(exl2, SidesSampling(GREEDY, HOT)).run()
    # Asked twice for its sums alone, so with the same draws.
    assert [r.seed for r in exl2.requests[:20]] == [r.seed for r in exl2.requests[20:40]]
    found = desk.evaluate(CHECKS).diagnosis
    assert found.cause == SAMPLER
    assert "EXL2 against itself 0 of 20" in next(c.detail for c in found.evidence if c.check == "above_noise")


def test_answers_of_fp16_are_used_again_only_where_it_is_asked_alike():
    rows = Rows()

    def measured(fp16: Sampling) -> int:
        desk = Desk(Careless(GOLD, GOLD), SidesSampling(fp16, GREEDY))
        desk.reuse = Reuse(rows, {"model": "a"}, lambda *said: None)
        desk.run()
        return len(desk.fp16.requests)

    assert measured(GREEDY) == 20
    assert measured(GREEDY) == 0
    assert measured(HOT) == 20
    assert measured(replace(HOT, sampler=Sampler(top_k=49))) == 20
    assert measured(HOT) == 0


def test_neutral_runs_ask_and_store_what_they_always_did():
    plain = Desk(Careless(GOLD), None, ProbeSettings(questions=20)).run()
    assert {r.sampler for r in plain.exl2.requests} == {NEUTRAL}
    assert {(r.temperature, r.top_p, r.seed) for r in plain.exl2.requests} == {(0.0, 1.0, 0)}
    greedy = Desk(Careless(GOLD), SidesSampling(GREEDY, GREEDY)).run()
    assert greedy.samples == plain.samples


def test_without_folders_nothing_is_guessed():
    with pytest.raises(ProbeError, match="not known here"):
        Desk(Careless(GOLD), None).run()
