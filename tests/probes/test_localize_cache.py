"""Is the cache to blame? A loss that a cache which rounds nothing brings back, and what is named then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.conftest import FAMILIES, build_model, save_tokenizer
from tests.probes.test_localize import CHECKS, evidence, gone, one_pass, parts
from wfgy_triage.diagnosis import CACHE_BACK, KV_CACHE, WHOLE_CACHE, diagnose
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.localized import AnswersBack, Damage
from wfgy_triage.probes.damage import damage
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.localize import localize
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.probes.paired import Sides
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample

COARSE = (*CHECKS, Check(WHOLE_CACHE, "unknown", ""))


def test_a_cache_that_explains_the_loss_is_put_back_before_any_weights(
    tmp_path_factory: pytest.TempPathFactory,
):
    folder = tmp_path_factory.mktemp("wide")
    build_model(0, **{**FAMILIES["llama"], "head_dim": 64}).half().save_pretrained(folder)
    save_tokenizer(folder)
    result, sides = through_cache(folder, "Q4")
    assert result.cache is not None
    assert result.cache.asked >= 2
    assert result.cache.share == 1
    assert not result.parts
    assert "back:cache" in sides
    assert not any(side.startswith("part:") for side in sides)


def test_no_room_for_another_cache_costs_that_rung_alone(tmp_path_factory, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path_factory.mktemp("wide")
    build_model(0, **{**FAMILIES["llama"], "head_dim": 64}).half().save_pretrained(folder)
    save_tokenizer(folder)

    def full(engine: object) -> None:
        raise PrerequisiteError("the GPU memory does not suffice", "Close other programs.")

    monkeypatch.setattr("wfgy_triage.probes.localize.exact_cache", full)
    result, sides = through_cache(folder, "Q4")
    assert result.cache is None
    assert "part:all" in sides
    assert diagnose(evidence(), COARSE, result).cause == "unknown"


def through_cache(folder: Path, kind: str) -> tuple[Damage, set[str]]:
    """What is found where only the cache differs, and the sides that were stored."""
    stored: dict[object, Sample] = {}
    fp16 = open_engine(folder, side="fp16")
    context = one_pass(fp16, fp16.with_cache(kind), stored)
    items = [Item(f"q{i}", tuple(range(60 + i, 90 + i)), 24, group="g") for i in range(12)]
    measuring = Measuring(context, "json_breaks", items)

    def judge(item: Item, completion: object) -> dict[str, object]:
        right = stored.get(measuring.key(item, "fp16"))
        return {"useful": right is None or right.payload["text"] == completion.text}  # type: ignore[attr-defined]

    measuring.run(judge)
    lost = [s.key.question for s in stored.values() if s.key.side == "exl2" and not s.payload["useful"]]
    localize(context, measuring, judge, gone(lost))
    rows = tuple(stored.values())
    result = damage(rows, Sides.of(rows).pair, gone(lost))
    assert result is not None
    return result, {s.key.side for s in rows}


@pytest.mark.parametrize(("restored", "cause"), [(6, "kv_cache_bits"), (2, "weights_too_few_bits")])
def test_most_lost_answers_back_with_a_full_cache_is_the_cache(restored, cause):
    found = diagnose(evidence(), COARSE, replace(parts(head=0.4), cache=AnswersBack(restored, 8)))
    assert found.cause == cause
    rung = next(c for c in found.evidence if c.check == CACHE_BACK)
    assert (rung.result, f"{restored} of 8 lost answers" in rung.detail) == (
        "fault" if cause == KV_CACHE else "ok",
        True,
    )
    assert (KV_CACHE in found.ruled_out) is (cause != KV_CACHE)


def test_a_coarse_cache_that_was_not_put_back_blames_no_weights():
    assert diagnose(evidence(), COARSE).cause == "unknown"
    assert KV_CACHE not in diagnose(evidence(), COARSE).ruled_out
    assert diagnose(evidence(), CHECKS).cause == "weights_too_few_bits"


def test_the_cache_alone_is_evidence_where_weights_cannot_be_exchanged():
    found = diagnose(evidence(), COARSE, Damage(0.0, 0, (), AnswersBack(4, 5)))
    assert (found.cause, found.confidence) == (KV_CACHE, "high")
    assert diagnose(evidence(), COARSE, Damage(0.0, 0, (), AnswersBack(1, 5))).cause == "weights_too_few_bits"
