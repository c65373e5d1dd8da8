"""The matcher's process: loads the sentence model once, then answers JSON lines on its input with lines on its output.

First line out: `{"ready": true}`, or `{"ready": false, "message", "hint"}` when the model cannot be loaded. Then, for
`{"id", "text"}`, either `{"id", "match"}` or `{"id", "message", "hint"}`. It ends when its input ends, so it never
outlives the process that started it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import check_complaint
from wfgy_triage.engines.minilm import load_light_encoder
from wfgy_triage.engines.multilingual import load_multilingual_encoder, multilingual_version
from wfgy_triage.engines.sentence_files import model_version
from wfgy_triage.errors import TriageError
from wfgy_triage.matching import WEIGHTS, Meaning, SymptomMatcher, phrases, read_restated, side_by_side
from wfgy_triage.probes.embedding_cache import EmbeddingCache
from wfgy_triage.settings import embedding_folder, load_settings


def main() -> int:
    """Answer until the input ends. Returns the exit code, 0."""
    # Whatever a library prints belongs into the log, not between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        matcher = load_matcher(embedding_folder(load_settings()))
    except TriageError as error:
        # Staying alive keeps the supervisor from trying again and again what cannot work.
        _say(answers, {"ready": False, "message": error.message, "hint": error.hint})
        sys.stdin.buffer.read()
        return 0
    _say(answers, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            match = next(matcher.match([check_complaint(request["text"])]))
            _say(answers, {"id": request["id"], "match": match.to_json()})
        except TriageError as error:
            _say(answers, {"id": request["id"], "message": error.message, "hint": error.hint})
    return 0


def load_meaning() -> Meaning:
    """The real sentence models, without torch.

    Raises:
        PrerequisiteError: one of them cannot be loaded.
    """
    return side_by_side(load_light_encoder(), load_multilingual_encoder())


def load_matcher(cache: Path | None = None) -> SymptomMatcher:
    """The real matcher. What its examples mean is computed once for each state of the fix map and kept.

    Args:
        cache: the folder of kept embeddings; None keeps nothing, and the examples take half a minute of processor time.

    Raises:
        PrerequisiteError: a sentence model or the fix map cannot be loaded.
    """
    examples = [*phrases(load_catalog()), *read_restated()]
    meaning = load_meaning()
    texts = [e.text for e in examples]
    kept = EmbeddingCache(cache)
    identity = ["matcher", model_version(), multilingual_version(), str(WEIGHTS)]
    known = kept.get(identity, texts, (len(texts), -1))
    if known is None:
        known = meaning(texts)
        kept.put(identity, texts, known)
    return SymptomMatcher(examples, meaning, known)


def _say(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()
