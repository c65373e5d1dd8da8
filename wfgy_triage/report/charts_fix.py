"""The figure of step 5: FP16, EXL2 as it is, and EXL2 with the changes that were tried, against the gate.

Where FP16 fails too and was asked with the recommended change as well, that stands beside EXL2 with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.report.chart_tables import numbers_table
from wfgy_triage.report.charts import (
    EXL2_COLOUR,
    FP16_COLOUR,
    GATE_COLOUR,
    Figure,
    base_layout,
    error_bars,
    figure_of,
    title_of,
    wrapped_label,
)
from wfgy_triage.report.format import MISSING, gate_text, interval, quantity
from wfgy_triage.result import Gate, Metric, Result

MARKERS: Mapping[str, Mapping[str, Any]] = {
    "fp16": {"symbol": "circle-open", "color": FP16_COLOUR, "size": 12, "line": {"width": 2.5}},
    "before": {"symbol": "diamond-open", "color": EXL2_COLOUR, "size": 13, "line": {"width": 2.5}},
    "after": {"symbol": "diamond", "color": EXL2_COLOUR, "size": 14},
}
NAMES = {"fp16": "FP16", "before": "EXL2 as it is", "after": "With a change"}
CHANGED, CHANGED_FP16 = "EXL2 with the change", "FP16 with the change"
ROW_HEIGHT = 66


def before_after(result: Result) -> dict[str, Any] | None:
    """The figure's data from a result: the recommended change, else every change that was asked everything.

    Where several metrics failed it is drawn for the one that the trial leads with.

    Returns:
        `{"label", "unit", "gate", "gate_op", "rows": [{"kind", "name", "value", "interval", "n"}]}`, values in the
        metric's unit; None where no change has a value.
    """
    fix = result.recommendation
    if fix is None:
        return None
    shown = [t for t in fix["trials"] if _comparable(t) and fix.get("candidate") in (None, t["id"])]
    leading = shown[0]["primary"]["id"] if shown else None
    metric = next((m for m in result.metrics if m.id == leading), None)
    if metric is None:
        return None
    shown = [t for t in shown if t["primary"]["id"] == metric.id]
    both = any(t.get("baseline") for t in shown)
    rows = [_row("fp16", "FP16", metric.fp16, fp16_interval(result, metric), metric.n)]
    bounds = value_interval(metric.fp16, metric.gated_interval, metric.gate)
    rows.append(_row("before", NAMES["before"], metric.exl2, bounds, metric.n))
    for trial in shown:
        after = trial["primary"]
        if trial.get("baseline") and fix.get("candidate"):
            rows.append(_row("fp16", CHANGED_FP16, after["fp16"], None, after["n"]))
        bounds = value_interval(after["fp16"], after.get("gated_interval"), metric.gate)
        name = CHANGED if fix.get("candidate") else str(trial["label"])
        rows.append(_row("after", name, after["after"], bounds, after["n"]))
    return {
        "label": metric.label,
        "unit": metric.unit,
        # Where FP16 has the change as well, each change has a bound of its own; one line stands for one change alone.
        **(gate_line(metric.gate, shown[-1]["primary"]["fp16"]) if fix.get("candidate") or not both else {}),
        "rows": [r for r in rows if r["value"] is not None],
    }


def before_after_figure(data: Mapping[str, Any]) -> Figure | None:
    """Draw one row a side, with its interval, and the gate across all of them."""
    rows: Sequence[Mapping[str, Any]] = data["rows"]
    scale = 100.0 if data["unit"] == "share" else 1.0
    place = {id(r): len(rows) - 1 - i for i, r in enumerate(rows)}
    traces = []
    for kind in MARKERS:
        mine = [r for r in rows if r["kind"] == kind]
        if mine:
            traces.append(_trace(kind, mine, [place[id(r)] for r in mine], data["unit"], scale))
    layout = base_layout(height=92 + ROW_HEIGHT * len(rows))
    layout["showlegend"] = False
    suffix = " %" if data["unit"] == "share" else ""
    layout["xaxis"] |= {"ticksuffix": suffix, "nticks": 4, "tickangle": 0, "range": _range(data, scale)}
    layout["xaxis"] |= {"title": title_of(str(data["label"]))}
    layout["yaxis"] |= {
        "tickmode": "array",
        "tickvals": [place[id(r)] for r in rows],
        "ticktext": [_tick(r, str(data["unit"])) for r in rows],
        "tickfont": {"size": 13},
        "range": [-0.6, len(rows) - 0.4],
        "showgrid": False,
    }
    if data.get("gate") is not None:
        _draw_gate(layout, data, scale)
    return figure_of(traces, layout)


def before_after_table(data: Mapping[str, Any]) -> str:
    """The numbers of the figure, and the gate."""
    unit = str(data["unit"])
    rows = [
        (
            str(r["name"]),
            quantity(r["value"], unit),
            interval(tuple(r["interval"]), unit) if r["interval"] else MISSING,
            str(r["n"]),
        )
        for r in data["rows"]
    ]
    if data.get("gate") is not None:
        rows.append(("Gate", gate_text(Gate(data["gate_op"], data["gate"], ""), unit), MISSING, MISSING))
    return numbers_table(("Side", str(data["label"]), "95 % interval", "Questions"), rows)


def _comparable(trial: Mapping[str, Any]) -> bool:
    """Whether it was measured on all questions of the run."""
    primary = trial.get("primary")
    return primary is not None and primary["after"] is not None


def _row(kind: str, name: str, value: float | None, bounds: Any, n: int) -> dict[str, Any]:
    return {"kind": kind, "name": name, "value": value, "interval": list(bounds) if bounds else None, "n": n}


def fp16_interval(result: Result, metric: Metric) -> Sequence[float] | None:
    """The interval of FP16's own value, in the metric's unit; stored for rates only."""
    rates = result.charts.get("rates") or ()
    found = next((r for r in rates if r.get("metric") == metric.id), None)
    return found.get("fp16_interval") if found else None


def value_interval(
    fp16: float | None, gated: Sequence[float] | None, gate: Gate | None
) -> tuple[float, float] | None:
    """The interval of EXL2's own value, from the interval of what the gate is held against."""
    if gated is None or gate is None:
        return None
    if gate.applies_to == "value":
        return gated[0], gated[1]
    if fp16 is None:
        return None
    sign = -1.0 if gate.applies_to == "loss" else 1.0
    low, high = sorted((fp16 + sign * gated[0], fp16 + sign * gated[1]))
    return low, high


def gate_line(gate: Gate | None, fp16: float | None) -> dict[str, Any]:
    """The gate as a bound of EXL2's own value: `gate` and `gate_op`; nothing where there is none."""
    if gate is None or (gate.applies_to != "value" and fp16 is None):
        return {}
    if gate.applies_to == "value":
        return {"gate": gate.value, "gate_op": gate.op}
    # "At most 0.02 lost" and "at least FP16 minus 0.02" are one bound.
    sign, turned = (-1.0, {">=": "<=", "<=": ">="}) if gate.applies_to == "loss" else (1.0, {})
    return {"gate": (fp16 or 0.0) + sign * gate.value, "gate_op": turned.get(gate.op, gate.op)}


def _trace(
    kind: str, rows: Sequence[Mapping[str, Any]], places: Sequence[int], unit: str, scale: float
) -> Figure:
    values = [r["value"] * scale for r in rows]
    bounds = [[v * scale for v in r["interval"]] if r["interval"] else None for r in rows]
    marker = dict(MARKERS[kind])
    return {
        "type": "scatter",
        "mode": "markers",
        "name": NAMES[kind],
        "x": values,
        "y": list(places),
        "marker": marker,
        "cliponaxis": False,
        "hovertext": [f"{r['name']}: {quantity(r['value'], unit)}, {r['n']} questions" for r in rows],
        "hoverinfo": "text",
        **({"error_x": error_bars(values, bounds, marker["color"])} if any(bounds) else {}),
    }


def _tick(row: Mapping[str, Any], unit: str) -> str:
    """The row's name, its value, and on how many questions it rests."""
    name, asked = wrapped_label(str(row["name"]), 22), f" of {row['n']}" if unit == "share" else ""
    return f"{name}<br><b>{quantity(row['value'], unit)}</b>{asked}"


def _range(data: Mapping[str, Any], scale: float) -> list[float]:
    values = [v for r in data["rows"] for v in (r["value"], *(r["interval"] or ()))]
    values += [data["gate"]] if data.get("gate") is not None else []
    low, high = min(values) * scale, max(values) * scale
    room = max(0.08 * (high - low), 0.02 * scale)
    if data["unit"] == "share":
        return [max(0.0, low - room), min(103.0, high + room)]
    return [low - room, high + room]


def _draw_gate(layout: Figure, data: Mapping[str, Any], scale: float) -> None:
    at = data["gate"] * scale
    line = {"color": GATE_COLOUR, "dash": "dash", "width": 2}
    layout["shapes"] = [{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at, "line": line}]
    text = f"gate {gate_text(Gate(data['gate_op'], data['gate'], ''), str(data['unit']))}"
    place = {"x": at, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "right", "showarrow": False}
    layout["annotations"] = [place | {"text": text, "font": {"size": 12}}]
