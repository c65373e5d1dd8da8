"""What a retrieval run searches and how: the passages, the questions of each part, the user's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wfgy_triage.engines.sentence_files import DIMENSIONS
from wfgy_triage.errors import InputError
from wfgy_triage.options import option_values
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.workload.chunks import ChunkSet, Query, chunk_corpus, load_chunks
from wfgy_triage.workload.corpus import CORPUS, load_corpus
from wfgy_triage.workload.index_file import GivenIndex, given_vectors, load_index
from wfgy_triage.workload.passages import kept_passages

DEPTH = 20
"""How many results of each question are stored: the largest k of any metric."""
TUNING_EVERY = 4
"""Of every four questions the last is not judged: the layer is chosen on those."""
MIN_TUNING = 4
SYMPTOM = "wrong_snippet"

DEPLOYED = {
    "mixed": ("fp16", "mixed"),
    "rebuilt": ("fp16", "rebuilt"),
    "independent": ("independent", "independent"),
    "given": ("fp16", "given"),
    "given_independent": ("independent", "given"),
}
"""Mode to the arm that stands for FP16 and the arm that is deployed and judged."""


@dataclass(frozen=True)
class Plan:
    """One run's choices, resolved.

    Attributes:
        chunks: passages and all queries.
        judged: queries that count.
        tuning: queries that only choose the layer; none of them is judged.
        mode: which arm is deployed (`DEPLOYED`).
        k: results that a user looks at.
        layer: hidden layer to embed with; None lets FP16 choose, -1 is the last.
        given: an index that came with the run.
    """

    chunks: ChunkSet
    judged: tuple[Query, ...]
    tuning: tuple[Query, ...]
    mode: str
    k: int
    layer: int | None
    given: GivenIndex | None

    @property
    def info(self) -> dict[str, Any]:
        """Identity of the workload for the result."""
        found: dict[str, Any] = {
            "id": self.chunks.id,
            "sha256": self.chunks.sha256,
            "questions": len(self.judged),
            "mode": self.mode,
        }
        if self.given is not None and self.given.sha256:
            found["index_sha256"] = self.given.sha256
        return found


def make_plan(settings: ProbeSettings) -> Plan:
    """Resolve the options `chunks`, `index`, `mode`, `k` and `layer`.

    Raises:
        InputError: an option has a value that is not possible, or a file cannot be used.
    """
    values = option_values(SYMPTOM, settings.options)
    kept = kept_passages(settings.workload) if settings.workload else None
    if kept is not None and (values["chunks"] or values["index"]):
        raise InputError(
            "Passages were given twice.", "Give kept ones, or --chunks and --index, but not both."
        )
    chunks, given = kept.load() if kept is not None else _given(settings, values)
    tuning = chunks.queries[TUNING_EVERY - 1 :: TUNING_EVERY]
    if len(tuning) < MIN_TUNING:
        tuning = ()
    judged = [q for q in chunks.queries if q not in tuning]
    return Plan(
        chunks,
        tuple(judged[: settings.questions]),
        tuple(tuning),
        _mode(str(values["mode"]), given),
        int(values["k"]),
        _layer(values["layer"]),
        given,
    )


def check(settings: ProbeSettings) -> None:
    """Whether a run with these settings could be made. Imports no model library and loads no model.

    Raises:
        InputError: as for `make_plan`.
    """
    make_plan(settings)


def _given(settings: ProbeSettings, values: Mapping[str, str | int]) -> tuple[ChunkSet, GivenIndex | None]:
    """The passages of `--chunks` with their index, else the sections of the question set, cut up."""
    passages, index = values["chunks"], values["index"]
    if index and not passages:
        raise InputError(
            "An index was given without its passages.", "Give --chunks too, in the index's order."
        )
    if passages and settings.workload:
        raise InputError(
            "Both a question set and passages were given.", "Give one of --workload and --chunks."
        )
    if not passages:
        return chunk_corpus(load_corpus(settings.workload or CORPUS)), None
    chunks = load_chunks(Path(str(passages)))
    if index:
        return chunks, load_index(Path(str(index)), len(chunks.chunks))
    return chunks, given_vectors(chunks)


def _mode(mode: str, given: GivenIndex | None) -> str:
    chosen = mode or ("given" if given is not None else "mixed")
    if chosen == "given" and given is not None and given.vectors.shape[1] == DIMENSIONS:
        return "given_independent"  # vectors of the sentence model, which quantization does not touch
    if chosen == "given" and given is None:
        raise InputError(
            "The mode 'given' needs an index.", "Give an index, or passages with their embeddings."
        )
    return chosen


def _layer(value: str | int) -> int | None:
    return {"auto": None, "last": -1}[value] if isinstance(value, str) else value
