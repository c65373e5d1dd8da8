from __future__ import annotations

import numpy as np
import pytest

from wfgy_triage.measure.survival import Lifetime
from wfgy_triage.probes import chain_samples as read
from wfgy_triage.probes.paired import Sides
from wfgy_triage.store.records import Sample, SampleKey


def test_resonance_is_the_slope_of_the_mean_of_the_last_five_distances():
    distances = [0.01 * k for k in range(48)]
    rolled = [np.mean(distances[max(0, k - 4) : k + 1]) for k in range(48)]
    expected = np.polyfit(np.arange(48), rolled, 1)[0]
    assert read.resonance_slope({"ds": distances}) == pytest.approx(expected)
    assert read.resonance_slope({"ds": [0.2] * 48}) == pytest.approx(0, abs=1e-12)
    assert read.resonance_slope({"ds": [0.2] * 5 + [None] * 43}) is None
    assert read.resonance_slope({"ds": None}) is None


def test_token_slopes_are_those_of_the_mean_of_every_step():
    compared = {"kl": [0.1, 0.3, 0.2, 0.6] * 10, "step": [k for s in range(1, 21) for k in (s, s)]}
    by_step = [0.2, 0.4] * 10
    expected = np.polyfit(np.arange(20), by_step, 1)[0]
    assert read.token_slopes({"a": compared}, "kl", 48) == {"a": pytest.approx(expected)}


def answer(said: list[str], known: int = 3) -> dict[str, object]:
    return {"said": said, "known": known}


def test_chains_part_where_they_state_different_things_and_only_where_both_are_known():
    left = {"a": answer(["1", "2", "3"]), "b": answer(["1", "2", "3"]), "c": answer(["1", "2", "3"])}
    right = {
        "a": answer(["1", "9", "3"]),
        "b": answer(["1", "2", "3"]),
        "c": answer(["1", "2", "9"], known=2),
    }
    assert read.until_apart(left, right) == [Lifetime(1, True), Lifetime(3, False), Lifetime(2, False)]
    assert read.until_apart(left, {"b": right["b"]}) == [Lifetime(3, False)]


def test_a_missing_distance_anywhere_gives_its_reason():
    def sample(side: str, **payload: object) -> Sample:
        return Sample(SampleKey("long_chain", "q", 0, 0, side), payload)

    fine = {"ds": [0.0], "ds_reason": ""}
    sides = Sides.of([sample("fp16", **fine), sample("exl2", ds=None, ds_reason="No model.")])
    assert read.missing_distances(sides) == "No model."
    assert read.missing_distances(Sides.of([sample("fp16", **fine)])) == ""
