"""The benchmark of bit rates: rows are measured once, kept one by one, and shown as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bank_workshop import Workshop
from benchmarks.bench_bit_rates import RATES, _print, look_once, print_trials, sibling
from benchmarks.row_file import RowFile
from tests.doctor.conftest import healthy  # noqa: F401 - a fixture
from wfgy_triage.demo import SIBLINGS, exl2_folder
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.pairs import Pair
from wfgy_triage.settings import load_settings
from wfgy_triage.store.records import RunRecord, RunSpec, RunStatus

METRIC = {
    "id": "schema_valid_rate",
    "fp16": 1.0,
    "exl2": 0.8,
    "difference": -0.2,
    "interval": [-0.4, -0.05],
    "level": 0.95,
    "n": 20,
    "floor": 0.0,
    "state": "FAIL",
    "primary": True,
}
RESULT = {
    "state": "FAIL",
    "diagnosis": {"cause": "weights_too_few_bits", "confidence": "high"},
    "metrics": [METRIC, {**METRIC, "id": "other", "primary": False}],
    "timings": {"load": 1.0},
    "pair": {"exl2": {"decoder_bpw": 3.29}},
    "reused": {"fp16": 20},
    "recommendation": None,
}


@dataclass
class Looks:
    """Stands in for whole runs; counts them."""

    result: Mapping[str, Any] | None = field(default_factory=lambda: RESULT)
    status: RunStatus = RunStatus.DONE
    asked: list[tuple[str, int, Mapping[str, str]]] = field(default_factory=list)

    def __call__(self, pair: Pair, symptom: str, questions: int, options: Mapping[str, str]) -> RunRecord:
        self.asked.append((symptom, questions, options))
        moment = datetime.now(UTC)
        spec = RunSpec(symptom, pair.id)
        return RunRecord(
            "r", spec, self.status, moment, moment, moment, moment, False, self.result, None, "It broke.", ""
        )


def test_a_killed_benchmark_goes_on_behind_its_rows(healthy: Pair, tmp_path: Path):  # noqa: F811
    path, looks = tmp_path / "out.json", Looks()
    path.write_text(json.dumps({"machine": {"cores": 2}}))
    first = look_once(RowFile(path, "bit_rates"), looks, healthy, 3.3, "json_breaks", 20, 0)
    found = json.loads(path.read_text())
    assert (found["machine"], found["bit_rates"]["rows"]) == ({"cores": 2}, [first])
    again = RowFile(path, "bit_rates")
    assert look_once(again, looks, healthy, 3.3, "json_breaks", 20, 0) == first
    assert len(looks.asked) == 1
    for rate, symptom, questions, fix in (
        (4.2, "json_breaks", 20, 0),
        (3.3, "long_chain", 20, 0),
        (3.3, "json_breaks", 40, False),
        (3.3, "json_breaks", 20, 300),
    ):
        look_once(again, looks, healthy, rate, symptom, questions, fix)
    assert len(looks.asked) == 5
    assert looks.asked[0][2] == {"fix": "no"}
    assert looks.asked[4][2] == {"fix": "yes", "fix_seconds": "300"}
    assert len(RowFile(path, "bit_rates").rows) == 5


def test_another_model_at_the_same_rate_is_measured(healthy: Pair, tmp_path: Path):  # noqa: F811
    kept, looks = RowFile(None, "bit_rates"), Looks()
    other = Pair("other", "Other", healthy.fp16, healthy.fp16)
    for pair in (healthy, other, healthy):
        look_once(kept, looks, pair, 3.3, "json_breaks", 20, 0)
    assert len(looks.asked) == 2


def test_a_run_without_a_result_is_shown_and_tried_again(
    healthy: Pair,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
):
    kept, looks = RowFile(None, "bit_rates"), Looks(None, RunStatus.FAILED)
    row = look_once(kept, looks, healthy, 3.3, "json_breaks", 20, 0)
    assert (row["state"], row["error"], kept.rows) == (None, "It broke.", [])
    look_once(kept, looks, healthy, 3.3, "json_breaks", 20, 0)
    assert len(looks.asked) == 2
    capsys.readouterr()
    _print("json_breaks", [row])
    assert "NOT MEASURED | It broke." in capsys.readouterr().out


def test_a_cancelled_run_ends_the_benchmark(healthy: Pair):  # noqa: F811
    kept = RowFile(None, "bit_rates")
    with pytest.raises(KeyboardInterrupt):
        look_once(kept, Looks(status=RunStatus.CANCELLED), healthy, 3.3, "json_breaks", 20, 0)
    assert kept.rows == []


def test_the_table_has_a_line_for_every_primary_metric(
    healthy: Pair,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
):
    distance = {**METRIC, "id": "ds_drift", "fp16": None, "difference": None, "exl2": 0.04}
    looks = Looks({**RESULT, "metrics": [METRIC, distance]})
    row = look_once(RowFile(None, "bit_rates"), looks, healthy, 3.3, "acceptance_gate", 20, 0)
    assert row["primaries"][0]["interval"] == [-0.4, -0.05]
    capsys.readouterr()
    _print("acceptance_gate", [row])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "| 3.3 | FAIL | schema_valid_rate, n = 20 | 1 | 0.8 | -0.2 [-0.4, -0.05] | 0 |" in lines[2]
    assert "| 0.04 [-0.4, -0.05] |" in lines[3]


def test_every_trial_has_a_line_with_before_and_after(
    healthy: Pair,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
):
    effect = {
        "id": "schema_valid_rate",
        "before": 0.8,
        "after": 1.0,
        "difference": 0.2,
        "interval": [0.05, 0.4],
    }
    tried: dict[str, Any] = {"state": "PASS", "rules": [], "guards": [], "reason": "", "seconds": 12.0}
    trials = [
        {
            **tried,
            "id": "citation_contract",
            "remedy": "citation_contract",
            "status": "given_up",
            "effect": None,
        }
        | {"lost": 4, "restored": 0},
        {**tried, "id": "schema_lock", "remedy": "schema_lock", "status": "verified", "effect": effect}
        | {"lost": 4, "restored": 4, "answers": ["long"]},
    ]
    fix = {"candidate": "schema_lock", "verified": True, "state_after": "PASS", "trials": trials}
    look = Looks({**RESULT, "recommendation": fix})
    row = look_once(RowFile(None, "bit_rates"), look, healthy, 3.3, "json_breaks", 20, 300)
    assert "answers" not in row["trials"][1], "a row keeps figures, not texts"
    capsys.readouterr()
    print_trials([row])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| 3.3 | citation_contract | BBMC | – | – | – | – | given_up, 0 of 4 lost back | 12 |"
    name, effect = "**schema_lock** | BBAM", "schema_valid_rate | 0.8 | 1 | 0.2 [0.05, 0.4]"
    assert lines[3] == f"| 3.3 | {name} | {effect} | verified, 4 of 4 lost back | 12 |"


def test_rates_of_the_demo_take_its_siblings(healthy: Pair, tmp_path: Path):  # noqa: F811
    class Shop(Workshop):
        def pair(self, pair_id: str) -> Pair:
            return Pair(pair_id, pair_id, healthy.fp16, healthy.exl2)

    shop = Shop(load_settings(home=tmp_path), tmp_path)
    for s in SIBLINGS:
        folder = exl2_folder(shop.settings, s)
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
    assert {s.bpw for s in SIBLINGS} <= set(RATES)
    assert [sibling(shop, s.bpw).id for s in SIBLINGS] == [s.pair_id for s in SIBLINGS]


def test_another_rate_is_quantized_once_and_kept(
    healthy: Pair,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    class Shop(Workshop):
        def pair(self, pair_id: str) -> Pair:
            return healthy

    shop, made = Shop(load_settings(home=tmp_path), tmp_path), []

    def make(self, fp16_dir: Path, exl2_dir: Path, recipe: Any) -> Path:
        made.append((fp16_dir, exl2_dir, recipe.bpw, recipe.method))
        return healthy.exl2

    monkeypatch.setattr("benchmarks.bench_bit_rates.Siblings.make", make)
    pair = sibling(shop, 5.3)
    assert (pair.fp16, pair.exl2) == (healthy.fp16, healthy.exl2)
    assert made == [(healthy.fp16, healthy.exl2, 5.3, "gptq")]


def test_no_demo_pair_is_said(tmp_path: Path):
    with pytest.raises(PrerequisiteError):
        sibling(Workshop(load_settings(home=tmp_path), tmp_path), 5.3)


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text("[1, 2]")
    with pytest.raises(InputError, match="results of benchmarks"):
        RowFile(path, "bit_rates")
    assert path.read_text() == "[1, 2]"
