"""The result object: its JSON form fits the schema, and what does not is refused with the field named."""

import json
from dataclasses import replace

import pytest

from wfgy_triage.catalog import load_catalog, validate_result
from wfgy_triage.errors import InputError
from wfgy_triage.result import Check, Diagnosis, Gate, Metric, Result, State


def _result() -> Result:
    catalog = load_catalog()
    gate = catalog.gates["json_schema_valid"].gate()
    return Result(
        run_id="r1",
        created_at="2026-01-02T03:04:05+00:00",
        symptom="json_breaks",
        state=State.INCONCLUSIVE,
        pair={"id": "demo", "fp16": {"folder": "a"}, "exl2": {"folder": "b"}},
        workload={"id": "builtin", "sha256": "0" * 64, "questions": 20},
        settings={"seed": 0, "questions": 20},
        metrics=(
            Metric(
                "schema_valid_rate", "Fits the schema", "share", 1.0, 0.95, -0.05, (-0.2, 0.1), (0.75, 0.99),
                n=20, floor=1.0, gate=gate, state=State.INCONCLUSIVE, note="more", primary=True,
            ),
            Metric("kld", "KL(FP16‖EXL2)", "nats", None, 0.1, interval=(0.05, 0.2), n=20),
        ),
        diagnosis=Diagnosis("within_noise", "medium", (Check("same tokens", "ok", "equal"),), ("tokenizer_mismatch",)),
        modules=catalog.symptom_modules("json_breaks"),
        recommendation=None,
        timings={"measure_s": 1.5},
        versions={"torch": "2.13.0"},
        headline="x",
        page_rule="y",
        charts={"rates": []},
    )  # fmt: skip


def test_a_result_fits_its_schema_and_survives_the_round_trip():
    data = json.loads(json.dumps(_result().to_json()))
    validate_result(data)
    assert Result.from_json(data).to_json() == data
    for optional in ("headline", "page_rule", "charts"):
        del data[optional]
    for metric in data["metrics"]:
        for optional in ("label", "gated_interval", "primary"):
            del metric[optional]
    validate_result(data)


def test_a_stopped_result_fits_too():
    empty = replace(
        _result(),
        state=State.NOT_MEASURED,
        metrics=(
            Metric(
                "schema_valid_rate",
                "x",
                "share",
                None,
                None,
                state=State.NOT_MEASURED,
                gate=Gate(">=", 1, "s"),
            ),
        ),
        diagnosis=Diagnosis("unknown", "low"),
    )
    validate_result(empty.to_json())


RECOMMENDATION = {
    "remedy": "schema_lock", "patch": {"a.b": 1}, "renders": {"python": "x", "shell": None},
    "state_before": "FAIL", "state_after": "PASS", "verified": True,
    "trials": [{"id": "schema_lock", "remedy": "schema_lock", "label": "Hold it", "patch": {}, "status": "verified",
                "state": "PASS", "effect": None}],
}  # fmt: skip


def test_a_recommendation_fits():
    validate_result({**_result().to_json(), "recommendation": RECOMMENDATION})


def test_that_nothing_helped_is_a_recommendation_too():
    nothing = {**RECOMMENDATION, "remedy": None, "verified": False, "state_after": None, "patch": {}}
    validate_result({**_result().to_json(), "recommendation": nothing})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), "wfgy-triage/result-2", "schema"),
        (("state",), "OK", "state"),
        (("state",), "NOT_MEASURED", "state"),
        (("symptom",), "headache", "no symptom"),
        (("diagnosis", "cause"), "bad_luck", "no cause"),
        (("diagnosis", "ruled_out"), ["bad_luck"], "no cause"),
        (("diagnosis", "confidence"), "certain", "confidence"),
        (("diagnosis", "evidence", 0, "result"), "maybe", "result"),
        (("metrics", 0, "exl2"), float("nan"), "written as JSON"),
        (("metrics", 0, "interval"), [0.2, 0.1], "wrong order"),
        (("metrics", 0, "interval"), [0.1], "interval"),
        (("metrics", 0, "gate", "op"), "<", "op"),
        (("metrics", 0, "n"), 2.5, "n"),
        (("metrics", 0, "surprise"), 1, "surprise"),
        (("surprise",), 1, "surprise"),
        (("workload", "sha256"), "abc", "sha256"),
        (("settings",), {}, "seed"),
        (("created_at",), "yesterday", "created_at"),
        (("versions",), {"torch": 2}, "versions"),
        (("recommendation",), {"remedy": "x"}, "recommendation"),
        (("recommendation",), {**RECOMMENDATION, "renders": {"fortran": "x"}}, "fortran"),
        (("headline",), {1}, "written as JSON"),
    ],
)
def test_a_wrong_result_is_refused_and_the_field_named(path, value, message):
    data = _result().to_json()
    target = data
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(InputError, match=message):
        validate_result(data)


@pytest.mark.parametrize(
    "key",
    ["schema", "run_id", "created_at", "symptom", "state", "pair", "workload", "settings", "metrics", "diagnosis",
     "modules", "recommendation", "timings", "versions"],
)  # fmt: skip
def test_every_part_of_the_result_is_required(key):
    data = _result().to_json()
    del data[key]
    with pytest.raises(InputError, match=key):
        validate_result(data)
