"""The matcher's process: loads the sentence model once, then answers JSON lines on its input with lines on its output.

First line out: `{"ready": true}`, or `{"ready": false, "message", "hint"}` when the model cannot be loaded. Then, for
`{"id", "text"}`, either `{"id", "match"}` or `{"id", "message", "hint"}`. It ends when its input ends, so it never
outlives the process that started it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO

from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import check_complaint
from wfgy_triage.errors import TriageError


def main() -> int:
    """Answer until the input ends. Returns the exit code, 0."""
    # Whatever a library prints belongs into the log, not between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        matcher = load_matcher()
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


def load_matcher() -> Any:
    """The real matcher on one thread, which is fast enough and leaves the processor to the measurements.

    Raises:
        PrerequisiteError: the sentence model or the fix map cannot be loaded.
    """
    import torch

    from wfgy_triage.engines.sentences import load_sentence_encoder
    from wfgy_triage.matching import SymptomMatcher

    torch.set_num_threads(1)
    matcher = SymptomMatcher(load_catalog(), load_sentence_encoder())
    next(matcher.match(["warm up"]))
    return matcher


def _say(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()
