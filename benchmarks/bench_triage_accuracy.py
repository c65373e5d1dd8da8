"""How often the right cause is named: every fault of the bank, and healthy pairs that must not be accused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch
from benchmarks.bank_workshop import Workshop, look_at
from benchmarks.fault_bank import BANK, NOT_COVERED, Case, Setup, chosen
from benchmarks.row_file import Row, RowFile
from wfgy_triage.doctor.folders import check_folders
from wfgy_triage.doctor.summary import diagnose_findings
from wfgy_triage.errors import TriageError

SECTION = "triage_accuracy"
FAILED = "not measured"


def run(fast: bool = False, fault: Sequence[str] = (), json: Path | None = None) -> dict[str, Any]:
    """Make each pair, let the tool look at it, and compare what it names with what was done.

    Args:
        fast: only what the doctor sees without a model being loaded.
        fault: these faults and healthy pairs, and no others.
        json: the file of the results; its rows are not measured again.

    Raises:
        InputError: there is no such case.
    """
    cases = chosen(BANK, fault) if fault else [c for c in BANK if not (fast and c.symptom)]
    print(f"{'':<28}{'looked with':<16}{'expected':<25}{'named':<25}{'right':<7}{'seconds':>8}{'foreign':>9}")
    rows = look_at(cases, _look, _show, RowFile(json, SECTION))
    return _summary(rows)


def _look(case: Case, shop: Workshop) -> dict[str, Any]:
    """One row; a pair that cannot be measured counts as a cause not named."""
    with Stopwatch() as watch:
        try:
            named = _named(case, case.make(shop), shop)
        except TriageError as error:
            named = f"{FAILED}: {error}"
    shop.clear()
    return {
        "id": case.id,
        "says": case.says,
        "healthy": case.healthy,
        "with": case.symptom or "doctor",
        "expected": case.cause,
        "named": named,
        "right": case.right(named),
        "measured": not named.startswith(FAILED),
        "seconds": round(watch.seconds, 1),
        "foreign": watch.foreign,
    }


def _named(case: Case, setup: Setup, shop: Workshop) -> str:
    if not case.symptom:
        return diagnose_findings(check_folders(setup.pair)).cause
    options = {**setup.options, "fix": "no"}
    record = shop.run(setup.pair, case.symptom, case.questions, options, case.seed, setup.workload)
    if record.result is None:
        return f"{FAILED}: {record.error_message}"
    return str(record.result["diagnosis"]["cause"])


def _show(row: Mapping[str, Any]) -> None:
    foreign = "–" if row["foreign"] is None else row["foreign"]
    print(
        f"{row['id']:<28}{row['with']:<16}{row['expected']:<25}{row['named']:<25}"
        f"{'yes' if row['right'] else 'NO':<7}{row['seconds']:>8.1f}{foreign:>9}",
        flush=True,
    )


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    faults = [r for r in rows if not r["healthy"]]
    healthy = [r for r in rows if r["healthy"]]
    named, accused = sum(r["right"] for r in faults), sum(not r["right"] for r in healthy)
    seconds = round(sum(r["seconds"] for r in rows), 1)
    share = f"{named / len(faults):.3f}" if faults else "not measured"
    print(f"\nCauses named: {named} of {len(faults)} ({share}; goal 0.95)")
    print(f"Healthy pairs accused: {accused} of {len(healthy)} (goal 0)")
    print(f"Seconds: {seconds}")
    print("Not covered: " + "; ".join(f"{what} ({why})" for what, why in NOT_COVERED.items()))
    return {
        "rows": rows,
        "accuracy": named / len(faults) if faults else None,
        "false_alarms": accused,
        "seconds": seconds,
        "not_covered": dict(NOT_COVERED),
    }
