"""Which weights do the damage: tiny models that differ in one known part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import OutOfMemoryError

from tests.engines.conftest import FAMILIES, build_model, save_tokenizer
from tests.probes.foreign import DIFFERENT, Foreign
from wfgy_triage.diagnosis import ONLY_WEIGHTS, diagnose
from wfgy_triage.engines.base import Completion, Engine
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.evidence import Evidence
from wfgy_triage.localized import AnswersBack, Damage, PartDamage
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.damage import damage, part_label
from wfgy_triage.probes.items import RUNS, Item
from wfgy_triage.probes.localize import localize
from wfgy_triage.probes.lost import Lost, lost_answers
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.probes.paired import Sides
from wfgy_triage.probes.reference_engine import NO_ROOM, NO_ROOM_HINT
from wfgy_triage.result import Check, State
from wfgy_triage.store.records import Sample

CHECKS = (Check(ONLY_WEIGHTS, "ok", ""),)
QUESTIONS = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model, and siblings with the head, or one block's MLP, of another."""
    settings = {**FAMILIES["llama"], "tie_word_embeddings": False}
    other = build_model(1, **settings)
    made = {}
    for name in ("fp16", "head", "mlp"):
        model = build_model(0, **settings)
        if name == "head":
            model.lm_head.weight.data.copy_(other.lm_head.weight)
        if name == "mlp":
            model.model.layers[1].mlp.load_state_dict(other.model.layers[1].mlp.state_dict())
        made[name] = tmp_path_factory.mktemp(name)
        model.half().save_pretrained(made[name])
        save_tokenizer(made[name])
    return made


def measured(
    folders: dict[str, Path],
    broken: str,
    piece: int = 10_000,
    changed: Callable[[ProbeContext], ProbeContext] = lambda context: context,
) -> dict[object, Sample]:
    """Samples of four prompts, all of them lost, from passes that are stopped after `piece` samples.

    `changed` gives the context of a pass that is not on the two models as they are loaded.
    """
    stored: dict[object, Sample] = {}
    fp16, exl2 = (open_engine(folders[name], side="fp16") for name in ("fp16", broken))

    def context() -> ProbeContext:
        as_loaded = ProbeContext(
            fp16=fp16,
            exl2=exl2,
            open_floor=lambda: fp16,
            settings=ProbeSettings(questions=QUESTIONS),
            done=frozenset(stored),
            stored=lambda: tuple(stored.values()),
            save=lambda samples: stored.update({s.key: s for s in samples}),
            progress=lambda *_: None,
            should_stop=lambda: len(stored) >= limit,
        )
        return changed(as_loaded)

    items = [Item(f"q{i}", tuple(range(60 + i, 90 + i)), 8, group="g") for i in range(QUESTIONS)]

    def judge(item: Item, completion: object) -> dict[str, object]:
        right = stored.get(measuring.key(item, "fp16"))
        return {"useful": right is None or right.payload["text"] == completion.text}  # type: ignore[attr-defined]

    while True:
        limit = len(stored) + piece
        measuring = Measuring(context(), "json_breaks", items)
        measuring.run(judge)
        localize(context(), measuring, judge, gone([i.question for i in items]))
        if len(stored) < limit:
            return stored


def one_pass(fp16: Engine, exl2: Engine, stored: dict[object, Sample]) -> ProbeContext:
    """The context of a pass that nobody stops."""
    return ProbeContext(
        fp16=fp16,
        exl2=exl2,
        open_floor=lambda: fp16,
        settings=ProbeSettings(questions=QUESTIONS),
        done=frozenset(),
        stored=lambda: tuple(stored.values()),
        save=lambda samples: stored.update({s.key: s for s in samples}),
        progress=lambda *_: None,
        should_stop=lambda: False,
    )


def found(samples: dict[object, Sample]) -> Damage:
    rows = list(samples.values())
    result = damage(rows, Sides.of(rows).pair, gone([f"q{i}" for i in range(QUESTIONS)]))
    assert result is not None
    return result


def gone(questions: list[str]) -> Lost:
    return lost_answers(questions, lambda answer: bool(answer["useful"]))


@pytest.mark.parametrize(("broken", "worst"), [("head", "head"), ("mlp", "mlp 1-1")])
def test_the_part_that_differs_is_named_and_putting_it_back_ends_the_drift(folders, broken, worst):
    result = found(measured(folders, broken))
    assert result.worst is not None
    assert result.worst.id == worst
    by_id = {p.id: p for p in result.parts}
    assert result.share(by_id["all"]) > 0.999
    assert result.share(by_id[worst]) > 0.999
    assert by_id[worst].restored == by_id["all"].restored == QUESTIONS
    innocent = [p for p in result.parts if p.id not in ("all", worst)]
    assert innocent
    assert all(abs(result.share(p)) < 1e-6 for p in innocent)


def test_a_pass_in_pieces_stores_the_same(folders):
    whole = measured(folders, "head")
    assert measured(folders, "head", piece=3) == whole


@pytest.mark.parametrize(("tokens", "read"), [(8, 1), (9, 2), (10_000, 4)])
def test_every_part_reads_no_more_answers_than_tell_parts_apart(folders, monkeypatch, tokens, read):
    monkeypatch.setattr("wfgy_triage.probes.localize.SCORED_TOKENS", tokens)
    samples = measured(folders, "mlp")
    assert {s.payload["tokens"] for s in samples.values() if s.key.side == "fp16"} == {8}
    result = found(samples)
    assert result.questions == read
    assert result.worst.id == "mlp 1-1"
    assert {p.asked for p in result.parts if p.id in ("all", "mlp 1-1")} == {QUESTIONS}


def test_a_baseline_in_another_engine_leaves_the_weights_where_they_are(folders):
    samples = measured(folders, "head", changed=lambda c: replace(c, fp16=Foreign(c.fp16)))
    assert {s.key.side for s in samples.values()} == {"fp16", "exl2", "fp16_floor", "pair", "pair_floor"}
    rows = list(samples.values())
    assert damage(rows, Sides.of(rows).pair, gone(["q0"])) is None


def test_a_baseline_on_another_device_leaves_the_weights_where_they_are(folders):
    def elsewhere(context: ProbeContext) -> ProbeContext:
        context.fp16.info = replace(context.fp16.info, device="cuda:1")
        return context

    assert not any(":" in s.key.side for s in measured(folders, "head", changed=elsewhere).values())


def through_reference(folders: dict[str, Path]) -> Callable[[ProbeContext], ProbeContext]:
    """EXL2 in an engine of its own, and the weights that it is said to hold in the reference engine."""

    def changed(context: ProbeContext) -> ProbeContext:
        return replace(
            context,
            exl2=Foreign(context.exl2),
            findings=DIFFERENT,
            open_decoded=lambda: open_engine(folders["head"], side="fp16"),
        )

    return changed


def test_weights_that_the_reference_engine_loses_with_too_are_put_back_in_that_engine(folders):
    samples = measured(folders, "mlp", changed=through_reference(folders))
    result = found(samples)
    assert (result.engine, result.engine_left_out) == (AnswersBack(0, QUESTIONS), "")
    # The drift is that of the weights in the reference engine, and not what the other engine adds or hides.
    kept = [s.payload["kl"] for s in samples.values() if s.key.side == "part:engine"]
    assert result.drift == pytest.approx(np.mean(np.concatenate(kept)))
    assert result.worst is not None
    assert (result.worst.id, result.worst.restored) == ("head", QUESTIONS)
    assert result.share(result.worst) > 0.999
    assert {p.id for p in result.parts}.isdisjoint({"engine", "cache"})


def test_a_pass_in_pieces_through_the_reference_engine_stores_the_same(folders):
    whole = measured(folders, "mlp", changed=through_reference(folders))
    assert measured(folders, "mlp", piece=3, changed=through_reference(folders)) == whole


def test_nothing_lost_is_nothing_to_localize(folders):
    samples = measured(folders, "head")
    plain = [s for s in samples.values() if ":" not in s.key.side]
    assert damage(plain, Sides.of(plain).pair, gone(["q0"])) is None


def evidence() -> Evidence:
    return Evidence(State.FAIL, State.PASS, True, True, True, True, True, "", 0.5, 0.001)


def parts(head: float, everything: float = 0.001) -> Damage:
    return Damage(
        0.5,
        6,
        (
            PartDamage("all", "All weights", everything, 4, 4),
            PartDamage("head", "Output head", head, 3, 4),
            PartDamage("attn 0-2", "Attention, blocks 1 to 3", 0.45, None, 0),
        ),
    )


def test_a_head_that_causes_half_is_named_and_otherwise_ruled_out():
    assert diagnose(evidence(), CHECKS, parts(head=0.1)).cause == "head_bits_too_few"
    spread = diagnose(evidence(), CHECKS, parts(head=0.4))
    assert spread.cause == "weights_too_few_bits"
    assert "head_bits_too_few" in spread.ruled_out
    assert "head_bits_too_few" not in diagnose(evidence(), CHECKS).ruled_out


def test_weights_back_that_do_not_end_the_drift_are_a_fault_of_the_engine():
    rungs = {c.check: c for c in diagnose(evidence(), CHECKS, parts(0.4, everything=0.4)).evidence}
    assert rungs["all_weights_back"].result == "fault"
    rungs = {c.check: c for c in diagnose(evidence(), CHECKS, parts(0.4)).evidence}
    assert rungs["all_weights_back"].result == "ok"
    assert "4 of 4 lost answers come back" in rungs["all_weights_back"].detail


def test_labels_count_blocks_from_one():
    assert part_label("attn 0-5") == "Attention, blocks 1 to 6"
    assert part_label("mlp 2-2") == "MLP, block 3"
    assert part_label("all") == "All weights"


def test_the_first_few_lost_answers_of_a_stopped_run_blame_nothing(folders):
    samples = measured(folders, "mlp", changed=through_reference(folders))
    for side in ("back:engine", "back:all"):
        last = next(k for k in reversed(samples) if k.side == side)  # type: ignore[attr-defined]
        assert found(samples) != found({k: s for k, s in samples.items() if k != last})
        del samples[last]
    result = found(samples)
    assert result.engine is None
    by_id = {p.id: p for p in result.parts}
    assert (by_id["all"].restored, by_id["all"].asked) == (None, 0)
    assert (by_id["head"].restored, by_id["head"].asked) == (QUESTIONS, QUESTIONS)


def test_memory_that_ends_while_parts_are_put_back_is_remembered(folders, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []

    def full(*_: object) -> None:
        opened.append("parts")
        raise OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("wfgy_triage.probes.localize.put_back", full)
    monkeypatch.setattr("wfgy_triage.probes.reference_engine.free_bytes", lambda device: 1 << 40)
    samples = measured(folders, "mlp", piece=1, changed=through_reference(folders))
    assert opened == ["parts"]
    result = found(samples)
    assert (result.engine, result.engine_left_out) == (AnswersBack(0, QUESTIONS), "")
    assert result.parts_left_out == f"{NO_ROOM} {NO_ROOM_HINT}"
    rungs = {c.check: c for c in diagnose(evidence(), CHECKS, result).evidence}
    assert (rungs["all_weights_back"].result, NO_ROOM in rungs["all_weights_back"].detail) == (
        "unknown",
        True,
    )


def test_a_rule_about_several_answers_to_a_question_is_localized_on_all_of_them(folders):
    """Without a comparison of the run's own, and asked in an arm of their own, as the gate asks for λ."""
    stored: dict[object, Sample] = {}
    fp16, exl2 = (open_engine(folders[name], side="fp16") for name in ("fp16", "mlp"))
    context = one_pass(fp16, exl2, stored)
    items = [Item(f"q{i}", tuple(range(60 + i, 90 + i)), 8, group="g") for i in range(QUESTIONS)]
    again = [replace(i, seed=seed, arm=RUNS) for i in items[:2] for seed in (0, 1)]
    right: dict[str, str] = {}

    def judge(item: Item, completion: Completion) -> dict[str, object]:
        return {"useful": right.setdefault(item.question, completion.text) == completion.text}

    def well(samples: Sequence[Sample], side: str) -> dict[str, bool]:
        rows = [s for s in samples if s.key.side == f"{side}_runs"]
        asked = {q: [r.payload["useful"] for r in rows if r.key.question == q] for q in ("q0", "q1")}
        return {q: all(marks) for q, marks in asked.items() if len(marks) == 2}

    measuring = Measuring(context, "acceptance_gate", items)
    measuring.answer("fp16", fp16, judge)
    lost = Lost(("q0", "q1"), well, arm=RUNS)
    localize(context, measuring, judge, lost, lambda questions: [i for i in again if i.question in questions])
    result = damage(tuple(stored.values()), {}, lost)
    assert result is not None
    by_id = {p.id: p for p in result.parts}
    assert (by_id["all"].restored, by_id["all"].asked) == (2, 2)
    assert (result.worst.id, result.worst.restored, result.questions) == ("mlp 1-1", 2, 2)
    assert result.share(by_id["all"]) > 0.999
    assert sum(s.key.side == "back:all_runs" for s in stored.values()) == len(again)
    assert not any(s.key.side == "pair" for s in stored.values())
