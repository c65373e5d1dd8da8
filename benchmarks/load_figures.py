"""What people saw under load, and what became of their runs, as figures and as a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wfgy_triage.store.records import RunRecord


@dataclass
class Seen:
    """What people saw; times in seconds."""

    opened: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    in_browser: list[float] = field(default_factory=list)
    followed: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def times(seen: Seen) -> dict[str, Any]:
    """Median, 95th percentile and longest of each kind of answer, and how many there were."""
    shown = {
        "open_s": seen.opened,
        "start_s": seen.accepted,
        "answer_s": seen.answered,
        "in_browser_s": seen.in_browser,
        "follow_s": seen.followed,
    }
    return {name: _spread(v) for name, v in shown.items()} | {f"{n}_count": len(v) for n, v in shown.items()}


def _spread(values: Sequence[float]) -> list[float]:
    """Median, 95th percentile, longest."""
    ordered = sorted(values)
    if not ordered:
        return []
    high = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return [round(v, 2) for v in (statistics.median(ordered), high, ordered[-1])]


def served_runs(records: Sequence[RunRecord]) -> dict[str, Any]:
    """How the runs ended, how often two were measured at once, how often one overtook another."""
    by_start = sorted(
        (r for r in records if r.started_at and r.finished_at), key=lambda r: (r.started_at, r.id)
    )
    overlaps = sum(
        a.finished_at > b.started_at
        for a, b in zip(by_start, by_start[1:], strict=False)
        if a.finished_at and b.started_at
    )
    created = [r.created_at for r in by_start]
    overtaken = sum(a > b for a, b in zip(created, created[1:], strict=False))
    states: dict[str, int] = {}
    for record in records:
        states[record.status.value] = states.get(record.status.value, 0) + 1
    return {"runs": len(records), "by_status": states, "measured_at_once": overlaps, "overtaken": overtaken}


def print_table(found: dict[str, Any]) -> None:
    """As Markdown."""
    print(
        f"{found['people']} people ({found['browsers']} in a browser), {found['starts']} start at once; "
        "seconds are median / 95 % / longest\n"
    )
    rows = {
        "a page with its files is sent, five at once": "open_s",
        "a start is accepted": "start_s",
        "a choice is answered while runs go on": "answer_s",
        "the same in a browser, until it is on the screen": "in_browser_s",
        "a page that waits or watches asks how far its run is": "follow_s",
    }
    print("| | times | s |\n|---|---|---|")
    for name, key in rows.items():
        values = " / ".join(f"{v:.2f}" for v in found[key]) or "NOT MEASURED"
        print(f"| {name} | {found[f'{key}_count']} | {values} |")
    print(f"| runs accepted | {found['runs']} | {found['by_status']} |")
    print(f"| refused | {found['refused']} | {' '.join(found['said'])} |")
    print(f"| times two runs were measured at once | {found['measured_at_once']} | |")
    print(f"| runs served before an earlier one | {found['overtaken']} | |")
    print(f"| errors | {len(found['errors'])} | {found['errors']} |")
    print(f"| memory of the web process, MB | {found['web_process_mb']} | |")
