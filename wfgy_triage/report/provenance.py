"""Where every number comes from: models, question set, settings, versions and timings, as nested HTML lists."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from wfgy_triage.report.format import duration, number
from wfgy_triage.result import Result

READABLE = {
    "fp16": "FP16 side",
    "exl2": "EXL2 side",
    "sha256": "SHA-256",
    "decoder_bpw": "bits per weight",
    "head_bits": "head bits",
    "sampling": "sampling settings",
    "id": "id",
    "fp16_floor": "FP16 again, for the noise floor",
    "pair_floor": "noise of the word-by-word comparison",
}


def provenance_panel(result: Result) -> str:
    """Return the details for engineers, closed at first."""
    groups = [
        ("Models", result.pair),
        ("Question set", result.workload),
        ("Settings", result.settings),
        ("Versions", result.versions),
        ("Measured earlier, used again", result.reused),
        ("Time taken", {k: duration(v) for k, v in result.timings.items()}),
    ]
    body = "".join(f"<section><h4>{title}</h4>{_listing(data)}</section>" for title, data in groups if data)
    return (
        '<details class="card provenance"><summary>Where these numbers come from</summary>'
        f'<div class="groups">{body}<section><h4>Run</h4>'
        f"{_listing({'id': result.run_id, 'made': result.created_at})}</section></div></details>"
    )


def _listing(data: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<div><dt>{escape(READABLE.get(key, key.replace('_', ' ')))}</dt><dd>{_value(value)}</dd></div>"
        for key, value in data.items()
        if value not in (None, "", {}, [])
    )
    return f'<dl class="prov">{rows}</dl>'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _listing(value)
    if isinstance(value, list | tuple):
        return escape(", ".join(str(v) for v in value))
    if isinstance(value, float):
        return number(value, 4)
    return escape(str(value))
