"""Which side of a run stands where: samples with a change in EXL2's place, or with EXL2 as it was in FP16's.

A run may ask its questions in more than one arm (`probes.items.ARMS`); a side moves in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from wfgy_triage.probes.items import ARMS, arm_side
from wfgy_triage.probes.retrieval_samples import FACTS
from wfgy_triage.probes.subject import EXL2
from wfgy_triage.remedies.told import EXL2_MORE, FP16_MORE, TRIAL_SIDE, TRY, TrialFacts
from wfgy_triage.store.records import Sample

FP16 = "fp16"
FLOOR = "fp16_floor"
OF_TRIALS = frozenset({TRIAL_SIDE, *(arm_side(side, arm) for side in (FP16_MORE, EXL2_MORE) for arm in ARMS)})


def of_the_run(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples of the run itself, without those of trials: what a probe evaluates knows nothing of these."""
    return tuple(s for s in samples if s.key.side not in OF_TRIALS and not s.key.side.startswith(TRY))


def with_change(samples: Sequence[Sample], facts: TrialFacts) -> tuple[Sample, ...]:
    """The samples of the run with another side in EXL2's place.

    Comparisons of tokens and everything measured on the unchanged EXL2 model are left out: they are not of this side.
    So is FP16's noise floor where FP16 has the change too: the twin answered without it.
    """
    moves = ((FP16_MORE, FP16), (facts.reference, FP16), (facts.side, facts.deployed))
    floor = () if facts.both_sides else ((FLOOR, FLOOR),)
    return _placed(samples, (*floor, (FACTS, FACTS), *_in_every_arm(moves)))


def against_before(samples: Sequence[Sample], facts: TrialFacts) -> tuple[Sample, ...]:
    """The samples with EXL2 as it was in the reference's place, and the changed side in EXL2's.

    Where the change was settled, on the further questions alone.
    """
    before = EXL2_MORE if facts.settled else facts.deployed
    moves = _in_every_arm(((before, FP16), (facts.side, facts.deployed)))
    if facts.settled:
        sides = {side for side, _ in moves}
        fresh = {s.key.question for s in samples if s.key.side == EXL2_MORE}
        samples = [s for s in samples if s.key.side not in sides or s.key.question in fresh]
    return _placed(samples, ((FACTS, FACTS), *moves))


def fp16_against_before(samples: Sequence[Sample], facts: TrialFacts) -> tuple[Sample, ...]:
    """The samples with FP16 as it is in the reference's place, and FP16 with the change in EXL2's."""
    return _placed(samples, _in_every_arm(((FP16, FP16), (facts.reference, facts.deployed))))


def two_runs(before: Sequence[Sample], after: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples of two runs with the earlier EXL2 in FP16's place."""
    earlier = _placed(before, _in_every_arm(((EXL2, FP16),)))
    return (*earlier, *_placed(after, ((FACTS, FACTS), *_in_every_arm(((EXL2, EXL2),)))))


def hoped_for(samples: Sequence[Sample], facts: TrialFacts) -> tuple[Sample, ...]:
    """FP16's answers under the side of a trial, where that has not answered yet; in the arms that it is asked in."""
    answered = {s.key for s in samples}
    asked = {key.side for key in answered}
    moves = {
        reference: side
        for reference, side in _in_every_arm(((facts.reference, facts.side),))
        if side in asked
    }
    hoped = (_moved(s, moves[s.key.side]) for s in samples if s.key.side in moves)
    return tuple(s for s in hoped if s.key not in answered)


def asked_questions(samples: Sequence[Sample], side: str) -> int:
    """How many questions were asked on a side, in whatever arm."""
    sides = {arm_side(side, arm) for arm in ARMS}
    return len({s.key.question for s in samples if s.key.side in sides})


def _in_every_arm(moves: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((arm_side(side, arm), arm_side(place, arm)) for side, place in moves for arm in ARMS)


def _placed(samples: Sequence[Sample], moves: Sequence[tuple[str, str]]) -> tuple[Sample, ...]:
    """Every sample under each place that its side is moved to; those of other sides are left out."""
    places: Mapping[str, Sequence[str]] = {
        side: [to for of, to in moves if of == side] for side in {of for of, _ in moves}
    }
    return tuple(_moved(s, place) for s in samples for place in places.get(s.key.side, ()))


def _moved(sample: Sample, side: str) -> Sample:
    return replace(sample, key=replace(sample.key, side=side))
