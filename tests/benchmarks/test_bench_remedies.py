"""The benchmark of remedies counts what runs say, and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.bench_remedies import NOT_APPLICABLE, OUTCOMES, look, outcome, summary
from benchmarks.fault_bank import FOLDER_FAULTS
from tests.benchmarks.test_fault_bank import Shop, shop  # noqa: F401 - a fixture
from tests.doctor.conftest import healthy  # noqa: F401 - a fixture
from wfgy_triage.checks import load_checks
from wfgy_triage.doctor.finding import skipped
from wfgy_triage.probes import deploy_mismatch

CASES = {c.id: c for c in FOLDER_FAULTS}


@pytest.fixture(autouse=True)
def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tuple(skipped(c.id, "not asked") for c in load_checks().values() if c.group == "environment")
    monkeypatch.setattr(deploy_mismatch, "check_environment", lambda: machine)


def test_rows_say_what_the_runs_said(shop: Shop):  # noqa: F811
    mended, remade = (look(CASES[name], shop) for name in ("rope_missing", "shard_truncated"))
    assert (mended["before"], mended["after"], mended["outcome"]) == ("FAIL", "PASS", "restored")
    assert (mended["recommended"], mended["tried"]) == ("fix_rope", ["fix_rope"])
    assert (remade["before"], remade["after"], remade["outcome"]) == ("FAIL", "PASS", "restored")
    assert remade["tried"] == ["quantize_again 6"]
    assert mended["pages"]
    assert {r["pages_restore"] for r in (mended, remade)} == {NOT_APPLICABLE}
    lost = {**remade, "outcome": "cannot be restored", "tried": [], "after": None}
    found = summary([mended, remade, lost])
    assert (found["restored"], found["could_be_tried"], found["restored_share"]) == (2, 2, 1.0)
    assert found["passing_without_change"] == 0
    assert list(shop.scratch.glob("case-*")) == []


def result(verified: bool = False, candidate: str | None = None, *statuses: str) -> dict[str, object]:
    trials = [{"id": str(i), "status": s} for i, s in enumerate(statuses)]
    return {
        "state": "FAIL",
        "recommendation": {"verified": verified, "candidate": candidate, "trials": trials},
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "not measured"),
        ({"state": "FAIL", "recommendation": None}, "cannot be restored"),
        (result(False, None, "skipped", "skipped"), "cannot be restored"),
        (result(False, None, "skipped", "hopeless"), "not restored"),
        (result(False, "a", "better"), "improved"),
        (result(True, "a", "skipped", "verified"), "restored"),
        ({"state": "INCONCLUSIVE", "recommendation": None}, "no failure"),
    ],
)
def test_outcomes(said: dict, expected: str):
    assert outcome(said) == expected
    assert expected in OUTCOMES


def test_a_share_of_nothing_is_not_measured():
    assert summary([])["restored_share"] is None
