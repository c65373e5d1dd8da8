"""Every figure that a result may carry: its heading, how it is drawn, and its numbers as a table.

A probe puts plain data into `Result.charts`; a figure whose data is not there is not shown. A new kind of figure is
a builder in a `charts_*.py` of its own and one record in `FIGURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wfgy_triage.report.chart_tables import class_table, kld_table
from wfgy_triage.report.charts import Figure, failures_figure, kld_figure, rates_figure
from wfgy_triage.report.charts_chain import (
    apart_figure,
    apart_table,
    parts_figure,
    parts_table,
    steps_figure,
    steps_table,
    survival_figure,
    survival_table,
)
from wfgy_triage.report.charts_citations import places_figure, places_table
from wfgy_triage.report.charts_damage import damage_figure, damage_table
from wfgy_triage.report.charts_fix import before_after, before_after_figure, before_after_table
from wfgy_triage.report.charts_gate import (
    drift_figure,
    drift_table,
    lambda_figure,
    lambda_table,
    rules_figure,
    rules_table,
)
from wfgy_triage.report.charts_retrieval import (
    distance_figure,
    distance_table,
    rank_figure,
    rank_table,
    recall_figure,
    recall_table,
)
from wfgy_triage.result import Result


def _no_table(data: Any) -> str:
    """For figures whose numbers are in the metrics table."""
    return ""


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure.

    Attributes:
        name: stable id, part of element ids on the page.
        data: key in `Result.charts`.
        title: heading.
        caption: one or two plain sentences on how to read it.
        build: from the data to a Plotly figure; None when there is nothing to draw.
        table: the numbers as HTML, for screen readers and for copying; empty when the metrics table has them.
    """

    name: str
    data: str
    title: str
    caption: str
    build: Callable[[Any], Figure | None]
    table: Callable[[Any], str] = _no_table


FIGURES: tuple[FigureKind, ...] = (
    FigureKind(
        "gate",
        "gate_rules",
        "All rules at a glance",
        "The dashed line is the gate of each rule. A marker with its whole bar to the right of it passes, to the left "
        "fails; a bar across the line needs more questions.",
        rules_figure,
        rules_table,
    ),
    FigureKind(
        "drift",
        "drift_by_question",
        "Drift in meaning, question by question",
        "How much further from the reference answer EXL2's answer is than FP16's. The dashed lines are the page's bar.",
        drift_figure,
        drift_table,
    ),
    FigureKind(
        "lambda-k",
        "lambda_by_k",
        "Does the answer hold when more passages are put in?",
        "λ_observe against k: a side that falls off earlier is distracted more easily.",
        lambda_figure,
        lambda_table,
    ),
    FigureKind(
        "rates",
        "rates",
        "Both sides against the gate",
        "Markers are the measured rates, bars their 95 % intervals. Few questions give long bars.",
        rates_figure,
    ),
    FigureKind(
        "chain-survival",
        "chain_survival",
        "How far the chains get",
        "The line falls where chains have their first wrong step. The shaded bands are 95 % intervals.",
        survival_figure,
        survival_table,
    ),
    FigureKind(
        "chain-parts",
        "chain_parts",
        "Early, midway, late",
        "Share of right steps in three parts of the chains, with 95 % intervals.",
        parts_figure,
        parts_table,
    ),
    FigureKind(
        "chain-apart",
        "chain_apart",
        "How long both say the same",
        "The line falls where a chain first states something else than FP16, right or wrong. FP16 computed in another "
        "way leaves its own text as well: that is the noise.",
        apart_figure,
        apart_table,
    ),
    FigureKind(
        "chain-steps",
        "chain_steps",
        "Do small errors add up?",
        "Shift of word probabilities on FP16's text, step by step. A line that rises from left to right means that "
        "errors add up; a level one means that each step is disturbed anew.",
        steps_figure,
        steps_table,
    ),
    FigureKind(
        "failures",
        "failure_classes",
        "How the answers failed",
        "Every answer is in exactly one class.",
        failures_figure,
        class_table,
    ),
    FigureKind(
        "places",
        "cited_places",
        "Which passage the answers point at",
        "Right answers stand equally often at each place. A side that cites one place far more often is guessing.",
        places_figure,
        places_table,
    ),
    FigureKind(
        "kld",
        "kld_buckets",
        "Where the probabilities moved",
        "Drift on the right, where FP16 was sure, changes answers. Drift on the left, where FP16 was guessing "
        "anyway, matters less.",
        kld_figure,
        kld_table,
    ),
    FigureKind(
        "recall",
        "recall_by_k",
        "Right passage found, by number of results",
        "Each line is one way to search the same passages; bars are 95 % intervals. If the rebuilt index (dashed) is "
        "above the deployed one, the mismatch did the damage; if it is not, the weights did.",
        recall_figure,
        recall_table,
    ),
    FigureKind(
        "ranks",
        "rank_changes",
        "Where the right passage moved",
        "One row a question, those that moved most. To the left is better.",
        rank_figure,
        rank_table,
    ),
    FigureKind(
        "ds_by_k",
        "ds_by_k",
        "Distance of question and results (ΔS), by number of results",
        "Measured with a model that both sides share. High (above the dashed line) and flat is the page's sign of a "
        "mismatched index.",
        distance_figure,
        distance_table,
    ),
    FigureKind(
        "damage",
        "damage",
        "Which weights do the damage",
        "FP16 weights were put back into one part of the EXL2 model at a time. The longer the bar, the more of the "
        "drift that part causes.",
        damage_figure,
        damage_table,
    ),
)
"""In the order in which the page shows them."""
FIX_FIGURE = FigureKind(
    "before-after",
    "before_after",
    "Before and after",
    "Markers are the measured values, bars their 95 % intervals. A change passes when its whole bar is on the good "
    "side of the dashed gate.",
    before_after_figure,
    before_after_table,
)
"""The figure of step 5. Its data is not in `Result.charts`; it is read from the recommendation."""


def fix_figure(result: Result) -> tuple[Figure | None, str]:
    """Return the figure of step 5 and its numbers as HTML; None and nothing where no change has a value."""
    data = before_after(result)
    return (None, "") if data is None else (FIX_FIGURE.build(data), FIX_FIGURE.table(data))


def build_figures(charts: Mapping[str, Any]) -> dict[str, Figure]:
    """Return every figure that the data allows, by name."""
    drawn = {kind.name: kind.build(charts[kind.data]) for kind in FIGURES if charts.get(kind.data)}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def figure_table(name: str, charts: Mapping[str, Any]) -> str:
    """Return the closed table under a figure; empty where the metrics table holds its numbers."""
    kind = next(kind for kind in FIGURES if kind.name == name)
    data = charts.get(kind.data)
    return kind.table(data) if data else ""
