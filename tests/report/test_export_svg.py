"""Figures drawn as SVG: marks stand where their values say, and every figure of the program can be drawn."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guide_samples import guide_result
from tests.report.sessions_made import made_session
from wfgy_triage.report.charts import failures_figure, kld_figure, rates_figure
from wfgy_triage.report.charts_chain import survival_figure
from wfgy_triage.report.charts_retrieval import rank_figure, recall_figure
from wfgy_triage.report.export.marks import line_path
from wfgy_triage.report.export.scales import axis_of
from wfgy_triage.report.export.svg import WIDTH, figure_svg
from wfgy_triage.report.figures import build_figures, fix_figure

NS = "{http://www.w3.org/2000/svg}"


def drawn(figure) -> ET.Element:
    assert figure is not None
    return ET.fromstring(figure_svg(figure, "A title", "f"))  # noqa: S314 - our own output


def texts(svg: ET.Element) -> list[str]:
    return ["".join(t.itertext()) for t in svg.iter(f"{NS}text")]


def boxes(svg: ET.Element) -> list[tuple[float, float, float, float]]:
    rects = [r for r in svg.iter(f"{NS}rect") if r.get("height") != "10"]  # without the legend's
    return [tuple(float(r.get(k, "nan")) for k in ("x", "y", "width", "height")) for r in rects]


def test_bars_are_as_high_as_their_values():
    values = [0.4, 0.2, 0.1]
    rows = [
        {"lo": i / 4, "hi": (i + 1) / 4, "n": 5, "mean": v, "interval": None} for i, v in enumerate(values)
    ]
    heights = [h for *_, h in boxes(drawn(kld_figure(rows)))]
    assert [h / heights[0] for h in heights] == pytest.approx([1, 0.5, 0.25], rel=0.01)
    bottoms = {round(y + h, 0) for _, y, _, h in boxes(drawn(kld_figure(rows)))}
    assert len(bottoms) == 1


def test_lying_bars_are_grouped_in_order_from_the_top():
    figure = failures_figure({"labels": ["valid", "malformed"], "fp16": [10, 0], "exl2": [5, 4]})
    svg = drawn(figure)
    found = boxes(svg)
    widths = [w for _, _, w, _ in found]
    assert [w / widths[0] for w in widths] == pytest.approx([1, 0, 0.5, 0.4], abs=0.01)
    fp16, exl2 = found[:2], found[2:]
    assert fp16[0][1] < exl2[0][1] < fp16[1][1] < exl2[1][1]
    assert {"Valid", "Not JSON", "FP16", "EXL2", "10", "5"} <= set(texts(svg))


def test_markers_and_their_bars_stand_at_their_values():
    figure = rates_figure(
        [
            {
                "label": "One",
                "fp16": 0.9,
                "exl2": 0.5,
                "exl2_interval": [0.4, 0.7],
                "gate": 0.7,
                "gate_op": ">=",
            }
        ]
    )
    svg = drawn(figure)
    axis = axis_of([40.0, 90.0], figure["layout"]["xaxis"], zero=False)
    diamonds = [p for p in svg.iter(f"{NS}polygon")]
    (x,) = [float(p.get("points", "").split(",")[0]) for p in diamonds[:1]]
    grid = {t: float(m[1]) for t, m in _ticks(svg)}
    at = {v: _between(grid, axis, v) for v in (50.0, 40.0, 70.0)}
    assert x == pytest.approx(at[50.0], abs=0.6)
    bar = next(p.get("d", "") for p in svg.iter(f"{NS}path") if "v8" in (p.get("d") or ""))
    low, high = (float(v) for v in re.findall(r"M([\d.]+) [\d.]+v8", bar))
    assert (low, high) == (pytest.approx(at[40.0], abs=0.6), pytest.approx(at[70.0], abs=0.6))


def _ticks(svg: ET.Element):
    for t in svg.iter(f"{NS}text"):
        text = "".join(t.itertext())
        if re.fullmatch(r"\d+ %", text):
            yield float(text[:-2]), re.match(r"([\d.]+)", t.get("x", ""))


def _between(grid: dict[float, float], axis, value: float) -> float:
    (a, xa), (b, xb) = sorted(grid.items())[0], sorted(grid.items())[-1]
    return xa + (value - a) / (b - a) * (xb - xa)


def test_a_logarithmic_axis_sets_equal_ratios_equally_far_apart():
    axis = axis_of([1, 100], {"type": "log"}, zero=False)
    assert axis.share(10) - axis.share(1) == pytest.approx(axis.share(100) - axis.share(10))


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 6)), min_size=1, max_size=9),
    st.integers(2, 9),
    st.booleans(),
)
def test_ticks_are_round_few_and_inside(values: list[float], most: int, zero: bool):
    axis = axis_of(values, {"nticks": most}, zero=zero)
    assert len(axis.ticks) <= most + 1
    assert all(axis.low <= t.value <= axis.high for t in axis.ticks)
    assert all(0 <= axis.share(v) <= 1 for v in values)
    steps = {round(b.value - a.value, 9) for a, b in zip(axis.ticks, axis.ticks[1:], strict=False)}
    for step in steps:
        lead = step / 10 ** math.floor(math.log10(step))
        assert any(math.isclose(lead, nice, rel_tol=1e-6) for nice in (1, 2, 5, 10))


def test_a_step_goes_across_first_and_a_gap_ends_the_line():
    assert line_path([(0, 0), (2, 3)], stepped=True) == "M0.0 0.0H2.0V3.0"
    assert line_path([(0, 0), None, (2, 3), (4, 5)]) == "M0.0 0.0M2.0 3.0L4.0 5.0"


def test_curves_bands_and_ranks_can_be_drawn():
    curve = {"share": [1, 0.8, 0.5], "low": [1, 0.6, 0.3], "high": [1, 0.9, 0.7]}
    assert drawn(survival_figure({"horizon": 2, "curves": {"fp16": curve, "exl2": curve}})) is not None
    names = ("fp16", "mixed", "rebuilt", "given", "given_normalised")
    numbers = {"n": 9, "k": [1, 5], "recall": [0.2, 0.9], "interval": [[0.1, 0.3], [0.7, 1.0]]}
    arms = [{"arm": a, "label": a, "deployed": a == "mixed", **numbers} for a in names]
    assert "mixed (deployed)" in texts(drawn(recall_figure(arms)))
    ranks = [{"question": "<b>Where</b> & why?", "fp16": 1, "exl2": 40}]
    assert "<b>Where</b> & why?" in texts(drawn(rank_figure(ranks)))


@pytest.mark.parametrize("result", [made_session().result, guide_result()], ids=["json", "guide"])
def test_every_figure_of_a_result_is_well_formed_and_inside_its_width(result):
    figures = [*build_figures(result.charts).values(), fix_figure(result)[0]]
    assert len(figures) > 2
    for figure in filter(None, figures):
        svg = drawn(figure)
        assert svg.get("role") == "img"
        for rect in svg.iter(f"{NS}rect"):
            assert (
                0 <= float(rect.get("x", 0)) <= float(rect.get("x", 0)) + float(rect.get("width", 0)) <= WIDTH
            )
