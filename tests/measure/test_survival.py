from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.duration.survfunc import SurvfuncRight

from wfgy_triage.measure.statistics import clopper_pearson
from wfgy_triage.measure.survival import Lifetime, kaplan_meier, restricted_median

HORIZON = 48
lives = st.lists(
    st.builds(Lifetime, st.integers(0, HORIZON - 1), st.booleans()) | st.just(Lifetime(HORIZON, False)),
    min_size=1,
    max_size=30,
)


def test_a_curve_worked_out_by_hand():
    # 5 chains: wrong after 2, cut off after 3, wrong after 4 (two), to the end.
    curve = kaplan_meier(
        [Lifetime(2, True), Lifetime(3, False), Lifetime(4, True), Lifetime(4, True), Lifetime(6, False)], 6
    )
    assert curve is not None
    assert [p.share for p in curve.points] == pytest.approx([1, 1, 0.8, 0.8, 0.8 / 3, 0.8 / 3, 0.8 / 3])
    assert [p.at_risk for p in curve.points] == [5, 5, 5, 4, 3, 1, 1]
    assert (curve.chains, curve.events, curve.median) == (5, 3, 4)


@given(lives)
def test_curve_and_bounds_are_those_of_statsmodels(chains: list[Lifetime]):
    curve = kaplan_meier(chains, HORIZON)
    assert curve is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = SurvfuncRight([c.steps for c in chains], [int(c.ended) for c in chains])
        for time, share in zip(reference.surv_times, reference.surv_prob, strict=True):
            assert curve.points[int(time)].share == pytest.approx(share, abs=1e-12)
        # At exactly one half a rounding error decides which of two steps is the median; such samples are no test.
        if not np.isclose(reference.surv_prob, 0.5).any() and (reference.surv_prob > 0).all():
            assert curve.median == _step(reference.quantile(0.5))
            low, high = reference.quantile_ci(0.5, method="cloglog")
            # With a handful of chains our exact bound before the first event is below one half already.
            if any(c.ended for c in chains) and all(p.low > 0.5 for p in curve.points if p.share == 1):
                assert (curve.median_low, curve.median_high) == (_step(low), _step(high))


def _step(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None


@given(lives)
def test_curves_only_fall_and_lie_in_their_band(chains: list[Lifetime]):
    curve = kaplan_meier(chains, HORIZON)
    assert curve is not None
    shares = [p.share for p in curve.points]
    assert all(a >= b for a, b in zip(shares, shares[1:], strict=False))
    assert all(0 <= p.low <= p.share + 1e-12 and p.share - 1e-12 <= p.high <= 1 for p in curve.points)
    assert len(curve.points) == HORIZON + 1
    assert kaplan_meier(chains[::-1], HORIZON) == curve


def test_where_nothing_happened_the_exact_bound_is_given():
    curve = kaplan_meier([Lifetime(HORIZON, False)] * 20, HORIZON)
    assert curve is not None
    assert curve.points[HORIZON].low == pytest.approx(clopper_pearson(20, 20).low)
    assert (curve.median, curve.median_low, curve.median_high) == (None, None, None)
    assert restricted_median(curve, HORIZON) == (48.0, (48.0, 48.0))


def test_where_it_happened_to_everyone_the_exact_bound_is_given():
    curve = kaplan_meier([Lifetime(3, True)] * 20, HORIZON)
    assert curve is not None
    assert curve.points[3].share == 0
    assert curve.points[3].high == pytest.approx(clopper_pearson(0, 20).high)
    assert restricted_median(curve, HORIZON) == (3.0, (3.0, 3.0))


def test_no_chains_no_curve_and_impossible_lifetimes_are_refused():
    assert kaplan_meier([], HORIZON) is None
    with pytest.raises(ValueError, match="outside 0 to 48"):
        kaplan_meier([Lifetime(49, False)], HORIZON)
