"""The bank itself: enough faults and healthy pairs, each with an answer that the fix map knows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import bank_workshop
from benchmarks import bench_triage_accuracy as bench
from benchmarks.bank_contexts import tokens_of_chains
from benchmarks.bank_questions import TRIP
from benchmarks.bank_workshop import Workshop
from benchmarks.fault_bank import BANK, BASELINE, HARMLESS, NO_CAUSE, NOT_COVERED, Case, Setup, chosen
from benchmarks.faults import FAULTS
from benchmarks.row_file import RowFile
from tests.doctor.conftest import healthy  # noqa: F401 - a fixture
from wfgy_triage.catalog import load_catalog
from wfgy_triage.engines.grammar import GrammarCompiler
from wfgy_triage.engines.grammar_builders import record_grammar
from wfgy_triage.engines.suggested import suggested_by
from wfgy_triage.errors import InputError
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.retrieval_plan import make_plan
from wfgy_triage.settings import load_settings
from wfgy_triage.workload.json_records import load_json_workload
from wfgy_triage.workload.stored import stored_workload


class Shop(Workshop):
    """Gives the tiny pair of the tests in place of the demo's."""

    tiny: ClassVar[Pair]

    def pair(self, pair_id: str) -> Pair:
        return self.tiny

    def rounded(self, bpw: float) -> Pair:
        return self.tiny

    def rows(self, pair: Pair, texts: tuple[str, ...], *, quantized: bool) -> NDArray[np.float32]:
        return np.random.default_rng(0).standard_normal((len(texts), 16)).astype(np.float32)


@pytest.fixture
def shop(healthy: Pair, tmp_path: Path) -> Shop:  # noqa: F811
    Shop.tiny = healthy
    return Shop(load_settings(home=tmp_path), tmp_path / "scratch")


def test_single_cases_can_be_named():
    assert [c.id for c in chosen(BANK, ["rope_wrong", "tokens_shifted"])] == ["tokens_shifted", "rope_wrong"]
    with pytest.raises(InputError, match="no case 'nonsense'"):
        chosen(BANK, ["rope_wrong", "nonsense"])


def test_a_rounded_pair_is_kept_until_its_model_is_made_anew(healthy: Pair, tmp_path: Path):  # noqa: F811
    fp16 = tmp_path / "fp16"
    shutil.copytree(healthy.fp16, fp16)

    class OfACopy(Workshop):
        def pair(self, pair_id: str) -> Pair:
            return Pair(pair_id, pair_id, fp16, fp16)

    def made() -> tuple[Path, int]:
        pair = OfACopy(load_settings(home=tmp_path / "home"), tmp_path / "scratch").rounded(4.5)
        assert pair.id == "rtn-4-5bpw"
        return pair.exl2, (pair.exl2 / "config.json").stat().st_mtime_ns

    first = made()
    assert made() == first
    settings = fp16 / "generation_config.json"
    settings.write_text('{"max_length": 77}', encoding="utf-8")
    assert made()[0] != first[0]
    assert (made()[0] / settings.name).read_text(encoding="utf-8") == settings.read_text(encoding="utf-8")


def test_ids_are_unique():
    ids = [c.id for c in BANK]
    assert len(ids) == len(set(ids))


def test_there_is_enough_to_judge_by():
    assert sum(not c.healthy for c in BANK) >= 24
    assert sum(c.healthy for c in BANK) >= 6
    assert {f.id for f in FAULTS} <= {c.id for c in BANK}
    assert NOT_COVERED


def test_every_expected_cause_and_probe_is_in_the_fix_map():
    catalog = load_catalog()
    assert {c.cause for c in BANK} <= set(catalog.causes)
    assert set(catalog.causes) >= NO_CAUSE
    assert {c.symptom for c in BANK if c.symptom} <= set(catalog.symptoms)
    assert all(c.says and bool(c.symptom) == (c.questions > 0) for c in BANK)


@pytest.mark.parametrize("case", HARMLESS, ids=lambda c: c.id)
def test_harmless_changes_change_files_and_are_not_accused(case: Case, shop: Shop):
    row = bench._look(case, shop)
    assert (row["named"], row["right"]) == ("nothing_found", True)
    made = case.make(shop).pair
    assert _contents(made.exl2) != _contents(Shop.tiny.exl2)
    assert _contents(made.fp16) == _contents(Shop.tiny.fp16)


@pytest.mark.parametrize("name", ["sampling_hot", "sampling_alike"])
def test_what_the_folders_suggest_is_no_fault_for_the_doctor(name: str, shop: Shop):
    """Whether it does any harm only a run can say that asks as suggested."""
    case = next(c for c in BANK if c.id == name)
    setup = case.make(shop)
    assert setup.options == {"sampling": "suggested"}
    asked = suggested_by(setup.pair)
    assert asked.exl2.drawn
    assert (asked.fp16 == asked.exl2) is case.healthy
    assert bench.diagnose_findings(bench.check_folders(setup.pair)).cause == "nothing_found"


def test_the_two_bit_head_is_a_sound_checkpoint(shop: Shop):
    """Few bits are no damage: the doctor must leave it to the probe."""
    case = next(c for c in BANK if c.id == "head_2_bits")
    doctor_only = Case(case.id, case.says, "nothing_found", case.make)
    assert bench._look(doctor_only, shop)["named"] == "nothing_found"
    config = json.loads((case.make(shop).pair.exl2 / "config.json").read_text(encoding="utf-8"))
    assert config["quantization_config"]["head_bits"] == 2


def test_the_short_context_holds_some_of_the_chains_that_are_asked(shop: Shop):
    case = next(c for c in BANK if c.id == "context_short_of_chains")
    pair = case.make(shop).pair
    held = json.loads((pair.exl2 / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
    needed = tokens_of_chains(Shop.tiny.fp16)
    assert len(needed) == case.questions
    assert needed[0] <= held < needed[-1]
    assert _contents(pair.fp16) == _contents(Shop.tiny.fp16)
    doctor_only = Case(case.id, case.says, case.cause, case.make)
    assert bench._look(doctor_only, shop)["named"] == "context_overflow"


def test_a_baseline_that_fails_may_be_named_only_where_it_is_expected():
    expected = Case("a", "", BASELINE, lambda shop: Setup(shop.pair("demo")))
    other = Case("b", "", "within_noise", expected.make)
    assert (expected.healthy, other.healthy) == (True, True)
    assert (expected.right(BASELINE), expected.right("within_noise")) == (True, True)
    assert (other.right(BASELINE), other.right("nothing_found")) == (False, True)
    assert not expected.right("weights_too_few_bits")
    assert not Case("c", "", "rope_mismatch", expected.make).right("within_noise")


@pytest.mark.parametrize("case", [c for c in BANK if c.symptom == "wrong_snippet"], ids=lambda c: c.id)
def test_the_probe_can_read_every_index(case: Case, shop: Shop):
    plan = make_plan(ProbeSettings(case.questions, options=case.make(shop).options))
    assert len(plan.judged) == case.questions
    if case.id == "passages_doubled":
        assert len({c.text for c in plan.chunks.chunks}) == len(plan.chunks.chunks) - 40
        return
    assert plan.mode == "given"
    lengths = np.linalg.norm(plan.given.vectors, axis=1)
    summed = case.cause == "index_metric_mismatch"
    assert (lengths.max() > 1.01) == summed
    assert plan.given.measure == ("l2" if case.id == "index_by_wrong_distance" else "ip")


@pytest.mark.parametrize("case", [c for c in BANK if c.id.startswith("days_")], ids=lambda c: c.id)
def test_the_probe_can_ask_every_question_set(case: Case, shop: Shop):
    setup = case.make(shop)
    workload = load_json_workload(stored_workload(shop.home, setup.workload).path)
    (kind,) = workload.classes.values()
    assert len(workload.questions) >= case.questions
    assert len(kind.examples) == 3
    for question in workload.questions:
        day = question.record["day"]
        assert day not in question.text
        assert f" {day[:3]} " in question.text


@pytest.mark.parametrize(("name", "told"), [("fields_not_stated", False), ("fields_stated", True)])
def test_the_fields_of_a_trip_are_stated_in_one_of_two_sets(name: str, told: bool, shop: Shop):
    setup = next(c for c in BANK if c.id == name).make(shop)
    workload = load_json_workload(stored_workload(shop.home, setup.workload).path)
    (kind,) = workload.classes.values()
    assert len(kind.examples) == 1
    assert not kind.told, "beside its example a prompt says nothing of the schema"
    for question in workload.questions:
        asked = " ".join(m["content"] for m in workload.messages(question) if m["role"] != "assistant")
        assert ("Fields: day, name, seats, to." in asked) is told
        assert question.record["day"] != "Sunday"
        assert all(f"{value}" in question.text for value in question.record.values())


def test_no_grammar_keeps_the_schema_of_a_trip(shop: Shop):
    compiler = GrammarCompiler((Shop.tiny.fp16 / "tokenizer.json").read_text(encoding="utf-8"), {0}, 10**6)
    with pytest.raises(InputError, match="cannot keep the keyword if, then"):
        compiler.start(record_grammar(TRIP), "q")
    kept = {k: v for k, v in TRIP.items() if k not in ("if", "then")}
    assert compiler.start(record_grammar(kept), "q")


def test_a_wrong_name_a_false_alarm_and_a_failure_count_against_the_tool(shop: Shop):
    def breaks(shop: Workshop) -> Setup:
        raise InputError("It cannot be made.", "None.")

    fault = next(c for c in BANK if c.id == "rope_missing")
    cases = [
        fault,
        Case("wrong", "a fault with another answer", "tokenizer_mismatch", fault.make),
        Case("failed", "cannot be made", "tokenizer_mismatch", breaks),
        Case("accused", "a healthy pair that is not", "nothing_found", fault.make),
        Case("sound", "nothing", "nothing_found", lambda s: Setup(s.pair("demo"))),
    ]
    rows = [bench._look(c, shop) for c in cases]
    assert [r["right"] for r in rows] == [True, False, False, False, True]
    assert rows[2]["named"].startswith(bench.FAILED)
    found = bench._summary(rows)
    assert (found["accuracy"], found["false_alarms"]) == (pytest.approx(1 / 3), 1)
    assert not list(shop.scratch.glob("case-*"))


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_rows_of_a_stopped_call_are_not_measured_again(
    healthy: Pair,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    Shop.tiny = healthy
    monkeypatch.setattr(bank_workshop, "Workshop", Shop)
    monkeypatch.setenv("WFGY_TRIAGE_HOME", str(tmp_path))
    cases = chosen(BANK, ["rope_wrong", "tokens_shifted", "layers_other"])
    looked, shown, broken = [], [], {"layers_other"}

    def look(case: Case, shop: Workshop) -> dict[str, object]:
        looked.append(case.id)
        if case.id == "rope_wrong" and len(looked) < 4:
            raise KeyboardInterrupt
        return {"id": case.id, "measured": case.id not in broken}

    def call() -> list[str]:
        kept = RowFile(tmp_path / "rows.json", "bank")
        return [r["id"] for r in bank_workshop.look_at(cases, look, shown.append, kept)]

    with pytest.raises(KeyboardInterrupt):
        call()
    assert looked == ["tokens_shifted", "rope_wrong"]
    with pytest.raises(KeyboardInterrupt):
        call()
    assert looked[2:] == ["rope_wrong"]  # the first row is in the file
    assert call() == ["tokens_shifted", "rope_wrong", "layers_other"]
    assert looked[3:] == ["rope_wrong", "layers_other"]
    assert call() == ["tokens_shifted", "rope_wrong", "layers_other"]
    assert looked[5:] == ["layers_other"]  # nothing was measured the first time
    assert [r["id"] for r in shown[-3:]] == [c.id for c in cases]
    assert not list((tmp_path / "cache" / "fault-bank").iterdir())
