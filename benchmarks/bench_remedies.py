"""How often the recommended change restores what failed: every fault of the bank, through whole runs.

Beside it stand no change (the state before) and what the source page's table names for the symptom. The table names
pages to read, not changes to make, so what it restores cannot be measured: it is entered as not applicable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks import Stopwatch
from benchmarks.bank_workshop import Workshop, look_at
from benchmarks.fault_bank import FOLDER_FAULTS, MEASURED_FAULTS, Case, chosen
from benchmarks.row_file import Row, RowFile
from wfgy_triage.catalog import load_catalog
from wfgy_triage.errors import TriageError
from wfgy_triage.runs.trial_options import FIX_SECONDS

SECTION = "remedies"
GOAL = 0.9
DOCTOR = "deploy_mismatch"
NOT_APPLICABLE = "not applicable"
OUTCOMES = {
    "restored": "a change was tried and the re-check passed",
    "improved": "a change was tried and measurably better, but the re-check did not pass",
    "not restored": "changes were tried and none helped",
    "cannot be restored": "nothing could be tried, and the run says why",
    "no failure": "the metric did not fail its gate, so no change was due",
    "not measured": "the run gave no result",
}


def run(
    fast: bool = False,
    measured: bool = False,
    fault: Sequence[str] = (),
    fix_seconds: int | None = None,
    json: Path | None = None,
) -> dict[str, Any]:
    """Make each broken pair, let a whole run look at it and try changes, and compare with the state before.

    Args:
        fast: every fourth fault of the folders only.
        measured: also the faults that only a run with questions shows.
        fault: these and no others.
        fix_seconds: for how long changes are tried in each case; the app's own time without it.
        json: the file of the results; its rows are not measured again.

    Raises:
        InputError: there is no such fault.
    """
    cases = [*(FOLDER_FAULTS[::4] if fast else FOLDER_FAULTS), *(MEASURED_FAULTS if measured else ())]
    if fault:
        cases = chosen((*FOLDER_FAULTS, *MEASURED_FAULTS), fault)
    print(
        f"{'':<28}{'no change':<14}{'recommended':<30}{'after':<14}{'outcome':<20}{'seconds':>8}{'foreign':>9}"
    )
    options = {} if fix_seconds is None else {FIX_SECONDS: str(fix_seconds)}
    rows = look_at(cases, partial(look, options=options), _show, RowFile(json, SECTION))
    return summary(rows)


def look(case: Case, shop: Workshop, options: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """One row: the state without a change, what was recommended, and the state after it.

    `options` are given to the run besides the case's own.
    """
    symptom = case.symptom or DOCTOR
    result: Mapping[str, Any] = {}
    with Stopwatch() as watch:
        try:
            setup = case.make(shop)
            given = {**setup.options, **options}
            asked = (setup.pair, symptom, case.questions or 1, given, case.seed, setup.workload)
            result = shop.run(*asked).result or {}
        except TriageError as error:
            print(f"{case.id}: {error}")
    shop.clear()
    found = result.get("recommendation") or {}
    return {
        "id": case.id,
        "says": case.says,
        "symptom": symptom,
        "expected": case.cause,
        "cause": result.get("diagnosis", {}).get("cause"),
        "before": result.get("state"),
        "pages": [m.id for m in load_catalog().symptom_modules(symptom)],
        "pages_restore": NOT_APPLICABLE,
        "recommended": found.get("candidate"),
        "patch": found.get("patch", {}),
        "after": found.get("state_after"),
        "outcome": outcome(result),
        "measured": bool(result),
        "tried": [t["id"] for t in found.get("trials", ()) if t["status"] != "skipped"],
        "reasons": {t["id"]: t["reason"] for t in found.get("trials", ()) if t["reason"]},
        "seconds": round(watch.seconds, 1),
        "foreign": watch.foreign,
    }


def outcome(result: Mapping[str, Any]) -> str:
    """One of `OUTCOMES`."""
    if not result:
        return "not measured"
    found = result.get("recommendation") or {}
    if found.get("verified"):
        return "restored"
    if found.get("candidate"):
        return "improved"
    if result["state"] in ("PASS", "INCONCLUSIVE"):
        return "no failure"
    tried = any(t["status"] != "skipped" for t in found.get("trials", ()))
    return "not restored" if tried else "cannot be restored"


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """The counts, and the share restored of the faults for which a change could be tried."""
    counts = {name: sum(r["outcome"] == name for r in rows) for name in OUTCOMES}
    able = [r for r in rows if r["tried"]]
    restored = sum(r["outcome"] == "restored" for r in able)
    share = restored / len(able) if able else None
    unchanged = sum(r["before"] == "PASS" for r in rows)
    print()
    for name, meaning in OUTCOMES.items():
        print(f"{name:<20}{counts[name]:>4}  {meaning}")
    shown = "not measured" if share is None else f"{share:.3f}"
    print(f"\nRestored where a change could be tried: {restored} of {len(able)} ({shown}; goal {GOAL})")
    print(f"Passing without a change: {unchanged} of {len(rows)}")
    print(f"The table's pages: {NOT_APPLICABLE} (they name what to read, not a change that could be tried)")
    return {
        "rows": rows,
        "counts": counts,
        "could_be_tried": len(able),
        "restored": restored,
        "restored_share": share,
        "passing_without_change": unchanged,
        "pages_restore": NOT_APPLICABLE,
        "seconds": round(sum(r["seconds"] for r in rows), 1),
    }


def _show(row: Mapping[str, Any]) -> None:
    foreign = "–" if row["foreign"] is None else row["foreign"]
    print(
        f"{row['id']:<28}{row['before'] or '–':<14}{row['recommended'] or '–':<30}{row['after'] or '–':<14}"
        f"{row['outcome']:<20}{row['seconds']:>8.1f}{foreign:>9}",
        flush=True,
    )
