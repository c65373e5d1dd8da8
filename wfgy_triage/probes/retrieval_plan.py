"""What a retrieval run searches and how: the passages, the questions of each part, the user's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wfgy_triage.engines.sentence_files import DIMENSIONS
from wfgy_triage.errors import InputError
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.workload.chunks import ChunkSet, Query, chunk_corpus, load_chunks
from wfgy_triage.workload.corpus import CORPUS, load_corpus
from wfgy_triage.workload.index_file import GivenIndex, given_vectors, load_index

PRIMARY_K = 5
DEPTH = 20
"""How many results of each question are stored: the largest k of any metric."""
TUNING_EVERY = 4
"""Of every four questions the last is not judged: the layer is chosen on those."""
MIN_TUNING = 4
OPTIONS = frozenset({"chunks", "index", "mode", "k", "layer"})

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
        }
        if self.given is not None and self.given.sha256:
            found["index_sha256"] = self.given.sha256
        return found


def make_plan(settings: ProbeSettings) -> Plan:
    """Resolve the options `chunks`, `index`, `mode`, `k` and `layer`.

    Raises:
        InputError: an option has a value that is not possible, or a file cannot be used.
    """
    options = settings.options
    if unknown := sorted(set(options) - OPTIONS):
        raise InputError(f"There is no setting {unknown[0]!r}.", f"Settings: {', '.join(sorted(OPTIONS))}.")
    chunks = _chunks(settings)
    given = given_vectors(chunks)
    if options.get("index"):
        if not options.get("chunks"):
            raise InputError(
                "An index was given without its passages.", "Give --chunks too, in the index's order."
            )
        given = load_index(Path(str(options["index"])), len(chunks.chunks))
    tuning = chunks.queries[TUNING_EVERY - 1 :: TUNING_EVERY]
    if len(tuning) < MIN_TUNING:
        tuning = ()
    judged = [q for q in chunks.queries if q not in tuning]
    return Plan(
        chunks,
        tuple(judged[: settings.questions]),
        tuple(tuning),
        _mode(options, given),
        _whole(options, "k", PRIMARY_K, 1, DEPTH),
        _layer(options),
        given,
    )


def _chunks(settings: ProbeSettings) -> ChunkSet:
    """The passages of `--chunks`, else the sections of the question set, cut up."""
    path = settings.options.get("chunks")
    if path and settings.workload:
        raise InputError(
            "Both a question set and passages were given.", "Give one of --workload and --chunks."
        )
    return load_chunks(Path(str(path))) if path else chunk_corpus(load_corpus(settings.workload or CORPUS))


def _mode(options: Mapping[str, Any], given: GivenIndex | None) -> str:
    mode = options.get("mode") or ("given" if given is not None else "mixed")
    if mode not in DEPLOYED:
        raise InputError(f"There is no retrieval mode {mode!r}.", f"Modes: {', '.join(DEPLOYED)}.")
    if mode == "given" and given is not None and given.vectors.shape[1] == DIMENSIONS:
        return "given_independent"  # vectors of the sentence model, which quantization does not touch
    if str(mode).startswith("given") and given is None:
        raise InputError(
            "The mode 'given' needs an index.", "Give --index, or passages with their embeddings in --chunks."
        )
    return str(mode)


def _layer(options: Mapping[str, Any]) -> int | None:
    value = options.get("layer", "auto")
    if value == "auto":
        return None
    return -1 if value == "last" else _whole(options, "layer", 0, 0, 1_000)


def _whole(options: Mapping[str, Any], name: str, usual: int, low: int, high: int) -> int:
    value = options.get(name, usual)
    try:
        number = int(str(value))
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise InputError(f"{name} cannot be {value!r}.", f"Give a whole number from {low} to {high}.")
    return number
