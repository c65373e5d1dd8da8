"""Chart builders: what is drawn for which data, checked on the figures themselves and by Plotly's own validation."""

from __future__ import annotations

import json

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.report.charts import failures_figure, kld_figure, rates_figure
from wfgy_triage.report.figures import build_figures

RATE = {
    "metric": "schema_valid_rate",
    "label": "Answers that fit the schema",
    "fp16": 0.95,
    "exl2": 0.70,
    "fp16_interval": [0.76, 0.99],
    "exl2_interval": [0.48, 0.86],
    "floor": 0.05,
    "gate": 0.98,
    "gate_op": ">=",
}
BUCKET = {"lo": 0.95, "hi": 1.0, "n": 611, "mean": 0.048, "interval": [0.03, 0.071]}
CLASSES = {"labels": ["valid", "malformed"], "fp16": [19, 1], "exl2": [14, 6]}


def trace(figure, name):
    return next(t for t in figure["data"] if t["name"] == name)


@pytest.mark.parametrize(
    "figure",
    [rates_figure([RATE]), kld_figure([BUCKET]), failures_figure(CLASSES)],
    ids=["rates", "kld", "fail"],
)
def test_plotly_accepts_every_property(figure):
    go.Figure(data=figure["data"], layout=figure["layout"])
    json.dumps(figure, allow_nan=False)


def test_rates_are_drawn_in_percent_with_their_own_intervals():
    exl2 = trace(rates_figure([RATE]), "EXL2")
    assert exl2["x"] == [pytest.approx(70)]
    assert exl2["error_x"]["array"] == [pytest.approx(16)]
    assert exl2["error_x"]["arrayminus"] == [pytest.approx(22)]


def test_sides_differ_by_shape_and_by_colour():
    figure = rates_figure([RATE])
    fp16, exl2 = trace(figure, "FP16")["marker"], trace(figure, "EXL2")["marker"]
    assert fp16["symbol"] != exl2["symbol"]
    assert fp16["color"] != exl2["color"]


def test_gate_crosses_only_the_rows_that_have_one():
    ungated = {**RATE, "metric": "value_match_rate", "gate": None}
    figure = rates_figure([RATE, ungated])
    gate = trace(figure, "Gate")
    assert gate["x"] == [pytest.approx(98), pytest.approx(98), None]
    top_row = trace(figure, "EXL2")["y"][0]
    assert gate["y"][0] < top_row < gate["y"][1]
    assert gate["line"]["dash"] == "dash"


def test_noise_floor_is_a_band_around_fp16_that_stays_within_the_scale():
    band = trace(rates_figure([{**RATE, "fp16": 0.98, "floor": 0.05}]), "Noise floor around FP16")
    assert sorted({x for x in band["x"] if x is not None}) == [pytest.approx(93), pytest.approx(100)]
    assert band["line"]["dash"] == "dot"


def test_the_axis_shows_every_value():
    figure = rates_figure([{**RATE, "exl2": 0.1, "exl2_interval": [0.02, 0.3]}])
    low, high = figure["layout"]["xaxis"]["range"]
    assert low <= 2
    assert high >= 100


def test_buckets_without_tokens_are_left_out_not_drawn_as_zero():
    figure = kld_figure([{"lo": 0.0, "hi": 0.25, "n": 0, "mean": None, "interval": None}, BUCKET])
    assert figure["data"][0]["x"] == ["95–100"]
    assert figure["data"][0]["customdata"] == [611]


def test_bucket_interval_bounds_become_distances():
    bars = kld_figure([BUCKET])["data"][0]
    assert bars["error_y"]["array"] == [pytest.approx(0.023)]
    assert bars["error_y"]["arrayminus"] == [pytest.approx(0.018)]


def test_failure_classes_are_in_plain_words():
    figure = failures_figure(CLASSES)
    assert trace(figure, "EXL2")["y"] == ["Valid", "Not JSON"]
    assert trace(figure, "FP16")["x"] == [19, 1]


def test_a_side_with_the_wrong_number_of_counts_is_not_drawn():
    figure = failures_figure({**CLASSES, "fp16": [1]})
    assert [t["name"] for t in figure["data"]] == ["EXL2"]


def test_missing_pieces_are_absent():
    assert build_figures({}) == {}
    assert set(build_figures({"rates": [RATE]})) == {"rates"}
    bare = rates_figure([{"metric": "m", "label": "M", "fp16": None, "exl2": 0.5}])
    assert [t["name"] for t in bare["data"]] == ["FP16", "EXL2"]


def test_labels_are_escaped():
    figure = rates_figure([{**RATE, "label": "<a href=x>"}])
    assert "<a" not in json.dumps(figure["layout"])


shares = st.floats(0, 1, allow_nan=False)


@given(fp16=shares, exl2=shares, floor=shares, gate=shares, bounds=st.tuples(shares, shares))
def test_any_rate_gives_a_valid_figure_with_bars_that_never_point_the_wrong_way(
    fp16, exl2, floor, gate, bounds
):
    rate = {**RATE, "fp16": fp16, "exl2": exl2, "floor": floor, "gate": gate, "exl2_interval": sorted(bounds)}
    figure = rates_figure([rate])
    error = trace(figure, "EXL2")["error_x"]
    assert min(error["array"] + error["arrayminus"]) >= 0
    assert all(0 <= x <= 100 for t in figure["data"] for x in t["x"] if x is not None)
    json.dumps(figure, allow_nan=False)
