"""The report as Markdown for docs/gpu.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LATENCY = (
    "model", "arm", "prompt", "batch", "ttft_ms", "ttft_interval", "tpot_ms", "tpot_interval", "repeats", "early",
)  # fmt: skip


def markdown(report: Mapping[str, Any]) -> str:
    """One line a part, then the tables of logits and latency where they were measured."""
    gpus = ", ".join(g["name"] for g in report["machine"]["gpus"]) or "none"
    if report.get("on_cpu"):
        gpus = "none, the library's own sources compiled for the CPU"
    lines = [f"GPU: {gpus}; CUDA {report['machine']['cuda']}{'; fast sizes' if report['fast'] else ''}.", ""]
    lines += ["| part | state | what was found |", "|---|---|---|"]
    lines += [f"| {name} | {p['state']} | {_cell(p['said'])} |" for name, p in report["parts"].items()]
    for name, columns in (
        ("logits", ("kind", "folder", "positions", "mean_kl", "median_kl", "p99_kl", "same_top")),
        ("latency", LATENCY),
    ):
        rows = report["parts"].get(name, {}).get("rows") or []
        if rows:
            lines += ["", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
            lines += [f"| {' | '.join(_cell(row.get(c)) for c in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    """A value as it stands in a cell: nothing measured says so."""
    if value is None:
        return "NOT MEASURED"
    if isinstance(value, list | tuple):
        return " to ".join(map(_cell, value))
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")[:300]
