"""Trials for the scripted worker. The numbers belong together, but nobody measured them: they live in tests only."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from tests.browser.scripted import WORKER, ScriptedWorker, answer_payload, sample_answer, sample_result
from wfgy_triage.remedies.outcome import Effect, Status, Trial, recommend
from wfgy_triage.remedies.told import TRIAL_SIDE, TRY, TrialFacts
from wfgy_triage.result import Gate, Metric, Result, State
from wfgy_triage.store.records import RunStatus, Sample, SampleKey

PRIMARY = ("schema_valid_rate", "Answers that fit the schema")
GUARD = ("value_match_rate", "Records with the right content")
GATE = Gate(">=", 0.98, "JSON mode page")
PRESET = """\
# TabbyAPI sampler preset. Every answer has to follow the schema.
# Fits TabbyAPI of 27 June 2026.
json_schema:
  override: {type: object, required: [name, date]}
  force: true
"""
CONFIG = """\
--- a/config.json
+++ b/config.json
@@ -3,3 +3,3 @@
   "model_type": "llama",
-  "rope_theta": 10000.0,
+  "rope_theta": 100000.0,
   "vocab_size": 49152
"""
RENDERS = {"sampler_preset": PRESET, "python": "import exllamav2\n", "config_json": CONFIG, "shell": None}


def trial(
    order: int,
    remedy: str,
    label: str,
    status: Status,
    after: float | None = None,
    interval: tuple[float, float] = (0.05, 0.49),
    n: int = 20,
    **more: Any,
) -> Trial:
    """One trial, as the run would have read it from its samples."""
    facts_status = {"hopeless": "hopeless", "skipped": "skipped", "unfinished": "unfinished"}.get(
        status, "tried"
    )
    facts = TrialFacts(
        order, f"{remedy} {order}", remedy, label, more.pop("patch", {"paths.count": 3}), facts_status,
        side=TRY + f"{remedy} {order}", asked=n, lost=5, restored=5 if after else 0, seconds=14.2, **more,
    )  # fmt: skip
    if after is None:
        return Trial(facts, status, None, None, None, (), 0)
    state = State.PASS if status == "verified" else State.FAIL
    primary = Metric(
        *PRIMARY, "share", 0.95, after, n=n, gate=GATE, state=state, primary=True,
        gated_interval=(after - 0.018, 1.0) if status == "verified" else (after - 0.22, min(1.0, after + 0.11)),
    )  # fmt: skip
    better = {"verified": True, "better": True, "broke": True, "worse": False}.get(status)
    effect = Effect(*PRIMARY, "share", 0.737, after, after - 0.737, interval, 0.9875, 20, better)
    guard = Effect(*GUARD, "share", 0.60, 0.55 if status != "broke" else 0.2, -0.05, (-0.17, 0.08), 0.9875, 20,
                   False if status == "broke" else None)  # fmt: skip
    return Trial(facts, status, state, primary, effect, (guard,), n)


VERIFIED = (
    trial(0, "citation_contract", "Stricter prompt frame", "hopeless",
          reason="It brings back 0 of 5 lost answers, so the other questions were not asked."),
    trial(1, "segment_chain", "Work in shorter segments", "skipped",
          reason="These questions ask for one record each; there is no chain to cut."),
    trial(2, "alternate_paths", "Vote over 3 continuations", "better", 0.85, (0.01, 0.3),
          reason="A PASS would need about 160 more questions, which the time for trying changes did not allow."),
    trial(3, "schema_lock", "Hold decoding to the schema", "verified", 0.995, n=200,
          patch={"request.json_schema": {"type": "object"}}, note="The schema of each question's record class."),
)  # fmt: skip
NONE_HELPED = (
    trial(0, "schema_lock", "Hold decoding to the schema", "broke", 0.95),
    trial(1, "alternate_paths", "Vote over 3 continuations", "unclear", 0.75, (-0.11, 0.16)),
    VERIFIED[0],
    replace(VERIFIED[1], facts=replace(VERIFIED[1].facts, order=3)),
)


def failed_result(run_id: str, trials: tuple[Trial, ...], **more: Any) -> Result:
    """The sample result with what its trials lead to."""
    fix = recommend(trials, State.FAIL)
    assert fix is not None
    found = sample_result(run_id, State.FAIL)
    primary = replace(found.metrics[0], gated_interval=(0.488, 0.909))
    renders = more.pop("renders", RENDERS if fix["candidate"] else {})
    return replace(
        found, metrics=(primary, *found.metrics[1:]), recommendation={**fix, "renders": renders}, **more
    )


def try_change(worker: ScriptedWorker, run_id: str, done: Trial, told: bool = True) -> None:
    """Store the answers of a trial, and how it went."""
    seven = [q for q in range(20) if sample_answer(worker.questions[q], q, "exl2")[1] != "valid"]
    samples = []
    for number in seven if done.status != "skipped" else ():
        gold = sample_answer(worker.questions[number], number, "fp16")
        mended = done.primary is not None
        text, kind = gold if mended else sample_answer(worker.questions[number], number, "exl2")
        key = SampleKey("json_breaks", worker.questions[number].id, 0, 0, done.facts.side)
        samples.append(Sample(key, answer_payload(text, kind)))
    payload = {"name": "trials", "label": f"Trying: {done.facts.label}", "done": len(samples), "total": 20}
    worker.runs.add_event(run_id, "stage", payload)
    if told:
        key = SampleKey("json_breaks", done.facts.id, 0, 0, TRIAL_SIDE)
        samples.append(Sample(key, asdict(done.facts)))
    worker.runs.add_samples(run_id, samples)


def run_with_trials(worker: ScriptedWorker, trials: tuple[Trial, ...], **more: Any) -> str:
    """A whole failed run with its trials, recorded as the real worker would have."""
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answers(run_id, 20, ("fp16", "exl2", "fp16_floor", "pair"))
    for done in trials:
        try_change(worker, run_id, done)
    result = failed_result(run_id, trials, **more).to_json()
    assert worker.runs.finish(run_id, WORKER, RunStatus.DONE, result, timings=result["timings"])
    return run_id
