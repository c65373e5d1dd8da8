"""Sampling settings after a FAIL: neutral ones and a low temperature, really asked, and written where they belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from transformers import GenerationConfig

from tests.probes.test_sampling import BROKEN, GOLD, HOT, Careless, Desk
from tests.remedies.bench import PAIR, no_engine, no_findings
from wfgy_triage.engines.base import Sampler
from wfgy_triage.engines.openai_flavours import FLAVOURS, NEUTRAL
from wfgy_triage.engines.suggested import GREEDY, SERVER_OWN, Sampling, SidesSampling, suggested
from wfgy_triage.pairs import NO_FOLDER
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.remedies.base import Case, NotApplicableError, Shop
from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.outcome import recommend
from wfgy_triage.remedies.patch import Patch
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.renders import render
from wfgy_triage.remedies.served import remedy_for
from wfgy_triage.remedies.told import TRY, TRY_FP16
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.result import Diagnosis, State

CAUSE = Diagnosis("sampler_settings", "high")


def failed(own: Sampling = HOT, exl2: Careless | None = None) -> tuple[Desk, Case]:
    desk = Desk(exl2 or Careless(GOLD), SidesSampling(GREEDY, own)).run()
    context = desk.context()
    return desk, Case(context, PROBE.subject(context), PAIR, CAUSE, Shop(no_engine, no_findings, Path()))


def searched(desk: Desk, case: Case, *remedies: str):
    def more(questions: int) -> Case:
        context = replace(case.context, settings=replace(desk.settings, questions=questions))
        return replace(case, context=context, subject=PROBE.subject(context))

    TrialSearch(case, PROBE, [get_remedy(r) for r in remedies], Budget(1e6), more).run()
    return read_trials(tuple(desk.samples.values()), PROBE, desk.settings)


def test_neutral_settings_are_tried_and_verified_on_more_questions():
    desk, case = failed()
    asked = len(desk.exl2.requests)
    (trial,) = searched(desk, case, "neutral_sampler", "variance_clamp")
    assert (trial.facts.id, trial.status) == ("neutral_sampler", "verified")
    assert all(r.temperature == 0 for r in desk.exl2.requests[asked:])
    found = recommend([trial], State.FAIL)
    assert found is not None
    assert found["patch"] == {
        "sampler.temperature": 0,
        "sampler.top_k": 0,
        "generation_config.do_sample": False,
    }


def test_a_low_temperature_is_drawn_where_neutral_settings_do_not_help():
    class OnlyCool(Careless):
        def generate(self, requests, should_stop=None):
            for request in requests:
                cool = 0 < request.temperature <= 0.4
                yield from super().generate([replace(request, temperature=0.0 if cool else 1.5)])

    desk, case = failed(exl2=OnlyCool(GOLD))
    neutral, clamp = searched(desk, case, "neutral_sampler", "variance_clamp")
    assert neutral.status not in ("verified", "better")
    assert clamp.status == "verified"
    assert clamp.facts.patch == {
        "sampler.temperature": 0.3,
        "generation_config.do_sample": True,
        "sampler.top_k": 50,
    }
    # A script and a preset do not begin with the folder's settings: they have the cut-off too, as it was measured.
    made = render(Patch(clamp.facts.patch), Facts("fp16", "exl2", generation_config={"do_sample": True}))
    preset = yaml.safe_load(made["sampler_preset"])
    assert {k: v["override"] for k, v in preset.items()} == {"temperature": 0.3, "top_k": 50}
    assert "top_k=50," in made["python"]
    assert json.loads(made["generation_config"]) == {"do_sample": True, "temperature": 0.3}
    told = [s.payload["sampling"] for s in desk.samples.values() if s.key.side == "try:variance_clamp"]
    # One change: the cut-off of the folder stays.
    assert {(t["temperature"], t["top_k"]) for t in told} == {(0.3, 50)}


def test_a_penalty_alone_is_switched_off_and_there_is_no_temperature_to_clamp():
    _, case = failed(Sampling(sampler=Sampler(repetition_penalty=1.3)), Careless(BROKEN))
    (candidate,) = get_remedy("neutral_sampler").candidates(case)
    assert candidate.patch["sampler.repetition_penalty"] == 1
    assert "repetition_penalty 1.3" in candidate.label
    with pytest.raises(NotApplicableError, match="likeliest word"):
        get_remedy("variance_clamp").candidates(case)


def test_of_a_server_every_setting_is_named_since_none_is_known():
    _, case = failed(SERVER_OWN)
    (candidate,) = get_remedy("neutral_sampler").candidates(case)
    assert candidate.patch == {
        "sampler.temperature": 0,
        "sampler.top_p": 1,
        "sampler.top_k": 0,
        "sampler.min_p": 0,
        "sampler.typical": 1,
        "sampler.repetition_penalty": 1,
        "sampler.presence_penalty": 0,
        "sampler.frequency_penalty": 0,
    }
    # Whatever the trial's requests send to the server is in the files that a reader takes away.
    (tabby,) = (f for f in FLAVOURS if f.name == "TabbyAPI")
    sent = {"temperature", "top_p", *NEUTRAL, *tabby.neutral} - {"token_healing"}
    preset = render(Patch(candidate.patch), Facts("fp16", "exl2"))["sampler_preset"]
    assert sent <= yaml.safe_load(preset).keys()
    (clamp,) = get_remedy("variance_clamp").candidates(case)
    with get_remedy("variance_clamp").apply(case, clamp) as change:
        request = change.restate(case.subject.items[0]).asked("try:variance_clamp")
    # The one setting that is sent; the server's others stay.
    assert (request.temperature, request.sampler.server_own) == (0.3, True)


def test_settings_are_tried_on_a_server_too_and_need_no_folder():
    served = replace(PAIR, exl2=NO_FOLDER, engine={"server": {"url": "http://localhost:1/v1"}})
    desk, case = failed(SERVER_OWN)
    remedy = remedy_for("neutral_sampler", served)
    (candidate,) = remedy.candidates(replace(case, pair=served))
    with remedy.apply(case, candidate) as change:
        assert change.restate(case.subject.items[0]).asked("try:neutral_sampler").temperature == 0
    _, case = failed(GREEDY, Careless(BROKEN))
    with pytest.raises(NotApplicableError) as said:
        remedy.candidates(replace(case, pair=served))
    assert str(said.value) == "Both sides were asked with neutral sampling settings."


def test_neutral_settings_are_written_so_that_transformers_reads_them_as_neutral(tmp_path):
    now = {"do_sample": True, "temperature": 1.5, "top_p": 0.9, "eos_token_id": 2}
    _, case = failed(suggested(now, "EXL2"))
    (candidate,) = get_remedy("neutral_sampler").candidates(case)
    made = render(Patch(candidate.patch), Facts("fp16", "exl2", generation_config=now))
    assert {name for name, text in made.items() if text} == {"sampler_preset", "python", "generation_config"}
    data = json.loads(made["generation_config"])
    assert suggested(data, "EXL2") == GREEDY
    (tmp_path / "generation_config.json").write_text(made["generation_config"], encoding="utf-8")
    assert GenerationConfig.from_pretrained(tmp_path).do_sample is False
    assert data["eos_token_id"] == 2
    assert "do_sample" not in made["python"] + made["sampler_preset"]


def test_fp16_with_a_change_is_asked_as_fp16_is():
    item = Item("q", (1,), 4, sampling=SidesSampling(GREEDY, HOT))
    assert item.asked(f"{TRY_FP16}segment_chain 10").temperature == 0
    assert item.asked(f"{TRY}segment_chain 10").temperature == HOT.temperature
