"""Figures of the chain probe: what is drawn, that it survives missing pieces, and the numbers beside it."""

from __future__ import annotations

import json

import pytest

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
from wfgy_triage.report.figures import FIGURES


def curve(median, *shares):
    return {
        "share": list(shares),
        "low": [max(0, s - 0.1) for s in shares],
        "high": [min(1, s + 0.1) for s in shares],
        "chains": 20,
        "events": 5,
        "median": median,
        "median_interval": [median, None],
    }


CURVES = {
    "horizon": 4,
    "curves": {"fp16": curve(None, 1, 1, 1, 0.9, 0.9), "exl2": curve(3, 1, 0.8, 0.6, 0.4, 0.2)},
}
ROWS = [
    {
        "step": step,
        "kl": 0.1 * step,
        "interval": [0.05 * step, 0.2 * step],
        "floor": 0.001,
        "fp16_entropy": 0.5,
        "exl2_entropy": 0.7,
        "chains": 20,
    }
    for step in (1, 2, 3)
]
STEPS = {"rows": ROWS, "slope": 0.1, "slope_interval": [0.05, 0.15]}
PARTS = [
    {
        "first": 1,
        "last": 19,
        "fp16": 1.0,
        "exl2": 0.75,
        "fp16_interval": [1, 1],
        "exl2_interval": [0.5, 0.9],
        "n": 20,
    },
    {
        "first": 20,
        "last": 40,
        "fp16": None,
        "exl2": None,
        "fp16_interval": None,
        "exl2_interval": None,
        "n": 0,
    },
]


def named(figure):
    return {t["name"]: t for t in figure["data"] if "name" in t}


def test_survival_curves_fall_in_steps_inside_their_bands():
    figure = survival_figure(CURVES)
    lines = named(figure)
    assert set(lines) == {"FP16 against the truth", "EXL2 against the truth"}
    assert lines["EXL2 against the truth"]["y"] == [100, 80, 60, 40, 20]
    assert lines["EXL2 against the truth"]["line"]["shape"] == "hv"
    bands = [t for t in figure["data"] if t.get("fill") == "tonexty"]
    assert len(bands) == 2
    # Two sides are told apart by more than colour.
    assert len({t["line"]["dash"] for t in lines.values()}) == 2
    json.dumps(figure)


def test_medians_beyond_the_horizon_are_said_to_be_beyond_it():
    table = survival_table(CURVES)
    assert "beyond 4 (beyond 4 to beyond 4)" in table
    assert "3 (3 to beyond 4)" in table
    assert "After step 4" in table
    assert "20 % (10 to 30)" in table


def test_agreement_with_fp16_is_shown_beside_its_noise():
    data = {"horizon": 4, "curves": {"twin": CURVES["curves"]["fp16"], "exl2": CURVES["curves"]["exl2"]}}
    assert set(named(apart_figure(data))) == {"FP16 against itself", "EXL2 against FP16"}
    assert "FP16 against itself" in apart_table(data)


def test_divergence_against_the_step_has_its_slope_through_the_middle():
    lines = named(steps_figure(STEPS))
    assert lines["EXL2 against FP16"]["y"] == pytest.approx([0.1, 0.2, 0.3])
    assert lines["Mean slope"]["y"] == pytest.approx([0.1, 0.3])
    assert lines["FP16 against itself"]["y"] == [0.001] * 3
    assert "Slope per step" in steps_table(STEPS)
    assert steps_table(STEPS).count("<tr>") == 1 + 3 + 1


def test_parts_without_chains_are_left_out_of_the_picture():
    figure = parts_figure(PARTS)
    assert [t["x"] for t in figure["data"]] == [["1\N{EN DASH}19"]] * 2
    assert named(figure)["EXL2"]["error_y"]["array"] == pytest.approx([15])
    assert "75 % (50 to 90)" in parts_table(PARTS)


def test_nothing_to_draw_gives_no_figure_and_no_table():
    for kind in FIGURES:
        if not kind.name.startswith("chain-"):
            continue
        empty = [] if kind.name == "chain-parts" else {}
        assert kind.build(empty) is None, kind.name
        assert kind.table(empty) == ""
    assert steps_figure({"rows": [{"step": 1, "kl": 0.2}], "slope": None}) is not None
    assert survival_figure({"horizon": 4, "curves": {"exl2": CURVES["curves"]["exl2"]}}) is not None
