"""Where the pairs of the fault bank are made: a scratch folder beside the models, and rounded checkpoints kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.row_file import Row, RowFile
from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.headers import weights_fingerprint
from wfgy_triage.pairs import Pair
from wfgy_triage.runs.provenance import describe_pair, model_hashes
from wfgy_triage.settings import Settings, load_settings
from wfgy_triage.store.records import RunRecord, RunSpec
from wfgy_triage.workload.stored import BUILTIN


class Named(Protocol):
    """A case of the bank."""

    @property
    def id(self) -> str:
        """Its name, one of a kind."""
        ...


C = TypeVar("C", bound=Named)
LAYER = 11
"""Hidden layer of every index: fixed, so that no run spends questions on choosing it."""


@dataclass
class Workshop:
    """Makes and finds pairs.

    Args:
        settings: where the demo pairs are.
        scratch: on the same file system as the models (copies are hard links); the caller removes it.
    """

    settings: Settings
    scratch: Path
    _made: int = field(default=0, init=False)
    _rows: dict[Path, NDArray[np.float32]] = field(default_factory=dict, init=False)

    def fresh(self) -> Path:
        """A folder that is not there yet."""
        self._made += 1
        return self.scratch / f"case-{self._made}"

    def clear(self) -> None:
        """Remove what was made for a case."""
        for made in self.scratch.glob("case-*"):
            shutil.rmtree(made)

    def pair(self, pair_id: str) -> Pair:
        """A demo pair.

        Raises:
            PrerequisiteError: it was not prepared.
        """
        sibling = next(s for s in SIBLINGS if s.pair_id == pair_id)
        pair = Pair(pair_id, sibling.name, fp16_folder(self.settings), exl2_folder(self.settings, sibling))
        if not pair.ready:
            raise PrerequisiteError(
                f"The pair {pair_id!r} is not there.", "Run 'python -m wfgy_triage demo' first."
            )
        return pair

    def rounded(self, bpw: float) -> Pair:
        """The demo model rounded to nearest at this rate; made once of these files and kept in the cache folder."""
        demo = self.pair("demo")
        made_of = model_hashes(describe_pair(demo))["fp16"][:12]
        target = self.settings.home / "cache" / "fault-bank" / f"rtn-{bpw:g}bpw-{made_of}"
        if not (target / "config.json").is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            quantize_folder(demo.fp16, target, bpw=bpw, method="rtn")
        return Pair(f"rtn-{named_rate(bpw)}bpw", f"Rounded to {bpw:g} bpw", demo.fp16, target)

    @property
    def home(self) -> Path:
        """Of every run. One serves all, so that FP16's answers and vectors are computed once."""
        home = self.scratch / "home"
        home.mkdir(parents=True, exist_ok=True)
        return home

    def run(
        self,
        pair: Pair,
        symptom: str,
        questions: int,
        options: Mapping[str, str],
        seed: int = 0,
        workload: str = BUILTIN,
    ) -> RunRecord:
        """A run on a pair, to its end; `workload` is the id of a question set in `home`."""
        from wfgy_triage.runs.headless import run_headless

        settings = load_settings(home=self.home, database_url=f"sqlite:///{self.home / 'triage.db'}")
        spec = RunSpec(symptom, pair.id, questions, seed, workload, options)
        return run_headless(settings, spec, pair=pair)

    def rows(self, pair: Pair, texts: tuple[str, ...], *, quantized: bool) -> NDArray[np.float32]:
        """Mean-pooled hidden states (texts, hidden) of one side, not centred and not scaled."""
        from wfgy_triage.engines.loading import open_engine
        from wfgy_triage.probes.embedding_cache import EmbeddingCache
        from wfgy_triage.probes.retrieval_vectors import HiddenStates

        folder = pair.exl2 if quantized else pair.fp16
        if folder not in self._rows:
            engine = open_engine(folder, side="exl2" if quantized else "fp16")
            states = HiddenStates(engine, "", EmbeddingCache(None), lambda: False)
            self._rows[folder] = states.rows(texts, LAYER)
            engine.close()
        return self._rows[folder]


def named_rate(bpw: float) -> str:
    """A bit rate as a part of a pair's id, which has no dots: 2.3 as 2-3."""
    return f"{bpw:g}".replace(".", "-")


def look_at(
    cases: Iterable[C],
    look: Callable[[C, Workshop], dict[str, Any]],
    show: Callable[[Row], None],
    kept: RowFile,
) -> list[Row]:
    """Look at each case and show its row; the scratch folder goes afterwards.

    Args:
        cases: of the bank.
        look: makes a row; one whose `measured` is false is shown and not kept, so that the next call tries it again.
        show: prints a row.
        kept: rows of an earlier call; those of the same demo models are not measured again.

    Raises:
        PrerequisiteError: the demo pair is not there.
    """
    settings = load_settings()
    base = settings.home / "cache" / "fault-bank"
    base.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        shop = Workshop(settings, Path(scratch))
        demo = shop.pair("demo")
        models = [weights_fingerprint(demo.fp16), weights_fingerprint(demo.exl2)]
        for case in cases:
            row: Row | None = kept.find(id=case.id, models=models)
            if row is None:
                row = {**look(case, shop), "models": models}
                if row["measured"]:
                    kept.add(row)
            rows.append(row)
            show(row)
    return rows
