"""How often a verdict is FAIL, and EXL2 accused, when both sides are the same FP16 model; and when it is not.

Each probe answers its whole question set in several passes, at a temperature, with a seed for each question and pass
(`calibration_pool.py`). Runs are then drawn from them (`calibration_runs.py`): their own subset of the questions, and
three different passes as FP16, EXL2 and noise floor; the probe's own `evaluate` judges each. Runs of one pool share
answers, so the intervals, which take them as independent, are somewhat too narrow. The other column puts answers of a
quantized model on the EXL2 side: how often damage is found.

At a temperature FP16 itself may miss a gate on the value (valid records, right citations): FAIL is then right, and
only "FAIL and EXL2 accused" is a false alarm. Its nominal rate is half of 1 − level, 2.5 %. The gate on core acceptance
cannot be INCONCLUSIVE or PASS here, since one of its rules is not measured.

A search draws nothing: FP16 asked twice gives the same vectors. So the twin stands on the EXL2 side, once with the same
words (which shows numerical noise alone), and once with another of a question's three wordings on each side.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Stopwatch, model_folders
from benchmarks.calibration_pool import Engines, Pool, pool_key
from benchmarks.calibration_runs import (
    HEALTHY,
    QUANTIZED,
    SAME,
    column,
    compose,
    draw_runs,
    question_ids,
)
from benchmarks.calibration_search import Search
from benchmarks.drawn import TEMPERATURE, Sentences
from wfgy_triage.demo import SIBLINGS, exl2_folder
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.memory import PromptMemory
from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import InputError
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.acceptance import COMPARED, Acceptance
from wfgy_triage.probes.acceptance_samples import DISTANCE
from wfgy_triage.probes.base import Evaluation, Probe, ProbeSettings
from wfgy_triage.probes.registry import available_symptoms, get_probe
from wfgy_triage.runs.models import ModelCache
from wfgy_triage.runs.provenance import describe_pair, number_facts
from wfgy_triage.settings import load_settings
from wfgy_triage.store.records import Sample, SampleKey

ACCEPTANCE, SEARCH = "acceptance_gate", "wrong_snippet"
ASKING = ("json_breaks", "citations_missing", "long_chain", SEARCH, ACCEPTANCE, "sixty_seconds")
"""Probes that ask something; the doctor asks nothing and has its own bank."""
ALL = 10_000
"""More questions than any set has."""
NOMINAL = 0.025
REMEMBERED_BYTES = 3 << 30
"""Every pass asks the whole pool, so all of its prompts are kept."""
COLUMNS = (SAME, QUANTIZED)


@dataclass(frozen=True)
class Size:
    """How much is measured: runs, questions of a run, passes, how many of the question set, and how warm."""

    runs: int = 40
    questions: int = 20
    passes: int = 4
    of: int = ALL
    temperature: float = TEMPERATURE


FAST = Size(runs=6, questions=8, passes=3, of=10)


class Models:
    """The three engines, opened when first asked for."""

    def __init__(self, pair: Pair) -> None:
        self._pair, self._cache = pair, ModelCache(open_engine)

    @cached_property
    def engines(self) -> Engines:
        """FP16, its twin, EXL2."""
        loaded = self._cache.acquire(self._pair)
        found = Engines(loaded.fp16, self._cache.floor(), loaded.exl2)
        for engine in (found.fp16, found.twin, found.exl2):
            if isinstance(engine, TransformersEngine):
                shape = engine.runner.kv_shape
                engine.runner.memory = PromptMemory(shape.bytes_per_token, REMEMBERED_BYTES)
        return found

    def close(self) -> None:
        """Give the memory back."""
        self._cache.close()


def run(
    fast: bool = False,
    fp16: Path | None = None,
    exl2: Path | None = None,
    seeds: int | None = None,
    passes: int | None = None,
    questions: int | None = None,
    pool: int | None = None,
    temperature: float = TEMPERATURE,
    probe: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure what is not kept, draw the runs, count; see the module.

    Args:
        fast: few questions and runs: a check, not a result.
        fp16: the model; the demo's FP16 folder without it.
        exl2: the quantized model of the second column; the demo's with the fewest bits without it.
        seeds: runs that are drawn for each probe and column.
        passes: how often the question set is answered.
        questions: questions a run.
        pool: how many questions of the set are answered, the first ones; all without it.
        temperature: of the answers.
        probe: which probes; all that ask something without it.

    Raises:
        InputError: a probe that asks nothing, too few passes.
    """
    settings, usual = load_settings(), FAST if fast else Size()
    size = Size(
        seeds or usual.runs,
        questions or usual.questions,
        passes or usual.passes,
        pool or usual.of,
        temperature,
    )
    _check(probe, size)
    few_bits = exl2_folder(settings, next(s for s in SIBLINGS if s.pair_id == "demo-3bpw"))
    pair = Pair("calibration", "Calibration", *model_folders(fp16, exl2 or few_bits))
    described = describe_pair(pair)
    facts = {side: number_facts(described[side]) for side in ("fp16", "exl2")}
    kept, rows = settings.home / "cache" / "calibration", []
    with closing(Models(pair)) as models:
        for symptom in probe or ASKING:
            with Stopwatch() as watch:
                if symptom == SEARCH:
                    found = _search_rows(size, models)
                else:
                    found = _rows(symptom, size, facts, kept, lambda: models.engines)
            rows += [{**r, "seconds": round(watch.seconds, 1), "foreign": watch.foreign} for r in found]
            print(f"{symptom}: {watch.seconds:.0f} s", file=sys.stderr, flush=True)
    _print(rows, size, described)
    return {"size": vars(size), "nominal": NOMINAL, "pair": described, "rows": rows}


def _check(probe: Sequence[str], size: Size) -> None:
    if unknown := [p for p in probe if p not in ASKING]:
        asks = f"of {', '.join(available_symptoms())} these ask something: {', '.join(ASKING)}"
        raise InputError(f"{unknown[0]} cannot be calibrated.", f"Choose a probe; {asks}.")
    if size.of < size.questions:
        raise InputError(
            f"{size.of} questions are too few to draw {size.questions} from.", "Give a larger --pool."
        )
    if size.passes < FAST.passes:
        raise InputError(f"{size.passes} passes are too few.", f"Give at least {FAST.passes}.")
    if not size.temperature > 0:
        raise InputError(
            f"At temperature {size.temperature:g} every pass gives the same answers.", "Give more than 0."
        )


def _rows(
    symptom: str, size: Size, facts: dict[str, Any], kept: Path, open_engines: Callable[[], Engines]
) -> list[dict[str, Any]]:
    """Both columns of a probe that models answer."""
    settings = ProbeSettings(size.of)
    asked = Acceptance(compared=ALL, sweep=()) if symptom == ACCEPTANCE else get_probe(symptom)
    folder = kept / f"{symptom}-{pool_key(asked, settings, facts, size.temperature)}"
    passes = Pool(folder, asked, settings, open_engines, size.temperature).passes(size.passes)
    drawings = draw_runs(question_ids(passes[0]), size.passes, size.runs, size.questions, seed_of(symptom))
    judge = Judge(symptom, size.questions)
    return [
        {
            "probe": symptom,
            "exl2": exl2,
            **column((compose(passes, d, exl2, judge.compared) for d in drawings), judge),
        }
        for exl2 in COLUMNS
    ]


class Judge:
    """Evaluates the samples of a run as the probe does.

    Args:
        symptom: whose.
        questions: of a run.
        probe: in place of the registered one.
    """

    def __init__(self, symptom: str, questions: int, probe: Probe | None = None) -> None:
        self._settings = ProbeSettings(questions)
        if probe is None and symptom == ACCEPTANCE:
            encoder = Sentences(load_sentence_encoder)
            probe = Acceptance(lambda: encoder)
        self._probe = probe or get_probe(symptom)
        self._gate = self._probe if isinstance(self._probe, Acceptance) else None
        self.compared = COMPARED if self._gate is not None else None

    def __call__(self, samples: Sequence[Sample]) -> Evaluation:
        """Metrics, verdict and cause."""
        more = self._distances(self._gate, samples) if self._gate is not None else []
        return self._probe.evaluate([*samples, *more], HEALTHY, self._settings)

    @staticmethod
    def _distances(gate: Acceptance, samples: Sequence[Sample]) -> list[Sample]:
        """ΔS between answers that come from different passes, so that no pass can hold it."""
        answers: dict[str, dict[str, str]] = {}
        for sample in samples:
            if sample.key.side in ("fp16", "exl2", "fp16_floor"):
                answers.setdefault(sample.key.question, {})[sample.key.side] = sample.payload["text"]
        whole = {q: sides for q, sides in answers.items() if len(sides) == 3}
        return [
            Sample(SampleKey(ACCEPTANCE, q, 0, 0, DISTANCE), payload)
            for q, payload in (gate.distances(whole) if whole else {}).items()
        ]


def _search_rows(size: Size, models: Models) -> list[dict[str, Any]]:
    """Both columns of the search, with the same words on all sides and with other words on each."""
    search, settings = Search(models.engines, size.of), ProbeSettings(size.questions)
    rng, rows = np.random.default_rng(seed_of(SEARCH)), []
    runs = [search.draw(rng, min(size.questions, len(search.questions))) for _ in range(size.runs)]
    for words, name in ((False, f"{SEARCH}, same words"), (True, f"{SEARCH}, other words")):
        for exl2 in COLUMNS:
            samples = (search.samples(r, exl2, words) for r in runs)
            found = column(samples, lambda s: search.probe.evaluate(s, HEALTHY, settings))
            rows.append({"probe": name, "exl2": exl2, **found})
    return rows


def seed_of(symptom: str) -> int:
    """Seed of the drawing of a probe's runs."""
    return int.from_bytes(hashlib.sha256(symptom.encode()).digest()[:4], "big")


def _print(rows: Sequence[dict[str, Any]], size: Size, described: dict[str, Any]) -> None:
    print(
        f"\nFP16 {described['fp16']['folder']}, quantized {described['exl2']['folder']}; "
        f"{size.questions} questions a run of the first {size.of} at most, {size.passes} passes at temperature "
        f"{size.temperature:g}; 95 % Clopper-Pearson intervals\n"
    )
    print(
        "| probe | EXL2 side | runs | FAIL | FAIL, EXL2 accused | accused, any state | nominal "
        "| INCONCLUSIVE | outcomes that differ | primary, FP16 / EXL2 |"
    )
    print(f"|{'---|' * 10}")
    for row in rows:
        shares = [_shown(row[name]) for name in ("fail", "fail_accused", "accused")]
        nominal = f"{100 * NOMINAL:g} %" if row["exl2"] == SAME else "–"
        cells = [row["probe"], row["exl2"], row["runs"], *shares, nominal]
        cells += [_percent(row["inconclusive"]["share"]), _percent(row["differ"])]
        print(f"| {' | '.join(map(str, cells))} | {_means(row['primaries'])} |")


def _shown(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{_percent(found['share'])} [{100 * low:.1f}, {100 * high:.1f}]"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _means(primaries: dict[str, Any]) -> str:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    return "; ".join(
        f"{name} {number(sides['fp16'])} / {number(sides['exl2'])}" for name, sides in primaries.items()
    )
