"""What is chosen after a training, on cases that can be counted by hand; what is learned; the small networks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tools.train_matcher.__main__ import mean_of
from tools.train_matcher.models import train_networks
from tools.train_matcher.teaching import KNOWN, TWICE, factor_on_none, shares_of, taught
from wfgy_triage.complaints import NONE
from wfgy_triage.engines.sentence_reader import PREFIX, SentenceReader
from wfgy_triage.matching import Example, read_restated, read_translated, read_written

CLASSES = [NONE, "json_breaks"]


def chosen(fitting: list[float], unrelated: list[float]) -> float:
    """The factor for complaints by the logarithm of the odds of their symptom against `none`."""
    held = [Example("", "json_breaks")] * len(fitting) + [Example("", NONE)] * len(unrelated)
    logits = np.array([[0.0, odds] for odds in (*fitting, *unrelated)])
    return math.log(factor_on_none(logits, CLASSES, held))


def test_where_one_factor_tells_all_apart_it_is_the_middle_one():
    assert chosen([3.0] * 10, [1.0] * 10) == pytest.approx(2.0, abs=0.06)


def test_of_factors_that_meet_both_goals_it_is_the_one_with_most_right_answers_and_then_fewest_forced():
    # Above 1 a tenth is lost, which just meets the goal; below 1 none is, with one or two in fifty forced.
    fitting, unrelated = [1.0] * 5 + [4.0] * 45, [0.5] * 1 + [-1.0] * 1 + [-9.0] * 48
    assert 0.5 < chosen(fitting, unrelated) < 1.0
    unrelated[0] = 2.0
    assert -1.0 < chosen(fitting, unrelated) < 1.0


@pytest.mark.parametrize(
    ("fitting", "unrelated", "low", "high"),
    [
        # Half the unrelated ones forced is missed by 0.45, a fifth of the complaints lost by 0.1.
        ([1.0] * 2 + [3.0] * 8, [0.0] * 5 + [2.0] * 5, 2.0, 3.0),
        # A tenth of the unrelated ones forced is missed by 0.05, half of the complaints lost by 0.4.
        ([1.0] * 5 + [3.0] * 5, [0.0] * 9 + [2.0], 0.0, 1.0),
    ],
)
def test_where_the_goals_cannot_both_be_met_the_smaller_miss_is_taken(fitting, unrelated, low, high):
    assert low < chosen(fitting, unrelated) < high


def test_a_finished_file_is_taught_what_is_new_amid_a_part_of_what_it_knows():
    complaints, written, translated, everything = (
        read_restated(),
        read_written(),
        read_translated(),
        taught(None),
    )
    further = taught((1764, 3000, 4000))
    new = [*complaints[1764:] * TWICE, *written[3000:], *translated[4000:]]
    assert further[: len(new)] == new
    known = further[len(new) :]
    assert len(known) == sum(KNOWN.values())
    assert set(known) <= set(everything) - set(new)
    assert taught((*THERE[:2], 4000))[: len(translated) - 4000] == translated[4000:]


THERE = len(read_restated()), len(read_written()), len(read_translated())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_behind_the_last_text_there_is_nothing_to_teach(place: int):
    for number in (-1, THERE[place] + 1):
        with pytest.raises(SystemExit, match="stands behind"):
            taught(tuple(number if n == place else 0 for n in range(3)))
    with pytest.raises(SystemExit, match="stands behind"):
        taught(THERE)


def test_a_reader_gets_a_share_where_it_mends_what_the_others_miss():
    held = [Example("", "json_breaks")] * 10 + [Example("", NONE)] * 10
    # The first is wrong about one of each kind, the second about others.
    first, second = np.zeros((20, 2)), np.zeros((20, 2))
    first[:, 1] = [-9.0] + [5.0] * 9 + [9.0] + [-5.0] * 9
    second[:, 1] = [5.0] * 9 + [-9.0] + [-5.0] * 9 + [9.0]
    shares = shares_of([first, first, second], CLASSES, held)
    assert sum(shares) == pytest.approx(1)
    assert 0 < shares[2] < 1
    assert shares_of([first, first], CLASSES, held) == (1.0, 0.0)
    assert shares_of([np.zeros((20, 2)), first], CLASSES, held)[1] > 0


def test_networks_learn_what_tells_classes_apart_and_are_read_as_they_were_trained():
    drawn = np.random.default_rng(0)
    labels = np.arange(300) % 3
    states = (np.eye(3)[labels] @ drawn.normal(size=(3, 8)) + drawn.normal(size=(300, 8)) * 0.1).astype(
        np.float32
    )
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    made = train_networks(states, labels, torch.ones(3), networks=2, epochs=4)

    class States:
        def of(self, texts):
            return states[[int(text) for text in texts]]

    read = SentenceReader(States(), {n.removeprefix(PREFIX): t.float().numpy() for n, t in made.items()})
    said = read.logits([str(i) for i in range(300)]).argmax(axis=1)
    assert (said == labels).mean() > 0.95


def test_the_mean_of_finished_files_is_of_what_tells_the_same_classes_apart(tmp_path: Path):
    for name, classes, value in (
        ("a", CLASSES, 1.0),
        ("b", CLASSES, 2.0),
        ("c", [*CLASSES, "long_chain"], 3.0),
    ):
        tensors = {"reader.x": torch.full((2,), value).half(), "sentences.y": torch.ones(1)}
        save_file(tensors, tmp_path / name, {"classes": json.dumps(classes)})
    found = mean_of([tmp_path / "a", tmp_path / "b"], "reader.", CLASSES)
    assert {name: (t.tolist(), t.dtype) for name, t in found.items()} == {
        "reader.x": ([1.5, 1.5], torch.float16)
    }
    with pytest.raises(SystemExit, match="other classes"):
        mean_of([tmp_path / "a", tmp_path / "c"], "reader.", CLASSES)
