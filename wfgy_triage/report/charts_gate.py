"""Figures of the acceptance gate: every rule against its bound, drift by question, λ_observe against k."""

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
    figure_of,
    title_of,
    wrapped_label,
)
from wfgy_triage.report.format import MISSING, OPERATORS, interval, number, quantity

STATE_COLOURS = {"PASS": "#15803d", "FAIL": "#dc2626", "INCONCLUSIVE": "#b45309"}
WIDEST = 3.0
"""Bounds this far beyond the gate are cut, so that one wild rule does not flatten the others."""


def rules_figure(rules: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw every measured rule on one scale: 0 is the gate, 1 to the right as far inside as the gate is wide.

    Args:
        rules: `{"label", "value", "interval", "gate", "gate_op", "state"}`; `interval` is of what the gate is on.
    """
    rows = [r for r in rules if r.get("value") is not None and r.get("gate") is not None]
    if not rows:
        return None
    traces = []
    for place, rule in enumerate(reversed(rows)):
        low, middle, high = (_inside(rule, v) for v in (*_bounds(rule), rule["value"]))
        low, middle, high = sorted((low, middle, high))
        at = _inside(rule, rule["value"])
        colour = STATE_COLOURS.get(str(rule.get("state")), FP16_COLOUR)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [at],
                "y": [place],
                "marker": {"color": colour, "symbol": "diamond", "size": 12},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [max(0.0, high - at)],
                    "arrayminus": [max(0.0, at - low)],
                    "color": colour,
                    "thickness": 1.8,
                    "width": 6,
                },
                "hovertemplate": f"{rule['label']}: {_value(rule)} ({str(rule.get('state')).lower()})<extra></extra>",
                "showlegend": False,
            }
        )
    layout = base_layout(height=96 + 52 * len(rows))
    layout["xaxis"] |= {
        "title": title_of("outside the gate \N{LEFTWARDS ARROW} | \N{RIGHTWARDS ARROW} inside"),
        "showticklabels": False,
    }
    layout["yaxis"] |= {
        "tickmode": "array",
        "tickvals": [len(rows) - 1 - i for i in range(len(rows))],
        "ticktext": [wrapped_label(r["label"], 20) for r in rows],
        "range": [-0.6, len(rows) - 0.4],
        "showgrid": False,
    }
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0}
    layout["shapes"] = [line | {"line": {"color": GATE_COLOUR, "dash": "dash", "width": 1.5}}]
    return figure_of(traces, layout)


def rules_table(rules: Sequence[Mapping[str, Any]]) -> str:
    """Return every rule with its value, interval, gate, state, and the page's literal rule."""
    rows = [
        (
            str(r["label"]) + (" (loss)" if r.get("of") == "loss" else ""),
            _value(r),
            interval(tuple(r["interval"]), str(r["unit"])) if r.get("interval") else MISSING,
            f"{OPERATORS.get(str(r['gate_op']), '')} {quantity(r['gate'], str(r['unit']))}"
            if r.get("gate") is not None
            else MISSING,
            str(r.get("state") or MISSING).capitalize(),
            {True: "yes", False: "no"}.get(r.get("literal"), "not measured"),  # type: ignore[arg-type]
        )
        for r in rules
    ]
    return numbers_table(("Rule", "Measured", "95 % interval", "Gate", "State", "Holds on this sample"), rows)


def drift_figure(questions: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw the signed ΔS drift of each question, largest first, beside what FP16 shows against itself.

    Args:
        questions: `{"question", "drift", "floor"}`; `floor` is absolute, None where FP16 was not asked twice.
    """
    if not questions:
        return None
    rows = sorted(questions, key=lambda q: -abs(q["drift"]))
    places = list(range(1, len(rows) + 1))
    names = [str(q["question"]) for q in rows]
    traces: list[Figure] = [
        {
            "type": "bar",
            "name": "EXL2 against FP16",
            "x": places,
            "y": [q["drift"] for q in rows],
            "customdata": names,
            "marker": {"color": EXL2_COLOUR, "opacity": 0.82},
            "hovertemplate": "%{customdata}: %{y:+.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "FP16 against itself (size only)",
            "x": places,
            "y": [q["floor"] for q in rows],
            "marker": {"color": FP16_COLOUR, "symbol": "line-ew-open", "size": 9, "line": {"width": 2}},
            "hovertemplate": "FP16 against itself: %{y:.3f}<extra></extra>",
        },
    ]
    layout = base_layout(height=320)
    layout["xaxis"] |= {"title": title_of("Questions, largest drift first"), "showgrid": False, "nticks": 8}
    layout["yaxis"] |= {"title": title_of("ΔS drift (above 0: further from the reference)"), "nticks": 6}
    edge = {"type": "line", "xref": "paper", "x0": 0, "x1": 1}
    dash = {"line": {"color": GATE_COLOUR, "dash": "dash", "width": 1.5}}
    layout["shapes"] = [edge | dash | {"y0": y, "y1": y} for y in (0.10, -0.10)]
    return figure_of(traces, layout)


def drift_table(questions: Sequence[Mapping[str, Any]]) -> str:
    """Return the drift of every question."""
    rows = [
        (str(q["question"]), number(q["drift"]), MISSING if q["floor"] is None else number(q["floor"]))
        for q in sorted(questions, key=lambda q: -abs(q["drift"]))
    ]
    return numbers_table(("Question", "ΔS drift", "FP16 against itself"), rows, questions=True)


def lambda_figure(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw the share of answers that stay what they were against the number of passages.

    Args:
        rows: `{"k", "fp16", "exl2"}`, shares in [0, 1].
    """
    if not rows:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [r["k"] for r in rows],
            "y": [100 * r[side] for r in rows],
            "line": {"color": colour, "width": 2},
            "marker": {"color": colour, "symbol": symbol, "size": 11},
            "hovertemplate": f"{name}, %{{x}} passages: %{{y:.0f}} %<extra></extra>",
        }
        for side, name, colour, symbol in (
            ("fp16", "FP16", FP16_COLOUR, "circle-open"),
            ("exl2", "EXL2", EXL2_COLOUR, "diamond"),
        )
    ]
    layout = base_layout(height=320)
    layout["xaxis"] |= {"title": title_of("Passages in the prompt (k)"), "tickvals": [r["k"] for r in rows]}
    layout["yaxis"] |= {"title": title_of("Same answer as with few"), "ticksuffix": " %", "range": [0, 104]}
    return figure_of(traces, layout)


def lambda_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the shares of the figure."""
    cells = [(str(r["k"]), f"{100 * r['fp16']:.0f} %", f"{100 * r['exl2']:.0f} %") for r in rows]
    return numbers_table(("Passages", "FP16", "EXL2"), cells)


def _bounds(rule: Mapping[str, Any]) -> tuple[float, float]:
    found = rule.get("interval") or (rule["value"], rule["value"])
    return float(found[0]), float(found[1])


def _inside(rule: Mapping[str, Any], value: float) -> float:
    """How far a value lies inside its gate, in widths of the gate; negative outside."""
    gate = float(rule["gate"])
    room = (1.0 - gate) if rule["gate_op"] == ">=" else gate
    distance = value - gate if rule["gate_op"] == ">=" else gate - value
    return max(-WIDEST, min(WIDEST, distance / room)) if room else 0.0


def _value(rule: Mapping[str, Any]) -> str:
    return quantity(rule.get("value"), str(rule["unit"]))
